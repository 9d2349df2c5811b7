"""Tables 1 and 2 of Szegedy et al. (2013): minimum distortions, and how they transfer.

Trains the networks (or reads the weights of an earlier run), makes adversarial examples of training
images for each of them, feeds them to all, and writes tables, pictures and the examples.
"""

import dataclasses
import math
import sys
from pathlib import Path

from jaxadv import command, datasets, experiment, paper, transfer, transfer_report, zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: tuple[str, ...] = (*paper.TABLE_1, "LeNet-5")
    out: Path = Path("results/transfer_table")
    images: int = 2000
    """Number of training images to attack, from the first on."""
    noise: tuple[float, ...] = (0.1, 0.3)
    """Standard deviations of the Gaussian noise that serves as control."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    check(config)
    clock = experiment.Clock()
    with clock.stage("data"):
        splits = experiment.load_data(config)
    with clock.stage("training"):
        models = experiment.load_models(config, splits)
    with clock.stage("attack"):
        result = attack(config, models, splits["train"])
    figures = transfer_report.figures(result) | {"images": config.images}
    figures |= experiment.record(config, clock)
    transfer_report.write(config.out, figures, result, splits["train"])
    command.console.print(*transfer_report.for_terminal(figures), sep="\n")
    command.console.print(f"Tables, pictures and examples are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    experiment.check_count("images", config.images, datasets.SPLITS["train"].num_examples)
    if not all(math.isfinite(stddev) and stddev >= 0 for stddev in config.noise):
        raise ValueError(f"noise must not be negative, infinite or NaN, got {config.noise}")


def attack(
    config: Config, models: list[zoo.Model], dataset: datasets.Dataset
) -> transfer.TransferResult:
    """Makes the adversarial examples and measures their transfer."""
    images, labels = dataset.images[: config.images], dataset.labels[: config.images]
    names = [model.name for model in models]
    with experiment.progress_by_name("attacking", names, config.images) as progress:
        return transfer.transfer(
            models,
            images,
            labels,
            wrong_targets(labels, datasets.CLASSES, config.seed),
            options=config.attack,
            noise_stddevs=config.noise,
            seed=config.seed,
            cache_dir=config.cache_dir,
            progress=progress,
        )


if __name__ == "__main__":
    sys.exit(main())
