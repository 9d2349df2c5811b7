"""What features that were learned without labels are worth, to a linear classifier of two classes.

The classifier is logistic regression on frozen features: of the pixels, and of the stages of two
networks, of which one has random filters. Its minimum-distortion examples are Figure 6.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, concatenated
from jaxadv.datasets.dataset import Dataset
from jaxadv.datasets.examples import spaced
from jaxadv.measures.directions import Directions, draw
from jaxadv.measures.layers import Layer
from jaxadv.measures.maximisers import Maximisers, maximisers
from jaxadv.networks import FullyConnected, Network
from jaxadv.networks.evaluate import predictions
from jaxadv.networks.quocnet import LAYERS
from jaxadv.training.fit import Schedule
from jaxadv.training.readout import outputs, train_readout
from jaxadv.training.recipes import Supervised
from jaxadv.zoo.attack import NamedProgress, attack
from jaxadv.zoo.features import Encoder
from jaxadv.zoo.kept import Model, evaluated

UNITS, BEST = 8, 10  # units of the top, and images that maximise each
CLASSIFIER = Supervised((1e-2,), Schedule(200, 100, 0.01))  # for 100 images, of standardised codes


class Classified(NamedTuple):
    """A classifier on the features of an encoder, and what it makes of the held-out images."""

    encoder: str
    stage: int  # whose output the features are; 0 for the pixels
    model: Model
    features: int
    correct: Bool[np.ndarray, " n"]


def in_halves(dataset: Dataset) -> dict[str, Dataset]:
    """Every other image to train on, the rest to test on."""
    return {"train": dataset.part(slice(0, None, 2)), "test": dataset.part(slice(1, None, 2))}


def classify(
    encoders: Sequence[Encoder], splits: dict[str, Dataset], seed: int
) -> list[Classified]:
    """Trains classifiers on the pixels, and on each stage of each encoder.

    Args:
      encoders: of as many stages, which stay as they are.
      splits: "train" and "test", of two classes.
      seed: of the classifiers' starts.
    """
    layers, shape = encoders[0].network.layers, encoders[0].network.input_shape
    found = []
    for stage in range(len(layers) // LAYERS + 1):
        softmax = FullyConnected(2, name="softmax")
        network = Network((*layers[: LAYERS * stage], softmax), shape)  # one, to compile once
        for encoder in encoders if stage else [encoders[0]._replace(name="pixels")]:
            found.append(_classify(encoder, stage, network, splits, seed))
    return found


def _classify(encoder, stage, network, splits, seed):
    key = jax.random.key(seed)
    params = train_readout(network, encoder.params, splits["train"], CLASSIFIER, key)
    params = {str(layer.name): params[layer.name] for layer in network.layers}
    name = f"stage {stage}, {encoder.name}" if stage else encoder.name
    model = evaluated(name, network, jax.tree.map(np.asarray, params), splits)
    images, labels = splits["test"]
    correct = predictions(network.logits, model.params, images) == labels
    return Classified(encoder.name, stage, model, len(model.params["softmax"]["kernel"]), correct)


def ends(classified: Sequence[Classified]) -> list[Classified]:
    """Those of `classify` on the pixels, and on top features that are random, and learned."""
    pixels, *_, learned, random = classified
    return [pixels, random, learned]


class Attacked(NamedTuple):
    """Minimum-distortion examples of images that a classifier has right."""

    originals: Dataset
    result: AttackResult


def attack_some(
    classified: Classified,
    test: Dataset,
    count: int,
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> Attacked:
    """Attacks images of both classes, towards the other one.

    Args:
      classified: the classifier.
      test: its held-out images.
      count: of images, evenly spaced among those that it has right, or all of these.
      options: settings of the attack.
      cache_dir: where attacks are kept.
      progress: told the classifier's name and numbers of images.
    """
    right = np.flatnonzero(classified.correct)
    chosen = right[spaced(len(right), count)]
    originals = test.part(chosen)
    files = attack(
        *(classified.model, originals.images, 1 - originals.labels, options, cache_dir, progress)
    )
    return Attacked(originals, concatenated([result for _, result in files]))


def sparsity(encoder: Encoder, images: Float[np.ndarray, "N *image"]) -> list[float]:
    """ℓ1 norm over √N times the ℓ2 norm of the N pooled outputs of each stage.

    1 where all are the same, and the less, the fewer of them are active.
    """
    ratios = []
    for depth in range(LAYERS - 1, len(encoder.network.layers), LAYERS):
        pooled = outputs(encoder.network, encoder.params, images, depth)
        ratios.append(float(pooled.mean() / np.sqrt((pooled**2).mean())))
    return ratios


def stimuli(encoder: Encoder, images: Float[np.ndarray, "N *image"], seed: int) -> Maximisers:
    """The images that maximise some random units of an encoder's output."""
    network, params = encoder.network, encoder.params
    layer = Layer(encoder.name, "top", network, params, len(network.layers))
    key = jax.random.fold_in(jax.random.key(seed), layer.depth)
    units = draw(key, layer.size, UNITS).units
    return maximisers(layer, Directions(units, {}), images, BEST)


def filters(encoder: Encoder, count: int) -> Float[np.ndarray, "count features size size"]:
    """The first stage's filters at so many locations, evenly spaced, of images of one channel."""
    local: Any = encoder.network.layers[0]
    kernel = np.asarray(encoder.params[local.name]["kernel"])
    kernel = kernel[np.linspace(0, len(kernel) - 1, count).astype(int)]
    return kernel.transpose(0, 2, 1).reshape(len(kernel), -1, local.size, local.size)
