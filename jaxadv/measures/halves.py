"""Networks on disjoint training sets: P1 and P2, the halves of the training set (Table 3)."""

from collections.abc import Mapping

from jaxadv.datasets import Dataset
from jaxadv.networks import error_rate
from jaxadv.zoo import Model


def in_halves(dataset: Dataset) -> dict[str, Dataset]:
    """P1 and P2; of an odd number of images, P2 has one more."""
    middle = len(dataset.images) // 2
    return {"P1": dataset.part(slice(middle)), "P2": dataset.part(slice(middle, None))}


def errors_on_halves(model: Model, halves: Mapping[str, Dataset]) -> dict[str, float]:
    """The network's errors on P1 and P2, as fractions."""
    logits_fn, params = model.network.logits, model.params
    first, second = (error_rate(logits_fn, params, *half) for half in halves.values())
    return {"part_1_error": first, "part_2_error": second}
