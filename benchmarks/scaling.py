"""How fast the attack is against lanes and against images, and what bounds it.

    python benchmarks/scaling.py --cores 0

The ceiling is the rate of gradients of the network alone, within a jitted loop, at the same number
of lanes: the last column says what fraction of it the attack reaches, idle lanes included. Lanes:
the images that each device works on side by side; the default is marked.
"""

import dataclasses
import functools
import time
from pathlib import Path

import common
import jax
import matplotlib.figure
from gradients import gradient_seconds

from jaxadv import AttackOptions, minimal_adversarial, zoo
from jaxadv.attacks.queues import lanes_and_queue
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import Dataset
from jaxadv.reports.pictures import save
from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import progress_bars

HEADER = (
    *("lanes", "images", "images/s", "gradients", "utilisation"),
    *("gradients/s", "bare gradients/s", "fraction"),
)
WIDTH = 100  # of the tables, in characters, where the terminal has fewer


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    models: tuple[str, ...] = ("FC100-100-10", "CNN")
    """Networks to attack, by name."""
    lanes: tuple[int, ...] = (8, 32, 64, 256)
    """Numbers of lanes to try on each device, besides the default, on the least of the images."""
    images: tuple[int, ...] = (500, 2000)
    """Numbers of training images to attack, at the default number of lanes."""
    share: dict[str, float] = dataclasses.field(default_factory=lambda: {"CNN": 0.1})
    """For a slow network, the share of these images."""


def run(config: Config) -> None:
    """Measures all networks, prints the tables and writes the files."""
    common.pin(config.cores)
    splits = common.load_data(config)
    results = {}
    for name in config.models:
        model = common.load_model(name, splits, config)
        results[name] = scaling(model, splits["train"], config)
    tables = [as_table(name, rows) for name, rows in results.items()]
    draw(config.out / "scaling.png", results)
    common.publish(config, "scaling", {"scaling": results}, tables, WIDTH)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    zoo.check_names([*config.models, *config.share], config.info)
    size = config.info.examples["train"]
    if not config.images or not all(1 <= count <= size for count in config.images):
        raise ValueError(f"images must be from 1 to {size}, got {config.images}")
    if not all(count >= 1 for count in config.lanes):
        raise ValueError(f"lanes must be at least 1, got {config.lanes}")
    if not all(0 < share <= 1 for share in config.share.values()):
        raise ValueError(f"share must be above 0 and at most 1, got {config.share}")
    common.check(config)


def scaling(model: zoo.Model, dataset: Dataset, config: Config) -> list[dict]:
    """One row per number of lanes, then one per number of images."""
    share = config.share.get(model.name, 1.0)
    counts = sorted({max(1, round(share * count)) for count in config.images})

    arguments = model.network.logits, model.params
    image, platform = dataset.images[:1], jax.local_devices()[0].platform

    def rounded(lanes):
        return lanes_and_queue(*arguments, AttackOptions(batch_size=lanes), image, platform)[0]

    default, least = rounded(None), counts[0]
    runs = [(rounded(lanes), least) for lanes in (None, *config.lanes)]
    runs = sorted(set(runs)) + [(default, count) for count in counts[1:]]
    rows = []
    with progress_bars() as bars:
        task = bars.add_task(model.name, total=len(runs))
        for lanes, count in runs:
            rows.append(measure(model, dataset.part(slice(count)), lanes, config))
            rows[-1]["default"] = lanes == default
            bars.advance(task)
    return rows


def measure(model: zoo.Model, dataset: Dataset, lanes: int, config: Config) -> dict[str, float]:
    """Attacks the images on `lanes` lanes, after a call that compiles."""
    x, count = dataset.images, len(dataset.images)
    target = wrong_targets(dataset.labels, config.info.classes, config.seed)

    def attack():
        options = AttackOptions(batch_size=lanes)
        return minimal_adversarial(model.network.logits, model.params, x, target, options)

    attack()
    start = time.perf_counter()
    result = attack()
    seconds = time.perf_counter() - start
    rate = float(result.evaluations.sum()) / seconds
    bare = 1 / gradient_seconds(model, x, lanes)
    return {
        "lanes": lanes,
        "images": count,
        "images_per_second": count / seconds,
        "gradients": float(result.evaluations.mean()),
        "utilisation": result.utilisation,
        "gradients_per_second": rate,
        "bare_gradients_per_second": bare,
        "fraction": rate / bare,
    }


def as_table(name: str, rows: list[dict]) -> Table:
    """The figures of one network."""
    return Table(
        f"Minimum distortion on {name}",
        HEADER,
        [
            (
                f"{row['lanes']}{'*' if row['default'] else ''}",
                str(row["images"]),
                f"{row['images_per_second']:.3g}",
                f"{row['gradients']:.0f}",
                f"{row['utilisation']:.2f}",
                f"{row['gradients_per_second']:.3g}",
                f"{row['bare_gradients_per_second']:.3g}",
                f"{row['fraction']:.2f}",
            )
            for row in rows
        ],
    )


def draw(path: Path, results: dict[str, list[dict]]) -> None:
    """Draws, for each network, rates of gradients against lanes, and the rate of images."""
    figure = matplotlib.figure.Figure(figsize=(5.5 * len(results), 7), layout="constrained")
    panels = figure.subplots(2, len(results), squeeze=False)
    for (above, below), (name, rows) in zip(panels.T, results.items(), strict=True):
        least = min(row["images"] for row in rows)
        by_lanes = [row for row in rows if row["images"] == least]
        by_images = [row for row in rows if row["default"]]
        lanes = [row["lanes"] for row in by_lanes]
        for key, label in (
            ("bare_gradients_per_second", "the network alone"),
            ("gradients_per_second", "the attack"),
        ):
            above.plot(lanes, [row[key] for row in by_lanes], "o-", label=label)
        above.set(title=name, xlabel=f"lanes ({least} images)", ylabel="gradients per second")
        above.legend()
        images = [row["images"] for row in by_images]
        below.plot(images, [row["images_per_second"] for row in by_images], "o-", color="tab:red")
        below.set(xlabel="images (default lanes)", ylabel="images per second")
        for axes, ticks in ((above, lanes), (below, images)):
            axes.set_xscale("log")
            axes.set_xticks(ticks, map(str, ticks), minor=False)
            axes.set_xticks([], minor=True)
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
            axes.grid(alpha=0.3)
    save(figure, path)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
