"""Features learned without labels: figures, tables and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures import quocnet as measure
from jaxadv.measures.maximisers import Maximisers
from jaxadv.measures.quocnet import Attacked, Classified
from jaxadv.measures.statistics import bootstrap_mean, clopper_pearson, sign_test
from jaxadv.networks.network import Network
from jaxadv.networks.quocnet import PUBLISHED, PUBLISHED_SIDE, cost, quocnet
from jaxadv.reports import pictures
from jaxadv.reports.tables import Figures, Table, decimals, percent, run_of
from jaxadv.zoo.features import Encoder

BASELINE = "random"  # filters
CLASSES = "background", "face"
EXAMPLES = 3  # of each class in a picture
LOCATIONS = 4  # whose filters are drawn


def figures(
    classified: Sequence[Classified],
    attacks: Mapping[str, Attacked],
    sparsity: Mapping[str, Sequence[float]],
    network: Network,
    seed: int,
) -> dict[str, Any]:
    """The measured figures.

    Accuracies have exact binomial intervals, mean distortions bootstrap ones, over images.

    Args:
      classified: all classifiers.
      attacks: of some of them, by the names of their models.
      sparsity: of the stages, by encoder.
      network: the encoder.
      seed: of the bootstrap.
    """
    by_place = {(each.stage, each.encoder): each for each in classified}
    rows = []
    for each in classified:
        hits, images = int(each.correct.sum()), len(each.correct)
        row = {
            "name": each.model.name,
            "features": each.features,
            "train_accuracy": 1 - each.model.train_error,
            "correct": hits,
            "accuracy": hits / images,
            "interval": clopper_pearson(np.array(hits), images).tolist(),
        }
        if each.stage and each.encoder != BASELINE:
            other = by_place[each.stage, BASELINE].correct
            wins, losses = (each.correct & ~other).sum(), (other & ~each.correct).sum()
            row["p"] = sign_test(int(wins), int(losses))
        rows.append(row | _of_attack(attacks.get(each.model.name), seed))
    published = quocnet(PUBLISHED_SIDE, 3, PUBLISHED)
    costs = {"this one": cost(network)._asdict(), "published": cost(published)._asdict()}
    images = len(classified[0].correct)
    return {"images": images, "features": rows, "sparsity": dict(sparsity), "costs": costs}


def _of_attack(attacked, seed):
    if attacked is None:
        return {}
    result = attacked.result
    found = result.distortion[result.success].astype(float)
    return {
        "attacked": len(result.success),
        "success": float(result.success.mean()),
        "distortion": float(found.mean()) if len(found) else None,
        "distortion_interval": bootstrap_mean(found, seed).tolist() if len(found) else None,
        "gradients": float(result.evaluations.mean()),
    }


def table(figures: Figures) -> Table:
    """Accuracy of the classifiers and their distances to the other class."""
    header = ["features", "number", "train %", "held-out % (95 %)", "p", "distortion (RMS)"]
    header.append("success %")
    rows = [
        [
            row["name"],
            str(row["features"]),
            percent(row["train_accuracy"]),
            f"{percent(row['accuracy'])} ({_range(row['interval'])})",
            f"{row['p']:.1g}" if "p" in row else "–",
            decimals(row.get("distortion"), 5),
            percent(row.get("success")),
        ]
        for row in figures["features"]
    ]
    return Table("Faces or backgrounds: logistic regression on frozen features", header, rows)


def _range(interval):
    return "–".join(f"{100 * bound:.0f}" for bound in interval)


def cost_table(figures: Figures) -> Table:
    """The size of the network that was trained, and of the published one, from their shapes."""
    header = ["encoder", "weights", "MB", "MB with Adam", "MFLOP (image)", "MFLOP (gradient)"]
    rows = [
        [
            name,
            f"{cost['weights']:,}",
            *(f"{cost[key] / 1e6:,.0f}" for key in ("bytes", "adam_bytes")),
            *(f"{cost[key] / 1e6:,.1f}" for key in ("forward", "training")),
        ]
        for name, cost in figures["costs"].items()
    ]
    return Table("Cost, in float32; nothing was allocated for the published one", header, rows)


def note(figures: Figures) -> str:
    """What the tables were made from, and how to read them."""
    learned, random = (figures["sparsity"][name] for name in ("learned", "random"))
    left_out = f" Left out: {figures['left_out']}." if figures["left_out"] else ""
    pairs = ", ".join(f"{a:.3f} ({b:.3f})" for a, b in zip(learned, random, strict=True))
    return (
        f"Trained without labels on {figures['settings']['crops']} crops of"
        f" {figures['photographs']} photographs; classified: {figures['images']} held-out images of"
        " scikit-image's tiny subset of Labeled Faces in the Wild, as many to train on. Intervals"
        " are exact, of held-out images alone: another seed gives other filters. p: sign test"
        " against random filters of the same stage, on the same images. Distortion: RMS, mean over"
        " images that the classifier has right. Sparsity of pooled outputs, ℓ1/ℓ2, by stage, and"
        f" of random filters in brackets: {pairs}. Run with {run_of(figures)}{left_out}"
    )


def draw(
    directory: Path,
    encoders: Sequence[Encoder],
    best: Maximisers,
    images: np.ndarray,
    attacked: Attacked,
) -> None:
    """Draws filters, best stimuli and Figure 6: three pictures.

    Args:
      directory: of the pictures.
      encoders: whose filters are drawn.
      best: the images that maximise units of the top.
      images: those that they were chosen from.
      attacked: minimum-distortion examples.
    """
    _draw_filters(directory / "filters.png", encoders)
    rows = [[(images[index], "") for index in line] for line in best.top["natural"].positions]
    pictures.image_rows(directory / "stimuli.png", [f"unit {unit}" for unit in best.units], rows)
    groups = [_examples(attacked, label) for label in (1, 0)]
    pictures.example_images(directory / "faces.png", [CLASSES[1], CLASSES[0]], groups)


def _draw_filters(path, encoders):
    """A row for each of some locations, which are spaced evenly."""
    names, rows = [], []
    for encoder in encoders:
        for kernels in measure.filters(encoder, LOCATIONS):
            names.append(encoder.name)
            rows.append([(0.5 + 0.5 * kernel / np.abs(kernel).max(), "") for kernel in kernels])
    pictures.image_rows(path, names, rows)


def _examples(attacked, label):
    """Some originals of a class, with their distorted versions and captions."""
    (images, labels), result = attacked
    chosen = np.flatnonzero((labels == label) & result.success)[:EXAMPLES]
    return [
        (images[i], result.x_adv[i], f"{CLASSES[1 - label]}\nRMS {result.distortion[i]:.4f}")
        for i in chosen
    ]
