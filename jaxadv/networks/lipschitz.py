"""Lipschitz bounds of networks, layer by layer (sec. 4.3)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.networks import alexnet
from jaxadv.networks.network import Convolution, FullyConnected, Network, Params, identity
from jaxadv.spectral.operators import conv_operator_bound, dense_operator_norm

ROUNDING = 1e-5  # that a norm may be too small by in float32
ACTIVATIONS = {jax.nn.sigmoid: 0.25, jnp.tanh: 1.0, jax.nn.relu: 1.0, identity: 1.0}


class LayerBound(NamedTuple):
    """Factors whose product is a Lipschitz constant of a layer, from ℓ2 to ℓ2."""

    name: str
    norm: jax.Array  # an upper bound of the operator norm
    activation: float
    normalisation: float
    pooling: float

    @property
    def product(self) -> jax.Array:
        """The layer's constant."""
        return self.norm * (self.activation * self.normalisation * self.pooling)


def layer_bounds(
    network: Network, params: Params, method: str = "exact", iterations: int | None = None
) -> list[LayerBound]:
    """The constants of all layers; their product is a Lipschitz constant L of the logits.

    Differentiable in the parameters, once.

    Args:
      network: of the layers of `models` and `alexnet`, with the activations of `ACTIVATIONS`.
      params: its parameters.
      method: of the operator norms, "exact" or "gram"; see `spectral.conv_operator_norm`.
      iterations: of "gram".

    Raises:
      ValueError: a layer or an activation is none of these.
    """
    options = {"method": method, "iterations": iterations}
    bounds, h = [], jax.ShapeDtypeStruct((1, *network.input_shape), "float32")
    for index, layer in enumerate(network.layers):
        bounds.append(_layer_bound(layer, params[layer.name], h.shape[1:], options))
        apply = functools.partial(network.between, start=index, stop=index + 1)
        h = jax.eval_shape(apply, params, h)
    return bounds


def lipschitz_bound(network: Network, params: Params, method: str = "exact") -> jax.Array:
    """A Lipschitz constant of the logits: ‖f(x) − f(x')‖ ≤ L ‖x − x'‖; see `layer_bounds`."""
    return math.prod(bound.product for bound in layer_bounds(network, params, method))


def _layer_bound(layer, params, input_shape, options):
    name = layer.name
    match layer:
        case FullyConnected():
            norm = dense_operator_norm(params["kernel"], **options) * (1 + ROUNDING)
            return LayerBound(name, norm, _activation(layer), 1.0, 1.0)
        case Convolution():
            norm = conv_operator_bound(
                params["kernel"], input_shape[:2], padding="VALID", **options
            )
            return LayerBound(name, norm, _activation(layer), 1.0, 1.0)  # windows do not overlap
        case alexnet.PaddedConvolution():
            norm = conv_operator_bound(
                params["kernel"],
                input_shape[:2],
                strides=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                **options,
            )
            normalisation = local_response_constant() if layer.normalise else 1.0
            pooling = pooling_constant(layer.pool, layer.pool_stride)
            return LayerBound(name, norm, _activation(layer), normalisation, pooling)
        case alexnet.Standardise():
            return LayerBound(name, jnp.asarray(1 / min(layer.std)), 1.0, 1.0, 1.0)
    raise ValueError(f"no Lipschitz bound is known for the layer {name} ({type(layer).__name__})")


def _activation(layer):
    if layer.activation not in ACTIVATIONS:
        known = [activation.__name__ for activation in ACTIVATIONS]
        raise ValueError(
            f"activation of {layer.name} must be one of {known},"
            f" got {getattr(layer.activation, '__name__', layer.activation)}"
        )
    return ACTIVATIONS[layer.activation]


def pooling_constant(window: int, stride: int) -> float:
    """⌈window / stride⌉, of max-pooling by squares: an input is in at most its square of windows.

    It is attained, by an input that is the maximum of all the windows it is in. Contractive, as
    sec. 4.3 has it, is max-pooling only where the stride is at least the window.
    """
    return float(math.ceil(window / stride))


def contrast_constant(epsilon: float, gamma: float) -> float:
    """ε^−γ, of contrast normalisation h / (ε + ‖h‖²)^γ (sec. 4.3).

    Raises:
      ValueError: γ is not in [0.5, 1], or ε not positive.
    """
    if not (epsilon > 0 and 0.5 <= gamma <= 1):
        raise ValueError(
            f"epsilon must be positive and gamma in [0.5, 1], got {epsilon} and {gamma}"
        )
    return epsilon**-gamma


def local_response_constant() -> float:
    """√n k^−β, of `alexnet.local_response` over n channels.

    A row of its Jacobian is s^−β (e_i − 2 β α h_i h / s) on the n channels around i, where
    s = k + α ‖h‖², and has a norm of at most s^−β for β ≤ 1; each channel is in n rows. (Gradient
    ascent on the Jacobian's norm found none above k^−β, which would be the constant of sec. 4.3.)
    """
    contrast = contrast_constant(alexnet.RESPONSE_K, alexnet.RESPONSE_BETA)
    return math.sqrt(alexnet.RESPONSE_SIZE) * contrast
