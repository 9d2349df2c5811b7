"""Tables of transfer beside the paper's, from a `TransferResult`: figures, tables, pictures."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets import Dataset
from jaxadv.measures.statistics import bootstrap_mean, summary
from jaxadv.measures.transfer import TransferResult
from jaxadv.reports import paper, pictures, plots
from jaxadv.reports.tables import Figures, Table, distortion, percent, run_of
from jaxadv.storage import npz

EXAMPLES = 3  # in the picture, per model


def figures(result: TransferResult, published: paper.Tables, seed: int) -> dict[str, Any]:
    """The measured figures beside the paper's; evaluations are gradients per image.

    The seed is of the bootstrap over images, of which `distortion_interval` is the 95 % interval.
    """
    models = [
        {
            "name": model.name,
            "train_error": model.train_error,
            "test_error": model.test_error,
            **_distortion(found.distortion[found.success], seed),
            "success_rate": float(found.success.mean()),
            "evaluations": float(found.evaluations.mean()),
            "utilisation": _finite(found.evaluations.sum() / found.cost.sum()),
            "paper": published.models.get(model.name, published.no_model)._asdict(),
        }
        for model, found in zip(result.models, result.examples, strict=True)
    ]
    columns = [model["name"] for model in models]
    rows = [
        {"name": model["name"], "distortion": model["distortion"], "error": error}
        for model, error in zip(models, result.error.tolist(), strict=True)
    ]
    rows += [{"name": name, **fed._asdict()} for name, fed in result.controls.items()]
    for row in rows:
        theirs = published.errors.get(row["name"], {})
        row["paper"] = [theirs.get(column) for column in columns]
    return {"models": models, "columns": columns, "rows": rows}


def _distortion(values, seed):
    over_images = functools.partial(bootstrap_mean, seed=seed)
    interval = summary(over_images, values)
    return {"distortion": summary(np.mean, values), "distortion_interval": interval}


def table_1(figures: Figures) -> Table:
    """Errors of the models, and the average minimum distortion."""
    header = ["model", "train %", "test %", "distortion", "success %", "gradients"]
    rows = []
    for model in figures["models"]:
        theirs = paper.ModelFigures(**model["paper"])
        rows.append(
            [
                model["name"],
                percent(model["train_error"], theirs.train_error, digits=2),
                percent(model["test_error"], theirs.test_error, digits=2),
                distortion(model["distortion"], theirs.distortion),
                percent(model["success_rate"]),
                f"{model['evaluations']:.0f}",
            ]
        )
    title = "Table 1: errors, and average minimum distortion (RMS per pixel)"
    return Table(title, header, rows)


def table_2(figures: Figures) -> Table:
    """Error of the column's model on examples made for the row's, and on noise."""
    title = "Table 2: error (%) of the column's model on examples made for the row's"
    return error_table(title, figures)


def table_3(figures: Figures) -> Table:
    """Errors of models trained on either half of the training set, and average distortion."""
    header = ["model", "on", "P1 %", "P2 %", "test %", "distortion", "success %"]
    rows = []
    for model in figures["models"]:
        theirs = paper.SplitFigures(**model["paper"])
        errors = model["part_1_error"], model["part_2_error"], model["test_error"]
        rows.append(
            [
                model["name"],
                model["trained_on"],
                *(percent(*pair, digits=2) for pair in zip(errors, theirs[:3], strict=True)),
                distortion(model["distortion"], theirs.distortion),
                percent(model["success_rate"]),
            ]
        )
    title = "Table 3: errors on both halves of the training set, and minimum distortion"
    return Table(title, header, rows)


def table_4(figures: Figures) -> Table:
    """Error of the column's model on examples made for the row's, amplified too, and on noise."""
    title = "Table 4: error (%) of the column's model on test images changed for the row's"
    return error_table(title, figures)


def error_table(title: str, figures: Figures) -> Table:
    """Error of the column's model on what the row names."""
    rows = []
    for each in figures["rows"]:
        cells = [percent(*pair) for pair in zip(each["error"], each["paper"], strict=True)]
        rows.append([each["name"], *cells, distortion(each["distortion"])])
    return Table(title, ["made for", *figures["columns"], "RMS"], rows)


def note(figures: Figures, split: str) -> str:
    """What the tables were made from, in one line."""
    compared = " In brackets: the paper's." if np.isfinite(_papers(figures)).any() else ""
    return (
        f"{figures['images']} {split} images of {figures['dataset']}, random wrong targets,"
        f" {run_of(figures)}{compared}"
    )


def draw(directory: Path, name: str, figures: Figures) -> None:
    """Draws the errors, ours and the paper's, as <name>.png."""
    rows = figures["rows"]
    theirs = _papers(figures)
    panels = {"jaxadv": np.array([row["error"] for row in rows])}
    if np.isfinite(theirs).any():
        panels["Szegedy et al. (2013)"] = theirs
    names = [row["name"] for row in rows]
    plots.heat_maps(directory / f"{name}.png", panels, names, figures["columns"])


def write_examples(directory: Path, result: TransferResult, dataset: Dataset) -> None:
    """Writes adversarial.npz, and a picture of the first images that were attacked."""
    arrays = {"targets": _whole(result.targets)}
    shape = (len(result.targets), *dataset.images.shape[1:])
    for model, found in zip(result.models, result.examples, strict=True):
        arrays[f"{model.name}/images"] = npz.Parts(shape, np.float32, found.images())
        arrays[f"{model.name}/success"] = _whole(found.success)
    npz.write_arrays(directory / "adversarial.npz", arrays)
    count = min(EXAMPLES, len(result.targets))
    groups = [
        [
            (dataset.images[i], x_adv, f"{dataset.labels[i]} → {result.targets[i]}")
            for i, x_adv in enumerate(next(found.images())[:count])
        ]
        for found in result.examples
    ]
    names = [model.name for model in result.models]
    pictures.example_images(directory / "examples.png", names, groups)


def _finite(value):
    return float(value) if np.isfinite(value) else None


def _whole(array):
    return npz.Parts(array.shape, array.dtype, [array])


def _papers(figures):
    """The paper's errors as a matrix, NaN where it has none."""
    return np.array([row["paper"] for row in figures["rows"]], float)
