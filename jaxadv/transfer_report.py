"""Tables 1 and 2 of the paper from a `TransferResult`: figures, tables, pictures, files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import experiment, paper, report
from jaxadv.datasets import Dataset
from jaxadv.report import Table, distortion, percent
from jaxadv.transfer import TransferResult

EXAMPLES = 3  # in the picture, per model

Figures = Mapping[str, Any]  # what transfer_table.json holds


def figures(result: TransferResult) -> dict[str, Any]:
    """The measured figures; errors are fractions, evaluations gradients per image."""
    names = [model.name for model in result.models]
    models = [
        {
            "name": model.name,
            "train_error": model.train_error,
            "test_error": model.test_error,
            "distortion": float(found.distortion[found.success].mean())
            if found.success.any()
            else None,
            "success_rate": float(found.success.mean()),
            "evaluations": float(found.evaluations.mean()),
            "utilisation": _finite(found.evaluations.sum() / found.cost.sum()),
        }
        for model, found in zip(result.models, result.examples, strict=True)
    ]
    noise = [{"stddev": stddev} | fed._asdict() for stddev, fed in result.noise.items()]
    return {
        "models": models,
        "rows": names,
        "columns": names,
        "error": result.error.tolist(),
        "noise": noise,
    }


def write(directory: Path, figures: Figures, result: TransferResult, dataset: Dataset) -> None:
    """Writes transfer_table.json, .md and .png, examples.png and adversarial.npz."""
    report.write_json(directory / "transfer_table.json", figures)
    tables = [table_1(figures).markdown(), table_2(figures).markdown(), note(figures)]
    report.write_text(directory / "transfer_table.md", "\n".join([*tables, ""]))
    _write_heat_maps(directory / "transfer_table.png", figures)
    _write_examples(directory / "examples.png", result, dataset)
    arrays = {"targets": _whole(result.targets)}
    shape = (len(result.targets), *dataset.images.shape[1:])
    for model, found in zip(result.models, result.examples, strict=True):
        arrays[f"{model.name}/images"] = report.Parts(shape, np.float32, found.images())
        arrays[f"{model.name}/success"] = _whole(found.success)
    report.write_arrays(directory / "adversarial.npz", arrays)


def _finite(value):
    return float(value) if np.isfinite(value) else None


def _whole(array):
    return report.Parts(array.shape, array.dtype, [array])


def for_terminal(figures: Figures) -> list[Any]:
    """What the command prints."""
    return [table_1(figures).rich(), table_2(figures).rich(), note(figures)]


def note(figures: Figures) -> str:
    """What the tables were made from, in one line."""
    compared = " In brackets: the paper's." if _paper(figures) else ""
    return (
        f"{figures['images']} training images of {figures['dataset']}, random wrong targets,"
        f" {experiment.on_what(figures)}{compared}"
    )


def table_1(figures: Figures) -> Table:
    """Errors of the models, and the average minimum distortion."""
    header = ["model", "train %", "test %", "distortion", "success %", "gradients"]
    rows = []
    for model in figures["models"]:
        published = _paper(figures).get(model["name"], paper.NO_FIGURES)
        rows.append(
            [
                model["name"],
                percent(model["train_error"], published.train_error, digits=2),
                percent(model["test_error"], published.test_error, digits=2),
                distortion(model["distortion"], published.distortion),
                percent(model["success_rate"]),
                f"{model['evaluations']:.0f}",
            ]
        )
    return Table("Table 1: errors, and average minimum distortion (RMS per pixel)", header, rows)


def table_2(figures: Figures) -> Table:
    """Error of the column's model on examples made for the row's, and on noise."""
    rows = []
    for name, average, errors in _error_rows(figures):
        published = _published_errors(figures, name)
        cells = [percent(*pair) for pair in zip(errors, published, strict=True)]
        rows.append([name, *cells, distortion(average)])
    title = "Table 2: error (%) of the column's model on examples made for the row's"
    return Table(title, ["made for \\ fed to", *figures["columns"], "RMS"], rows)


def _error_rows(figures):
    """(name, distortion, errors per column) of the models, then of the noise."""
    for name, model, errors in zip(
        figures["rows"], figures["models"], figures["error"], strict=True
    ):
        yield name, model["distortion"], errors
    for noise in figures["noise"]:
        yield f"Gaussian noise {noise['stddev']:g}", noise["distortion"], noise["error"]


def _paper(figures):
    """The paper's Table 1, for the data set that it is about."""
    return paper.TABLE_1 if figures["dataset"] == "mnist" else {}


def _published_errors(figures, row):
    published = paper.TABLE_2.get(row, {}) if _paper(figures) else {}
    return [published.get(column) for column in figures["columns"]]


def _write_heat_maps(path, figures):
    rows = list(_error_rows(figures))
    names = [name for name, _, _ in rows]
    published = np.array([_published_errors(figures, name) for name in names], float)
    panels = {"jaxadv": np.array([errors for _, _, errors in rows])}
    if np.isfinite(published).any():
        panels["Szegedy et al. (2013)"] = published
    report.heat_maps(path, panels, names, figures["columns"])


def _write_examples(path, result, dataset):
    """The first images that were attacked, for each model."""
    count = min(EXAMPLES, len(result.targets))
    groups = [
        [
            (dataset.images[i], x_adv, f"{dataset.labels[i]} → {result.targets[i]}")
            for i, x_adv in enumerate(next(found.images())[:count])
        ]
        for found in result.examples
    ]
    report.example_images(path, [model.name for model in result.models], groups)
