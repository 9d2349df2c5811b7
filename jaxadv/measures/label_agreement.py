"""How alike the images are that maximise a direction: whether they have the same label (sec. 3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from jaxadv.measures.directions import KINDS
from jaxadv.measures.maximisers import Maximisers, distinct
from jaxadv.measures.statistics import Comparison, compare, equivalent, holm


def label_agreement(
    labels: Integer[np.ndarray, "*directions k"],
) -> Float[np.ndarray, "*directions"]:
    """Fraction of the pairs of k ≥ 2 images that have the same label.

    Of all N images: Σ_c n_c (n_c − 1) / (N (N − 1)), which is the mean of the label agreement of k
    images drawn at random, for every k.

    >>> label_agreement(np.array([[3, 3, 3], [3, 3, 5]])).round(3).tolist()
    [1.0, 0.333]
    """
    k = labels.shape[-1]
    classes, labels = np.unique(labels, return_inverse=True)
    rows = labels.reshape(-1, k)
    cells = rows + len(classes) * np.arange(len(rows))[:, None]
    counts = np.bincount(cells.ravel(), minlength=len(rows) * len(classes))
    same = (counts * (counts - 1)).reshape(*labels.shape[:-1], len(classes)).sum(axis=-1)
    return np.asarray(same / (k * (k - 1)))


def compare_layers(
    results: Sequence[Maximisers], labels: Integer[np.ndarray, " N"], ks: Sequence[int], seed: int
) -> list[list[dict[str, Any]]]:
    """Compares the label agreement of units, and of principal components, with random directions'.

    The tests hold for the networks as they were trained once, and for these images: neither is
    resampled. Units that respond to the same images, as neighbours in a convolutional layer do,
    count as independent, so that there the interval is too short and p too small; and so do the two
    signs of a component.

    Args:
      results: the images that maximise the directions, at least one more than any k.
      labels: of the held-out images.
      ks: numbers of best images.
      seed: of the resamples.

    Returns:
      Fields of `Comparison` of units and random directions, `p_holm` after Holm over all rows,
      whether the two are `equivalent`, each row on its own, and for each of `KINDS` the mean,
      quartiles and each direction's agreement; None for directions that are left out since they
      have no k best images (`distinct`). For components also the former fields, after Holm over
      theirs.
    """
    layers: list[list[dict[str, Any]]]
    layers = [[_row(found, labels, k, seed) for k in ks] for found in results]
    rows = [row for layer in layers for row in layer]
    for family in (rows, [row["components"] for row in rows]):
        compared = [row for row in family if row["p"] is not None]
        adjusted = holm([row["p"] for row in compared])
        for row, p in zip(compared, adjusted.tolist(), strict=True):
            row["p_holm"] = p
    return layers


def _row(found, labels, k, seed):
    samples: dict[str, np.ndarray] = {}
    row: dict[str, Any] = {"k": k}
    for kind in KINDS:
        top = found.top[kind]
        kept = distinct(top, k)
        each = label_agreement(labels[top.positions[:, :k]])
        samples[kind] = each[kept]
        row[kind] = {
            "mean": float(each[kept].mean()) if kept.any() else None,
            "quartiles": np.quantile(each[kept], (0.25, 0.5, 0.75)).tolist() if kept.any() else [],
            "left_out": int(np.sum(~kept)),
            "agreement": [a if keep else None for a, keep in zip(each.tolist(), kept, strict=True)],
        }
    row["components"] |= _compared(samples["components"], samples["random"], seed)
    return row | _compared(samples["natural"], samples["random"], seed)


def _compared(sample, random, seed):
    comparison = compare(sample, random, seed)
    if comparison is None:
        return dict.fromkeys((*Comparison._fields, "equivalent", "p_holm"))
    return comparison._asdict() | {"equivalent": equivalent(comparison.interval), "p_holm": None}
