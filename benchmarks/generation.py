"""What `python -m jaxadv.generate` takes beyond the attack itself.

    python benchmarks/generation.py --cores 0
    python benchmarks/generation.py --cores 0 --files

The same images are attacked towards the same targets, in turn by `minimal_adversarial`, all at
once, and by the command, once its settings are checked and all is compiled: from a file of uint8,
or files of PNG, to shards, their checksums, and at last the tables and the page, which have a
column of their own, as they take the same for any number of images from 1,000 on. In CPU seconds,
those of workers included, other work on the machine matters little. Outside the attack is what the
command does besides, reading included, which goes on beside the attack. Reading is also measured
alone, and so are the starts of workers in it.
"""

import contextlib
import dataclasses
import functools
import io
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import common
import numpy as np
from PIL import Image

from jaxadv import generate, minimal_adversarial
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import photographs
from jaxadv.datasets.examples import Examples
from jaxadv.datasets.reading import read
from jaxadv.measures import generation
from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import console, progress_bars
from jaxadv.zoo import check_names

HEADER = (
    *("network", "images", "shards", "in memory s", "generate s", "more %", "outside %"),
    *("reading s", "page s", "CPU: in memory s", "generate s", "more %", "outside %"),
    *("reading s", "page s"),
)
WIDTH = 170  # of the table, in characters, where the terminal has fewer


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    images: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"FC100-100-10": 4000, "CNN": 200}
    )
    """Networks to attack, and on how many training images."""
    repetitions: int = 3
    """Of each, of which the median counts."""
    files: bool = False
    """Read a folder of PNG files, not an array."""
    workers: int = 0
    """Processes that read files."""


class Clock:
    """Calls a function, and sums up the seconds it takes, by the wall and of all cores.

    Args:
      function: to be called in its place.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function, self.seconds = function, np.zeros(2)

    def __call__(self, *args, **kwargs):
        """Calls it."""
        start = _now()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.seconds += _now() - start


def run(config: Config) -> None:
    """Measures all networks, prints the table and writes the files."""
    common.pin(config.cores)
    results = {name: overhead(name, config) for name in config.images}
    tables = [Table("Generation beside the attack alone", HEADER, [*map(_row, results.items())])]
    figures: dict[str, Any] = {"generation": results}
    if config.files:
        figures["photograph_ms"] = decoding(config)
        row = "photograph", f"{figures['photograph_ms']:.2g}"
        tables.append(Table("Decoding", ("file", "CPU ms"), [row]))
    common.publish(config, "generation", figures, tables, WIDTH)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    check_names([*config.images], config.info)
    size = config.info.examples["train"]
    if not all(1 <= count <= size for count in config.images.values()):
        raise ValueError(f"images must be from 1 to {size}, got {config.images}")
    if config.workers < 0:
        raise ValueError(f"workers must not be negative, got {config.workers}")
    if config.repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {config.repetitions}")
    common.check(config)


def overhead(name: str, config: Config) -> dict[str, Any]:
    """Medians of seconds, each by the wall and of all cores."""
    images, labels = common.load_data(config)["train"].part(slice(config.images[name]))
    by_class = np.argsort(labels, kind="stable")  # as folders are read
    images, labels = images[by_class], labels[by_class]
    with tempfile.TemporaryDirectory() as folder, progress_bars() as bars:
        write = _write_files if config.files else _write_array
        source = write(Path(folder), np.rint(255 * images).astype(np.uint8), labels)
        names = ("seed", "data_dir", "cache_dir", "workers")
        fields = {key: getattr(config, key) for key in names}
        command_config = generate.Config(model=name, data=str(source), out="", **fields)
        examples, work, manifest = generate.prepared(command_config)
        attack = work.logits_fn, work.params, images
        target = wrong_targets(labels, work.classes, config.seed)
        task = bars.add_task(name, total=1 + config.repetitions)
        rounds = []
        for repetition in range(1 + config.repetitions):
            out = str(Path(folder, str(repetition)))
            parts = _generate(dataclasses.replace(command_config, out=out))
            clocks = [Clock(minimal_adversarial), Clock(lambda: _read(examples, manifest, config))]
            clocks[0](*attack, target)
            clocks[1]()
            rounds.append([*parts, *(clock.seconds for clock in clocks)])
            bars.advance(task)
    kept = np.array(rounds[1:])  # the first one compiles
    whole, solver, page, memory, reading = (kept[:, part] for part in range(kept.shape[1]))
    shards = -(-len(images) // manifest["shard_size"])
    during = 0 if config.workers else 1 - 1 / shards  # of a thread's reading, after the first shard
    beside = [0, during] * reading  # which takes CPU seconds of the attack's
    seconds = {
        "in_memory": memory,
        "generate": whole - page,
        "outside": whole - page - solver + beside,
        "reading": reading,
        "page": page,
    }
    medians = {name: np.median(each, axis=0).tolist() for name, each in seconds.items()}
    return {"images": len(images), "shards": shards, **medians}


def decoding(config: Config) -> float:
    """CPU milliseconds to decode one of Foolbox's photographs, mostly of 512 × 512 pixels."""
    found = photographs.of_wheel(config.cache_dir)
    files = [{"image": found.read(number)} for number in range(len(found.names))]
    examples = Examples(files, "photographs", size=224)
    before = _now()
    for index in range(len(files)):
        examples[index]
    return 1000 * float((_now() - before)[1]) / len(files)


def _png(image):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return file.getvalue()


def _generate(config):
    """Seconds of the command, and of these of its attack and of its page."""
    attack = Clock(minimal_adversarial)
    page = Clock(generate.report.ended)
    whole = Clock(generate.run)
    with (
        mock.patch.object(generation, "minimal_adversarial", attack),
        mock.patch.object(generate.report, "ended", page),
        mock.patch.object(console, "quiet", True),
    ):
        generate.prepared(config)  # as the command does, when it checks its settings
        whole(config)
    return [clock.seconds for clock in (whole, attack, page)]


def _write_array(folder, images, labels):
    np.savez(folder / "images.npz", images=images, labels=labels)
    return folder / "images.npz"


def _write_files(folder, images, labels):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "images" / str(label) / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_png(image))
    return folder / "images"


def _read(examples, manifest, config):
    rows, size = range(manifest["count"]), manifest["shard_size"]
    reading = read(examples, rows, batch_size=size, workers=config.workers)
    with contextlib.closing(reading) as batches:
        for _ in batches:
            pass


def _row(item):
    name, found = item
    cells = []
    for by in range(2):
        memory, whole, outside, reading, page = (
            found[key][by] for key in ("in_memory", "generate", "outside", "reading", "page")
        )
        shares = 100 * (whole / memory - 1), 100 * outside / memory
        cells += [f"{memory:.3g}", f"{whole:.3g}", *(f"{share:.1f}" for share in shares)]
        cells += [f"{reading:.3f}", f"{page:.2f}"]
    return name, str(found["images"]), str(found["shards"]), *cells


def _now():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)])


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
