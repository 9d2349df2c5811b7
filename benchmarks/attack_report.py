"""Figures, table and picture of `attack.py`."""

import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib.figure
import matplotlib.ticker
import numpy as np
import scipy.stats
from gradients import gradient_seconds
from peers import Outcome
from problems import Problems

from jaxadv import zoo
from jaxadv.reports.pictures import save
from jaxadv.reports.tables import Table

REFERENCE = "adv-lib PDGD 500"
OURS = "ours"
QUICK = "ours, quick"
RESAMPLES = 10_000
MARKERS = "*oDs^vPX<>"
HEADER = (
    "attack",
    "images",
    "success (batch, single, float64)",
    "mean RMS",
    "median RMS",
    "mean ‖r‖ / mean best (95 %)",
    "optimality",
    "gradients",
    "images/s",
    "× PDGD 500",
    "compile s",
    "bare gradients",
    "utilisation",
)
LEGEND = """\
images: the first of the training images, or photographs, each twice; fewer for slow attacks, whose
figures are of those alone.
success: per cent classified as the target, all at once and one by one by the network that was
attacked, and in float64. RMS and ratio are of the images that succeed all at once.
RMS: root mean square of r = x_adv − x over the pixels.
mean ‖r‖ / mean best: both over the images that the attack ran on and solved; the best is the
smallest ‖r‖ that any attack of the table found for the image. 95 %: the percentile interval of a
bootstrap over these images, each with its best.
optimality: AttackBench's (arXiv 2404.19460): 1 for the best of every image; failures cost most.
gradients: of the network, per image.
images/s: without compilation, by the median of runs that take 5 seconds together.
compile s: a call of the same shapes whose targets are reached already, with nothing compiled yet.
bare gradients: seconds per image, in those of a gradient of the network alone within a jitted loop,
as many images side by side as our attack takes.
utilisation: of the gradients computed, the share that was for images not yet done with.
The attacks to the paper's loss are c‖r‖² + cross-entropy, by descents alone."""


class Measured(NamedTuple):
    """What an attack made of its share of the images, and in which time."""

    outcome: Outcome
    success: dict[str, np.ndarray]  # (N,) bool, all at once ("batch") and one by one ("single")
    seconds: float
    compilation: float | None  # seconds, where they are known


def figures(problems: Problems, measured: dict[str, Measured]) -> dict[str, dict]:
    """The table's figures: attack -> column -> value."""
    x = problems.x
    distances = {name: distortions(result, x) for name, result in measured.items()}
    padded = [np.pad(d, (0, len(x) - len(d)), constant_values=np.inf) for d in distances.values()]
    best = np.min(padded, axis=0)
    gradient = gradient_seconds(problems.model, x)
    rows = {}
    for name, result in measured.items():
        outcome, distance = result.outcome, distances[name]
        count, utilisation = len(distance), outcome.utilisation
        rate = count / result.seconds
        double = float64_classes(problems.model, outcome.x_adv) == problems.classes[:count]
        success = result.success | {"float64": double == problems.targeted}
        rows[name] = {
            "images": count,
            "success": {how: float(np.mean(values)) for how, values in success.items()},
            **compared(distance, best[:count]),
            "gradients": outcome.gradients,
            "images_per_second": rate,
            "compile_seconds": result.compilation,
            "bare_gradients": 1 / rate / gradient if name.startswith(OURS) else None,
            "utilisation": utilisation if np.isfinite(utilisation or np.nan) else None,
        }
    reference = rows.get(REFERENCE, {}).get("images_per_second")
    for row in rows.values():
        row["relative_speed"] = reference and row["images_per_second"] / reference
    return rows


def distortions(result: Measured, x: np.ndarray) -> np.ndarray:
    """(N,) root mean squares of r = x_adv − x, ∞ where the attack failed."""
    x_adv = result.outcome.x_adv
    rms = np.sqrt(np.mean((np.float64(x_adv) - x[: len(x_adv)]) ** 2, axis=(1, 2, 3)))
    return np.where(result.success["batch"], rms, np.inf)


def compared(distance: np.ndarray, best: np.ndarray) -> dict[str, float | list[float] | None]:
    """The figures that follow from distances, in the mean and against the best.

    Args:
      distance: (N,) of the attack, ∞ where it failed.
      best: (N,) of the best attack for each image.
    """
    solved = np.isfinite(distance)
    found, known = distance[solved], best[solved]
    some = len(found) > 0
    return {
        "mean_rms": float(found.mean()) if some else None,
        "median_rms": float(np.median(found)) if some else None,
        "ratio": float(found.mean() / known.mean()) if some else None,
        "ratio_interval": ratio_interval(found, known),
        "optimality": optimality(distance, best),
    }


