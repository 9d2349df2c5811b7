"""How often adversarial examples appear: random perturbations that change the class of an image.

Attacks test images that each network classifies correctly, then counts how many random
perturbations change the class, against their norm in units of the distance D of the nearest
adversarial example: isotropic ones around the image, ones around the adversarial example, and ones
in the span of a few adversarial directions. Szegedy et al. (2013) leave the question open (sec. 5).
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv import zoo
from jaxadv.attacks.minimal import all_targets
from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import tfds as datasets
from jaxadv.measures import density as perturbations
from jaxadv.measures.density import WAYS
from jaxadv.networks.evaluate import predictions
from jaxadv.reports import pictures
from jaxadv.reports import tables as report
from jaxadv.reports.tables import Table
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment

Figures = Mapping[str, Any]  # what density.json holds


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = ("FC10(1e-4)", "FC100-100-10", "LeNet-5")
    out: Path = Path("results/density")
    images: int = 100
    """Number of test images, the first that the network classifies correctly."""
    norms: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0, 1.2, 1.5, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0)
    """Norms of the perturbations, in units of the distance D of the image's nearest adversarial
    example."""
    samples: int = 500
    """Perturbations per image, norm and way."""
    directions: int = 3
    """Targets, nearest first, whose adversarial directions span the space of the third way."""
    clip: bool = False
    """Clip perturbed images to [0, 1], which makes the perturbations smaller than their norm."""
    attack: AttackOptions = dataclasses.field(default_factory=AttackOptions.quick)
    """Settings of the attack; by default the quick ones, as D may well be 1 % too large here."""


class Counts(NamedTuple):
    """What was measured for a network."""

    model: zoo.Model
    examples: perturbations.Nearest
    changed: np.ndarray  # (images, ways, norms)
    seconds: float  # of the sampling, compilation included


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
    chosen = [correct(model, splits["test"], config.images) for model in models]
    with clock.stage("attack"):
        examples = attack(config, models, chosen)
    with clock.stage("sampling"):
        counts = sample(config, models, chosen, examples)
    result = figures(config, counts) | experiment.record(config, clock)
    texts = [models_table(result), *fraction_tables(result), note(result)]
    report.write_json(config.out / "density.json", result)
    report.write_text(config.out / "density.md", report.markdown(texts))
    draw(config.out / "density.png", result)
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables and picture are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    experiment.check_count("images", config.images, datasets.SPLITS["test"].num_examples)
    experiment.check_count("samples", config.samples, perturbations.MAX_SAMPLES)
    experiment.check_count("directions", config.directions, datasets.CLASSES - 1)
    ascending = zip((0.0, *config.norms), config.norms, strict=False)
    if not config.norms or not all(low < high < math.inf for low, high in ascending):
        raise ValueError(f"norms must be positive, finite and ascending, got {config.norms}")


def correct(model: zoo.Model, dataset: datasets.Dataset, count: int) -> datasets.Dataset:
    """The first `count` images that the network classifies correctly.

    Raises:
      ValueError: there are fewer.
    """
    classes = predictions(model.network.logits, model.params, dataset.images)
    right = np.flatnonzero(classes == dataset.labels)
    if len(right) < count:
        raise ValueError(
            f"images must be at most {len(right)}, as many as {model.name} classifies correctly,"
            f" got {count}"
        )
    return datasets.Dataset(*(array[right[:count]] for array in dataset))


def attack(
    config: Config, models: list[zoo.Model], chosen: list[datasets.Dataset]
) -> list[perturbations.Nearest]:
    """Finds the nearest adversarial examples of each network's images.

    Raises:
      ValueError: none was found for a network.
    """
    names, examples = [model.name for model in models], []
    with experiment.progress_by_name("attacking", names, config.images) as progress:
        for model, (x, label) in zip(models, chosen, strict=True):
            results = all_targets(
                model.network.logits,
                model.params,
                x,
                config.attack,
                progress=lambda count, name=model.name: progress(name, count),
            )
            examples.append(perturbations.nearest(x, label, results, config.directions))
            if not examples[-1].found.any():
                raise ValueError(f"found no adversarial example for {model.name}")
    return examples


def sample(
    config: Config,
    models: list[zoo.Model],
    chosen: list[datasets.Dataset],
    examples: list[perturbations.Nearest],
) -> list[Counts]:
    """Counts the perturbations that change the class, network by network."""
    names, counts = [model.name for model in models], []
    with experiment.progress_by_name("sampling", names, config.images) as progress:
        for model, (x, label), near in zip(models, chosen, examples, strict=True):
            clock = experiment.Clock()
            with clock.stage("sampling"):
                changed = perturbations.count_changed(
                    model.network.logits,
                    model.params,
                    x,
                    label,
                    near,
                    config.norms,
                    config.samples,
                    config.seed,
                    clip=config.clip,
                    progress=lambda count, name=model.name: progress(name, count),
                )
            counts.append(Counts(model, near, changed, clock.seconds["sampling"]))
    return counts


def figures(config: Config, counts: list[Counts]) -> dict[str, Any]:
    """The measured figures; norms are in units of D, and D is a Euclidean norm.

    `sampling_interval` is that of the mean over these images; `images_interval`, None where no
    perturbation changed the class, that over images like these. Both are at 95 %.
    """
    return {
        **{name: getattr(config, name) for name in ("images", "samples", "directions", "clip")},
        "norms": config.norms,
        "flat_boundary": {
            way: values.tolist() for way, values in _flat(config.norms, config.directions).items()
        },
        "models": [_model_figures(config, found) for found in counts],
    }


def _model_figures(config, counts):
    found = counts.examples.found
    changed = counts.changed[found]
    total = len(changed) * config.samples
    fractions = changed / config.samples
    hits = changed.sum(axis=0, dtype=np.int64)
    sampling = perturbations.clopper_pearson(hits, total)
    images = perturbations.bootstrap(fractions, config.seed)
    return {
        "name": counts.model.name,
        "test_error": counts.model.test_error,
        "images_attacked": len(changed),
        "distance": float(counts.examples.distance[found].mean()),
        "dimension": float(counts.examples.dimension[found].mean()),
        "samples_per_second": changed[0].size * total / counts.seconds,
        "ways": {
            way: [
                {
                    "norm": norm,
                    "changed": int(hits[i, j]),
                    "samples": total,
                    "fraction": float(hits[i, j] / total),
                    "sampling_interval": sampling[:, i, j].tolist(),
                    "images_interval": images[:, i, j].tolist() if hits[i, j] else None,
                    "images_changed": float((changed[:, i, j] > 0).mean()),
                }
                for j, norm in enumerate(config.norms)
            ]
            for i, way in enumerate(WAYS)
        },
    }


def models_table(figures: Figures) -> Table:
    """The networks, how far their nearest adversarial examples are, and the speed of sampling."""
    header = ["model", "test %", "attacked", "mean D", "dimension of span", "samples/s"]
    rows = [
        [
            model["name"],
            report.percent(model["test_error"], digits=2),
            f"{model['images_attacked']}",
            f"{model['distance']:.3f}",
            f"{model['dimension']:.2f}",
            f"{model['samples_per_second']:,.0f}",
        ]
        for model in figures["models"]
    ]
    return Table("Nearest adversarial examples of correctly classified test images", header, rows)


def fraction_tables(figures: Figures) -> list[Table]:
    """For each network the fractions against the norm, in three ways."""
    return [
        Table(
            f"{model['name']}: fraction of perturbations of norm s·D that change the class",
            ["s", *WAYS],
            [
                [f"{points[0]['norm']:g}", *map(_fraction, points)]
                for points in zip(*model["ways"].values(), strict=True)
            ],
        )
        for model in figures["models"]
    ]


def _fraction(point):
    """The fraction and its interval over images; where none changed the class, an upper bound."""
    if point["images_interval"] is None:
        return f"< {point['sampling_interval'][1]:.2g}"
    low, high = point["images_interval"]
    return f"{point['fraction']:.2g} [{low:.2g}, {high:.2g}]"


def note(figures: Figures) -> str:
    """What the tables were made from, in one line."""
    clipped = "" if figures["clip"] else " not"
    return (
        f"{figures['images']} test images of {figures['dataset']}, {figures['samples']} samples per"
        f" image, norm and way,{clipped} clipped to [0, 1], {experiment.on_what(figures)} In"
        " brackets: 95 % bootstrap over images; <: Clopper–Pearson, 97.5 %."
    )


def _flat(norms, directions):
    """The fractions by way, were the boundary flat, and at distance D from the image."""
    around, within = (
        perturbations.flat_fraction(np.array(norms), n)
        for n in (math.prod(datasets.IMAGE_SHAPE), directions)
    )
    return dict(zip(WAYS, (around, np.full(len(norms), 0.5), within), strict=True))


def draw(path: Path, figures: Figures) -> None:
    """Draws the fractions, a panel for each way."""
    norms = figures["norms"]
    fine = np.geomspace(norms[0], norms[-1], 400)
    panels = [
        pictures.Panel(
            title=way,
            scale="linear" if way == "around the example" else "log",
            curves=[_curve(model["name"], model["ways"][way]) for model in figures["models"]],
            reference=(fine, flat),
        )
        for way, flat in _flat(fine, figures["directions"]).items()
    ]
    pictures.fractions(path, panels, norms, "norm of the perturbation / D", "flat boundary")


def _curve(name, points):
    intervals = [p["images_interval"] or (None, p["sampling_interval"][1]) for p in points]
    fractions = [p["fraction"] or None for p in points]
    return pictures.Curve(name, fractions, *zip(*intervals, strict=True))


if __name__ == "__main__":
    sys.exit(main())
