"""Tables 1 and 2 of Szegedy et al. (2013): minimum distortions, and how they transfer.

Trains the networks (or reads the weights of an earlier run), makes adversarial examples of training
images for each of them, feeds them to all, changes them by noise and rounding, and writes tables,
pictures and the examples.
"""

import dataclasses
import sys
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import tfds as datasets
from jaxadv.reports import paper
from jaxadv.reports import tables as report
from jaxadv.reports import transfer as transfer_report
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = (*paper.TABLE_1, "LeNet-5")
    out: Path = Path("results/transfer_table")
    images: int = 2000
    """Number of training images to attack, from the first on."""
    noise: tuple[float, ...] = (0.1, 0.3)
    """Standard deviations of the Gaussian noise that serves as control."""
    amplification: float = 1.25
    """Factor on r, for the robustness of examples beyond the decision boundary."""
    robustness_noise: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3)
    """Standard deviations of the noise that is added to adversarial examples."""
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
    attacked = datasets.Dataset(*(array[: config.images] for array in splits["train"]))
    with clock.stage("attack"):
        options = {"options": config.attack, "noise_stddevs": config.noise}
        result = experiment.measure_transfer(config, models, attacked, **options)
    with clock.stage("robustness"):
        robust = transfer_report.robustness_figures(
            result,
            attacked,
            amplification=config.amplification,
            noise_stddevs=config.robustness_noise,
            seed=config.seed,
        )
    published = paper.for_dataset(config.dataset, paper.TABLES_1_AND_2)
    figures = transfer_report.figures(result, published)
    figures |= {"images": config.images, "robustness": robust}
    figures |= experiment.record(config, clock)
    texts = [
        transfer_report.table_1(figures),
        transfer_report.table_2(figures),
        transfer_report.robustness_table(figures),
        transfer_report.note(figures, "training"),
    ]
    transfer_report.write(config.out, "transfer_table", figures, texts, result, attacked)
    transfer_report.draw_robustness(config.out / "robustness.png", figures)
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables, pictures and examples are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    experiment.check_count("images", config.images, datasets.SPLITS["train"].num_examples)
    experiment.check_sizes("noise", config.noise)
    experiment.check_sizes("robustness_noise", config.robustness_noise)
    experiment.check_sizes("amplification", [config.amplification])


if __name__ == "__main__":
    sys.exit(main())
