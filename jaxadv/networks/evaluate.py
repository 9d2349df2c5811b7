"""What networks take images for, and how often they are wrong."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxadv.networks.network import Network, Params
from jaxadv.storage.devices import batches, together


def error_rate(
    logits_fn: Callable[..., jax.Array],
    params: Any,
    images: Float[jax.Array | np.ndarray, "N *image"],
    labels: Int[jax.Array | np.ndarray, " N"],
    batch_size: int | None = None,
) -> float:
    """Fraction of the images whose largest logit is not that of the label."""
    return float(np.mean(predictions(logits_fn, params, images, batch_size) != labels))


def predictions(
    logits_fn: Callable[..., jax.Array],
    params: Any,
    images: Float[jax.Array | np.ndarray, "N *image"],
    batch_size: int | None = None,
) -> Int[np.ndarray, " N"]:
    """Classes that the images are taken for, by logits in full precision.

    Args:
      logits_fn: as for `jaxadv.minimal_adversarial`.
      params: its parameters.
      images: at least one.
      batch_size: number of images that are in memory at a time; by default as many as suit. The
        last batch is filled up with zeros.
    """
    images = np.asarray(images)
    parts = batches(images, together(images[0]) if batch_size is None else batch_size)
    return np.concatenate(
        [np.asarray(_largest_logit(logits_fn, params, x))[:count] for count, x in parts]
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def output(
    network: Network, depth: int, params: Params, images: Float[jax.Array | np.ndarray, "B *image"]
) -> Float[jax.Array, "B *shape"]:
    """What the network's first `depth` layers make of the images, in full precision, compiled."""
    with jax.default_matmul_precision("highest"):
        return network.between(params, images, 0, depth)


@functools.partial(jax.jit, static_argnums=0)
def _largest_logit(logits_fn, params, images):
    with jax.default_matmul_precision("highest"):  # as attacks: examples lie on the boundary
        return jnp.argmax(logits_fn(params, images), axis=1)
