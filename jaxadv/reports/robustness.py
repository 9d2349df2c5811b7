"""How robust adversarial examples are: figures, table and plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv.measures.robustness import Robustness
from jaxadv.reports import plots
from jaxadv.reports.tables import Figures, Table, percent


def figures(
    measured: Mapping[str, Mapping[str, Robustness]],
    amplification: float,
    noise_stddevs: Sequence[float],
) -> dict[str, Any]:
    """The measured figures, by the networks' names; see `jaxadv.measures.robustness`."""
    models = [
        {"name": name} | {kind: each._asdict() for kind, each in kinds.items()}
        for name, kinds in measured.items()
    ]
    return {"amplification": amplification, "noise": list(noise_stddevs), "models": models}


def table(figures: Figures) -> Table:
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


def draw(path: Path, figures: Figures) -> None:
    """Draws errors against the size of the noise."""
    robust = figures["robustness"]
    titles = {
        "originals": "originals",
        "examples": "minimum-distortion examples",
        "amplified": f"{robust['amplification']:g} times the distortion",
    }
    panels = {
        title: {
            model["name"]: [100 * error for error in model[kind]["noise"]]
            for model in robust["models"]
        }
        for kind, title in titles.items()
    }
    plots.curves(path, robust["noise"], panels, "standard deviation of the noise", "error (%)")
