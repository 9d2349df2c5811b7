"""What trainings on adversarial examples end with: errors, and distances to other classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxadv import certify
from jaxadv.datasets import Dataset
from jaxadv.measures import certificates, robust_accuracy
from jaxadv.measures.certificates import ATTACK, TIGHTEST, Bounds
from jaxadv.networks import Network, predictions
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress


class Trained(NamedTuple):
    """S trainings of a network in one way, each from a seed of its own.

    Distortions are root mean squares, NaN for images not compared.
    """

    models: Sequence[Model]
    test_error: np.ndarray  # (S,) fractions
    nearest: np.ndarray  # (S, N) found to the nearest wrong class
    random: np.ndarray  # (S, N) found to a random wrong class
    certified: np.ndarray  # (S, N) that no wrong class is below; NaN where there is no proof
    accuracy: np.ndarray  # (S, D) shares of the images whose nearest wrong class is farther


def bounds(
    models: Sequence[Model],
    images: Float[np.ndarray, "N *image"],
    found: Sequence[Float[np.ndarray, "N k"]],
    balls: int,
    progress: NamedProgress | None = None,
) -> list[Bounds]:
    """`jaxadv.measures.certificates.certify` by CROWN; NaN for networks that it is not for."""
    proven = []
    for model, upper in zip(models, found, strict=True):
        if can_be_certified(model.layered):
            options = {"methods": [TIGHTEST], "progress": progress}
            proven += certificates.certify([model], images, [upper], balls, **options)
        else:
            classes = predictions(model.network.logits, model.params, images)
            if progress:
                progress(model.name, len(images))
            nothing = {TIGHTEST: np.full(upper.shape, np.nan)}
            proven.append(Bounds(model, classes, upper, nothing, {}))
    return proven


def can_be_certified(network: Network) -> bool:
    """Whether there are lower bounds for such a network."""
    try:
        certify.check(network)
    except ValueError:
        return False
    return True


def trainings(
    bounds: Sequence[Sequence[Bounds]],
    test: Dataset,
    targets: Int[np.ndarray, " N"],
    distortions: Sequence[float],
) -> list[Trained]:
    """Gathers for each way of training what its trainings gave.

    The images compared are, per seed, those that all of the seed's networks classify correctly, and
    on which the attack succeeded for all of them, towards the nearest and the random class.

    Args:
      bounds: per seed and way, of the first N test images.
      test: n images; the models' errors are on these.
      targets: random wrong classes.
      distortions: of the curves of accuracy.
    """
    attacked = test.part(slice(len(targets)))
    measured = [[_measured(each, attacked, targets) for each in of_seed] for of_seed in bounds]
    compared = [np.all([values["compared"] for values in of_seed], axis=0) for of_seed in measured]
    gathered = []
    for index, of_way in enumerate(zip(*bounds, strict=True)):
        of_seeds = [of_seed[index] for of_seed in measured]
        pairs = [*zip(compared, of_seeds, strict=True)]
        nearest, random, certified = (
            np.array([np.where(there, values[kind], np.nan) for there, values in pairs])
            for kind in ("nearest", "random", "certified")
        )
        curves = [
            robust_accuracy.accuracy(values["radius"], np.array(distortions, float))
            for values in of_seeds
        ]
        models = [each.model for each in of_way]
        errors = np.array([model.test_error for model in models])
        gathered.append(Trained(models, errors, nearest, random, certified, np.array(curves)))
    return gathered


def _measured(bounds, dataset, targets):
    """Per image: distortions, the radius of its class, and whether all of this is there."""
    values = certificates.nearest_wrong(bounds, dataset)
    random = bounds.found[np.arange(len(targets)), targets]
    correct = bounds.classes == dataset.labels
    return {
        "nearest": values[ATTACK],
        "random": random,
        "certified": values[TIGHTEST],
        "radius": np.where(correct, values[ATTACK], 0.0),
        "compared": correct & np.isfinite(values[ATTACK]) & np.isfinite(random),
    }