def ratio_interval(distance: np.ndarray, best: np.ndarray) -> list[float] | None:
    """95 % interval of mean distance / mean best, by a bootstrap over images; None for one image.

    Args:
      distance: (N,) of the attack.
      best: (N,) of the best attack for each image, which an image keeps when it is drawn.
    """
    if len(distance) < 2:
        return None
    result = scipy.stats.bootstrap(
        (distance, best),
        lambda distance, best, axis: distance.mean(axis) / best.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=RESAMPLES // 10,  # whose images are in memory at a time
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return [float(end) for end in result.confidence_interval]


def optimality(distance: np.ndarray, best: np.ndarray) -> float | None:
    """Local optimality of AttackBench, arXiv 2404.19460: of the area that can be won, the part won.

    The area is that under the share of images that withstand a distortion, up to the largest of
    the best; that is the mean of the distances, clipped there.

    Args:
      distance: (N,) of the attack, ∞ where it failed.
      best: (N,) of the best attack for each image.
    """
    if not np.isfinite(best).any():
        return None
    limit = best[np.isfinite(best)].max()
    area, best_area = np.minimum(distance, limit).mean(), np.minimum(best, limit).mean()
    most = limit * np.mean(best > 0)
    return float(1 - (area - best_area) / (most - best_area)) if most > best_area else None


def float64_classes(model: zoo.Model, x: np.ndarray) -> np.ndarray:
    """(N, …) images -> (N,) classes, all in float64."""
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, model.params)
        logits = jax.jit(model.network.logits)(params, np.float64(x))
        assert logits.dtype == np.float64
        return np.asarray(logits).argmax(axis=1)


def as_table(name: str, rows: dict[str, dict]) -> Table:
    """The figures of one network."""

    def text(value, spec):
        return "–" if value is None else format(value, spec)

    def ratio(row):
        ends = [text(end, ".4f") for end in row["ratio_interval"] or ()]
        return text(row["ratio"], ".4f") + (f" ({'–'.join(ends)})" if ends else "")

    return Table(
        f"Attacks on {name}",
        HEADER,
        [
            (
                attack,
                str(row["images"]),
                " ".join(f"{100 * share:.4g}" for share in row["success"].values()),
                text(row["mean_rms"], ".5f"),
                text(row["median_rms"], ".5f"),
                ratio(row),
                text(row["optimality"], ".4f"),
                text(row["gradients"], ".0f"),
                text(row["images_per_second"], ".3g"),
                text(row["relative_speed"], ".3g"),
                text(row["compile_seconds"], ".1f"),
                text(row["bare_gradients"], ".0f"),
                text(row["utilisation"], ".3f"),
            )
            for attack, row in rows.items()
        ],
    )


def draw(path: Path, results: dict[str, dict[str, dict]]) -> None:
    """Draws, for each network, how far from the best and how slow the attacks are."""
    figure = matplotlib.figure.Figure(figsize=(4.5 * len(results) + 2.5, 4.5), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    mine = [name for name in names if name.startswith(OURS)]
    others = [name for name in names if name not in mine]
    styles = dict(zip(mine, itertools.product(["tab:red"], MARKERS), strict=False))
    styles |= dict(zip(others, itertools.product(["tab:blue"], MARKERS), strict=False))
    drawn = {}
    for axes, (title, rows) in zip(panels, results.items(), strict=True):
        axes.set(title=title, xlabel="seconds per image", ylabel="mean ‖r‖ / mean best − 1")
        axes.set(xscale="log", yscale="log")
        axes.margins(0.15, 0.15)
        axes.grid(alpha=0.3)
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())  # labels would overlap
        for name, row in rows.items():
            if row["ratio"] is None:
                continue
            seconds, excess = 1 / row["images_per_second"], max(row["ratio"] - 1, 1e-5)
            color, marker = styles[name]
            filled = color if row["success"]["batch"] > 0.99 else "none"
            drawn[name] = axes.plot(
                *(seconds, excess, marker), color=color, markerfacecolor=filled, markersize=8
            )[0]
    names = [name for name in (*mine, *others) if name in drawn]
    figure.legend(
        [drawn[name] for name in names],
        names,
        title="hollow: success below 99 %",
        loc="outside right upper",
    )
    save(figure, path)
