"""Tables 3 and 4 of Szegedy et al. (2013): transfer across disjoint training sets.

Trains networks on either half of the training set, makes adversarial examples of test images for
each of them, feeds these to all, also amplified to a given distortion, and writes tables, pictures
and the examples.
"""

import dataclasses
import sys
from pathlib import Path

from jaxadv import zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks.evaluate import error_rate
from jaxadv.reports import paper
from jaxadv.reports import tables as report
from jaxadv.reports import transfer as transfer_report
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment

PRIME = "'"  # ends the name of a network trained on the second half


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = (*paper.TABLE_3, "LeNet-5", "LeNet-5'")
    """Networks by name, trained on P1, the first half of the training set; with a prime, as in
    FC100-100-10', from another start on P2, the second half. Or your own, as module:function that
    returns (logits_fn, params) or (Network, params)."""
    out: Path = Path("results/cross_training")
    images: int = 10_000
    """Number of test images to attack, from the first on."""
    noise: tuple[float, ...] = (0.06, 0.1)
    """Standard deviations of the Gaussian noise that serves as control."""
    amplify_to: float = 0.1
    """Distortion that adversarial examples are amplified to."""
    attack: AttackOptions = AttackOptions.quick()
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
        halves = in_halves(splits["train"])
        models = train(config, halves, splits["test"])
    attacked = Dataset(*(array[: config.images] for array in splits["test"]))
    with clock.stage("attack"):
        result = experiment.measure_transfer(
            config,
            models,
            attacked,
            options=config.attack,
            noise_stddevs=config.noise,
            amplifications=[(config.amplify_to, clip) for clip in (False, True)],
        )
    published = paper.for_dataset(config.dataset, paper.TABLES_3_AND_4)
    figures = transfer_report.figures(result, published)
    for model, model_figures in zip(models, figures["models"], strict=True):
        model_figures |= errors_on_halves(model, halves)
    figures |= {"images": config.images} | experiment.record(config, clock)
    texts = [
        transfer_report.table_3(figures),
        transfer_report.table_4(figures),
        transfer_report.note(figures, "test"),
    ]
    transfer_report.write(config.out, "cross_training", figures, texts, result, attacked)
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables, pictures and examples are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config, [name.removesuffix(PRIME) for name in config.models])
    experiment.check_count("images", config.images, datasets.SPLITS["test"].num_examples)
    experiment.check_sizes("noise", config.noise)
    experiment.check_sizes("amplify_to", [config.amplify_to])


def in_halves(dataset: Dataset) -> dict[str, Dataset]:
    """P1 and P2."""
    middle = len(dataset.images) // 2
    parts = {"P1": slice(middle), "P2": slice(middle, None)}
    return {name: Dataset(*(array[part] for array in dataset)) for name, part in parts.items()}


def train(config: Config, halves: dict[str, Dataset], test: Dataset) -> list[zoo.Model]:
    """Trains the networks, or reads their weights."""
    models = {}
    for part, prime, seed in (("P1", "", config.seed), ("P2", PRIME, (config.seed + 1) % 2**32)):
        names = [name for name in config.models if name.endswith(PRIME) == bool(prime)]
        trained = experiment.load_models(
            dataclasses.replace(config, seed=seed),
            {"train": halves[part], "test": test},
            [name.removesuffix(PRIME) for name in names],
        )
        models |= {
            name: model._replace(name=name) for name, model in zip(names, trained, strict=True)
        }
    return [models[name] for name in config.models]


def errors_on_halves(model: zoo.Model, halves: dict[str, Dataset]) -> dict[str, str | float]:
    """The errors of Table 3 on the parts of the training set."""
    errors = [error_rate(model.network.logits, model.params, *half) for half in halves.values()]
    trained_on = "–" if ":" in model.name else "P2" if model.name.endswith(PRIME) else "P1"
    return {
        "trained_on": trained_on,
        "part_1_error": errors[0],
        "part_2_error": errors[1],
    }


if __name__ == "__main__":
    sys.exit(main())
