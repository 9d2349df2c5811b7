"""What controlling the layers' operator norms buys (Szegedy et al., 2013, sec. 4.3).

Trains fully connected networks with a penalty on their layers' norms, or with these kept within a
limit, and measures test error, Lipschitz bound, the distortion that attacks find, and that below
which none can be found.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import certificates, zoo
from jaxadv import certify as lower_bounds
from jaxadv.attacks.options import AttackOptions
from jaxadv.certificates import ATTACK, TIGHTEST
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import lipschitz
from jaxadv.reports import pictures
from jaxadv.reports import tables as report
from jaxadv.reports.tables import Table
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment
from jaxadv.training.recipes import Controlled, Supervised

Figures = Mapping[str, Any]  # what control.json holds


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = ("FC100-100-10",)
    """Fully connected networks, by name, to train anew with control."""
    out: Path = Path("results/control")
    strengths: tuple[float, ...] = (0.0, 3e-4, 1e-3, 2e-3, 3e-3)
    """Weights of the penalty, the sum of the squares of the layers' norms; 0 is no control."""
    limits: tuple[float, ...] = ()
    """Limits that the layers' norms are kept within, each in a training of its own."""
    images: int = 200
    """Number of test images, from the first on, to attack and certify."""
    balls: int = 20
    """Balls around an image in which CROWN bounds the network; more give larger lower bounds."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs the experiment, prints its table and writes its files."""
    check(config)
    clock = experiment.Clock()
    with clock.stage("data"):
        splits = experiment.load_data(config)
    with clock.stage("training"):
        models = train(config, splits)
    dataset = Dataset(*(array[: config.images] for array in splits["test"]))
    with clock.stage("attack"):
        upper = certificates.attack(config, models, dataset.images)
    with clock.stage("certificates"):
        lower, _ = certificates.certify(config, models, dataset.images)
    right = np.all([certificates.classes(m, dataset.images) == dataset.labels for m in models], 0)
    compared = Dataset(*(array[right] for array in dataset))
    rows = []
    for model in models:
        certificates.verify(model.name, lower[model.name], upper[model.name])
        bounds = {ATTACK: upper[model.name]} | lower[model.name]
        bounds = {name: values[right] for name, values in bounds.items()}
        rows.append(model_figures(model, certificates.nearest(model, compared, bounds)))
    figures = {"images": config.images, "models": rows} | experiment.record(config, clock)
    texts = [table(figures), note(figures)]
    report.write_json(config.out / "control.json", figures)
    report.write_text(config.out / "control.md", report.markdown(texts))
    draw(config.out / "control.png", figures)
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Table and picture are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    experiment.check_count("images", config.images, datasets.SPLITS["test"].num_examples)
    experiment.check_sizes("strengths", config.strengths)
    if not all(0 < limit < math.inf for limit in config.limits):
        raise ValueError(f"limits must be positive and finite, got {config.limits}")
    if not config.strengths and not config.limits:
        raise ValueError("strengths and limits must not both be empty")
    for name in ("strengths", "limits"):
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must be there once each, got {values}")
    certificates.check_balls(config.balls)
    for name in config.models:
        lower_bounds.check(zoo.with_layers(name, datasets.info(config.dataset)))
        if name not in zoo.ZOO or not isinstance(zoo.ZOO[name].recipe, Supervised):
            raise ValueError(f"models must be trained by labels alone, got {name}")


def train(config: Config, splits: dict[str, Dataset]) -> list[zoo.Model]:
    """Trains each network with each control, or reads its weights."""
    options = {"cache_dir": config.cache_dir, "retrain": config.retrain}
    trainings = {}
    for architecture in config.models:
        network, recipe = zoo.ZOO[architecture]
        controls = [Controlled(recipe, s) if s else recipe for s in config.strengths]
        controls += [Controlled(recipe, limit=limit) for limit in config.limits]
        for control in controls:
            name = label(architecture, control)
            trainings[name] = functools.partial(
                zoo.trained, name, network, control, splits, config.seed, **options
            )
    return experiment.train_each(trainings)


def label(architecture: str, recipe: Supervised | Controlled) -> str:
    """The name of a network with its control: "FC100-100-10, penalty 0.001"."""
    if isinstance(recipe, Supervised):
        return architecture
    if recipe.limit is not None:
        return f"{architecture}, limit {recipe.limit:g}"
    return f"{architecture}, penalty {recipe.strength:g}"


def model_figures(model: zoo.Model, bounds: dict[str, np.ndarray]) -> dict[str, Any]:
    """Errors, Lipschitz bound, and mean distortions of the images compared."""
    found, certified = bounds[ATTACK], bounds[TIGHTEST]
    solved = np.isfinite(found)
    return {
        "name": model.name,
        "train_error": model.train_error,
        "test_error": model.test_error,
        "lipschitz_bound": float(lipschitz.lipschitz_bound(model.network, model.params)),
        "compared": len(found),
        "found": certificates.summary(np.mean, found[solved]),
        "certified": certificates.summary(np.mean, certified[solved]),
    }


def table(figures: Figures) -> Table:
    """Errors, Lipschitz bounds and distortions."""
    header = ["network", "train %", "test %", "L", "found", "certified", "ratio"]
    rows = [
        [
            model["name"],
            *(report.percent(model[key], digits=2) for key in ("train_error", "test_error")),
            f"{model['lipschitz_bound']:.3g}",
            *(_decimals(model[key]) for key in ("found", "certified")),
            _decimals(model["found"] and model["certified"] / model["found"], 2),
        ]
        for model in figures["models"]
    ]
    title = "Control of the layers' norms: mean distortion (RMS) to the nearest wrong class"
    return Table(title, header, rows)


def _decimals(value, digits=4):
    return "–" if value is None else f"{value:.{digits}f}"


def note(figures: Figures) -> str:
    """What the table was made from, in one line."""
    return (
        f"First {figures['images']} test images of {figures['dataset']}, those that all networks"
        f" classify correctly, {experiment.on_what(figures)} L is the product of the layers'"
        " constants. Found: by attacks; certified: no image so near has another class (CROWN in the"
        " box)."
    )


def draw(path: Path, figures: Figures) -> None:
    """Draws distortions found and certified, and errors, against Lipschitz bounds."""
    models = figures["models"]
    panels = {
        "mean distortion (RMS)": {
            key: [model[key] for model in models] for key in ("found", "certified")
        },
        "error (%)": {
            split: [100 * model[f"{split}_error"] for model in models]
            for split in ("test", "train")
        },
    }
    bounds = [model["lipschitz_bound"] for model in models]
    pictures.stacked(path, bounds, panels, "Lipschitz bound L")


if __name__ == "__main__":
    sys.exit(main())
