"""The paper's networks for MNIST, and convolutional ones."""

import math

import jax

from jaxadv.networks.layers import Convolution, FullyConnected
from jaxadv.networks.network import Network

IMAGE_SHAPE, CLASSES = (28, 28, 1), 10


def mlp(
    *hidden: int, classes: int = CLASSES, input_shape: tuple[int, ...] = IMAGE_SHAPE
) -> Network:
    """Fully connected network with sigmoid hidden layers; without any, softmax regression.

    >>> [layer.name for layer in mlp(100, 50).layers]
    ['hidden1', 'hidden2', 'softmax']
    """
    layers = [
        FullyConnected(units, jax.nn.sigmoid, name=f"hidden{index}")
        for index, units in enumerate(hidden, start=1)
    ]
    return Network((*layers, FullyConnected(classes, name="softmax")), input_shape)


def cnn(
    *features: int,
    units: int = 128,
    classes: int = CLASSES,
    input_shape: tuple[int, ...] = IMAGE_SHAPE,
) -> Network:
    """3 × 3 convolutions, the last with 2 × 2 max-pooling, and a hidden layer, all with ReLU."""
    layers = [
        Convolution(
            count, jax.nn.relu, pool=2 if index == len(features) else 1, name=f"conv{index}"
        )
        for index, count in enumerate(features, start=1)
    ]
    hidden = FullyConnected(units, jax.nn.relu, name="hidden")
    return Network((*layers, hidden, FullyConnected(classes, name="softmax")), input_shape)


def lenet(*, classes: int = CLASSES, input_shape: tuple[int, ...] = IMAGE_SHAPE) -> Network:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling."""
    layers = (
        Convolution(6, jax.nn.relu, size=5, pool=2, name="conv1"),
        Convolution(16, jax.nn.relu, size=5, pool=2, name="conv2"),
        FullyConnected(120, jax.nn.relu, name="hidden1"),
        FullyConnected(84, jax.nn.relu, name="hidden2"),
        FullyConnected(classes, name="softmax"),
    )
    return Network(layers, input_shape)


def autoencoder(units: int, input_shape: tuple[int, ...] = IMAGE_SHAPE) -> Network:
    """Sigmoid encoder, and a decoder to the logits of the pixels."""
    features = FullyConnected(units, jax.nn.sigmoid, kernel_gain=0.1, name="features")
    return Network((features, FullyConnected(math.prod(input_shape), name="decoder")), input_shape)


def autoencoder_classifier(
    units: int, classes: int = CLASSES, input_shape: tuple[int, ...] = IMAGE_SHAPE
) -> Network:
    """The encoder of `autoencoder`, and softmax on its codes."""
    features = autoencoder(units, input_shape).layers[0]
    return Network((features, FullyConnected(classes, name="softmax")), input_shape)
