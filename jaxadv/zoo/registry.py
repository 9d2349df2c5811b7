"""Networks by name: for MNIST, with how they are trained, and for ImageNet, trained by others."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxadv.networks.efficientnet import (
    VARIANTS,
    efficientnet_lite,
    pretrained_efficientnet_lite,
)
from jaxadv.networks.mnist import autoencoder_classifier, cnn, lenet, mlp
from jaxadv.networks.network import Network, Params
from jaxadv.training.autoencoder import SparseAutoencoder
from jaxadv.training.fit import Schedule
from jaxadv.training.recipes import Recipe, Supervised
from jaxadv.zoo import adversarial


class Entry(NamedTuple):
    """A network and how it is trained."""

    network: Network
    recipe: Recipe


class Pretrained(NamedTuple):
    """A network and what reads its weights, kept in a directory, or else downloads them."""

    network: Callable[[], Network]
    load: Callable[[Path], tuple[Network, Params]]


PRETRAINED = {
    f"EfficientNet-Lite{variant}": Pretrained(
        functools.partial(efficientnet_lite, variant),
        functools.partial(pretrained_efficientnet_lite, variant),
    )
    for variant in VARIANTS
}

# λ stands for λ/2 Σ w², weights and biases, not divided by the number k of units: of the readings
# tried, the one that brings all three FC10 networks to the paper's errors. The problem is convex;
# the loss ends within 5e-5 of its minimum.
SOFTMAX_SCHEDULE = Schedule(epochs=60, batch_size=1000, learning_rate=0.03)
SIGMOID_DECAY = (1e-5, 1e-5, 1e-6)
SOFTMAX_REGRESSION = mlp()
ZOO = {
    "FC10(1e-4)": Entry(SOFTMAX_REGRESSION, Supervised((1e-4,), SOFTMAX_SCHEDULE)),
    "FC10(1e-2)": Entry(SOFTMAX_REGRESSION, Supervised((1e-2,), SOFTMAX_SCHEDULE)),
    "FC10(1)": Entry(SOFTMAX_REGRESSION, Supervised((1.0,), SOFTMAX_SCHEDULE)),
    "FC100-100-10": Entry(mlp(100, 100), Supervised(SIGMOID_DECAY, Schedule(50, 100, 0.01))),
    "FC200-200-10": Entry(mlp(200, 200), Supervised(SIGMOID_DECAY, Schedule(30, 100, 0.005))),
    "FC123-456-10": Entry(mlp(123, 456), Supervised(SIGMOID_DECAY, Schedule(40, 100, 0.005))),
    "AE400-10": Entry(
        autoencoder_classifier(400),
        SparseAutoencoder(
            sparsity=0.1,
            sparsity_weight=3.0,
            decay=3e-3,
            schedule=Schedule(epochs=12, batch_size=250, learning_rate=0.03),
            softmax=Supervised((1e-6,), Schedule(epochs=40, batch_size=500, learning_rate=0.015)),
        ),
    ),
    "LeNet-5": Entry(lenet(), Supervised((1e-5,) * 5, Schedule(5, 100, 0.002))),
    "CNN": Entry(cnn(32, 64), Supervised((1e-5,) * 4, Schedule(2, 100, 0.002))),
}
ZOO |= {
    f"{name}{adversarial.MARK}{way}": Entry(ZOO[name].network, recipe)
    for name in adversarial.CHOSEN
    for way, recipe in adversarial.trainings(name, ZOO[name].network).items()
}
