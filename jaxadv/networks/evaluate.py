"""What networks take images for, and how often they are wrong."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxadv.networks.network import Network, Params


def error_rate(
    logits_fn: Callable[..., jax.Array],
    params: Any,
    images: Float[jax.Array | np.ndarray, "N *image"],
    labels: Int[jax.Array | np.ndarray, " N"],
    batch_size: int = 250,
) -> float:
    """Fraction of the images whose largest logit is not that of the label."""
    return float(np.mean(predictions(logits_fn, params, images, batch_size) != labels))


def predictions(
    logits_fn: Callable[..., jax.Array],
    params: Any,
    images: Float[jax.Array | np.ndarray, "N *image"],
    batch_size: int = 250,
) -> Int[np.ndarray, " N"]:
    """Classes that the images are taken for.

    Args:
      logits_fn: as for `jaxadv.minimal_adversarial`.
      params: its parameters.
      images: at least one.
      batch_size: number of images that are in memory at a time.
    """
    batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
    return np.concatenate([_largest_logit(logits_fn, params, batch) for batch in batches])


@functools.partial(jax.jit, static_argnums=(0, 1))
def output(
    network: Network, depth: int, params: Params, images: Float[jax.Array | np.ndarray, "B *image"]
) -> Float[jax.Array, "B *shape"]:
    """What the network's first `depth` layers make of the images, compiled."""
    return network.between(params, images, 0, depth)


@functools.partial(jax.jit, static_argnums=0)
def _largest_logit(logits_fn, params, images):
    return jnp.argmax(logits_fn(params, images), axis=1)
