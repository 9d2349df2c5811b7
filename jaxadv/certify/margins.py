"""Lower bounds on D(x, l) from Lipschitz constants of the differences of two logits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.certify.mlp import ROUNDING, Mlp
from jaxadv.certify.relaxation import TINY
from jaxadv.spectral.lipschitz import STEEPEST_SLOPES


def pair_products(mlp: Mlp) -> Float[np.ndarray, "k k"]:
    """Lipschitz constants of z_j − z_l: ‖W_j − W_l‖ times those of the earlier layers.

    Szegedy et al. (2013), sec. 4.3, with the last layer's norm taken for two classes alone.
    """
    with jax.enable_x64(True):
        earlier = math.prod(map(float, _norms(mlp.layers[:-1])))
    last = mlp.layers[-1][0]
    slopes = math.prod(STEEPEST_SLOPES[activation] for activation in mlp.activations)
    return slopes * earlier * np.linalg.norm(last[:, None] - last, axis=-1)


@jax.jit
def _norms(layers):
    return [jnp.linalg.norm(weights, ord=2) for weights, _ in layers]


def eclipse_fast(mlp: Mlp) -> Float[np.ndarray, "k k"]:
    """Lipschitz constants of z_j − z_l by ECLipsE-Fast, never above `pair_products`.

    Xu & Sivaranjani (2024), arXiv 2404.04375: a matrix M is passed on from layer to layer, where
    the product passes on a number.
    """
    with jax.enable_x64(True):
        inverse = np.asarray(_passed_on(mlp.activations, mlp.layers))
    last = mlp.layers[-1][0]
    rows = last[:, None] - last
    found = np.sqrt(np.einsum("jlm,mn,jln->jl", rows, inverse, rows).clip(0))
    return np.fmin(found, pair_products(mlp))  # less than `TINY` stops the former from being less


@functools.partial(jax.jit, static_argnums=0)
def _passed_on(activations, layers):
    """The inverse of M before the last layer."""
    inverse = jnp.eye(layers[0][0].shape[1])
    for (weights, _), activation in zip(layers[:-1], activations, strict=True):
        half = STEEPEST_SLOPES[activation] / 2
        passed = weights @ inverse @ weights.T
        norm = jnp.maximum(jnp.linalg.norm(passed, ord=2), TINY)
        scale = 1 / (2 * half**2 * norm)
        inverse = jnp.linalg.inv(scale * jnp.eye(len(passed)) - (half * scale) ** 2 * passed)
    return inverse


def from_lipschitz(
    mlp: Mlp, x: Float[jax.Array | np.ndarray, "B *image"], constants: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, "B k"]:
    """Lower bounds max_j (z_j − z_l) / L_jl on D(x, l).

    Args:
      mlp: the network.
      x: images in [0, 1].
      constants: Lipschitz constants L of z_j − z_l.

    Returns:
      Root mean squares over the pixels; 0 where l is the class of x, and at most 1.

    Raises:
      ValueError: images of another size or outside [0, 1], or constants that cannot be.
    """
    classes = len(mlp.layers[-1][1])
    if np.shape(constants) != (classes, classes) or not (np.asarray(constants) >= 0).all():
        raise ValueError(
            f"constants must be ({classes}, {classes}) numbers that are not negative,"
            f" got {constants!r:.200}"
        )
    images = mlp.flattened(x)
    with jax.enable_x64(True):
        logits, errors = map(np.asarray, _logits_and_errors(mlp.activations, mlp.layers, images))
    gaps = logits[:, :, None] - logits[:, None] - (errors[:, :, None] + errors[:, None])
    bounds = (gaps / np.maximum(constants, TINY)).max(axis=1).clip(0)
    return (1 - ROUNDING) * np.minimum(bounds / math.sqrt(images.shape[1]), 1)


@functools.partial(jax.jit, static_argnums=0)
def _logits_and_errors(activations, layers, images):
    return jax.vmap(Mlp(layers, activations).logits_and_errors)(images)
