"""Tables 1 and 2 of Szegedy et al. (2013): minimum distortions, and how they transfer.

Trains the networks (or reads the weights of an earlier run), makes adversarial examples of training
images for each of them, feeds them to all, and writes tables, pictures and the examples.
"""

import contextlib
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Literal

from jaxadv import cache, command, datasets, paper, report, transfer, transfer_report, zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the experiment."""

    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    dataset: Literal["mnist", "fashion_mnist"] = "mnist"
    """Data set."""
    models: tuple[str, ...] = tuple(paper.TABLE_1)
    """Networks to train and attack, by name."""
    images: int = 2000
    """Number of training images to attack, from the first on."""
    seed: int = 0
    """Seed of the weights, the targets and the noise."""
    noise: tuple[float, ...] = (0.1, 0.3)
    """Standard deviations of the Gaussian noise that serves as control."""
    out: Path = Path("results/transfer_table")
    """Directory for the tables, pictures and examples."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of trained weights and adversarial examples, for later runs."""
    retrain: bool = False
    """Train again, even if there are weights of an earlier run."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    check(config)
    seconds = {}
    with _timed(seconds, "data"), command.console.status(f"loading {config.dataset}"):
        splits = datasets.load(config.dataset, data_dir=config.data_dir)
    with _timed(seconds, "training"):
        models = train(config, splits)
    with _timed(seconds, "attack"):
        result = attack(config, models, splits["train"])
    seconds["total"] = sum(seconds.values())
    run_figures = {
        "dataset": config.dataset,
        "images": config.images,
        "seed": config.seed,
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
    }
    figures = transfer_report.figures(result) | run_figures | report.environment()
    transfer_report.write(config.out, figures, result, splits["train"])
    command.console.print(*transfer_report.for_terminal(figures), sep="\n")
    command.console.print(f"Tables, pictures and examples are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    zoo.check_names(config.models)
    if not config.models or len(set(config.models)) < len(config.models):
        raise ValueError(f"models must name at least one network, each once, got {config.models}")
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}, got {config.seed}")
    size = datasets.SPLITS["train"].num_examples
    if not 1 <= config.images <= size:
        raise ValueError(f"images must be from 1 to {size}, got {config.images}")
    if not all(math.isfinite(stddev) and stddev >= 0 for stddev in config.noise):
        raise ValueError(f"noise must not be negative, infinite or NaN, got {config.noise}")
    command.check_writable(config.out)
    command.check_writable(config.cache_dir)


def train(config: Config, splits: dict[str, datasets.Dataset]) -> list[zoo.Model]:
    """Trains the networks, or reads their weights."""
    models = []
    with command.progress_bars() as bars:
        for name in config.models:
            task = bars.add_task(f"training {name}", total=100)
            models.append(
                zoo.load(
                    name,
                    splits,
                    config.seed,
                    cache_dir=config.cache_dir,
                    retrain=config.retrain,
                    progress=lambda done, task=task: bars.update(task, completed=100 * done),
                )
            )
            bars.update(task, completed=100)
    return models


def attack(
    config: Config, models: list[zoo.Model], dataset: datasets.Dataset
) -> transfer.TransferResult:
    """Makes the adversarial examples and measures their transfer."""
    images, labels = dataset.images[: config.images], dataset.labels[: config.images]
    with command.progress_bars() as bars:
        tasks = {
            model.name: bars.add_task(f"attacking {model.name}", total=config.images, start=False)
            for model in models
        }

        def progress(model, count):
            bars.start_task(tasks[model.name])
            bars.advance(tasks[model.name], count)

        return transfer.transfer(
            models,
            images,
            labels,
            wrong_targets(labels, CLASSES, config.seed),
            options=config.attack,
            noise_stddevs=config.noise,
            seed=config.seed,
            cache_dir=config.cache_dir,
            progress=progress,
        )


@contextlib.contextmanager
def _timed(seconds, stage):
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
