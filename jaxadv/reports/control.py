"""What control of the layers' norms buys: figures, table and plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures.certificates import ATTACK, TIGHTEST, Bounds
from jaxadv.networks import lipschitz_bound
from jaxadv.reports import plots
from jaxadv.reports.certificates import NearestBounds, summary
from jaxadv.reports.tables import Figures, Table, decimals, percent, run_of


def figures(bounds: Sequence[Bounds], nearest: Sequence[NearestBounds]) -> dict[str, Any]:
    """Errors, Lipschitz bounds, and mean distortions of the images compared, per network."""
    pairs = zip(bounds, nearest, strict=True)
    return {"models": [_model_figures(each.model, values) for each, values in pairs]}


def _model_figures(model, nearest):
    found, certified = nearest[ATTACK], nearest[TIGHTEST]
    solved = np.isfinite(found)
    return {
        "name": model.name,
        "train_error": model.train_error,
        "test_error": model.test_error,
        "lipschitz_bound": float(lipschitz_bound(model.layered, model.params)),
        "compared": len(found),
        "found": summary(np.mean, found[solved]),
        "certified": summary(np.mean, certified[solved]),
    }


def table(figures: Figures) -> Table:
    """Errors, Lipschitz bounds and distortions."""
    header = ["network", "train %", "test %", "L", "found", "certified", "ratio"]
    rows = [
        [
            model["name"],
            *(percent(model[key], digits=2) for key in ("train_error", "test_error")),
            f"{model['lipschitz_bound']:.3g}",
            *(decimals(model[key], 4) for key in ("found", "certified")),
            decimals(model["found"] and model["certified"] / model["found"], 2),
        ]
        for model in figures["models"]
    ]
    title = "Control of the layers' norms: mean distortion (RMS) to the nearest wrong class"
    return Table(title, header, rows)


def note(figures: Figures) -> str:
    """What the table was made from, in one line."""
    return (
        f"First {figures['images']} test images of {figures['dataset']}, those that all networks"
        f" classify correctly, {run_of(figures)} L is the product of the layers'"
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
    plots.stacked(path, bounds, panels, "Lipschitz bound L")
