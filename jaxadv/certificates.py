"""Proven lower bounds on the minimum distortion of Szegedy et al. (2013), beside those found.

For test images and all wrong targets, attacks fully connected networks, which bounds D(x, l) from
above, and bounds it from below by three methods: the product of the layers' norms (sec. 4.3), with
the last norm for pairs of classes, ECLipsE-Fast and CROWN. Writes tables and a picture.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import certify as lower_bounds
from jaxadv import zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.certify import Mlp, crown, from_lipschitz
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import CLASSES, Dataset
from jaxadv.measures import transfer
from jaxadv.networks.evaluate import predictions
from jaxadv.reports import paper, pictures
from jaxadv.reports import tables as report
from jaxadv.reports.tables import Table
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment

METHODS: Mapping[str, Callable[[Mlp, np.ndarray, int], np.ndarray]] = {
    "pair product": lambda mlp, x, _: from_lipschitz(mlp, x, lower_bounds.pair_products(mlp)),
    "ECLipsE-Fast": lambda mlp, x, _: from_lipschitz(mlp, x, lower_bounds.eclipse_fast(mlp)),
    "CROWN": lambda mlp, x, balls: crown(mlp, x, box=False, balls=balls),
    "CROWN in the box": lambda mlp, x, balls: crown(mlp, x, balls=balls),
}
TIGHTEST = "CROWN in the box"
ATTACK = "distortion found"


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = tuple(paper.TABLE_1)
    """Fully connected networks by name, trained where need be; or your own, as module:function that
    returns (Network, params)."""
    out: Path = Path("results/certificates")
    images: int = 200
    """Number of test images, from the first on."""
    radii: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03)
    """Distortions for which images are counted that have no adversarial example so near."""
    balls: int = 20
    """Balls around an image in which CROWN bounds the network; more give larger lower bounds."""
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
    dataset = Dataset(*(array[: config.images] for array in splits["test"]))
    with clock.stage("attack"):
        upper = attack(config, models, dataset.images)
    with clock.stage("certificates"):
        lower, speed = certify(config, models, dataset.images)
    for model in models:
        verify(model.name, lower[model.name], upper[model.name])
    panels = {
        model.name: nearest(model, dataset, {ATTACK: upper[model.name]} | lower[model.name])
        for model in models
    }
    figures = {
        "images": config.images,
        "radii": list(config.radii),
        "models": [
            targeted_figures(model, dataset.images, lower[model.name], upper[model.name])
            | nearest_figures(panels[model.name], config.radii)
            | {"name": model.name, "certificates_per_second": speed[model.name]}
            for model in models
        ],
    } | experiment.record(config, clock)
    texts = [ratio_table(figures), certified_table(figures), note(figures)]
    report.write_json(config.out / "certificates.json", figures)
    report.write_text(config.out / "certificates.md", report.markdown(texts))
    pictures.sorted_values(config.out / "certificates.png", panels, ATTACK, "RMS per pixel")
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables and picture are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    experiment.check_count("images", config.images, datasets.SPLITS["test"].num_examples)
    experiment.check_sizes("radii", config.radii)
    if not config.radii:
        raise ValueError("radii must not be empty")
    check_balls(config.balls)
    for name in config.models:
        try:
            lower_bounds.check(zoo.with_layers(name, datasets.info(config.dataset)))
        except ValueError as error:
            raise ValueError(f"cannot certify {name}: {error}") from error


def check_balls(balls: int) -> None:
    """Raises ValueError unless CROWN can search with so many."""
    if balls < 2:
        raise ValueError(f"balls must be at least 2, got {balls}")


def attack(config: Config, models: list[zoo.Model], images: np.ndarray) -> dict[str, np.ndarray]:
    """(N, k) distortions found towards every class, by model; infinite where none was found."""
    problems = np.repeat(images, CLASSES, axis=0)
    targets = np.tile(np.arange(CLASSES), len(images))
    settings = problems, targets, config.attack, config.cache_dir
    found = {}
    names = [model.name for model in models]
    with experiment.progress_by_name("attacking", names, len(problems)) as progress:
        for model in models:
            results = transfer.attack(model, *settings, progress)
            parts = zip(transfer.chunks(len(problems)), results, strict=True)
            distortions = [distortion(problems[part], result) for part, (_, result) in parts]
            found[model.name] = np.concatenate(distortions).reshape(-1, CLASSES)
    return found


def distortion(images: np.ndarray, result: AttackResult) -> np.ndarray:
    """(B,) distortions in float64, infinite where the attack failed."""
    squares = np.square(np.subtract(result.x_adv, images, dtype=float))
    rms = np.sqrt(squares.mean(axis=tuple(range(1, squares.ndim))))
    return np.where(result.success, rms, np.inf)


def certify(
    config: Config, models: list[zoo.Model], images: np.ndarray
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, float]]]:
    """(N, k) lower bounds, and how many a second, less compilation, by model and method."""
    lower = {model.name: {} for model in models}
    speed = {model.name: {} for model in models}
    names = [model.name for model in models]
    with experiment.progress_by_name("certifying", names, len(METHODS) * len(images)) as progress:
        for model in models:
            mlp = lower_bounds.affine_layers(model.network, model.params)
            for name, method in METHODS.items():
                method(mlp, images[:1], config.balls)  # compiles
                start = time.perf_counter()
                lower[model.name][name] = method(mlp, images, config.balls)
                count = len(images) * (CLASSES - 1)
                speed[model.name][name] = round(count / (time.perf_counter() - start))
                progress(model.name, len(images))
    return lower, speed


def verify(model: str, lower: dict[str, np.ndarray], upper: np.ndarray) -> None:
    """Raises ValueError where a lower bound is above the distortion that was found."""
    for method, bounds in lower.items():
        if (bounds > upper).any():
            image, target = np.argwhere(bounds > upper)[0]
            raise ValueError(
                f"{method} is wrong for {model}: the lower bound for image {image} and target"
                f" {target} is {bounds[image, target]}, but {upper[image, target]} was found"
            )


def targeted_figures(
    model: zoo.Model, images: np.ndarray, lower: dict[str, np.ndarray], upper: np.ndarray
) -> dict[str, Any]:
    """Of all pairs of an image and another class: lower bounds over distortions found."""
    pairs = (np.arange(CLASSES) != classes(model, images)[:, None]) & np.isfinite(upper)
    ratios = {name: bounds[pairs] / upper[pairs] for name, bounds in lower.items()}
    return {
        "pairs": int(pairs.sum()),
        "targeted": {name: summary(np.median, ratio) for name, ratio in ratios.items()},
        "largest": max(float(ratio.max(initial=0)) for ratio in ratios.values()),
    }


def nearest(
    model: zoo.Model, dataset: Dataset, bounds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The smallest of the bounds towards wrong classes, for each correctly classified image."""
    correct = classes(model, dataset.images) == dataset.labels
    wrong = np.arange(CLASSES) != dataset.labels[:, None]
    return {
        name: np.where(wrong, values, np.inf).min(axis=1)[correct]
        for name, values in bounds.items()
    }


