"""AlexNet, in its original form and in torchvision's."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxadv.networks import torch_weights
from jaxadv.networks.layers import HE_NORMAL, Convolution, FullyConnected, Standardise
from jaxadv.networks.network import Network, Params


def alexnet(classes: int = 1000) -> Network:
    """The network of Krizhevsky et al. (2012), sec. 3.5, on (227, 227, 3) images in [0, 1].

    Two groups in the second, fourth and fifth convolution, overlapping pools, local response
    normalisation after the first two; without dropout.
    """
    layers = (
        _convolution("conv1", 96, 11, stride=4, normalise=True, pooled=True),
        _convolution("conv2", 256, 5, padding=2, groups=2, normalise=True, pooled=True),
        _convolution("conv3", 384, 3, padding=1),
        _convolution("conv4", 384, 3, padding=1, groups=2),
        _convolution("conv5", 256, 3, padding=1, groups=2, pooled=True),
        *_dense_layers(classes),
    )
    return Network(layers, (227, 227, 3))


def torchvision_alexnet(classes: int = 1000) -> Network:
    """The network of this name in torchvision (Krizhevsky, 2014), on (224, 224, 3) images.

    Images are in [0, 1]: the first layer standardises the colours, which there is up to the user.
    No groups and no normalisation, 64 features in the first convolution.
    """
    layers = (
        Standardise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), name="standardise"),
        _convolution("conv1", 64, 11, stride=4, padding=2, pooled=True),
        _convolution("conv2", 192, 5, padding=2, pooled=True),
        _convolution("conv3", 384, 3, padding=1),
        _convolution("conv4", 256, 3, padding=1),
        _convolution("conv5", 256, 3, padding=1, pooled=True),
        *_dense_layers(classes),
    )
    return Network(layers, (224, 224, 3))


def _convolution(name, features, size, pooled=False, **settings: Any):
    pool, pool_stride = (3, 2) if pooled else (1, 1)
    return Convolution(
        features,
        jax.nn.relu,
        size,
        pool=pool,
        pool_stride=pool_stride,
        kernel_scaling=HE_NORMAL,
        name=name,
        **settings,
    )


def _dense_layers(classes):
    return (
        FullyConnected(4096, jax.nn.relu, name="fc1"),
        FullyConnected(4096, jax.nn.relu, name="fc2"),
        FullyConnected(classes, name="fc3"),
    )


TORCHVISION_LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc1": "classifier.1",
    "fc2": "classifier.4",
    "fc3": "classifier.6",
}


def from_torchvision(arrays: Mapping[str, np.ndarray]) -> Params:
    """The parameters of `torchvision_alexnet` from the arrays of torchvision's state dict.

    Raises:
      ValueError: an array is missing, not of the shape expected, or not finite.
    """
    network = torchvision_alexnet(np.size(arrays.get("classifier.6.bias", 0)))
    expected = jax.eval_shape(network.init, jax.random.key(0))
    params = {"standardise": {}}
    for name, prefix in TORCHVISION_LAYERS.items():
        *sides, channels, features = expected[name]["kernel"].shape
        shapes = {"weight": (features, channels, *sides), "bias": (features,)}
        weight, bias = (
            torch_weights.taken(arrays, f"{prefix}.{part}", shape, "torchvision's AlexNet")
            for part, shape in shapes.items()
        )
        if channels == 9216:  # torch flattens (channels, height, width)
            weight = weight.reshape(-1, 256, 6, 6).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        kernel = weight.transpose(2, 3, 1, 0) if sides else weight.T
        params[name] = {"kernel": kernel, "bias": bias}
    return params
