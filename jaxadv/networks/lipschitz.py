"""Lipschitz bounds of networks, layer by layer (sec. 4.3)."""

import functools
import operator

import jax

from jaxadv.networks.network import Network, Params
from jaxadv.spectral.lipschitz import LayerBound


def layer_bounds(
    network: Network, params: Params, method: str = "exact", iterations: int | None = None
) -> list[LayerBound]:
    """The constants of all layers; their product is a Lipschitz constant L of the logits.

    Differentiable in the parameters, once.

    >>> from jaxadv.networks import mlp
    >>> network = mlp(5)
    >>> params = network.init(jax.random.key(0))
    >>> [(bound.name, bound.activation) for bound in layer_bounds(network, params)]
    [('hidden1', 0.25), ('softmax', 1.0)]

    Args:
      network: of layers with a method `lipschitz(params, input_shape, method, iterations)`, as
        those of `jaxadv.networks` have, with activations of `spectral.lipschitz.STEEPEST_SLOPES`.
      params: its parameters.
      method: of the operator norms, "exact" or "gram"; see `spectral.conv_operator_norm`.
      iterations: of "gram".

    Raises:
      ValueError: a layer has no such method, or another activation.
    """
    bounds = []
    for layer, shape in zip(network.layers, network.shapes(params)[:-1], strict=True):
        bound = getattr(layer, "lipschitz", None)
        if bound is None:
            kind = type(layer).__name__
            raise ValueError(f"no Lipschitz bound is known for the layer {layer.name} ({kind})")
        bounds.append(bound(params[layer.name], shape, method, iterations))
    return bounds


def lipschitz_bound(network: Network, params: Params, method: str = "exact") -> jax.Array:
    """A Lipschitz constant of the logits: ‖f(x) − f(x')‖ ≤ L ‖x − x'‖; see `layer_bounds`."""
    bounds = layer_bounds(network, params, method)
    return functools.reduce(operator.mul, (bound.product for bound in bounds))
