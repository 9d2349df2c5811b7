"""Figures, table and picture of `attack.py`."""

import itertools
from pathlib import Path

import jax
import matplotlib.figure
import numpy as np
from gradients import gradient_seconds

from jaxadv import zoo
from jaxadv.reports.pictures import save
from jaxadv.reports.tables import Table

REFERENCE = "adv-lib PDGD 500"
OURS = "ours"
MARKERS = "*oDs^vPX<>"
HEADER = (
    "attack",
    "images",
    "success (batch, single, float64)",
    "mean RMS",
    "median RMS",
    "mean ‖r‖ / mean best",
    "optimality",
    "gradients",
    "images/s",
    "× PDGD 500",
    "compile s",
    "bare gradients",
    "utilisation",
)
LEGEND = """\
images: the first of the training images; fewer for slow attacks, whose figures are of those alone.
success: per cent classified as the target, all at once and one by one by the network that was
attacked, and in float64. RMS and ratio are of the images that succeed all at once.
RMS: root mean square of r = x_adv − x over the pixels.
mean ‖r‖ / mean best: both over the images that the attack ran on and solved; the best is the
smallest ‖r‖ that any attack of the table found for the image.
optimality: AttackBench's (arXiv 2404.19460): 1 for the best of every image; failures cost most.
gradients: of the network, per image.
images/s: without compilation.
compile s: a call of the same shapes whose targets are reached already.
bare gradients: seconds per image, in those of a gradient of the network alone within a jitted loop,
as many images side by side as our attack takes.
utilisation: of the gradients computed, the share that was for images not yet done with.
The attacks to the paper's loss are c‖r‖² + cross-entropy, by descents alone."""


def figures(
    model: zoo.Model,
    x: np.ndarray,
    classes: np.ndarray,
    targeted: bool,
    results: dict,
    seconds: dict,
) -> dict[str, dict]:
    """The table's figures: attack -> column -> value."""
    distances = {}
    for name, result in results.items():
        x_adv = result["outcome"].x_adv
        rms = np.sqrt(np.mean((np.float64(x_adv) - x[: len(x_adv)]) ** 2, axis=(1, 2, 3)))
        distances[name] = np.where(result["success"]["batch"], rms, np.inf)
    padded = [np.pad(d, (0, len(x) - len(d)), constant_values=np.inf) for d in distances.values()]
    best = np.min(padded, axis=0)
    gradient = gradient_seconds(model, x)
    rows = {}
    for name, result in results.items():
        outcome, distance = result["outcome"], distances[name]
        count, solved = len(distance), np.isfinite(distance)
        known = best[:count]
        rate = count / seconds[name]["run"]
        double = (float64_classes(model, outcome.x_adv) == classes[:count]) == targeted
        success = result["success"] | {"float64": double}
        rows[name] = {
            "images": count,
            "success": {how: float(np.mean(values)) for how, values in success.items()},
            "mean_rms": float(distance[solved].mean()) if solved.any() else None,
            "median_rms": float(np.median(distance[solved])) if solved.any() else None,
            "ratio": float(distance[solved].mean() / known[solved].mean())
            if solved.any()
            else None,
            "optimality": optimality(distance, known),
            "gradients": outcome.gradients,
            "images_per_second": rate,
            "compile_seconds": seconds[name]["compile"],
            "bare_gradients": 1 / rate / gradient if name.startswith(OURS) else None,
            "utilisation": outcome.utilisation
            if np.isfinite(outcome.utilisation or np.nan)
            else None,
        }
    reference = rows.get(REFERENCE, {}).get("images_per_second")
    for row in rows.values():
        row["relative_speed"] = reference and row["images_per_second"] / reference
    return rows


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
                text(row["ratio"], ".4f"),
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
