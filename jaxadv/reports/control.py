"""What control of the layers' norms buys: figures, tables and plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures.control import Trainings
from jaxadv.measures.statistics import Estimate, crossed_mean
from jaxadv.networks import lipschitz_bound
from jaxadv.reports import plots
from jaxadv.reports.tables import Figures, Table, decimals, percent, run_of
from jaxadv.runs.inputs import CONTROL, without_control

COMPARED = {"test_error": 100, "found": 1000, "certified": 1000}  # and factors in the table


def figures(trainings: Sequence[Trainings], seeds: Sequence[int]) -> dict[str, Any]:
    """Errors, Lipschitz bounds and mean distortions, per control and seed.

    Means over seeds have 95 % intervals, as have the differences to the same network without
    control, paired by seed and image; see `jaxadv.measures.statistics.crossed_mean`.
    """
    plain = {each.models[0].name: each for each in trainings}
    models = []
    for each in trainings:
        name = each.models[0].name
        network = without_control(name)
        measured = {"name": name, "network": network, **_model_figures(each, seeds)}
        reference = None if network == name else plain.get(network)
        models.append(measured | {"differences": reference and _less(each, reference)})
    return {"models": models}


def _less(trainings, reference):
    pairs = {key: (getattr(trainings, key), getattr(reference, key)) for key in COMPARED}
    return {key: _estimate(values - others) for key, (values, others) in pairs.items()}


def _model_figures(trainings, seeds):
    """Of a control: figures per seed, their means, and the intervals of some."""
    models = trainings.models
    bounds = [float(lipschitz_bound(model.layered, model.params)) for model in models]
    per_seed = {
        "seed": list(seeds),
        "train_error": [model.train_error for model in models],
        "lipschitz_bound": bounds,
        "compared": np.isfinite(trainings.found).sum(axis=1).tolist(),
        **{key: [_mean(row) for row in getattr(trainings, key)] for key in COMPARED},
    }
    estimates = {key: _estimate(getattr(trainings, key)) for key in COMPARED}
    rows = zip(*per_seed.values(), strict=True)
    return {
        "seeds": [dict(zip(per_seed, row, strict=True)) for row in rows],
        **{key: float(np.mean(per_seed[key])) for key in ("train_error", "lipschitz_bound")},
        **{key: estimate["mean"] for key, estimate in estimates.items()},
        **{f"{key}_interval": estimate["interval"] for key, estimate in estimates.items()},
    }


def _mean(values):
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _estimate(values):
    estimate = crossed_mean(values)
    return dict.fromkeys(Estimate._fields) if estimate is None else estimate._asdict()


def tables(figures: Figures) -> list[Table]:
    """Means over seeds, and for each network what control adds to it."""
    networks = dict.fromkeys(model["network"] for model in _controlled(figures))
    return [_means(figures), *(_differences(figures, network) for network in networks)]


def _means(figures):
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


def _differences(figures, network):
    rows = [
        [
            model["name"].removeprefix(network + CONTROL),
            *(_signed(model["differences"][key], factor) for key, factor in COMPARED.items()),
        ]
        for model in _controlled(figures)
        if model["network"] == network
    ]
    title = f"What control adds to {network}: test error (points), distortions (× 1000)"
    return Table(title, ["control", "test error", "found", "certified"], rows)


def _controlled(figures):
    """The models that were compared with one without control."""
    return [model for model in figures["models"] if model["differences"]]


def _signed(estimate, factor):
    """A difference and its interval: "+6.87 [4.58, 9.15]"; a dash where there is none."""
    if estimate["mean"] is None:
        return "–"
    interval = ", ".join(f"{factor * value:.2f}" for value in estimate["interval"] or ())
    return f"{factor * estimate['mean']:+.2f} [{interval or '–'}]"


def note(figures: Figures) -> str:
    """What the tables were made from, and where control lowers what is certified, in one line."""
    count = len(figures["models"][0]["seeds"])
    over, first = "images alone", ""
    if count > 1:
        over, first = "trainings and images", f"means over {count} trainings, first "
    return (
        f"First {figures['images']} test images of {figures['dataset']}, those that all networks of"
        f" a seed classify correctly, {first}{run_of(figures)} L is the product of the layers'"
        " constants. Found: by attacks; certified: no image so near has another class (CROWN in the"
        f" box).{_comparison(figures, over) if _controlled(figures) else ''}"
    )


def _comparison(figures, over):
    """How differences were made, and the rows that control lowers the certified distortion in."""
    significant, on_average = [], []
    for model in _controlled(figures):
        mean, interval = model["differences"]["certified"].values()
        if mean is not None and mean < 0:
            sure = interval is not None and interval[1] < 0
            (significant if sure else on_average).append(model["name"])
    parts = [
        f"{how}: {'; '.join(names)}"
        for how, names in (
            ("significantly (0 is outside of the interval)", significant),
            ("on average only (0 is in the interval)", on_average),
        )
        if names
    ]
    return (
        " Differences are paired by seed and image; in brackets: 95 % t intervals over"
        f" {over}, each on its own. Control lowers the certified distortion"
        f" {', and '.join(parts) or 'nowhere'}."
    )


def draw(path: Path, figures: Figures) -> None:
    """Draws distortions found and certified, and errors, against Lipschitz bounds."""
    panels = {
        "mean distortion (RMS)": {key: _points(figures, key) for key in ("found", "certified")},
        "error (%)": {
            split: _points(figures, f"{split}_error", 100) for split in ("test", "train")
        },
    }
    plots.stacked(path, _points(figures, "lipschitz_bound"), panels, "Lipschitz bound L")


def _points(figures, key, factor=1):
    models = figures["models"]
    nothing = [None, None]
    means = np.array([model[key] for model in models], float)
    intervals = np.array([model.get(f"{key}_interval") or nothing for model in models], float)
    samples = np.array([[seed[key] for seed in model["seeds"]] for model in models], float)
    return plots.Points(factor * means, factor * intervals, factor * samples)