def nearest_figures(bounds: dict[str, np.ndarray], radii: tuple[float, ...]) -> dict[str, Any]:
    """Of the correctly classified images: lower bounds over distortions found, shares by radius."""
    found = bounds[ATTACK]
    return {
        "correct": len(found),
        "untargeted": {name: summary(np.median, bounds[name] / found) for name in METHODS},
        "certified": [summary(np.mean, bounds[TIGHTEST] > radius) for radius in radii],
        "broken": [summary(np.mean, found <= radius) for radius in radii],
    }


def classes(model: zoo.Model, images: np.ndarray) -> np.ndarray:
    """(N,) classes that the network takes the images for."""
    return predictions(model.network.logits, model.params, images)


def summary(statistic: Callable[[np.ndarray], float], values: np.ndarray) -> float | None:
    """A mean or median; None where there are no values."""
    return float(statistic(values)) if len(values) else None


def percent(ratio: float | None) -> str:
    """A ratio in per cent."""
    return "–" if ratio is None else report.percent(ratio)


def ratio_table(figures: dict[str, Any]) -> Table:
    """Medians of lower bound over distortion found, and how fast the tightest bound is."""
    rows = []
    for model in figures["models"]:
        ratios = model["untargeted"], model["targeted"]
        cells = [report.beside(*(percent(kind[name]) for kind in ratios)) for name in METHODS]
        rows.append([model["name"], *cells, str(model["certificates_per_second"][TIGHTEST])])
    title = "Lower bound / distortion found (%), median: nearest class (each class)"
    return Table(title, ["model", *METHODS, "per s"], rows)


def certified_table(figures: dict[str, Any]) -> Table:
    """Shares of the correctly classified images that are certified and broken at each radius."""
    rows = []
    for model in figures["models"]:
        shares = zip(model["certified"], model["broken"], strict=True)
        cells = [" / ".join(map(percent, pair)) for pair in shares]
        rows.append([model["name"], str(model["correct"]), *cells])
    header = ["model", "images", *(f"RMS {radius:g}" for radius in figures["radii"])]
    title = "Correctly classified images (%): certified / broken within a distortion"
    return Table(title, header, rows)


def note(figures: dict[str, Any]) -> str:
    """What the tables were made from, in one line."""
    return (
        f"First {figures['images']} test images of {figures['dataset']}, all wrong targets,"
        f" {experiment.on_what(figures)}"
    )


if __name__ == "__main__":
    sys.exit(main())
