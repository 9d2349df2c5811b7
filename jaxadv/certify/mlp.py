"""Fully connected networks as weights and biases in float64."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.certify.relaxation import ACTIVATIONS, Function
from jaxadv.networks.layers import FullyConnected
from jaxadv.networks.network import Params
from jaxadv.spectral.arguments import check_finite
from jaxadv.spectral.lipschitz import STEEPEST_SLOPES

ROUNDING = 1e-9  # relative, more than float64 loses where nothing cancels


class Mlp(NamedTuple):
    """A fully connected network: layers h -> activation(W h + b), the last without activation."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # (W (out, in), b (out,)) in float64
    activations: tuple[Function, ...]  # between the layers: keys of `relaxation.ACTIVATIONS`

    @property
    def rounding(self) -> float:
        """What float64 may lose in sums over units, relative to the sum of absolute values.

        The error of n terms in any order is at most γ_n = n u / (1 − n u) of it, with u = 2⁻⁵³
        (Higham, Accuracy and Stability of Numerical Algorithms, 2002, sec. 3.1). Here n is the
        number of all units, and 32 u in place of u, as several sums share one bound.
        """
        return 2.0**-48 * (self.layers[0][0].shape[1] + sum(len(bias) for _, bias in self.layers))

    def flattened(self, x: Float[jax.Array | np.ndarray, "B *image"]) -> Float[np.ndarray, "B n"]:
        """Images as vectors in float64; ValueError unless in [0, 1] and of the size of inputs."""
        inputs = self.layers[0][0].shape[1]
        if np.ndim(x) < 2 or np.size(x) == 0 or np.size(x[0]) != inputs:
            hint = "; a single image needs an axis of images, x[None]"
            raise ValueError(
                f"images must have {inputs} pixels each, got an array of shape {np.shape(x)}"
                + (hint if np.size(x) == inputs else "")
            )
        if not (np.min(x) >= 0 and np.max(x) <= 1):
            raise ValueError(f"images must lie in [0, 1], got {np.min(x):g} to {np.max(x):g}")
        return np.asarray(x, float).reshape(len(x), inputs)

    def logits(self, x: Float[jax.Array | np.ndarray, " n"]) -> Float[jax.Array, " k"]:
        """The logits of one image, flattened."""
        return self.logits_and_errors(x)[0]

    def logits_and_errors(
        self, x: Float[jax.Array | np.ndarray, " n"]
    ) -> tuple[Float[jax.Array, " k"], Float[jax.Array, " k"]]:
        """The logits of one image, flattened, and bounds of their rounding errors."""
        h, error = jnp.asarray(x), jnp.zeros(len(x))
        activations = *self.activations, jax.nn.identity
        for (weights, bias), activation in zip(self.layers, activations, strict=True):
            size = jnp.abs(weights)
            error = size @ error + self.rounding * (size @ jnp.abs(h) + jnp.abs(bias))
            h = activation(jnp.matmul(weights, h) + bias)
            error = STEEPEST_SLOPES[activation] * error + self.rounding * jnp.abs(h)
        return h, error


def check(network: Any) -> None:
    """Raises ValueError unless the network is one that `affine_layers` takes."""
    _checked_layers(network)


def affine_layers(network: Any, params: Params) -> Mlp:
    """The weights and activations of a `Network` of FullyConnected layers.

    Raises:
      ValueError: other layers, or activations other than sigmoid, tanh and ReLU; or params that are
        not the network's, or not finite real numbers.
    """
    layers = _checked_layers(network)
    _check_params(network, params)
    arrays = [params[str(layer.name)] for layer in layers]
    return Mlp(
        tuple((np.array(a["kernel"], float).T, np.array(a["bias"], float)) for a in arrays),
        tuple(layer.activation for layer in layers[:-1]),
    )


def _checked_layers(network):
    layers: list[FullyConnected] = []
    if not hasattr(network, "layers"):  # a user's own
        raise ValueError(
            "lower bounds need FullyConnected layers, got a function: give a Network in its place"
        )
    for layer in network.layers:
        if not isinstance(layer, FullyConnected):
            raise ValueError(f"lower bounds need FullyConnected layers, got {type(layer).__name__}")
        layers.append(layer)
    *hidden, last = (layer.activation for layer in layers)
    if last is not jax.nn.identity or not set(hidden) <= set(ACTIVATIONS):
        raise ValueError(
            "lower bounds need sigmoid, tanh or ReLU between the layers and nothing after the"
            f" last, got {[layer.activation.__name__ for layer in layers]}"
        )
    return layers


def _check_params(network, params):
    expected = jax.tree.map(np.shape, jax.eval_shape(network.init, jax.random.key(0)))
    try:
        got = {
            layer: {name: np.shape(params[layer][name]) for name in shapes}
            for layer, shapes in expected.items()
        }
    except (KeyError, IndexError, TypeError):
        got = jax.tree.map(np.shape, params)
    if got != expected:
        raise ValueError(f"params must have the shapes {expected}, got {got!r:.300}")
    for layer, shapes in expected.items():
        for name in shapes:
            check_finite(f"{name} of {layer}", params[layer][name])
