"""AlexNet, in its original form and in torchvision's."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.networks.network import FullyConnected, Network, Params

RESPONSE_SIZE, RESPONSE_K, RESPONSE_ALPHA, RESPONSE_BETA = 5, 2.0, 1e-4, 0.75


class Standardise(nn.Module):
    """φ(h) = (h − mean) / std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """(B, height, width, channels) -> the same shape."""
        return (h - jnp.array(self.mean, h.dtype)) / jnp.array(self.std, h.dtype)


class PaddedConvolution(nn.Module):
    """φ(h) = pool(respond(activation(h ∗ W + b))), with zero padding.

    The kernel is (size, size, channels / groups, features). Pooling takes the maximum of windows
    of `pool` × `pool`, `pool_stride` apart, which overlap where the stride is less than the window;
    1 is none. `normalise` is for `local_response`, which comes before pooling.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    normalise: bool = False
    pool: int = 1
    pool_stride: int = 1

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """(B, height, width, channels) -> (B, …, …, features)."""
        shape = (self.size, self.size, h.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        h = jax.lax.conv_general_dilated(
            h,
            kernel,
            window_strides=(self.stride,) * 2,
            padding=[(self.padding,) * 2] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        h = self.activation(h + bias)
        if self.normalise:
            h = local_response(h)
        if self.pool > 1:
            h = nn.max_pool(h, (self.pool,) * 2, (self.pool_stride,) * 2)
        return h


def local_response(h: jax.Array) -> jax.Array:
    """h_i / (k + α Σ_j h_j²)^β, j the 5 channels around i (Krizhevsky et al., 2012, sec. 3.3)."""
    around = (RESPONSE_SIZE // 2,) * 2
    squares = jax.lax.reduce_window(
        *(h**2, 0.0, jax.lax.add, (1, 1, 1, RESPONSE_SIZE), (1, 1, 1, 1)),
        padding=((0, 0), (0, 0), (0, 0), around),
    )
    return h / (RESPONSE_K + RESPONSE_ALPHA * squares) ** RESPONSE_BETA


def alexnet(classes: int = 1000) -> Network:
    """The network of Krizhevsky et al. (2012), sec. 3.5, on (227, 227, 3) images in [0, 1].

    Two groups in the second, fourth and fifth convolution, overlapping pools, local response
    normalisation after the first two; without dropout.
    """
    pool = {"pool": 3, "pool_stride": 2}
    layers = (
        PaddedConvolution(96, 11, stride=4, normalise=True, **pool, name="conv1"),
        PaddedConvolution(256, 5, padding=2, groups=2, normalise=True, **pool, name="conv2"),
        PaddedConvolution(384, 3, padding=1, name="conv3"),
        PaddedConvolution(384, 3, padding=1, groups=2, name="conv4"),
        PaddedConvolution(256, 3, padding=1, groups=2, **pool, name="conv5"),
        *_dense_layers(classes),
    )
    return Network(layers, (227, 227, 3))


def torchvision_alexnet(classes: int = 1000) -> Network:
    """The network of this name in torchvision (Krizhevsky, 2014), on (224, 224, 3) images.

    Images are in [0, 1]: the first layer standardises the colours, which there is up to the user.
    No groups and no normalisation, 64 features in the first convolution.
    """
    pool = {"pool": 3, "pool_stride": 2}
    layers = (
        Standardise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), name="standardise"),
        PaddedConvolution(64, 11, stride=4, padding=2, **pool, name="conv1"),
        PaddedConvolution(192, 5, padding=2, **pool, name="conv2"),
        PaddedConvolution(384, 3, padding=1, name="conv3"),
        PaddedConvolution(256, 3, padding=1, name="conv4"),
        PaddedConvolution(256, 3, padding=1, **pool, name="conv5"),
        *_dense_layers(classes),
    )
    return Network(layers, (224, 224, 3))


def _dense_layers(classes):
    return (
        FullyConnected(4096, nn.relu, name="fc1"),
        FullyConnected(4096, nn.relu, name="fc2"),
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


def from_torchvision(arrays: dict[str, np.ndarray]) -> Params:
    """The parameters of `torchvision_alexnet` from the arrays of torchvision's state dict.

    Raises:
      ValueError: an array is missing, or not of the shape expected.
    """
    network = torchvision_alexnet(_classes(arrays))
    expected = jax.eval_shape(network.init, jax.random.key(0))
    params = {"standardise": {}}
    for name, prefix in TORCHVISION_LAYERS.items():
        weight, bias = (_array(arrays, f"{prefix}.{part}") for part in ("weight", "bias"))
        if weight.shape[1:] == (9216,):  # torch flattens (channels, height, width)
            weight = weight.reshape(-1, 256, 6, 6).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        params[name] = {"kernel": kernel, "bias": bias}
        for key, array in params[name].items():
            if array.shape != expected[name][key].shape:
                raise ValueError(
                    f"{prefix} has a {key} of shape {array.shape},"
                    f" expected {expected[name][key].shape}"
                )
    return params


def _classes(arrays):
    return _array(arrays, "classifier.6.bias").size


def _array(arrays, name):
    if name not in arrays:
        raise ValueError(f"no array {name!r}, expected torchvision's AlexNet, got {list(arrays)}")
    array = np.asarray(arrays[name], np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array
