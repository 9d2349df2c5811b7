"""How much faster generation is in several processes, each on a core of its own.

    python benchmarks/processes.py --cores 0 1

The command runs on the same images with one process, then with two, and so on up to one per core,
after a run that compiles. The seconds are by the wall and from the start of the processes to the
end of the last, imports, tables and the page included. Efficiency is the speedup over the number
of processes; the bytes are checked to be the same.
"""

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np

from jaxadv import zoo
from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import progress_bars
from jaxadv.runs.settings import check_count
from jaxadv.storage.errors import InputError
from jaxadv.storage.shards import SUMS

HEADER = "processes", "seconds", "images/s", "efficiency"
WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    model: str = "FC100-100-10"
    """Network to attack, by name."""
    images: int = 16_000
    """Number of training images."""
    shard_size: int = 1000
    """Images per file: there are to be many more files than processes."""
    cores: tuple[int, ...] | None = (0, 1)
    """CPU cores, each for one process."""


def run(config: Config) -> None:
    """Measures, prints the table and writes the files."""
    common.load_model(config.model, common.load_data(config), config)  # trained by one process
    images, labels = common.load_data(config)["train"].part(slice(config.images))
    rows, sums = [], set()
    with tempfile.TemporaryDirectory() as folder, progress_bars() as bars:
        source = Path(folder, "images.npz")
        np.savez(source, images=np.rint(255 * images).astype(np.uint8), labels=labels)
        most = len(config.cores or ())
        task = bars.add_task(config.model, total=1 + most)
        for count in range(1 + most):
            out = Path(folder, str(count))
            few = ("--images", str(config.shard_size)) if not count else ()
            seconds = _generate(config, source, out, max(1, count), few)
            if count:
                rows.append({"processes": count, "seconds": seconds})
                sums.add((out / SUMS).read_text())
            bars.advance(task)
    if len(sums) > 1:
        raise InputError("the files are not the same by several processes as by one")
    for row in rows:
        row["images_per_second"] = config.images / row["seconds"]
        row["efficiency"] = rows[0]["seconds"] / row["seconds"] / row["processes"]
    cells = [
        (str(each["processes"]), *(f"{each[key]:.3g}" for key in list(each)[1:])) for each in rows
    ]
    title = f"{config.model}, {config.images} images"
    table = Table(title, HEADER, cells)
    common.publish(config, "processes", {"processes": rows}, [table], WIDTH)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    if config.cores is None:
        raise ValueError("cores must be given, one for each process")
    common.check(config)
    zoo.check_names([config.model], config.info)
    check_count("images", config.images, config.info.examples["train"])
    check_count("shard_size", config.shard_size, config.images)


def _generate(config, source, out, count, more):
    """Seconds that so many processes take."""
    places = {"--cache-dir": config.cache_dir, "--data-dir": config.data_dir}
    given = [part for name, value in places.items() if value for part in (name, str(value))]
    usual = ["--model", config.model, "--data", str(source), "--out", str(out), *given, *more]
    usual += ["--shard-size", str(config.shard_size), "--seed", str(config.seed)]
    usual = [sys.executable, "-m", "jaxadv.generate", *usual, "--processes", str(count)]
    start, own, started = time.perf_counter(), os.sched_getaffinity(0), []
    for process, core in enumerate((config.cores or ())[:count]):
        os.sched_setaffinity(0, {core})  # which the process inherits
        options = [*usual, "--process", str(process)]
        started.append(subprocess.Popen(options, stdout=subprocess.DEVNULL))
    os.sched_setaffinity(0, own)
    if failed := list(filter(None, [each.wait() for each in started])):
        raise InputError(f"a process ended with the status {failed[0]}")
    return time.perf_counter() - start


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
