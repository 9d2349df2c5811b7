"""Tables of transfer beside the paper's, from a `TransferResult`: figures, tables, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets.tfds import Dataset
from jaxadv.measures.robustness import robustness
from jaxadv.measures.transfer import TransferResult
from jaxadv.reports import paper, pictures
from jaxadv.reports import tables as report
from jaxadv.reports.tables import Table, distortion, percent
from jaxadv.runs import settings as experiment

EXAMPLES = 3  # in the picture, per model

Figures = Mapping[str, Any]  # what the JSON file holds


def figures(result: TransferResult, published: paper.Tables) -> dict[str, Any]:
    """The measured figures beside the paper's; evaluations are gradients per image."""
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


def robustness_figures(
    result: TransferResult,
    dataset: Dataset,
    *,
    amplification: float,
    noise_stddevs: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """What noise and rounding make of each model's own examples; see `robustness`."""
    settings = {"amplification": amplification, "noise_stddevs": noise_stddevs, "seed": seed}
    models = []
    for model, found in zip(result.models, result.examples, strict=True):
        kinds = robustness(model, *dataset, found, **settings)
        models.append({"name": model.name} | {k: each._asdict() for k, each in kinds.items()})
    return {"amplification": amplification, "noise": list(noise_stddevs), "models": models}


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


def robustness_table(figures: Figures) -> Table:
    """Errors on a model's own examples, as found and amplified, after rounding and noise."""
    robust = figures["robustness"]
    noise = [f"noise {stddev:g}" for stddev in robust["noise"]]
    labels = {"examples": "", "amplified": f", {robust['amplification']:g} r"}
    rows = []
    for model in robust["models"]:
        for kind, label in labels.items():
            each = model[kind]
            errors = each["unchanged"], each["rounded"], *each["noise"]
            rows.append([model["name"] + label, *map(percent, errors)])
    title = "Robustness: error (%) on a model's own examples, changed"
    return Table(title, ["examples", "as is", "8 bits", *noise], rows)


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
        f" {experiment.on_what(figures)}{compared}"
    )


def write(
    directory: Path,
    name: str,
    figures: Figures,
    texts: Sequence[Table | str],
    result: TransferResult,
    dataset: Dataset,
) -> None:
    """Writes <name>.json, .md and .png, examples.png and adversarial.npz."""
    report.write_json(directory / f"{name}.json", figures)
    report.write_text(directory / f"{name}.md", report.markdown(texts))
    _write_heat_maps(directory / f"{name}.png", figures)
    _write_examples(directory / "examples.png", result, dataset)
    arrays = {"targets": _whole(result.targets)}
    shape = (len(result.targets), *dataset.images.shape[1:])
    for model, found in zip(result.models, result.examples, strict=True):
        arrays[f"{model.name}/images"] = report.Parts(shape, np.float32, found.images())
        arrays[f"{model.name}/success"] = _whole(found.success)
    report.write_arrays(directory / "adversarial.npz", arrays)


def draw_robustness(path: Path, figures: Figures) -> None:
    """Draws errors against the size of the noise."""
    robust = figures["robustness"]
    titles = {
        "originals": "originals",
        "examples": "minimum-distortion examples",
        "amplified": f"{robust['amplification']:g} times the distortion",
    }
    panels = {
        title: {
            model["name"]: (robust["noise"], [100 * error for error in model[kind]["noise"]])
            for model in robust["models"]
        }
        for kind, title in titles.items()
    }
    pictures.curves(path, panels, "standard deviation of the noise", "error (%)")


def _finite(value):
    return float(value) if np.isfinite(value) else None


def _whole(array):
    return report.Parts(array.shape, array.dtype, [array])


def _papers(figures):
    """The paper's errors as a matrix, NaN where it has none."""
    return np.array([row["paper"] for row in figures["rows"]], float)


def _write_heat_maps(path, figures):
    rows = figures["rows"]
    theirs = _papers(figures)
    panels = {"jaxadv": np.array([row["error"] for row in rows])}
    if np.isfinite(theirs).any():
        panels["Szegedy et al. (2013)"] = theirs
    pictures.heat_maps(path, panels, [row["name"] for row in rows], figures["columns"])


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
    pictures.example_images(path, [model.name for model in result.models], groups)
