"""Minimum-distortion adversarial examples for whole arrays of images."""

import enum
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxadv.attacks import checks
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.search import search, target_margin


class Status(enum.IntEnum):
    """How the search for one image ended."""

    SUCCESS = 0  # found an image in the box that is classified as the target
    ALREADY_TARGET = 1  # x itself is classified as the target: r = 0
    NOT_FOUND = 2  # no image tried was classified as the target
    NOT_FINITE = 3  # logits or gradients of this image were NaN or infinite


class AttackResult(NamedTuple):
    """One entry per image, in the order given; failures are included."""

    x_adv: np.ndarray  # (B, …) float32 in [0, 1]; after a failure the last image tried
    success: np.ndarray  # (B,) bool: x_adv is classified as the target
    distortion: np.ndarray  # (B,) float32: root mean square of x_adv − x over the pixels
    c: np.ndarray  # (B,) float32: the c whose descent found x_adv
    evaluations: np.ndarray  # (B,) int32: gradients of the network spent
    status: np.ndarray  # (B,) int8: a Status


def minimal_adversarial(
    logits_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    x: np.ndarray,
    target: np.ndarray,
    options: AttackOptions | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> AttackResult:
    """Approximates D(x, l): the smallest r with f(x + r) = l and x + r in [0, 1].

    Szegedy et al. (2013), sec. 4.1. The images are solved in batches of a fixed size on every local
    device. Success is judged by a forward pass of its own on the images returned.

    Args:
      logits_fn: pure function (params, (B, …) images) -> (B, k) logits. Static under jit: give the
        same function object to use a compilation again.
      params: pytree of arrays.
      x: (B, …) floating-point images in [0, 1].
      target: (B,) integer classes in [0, k).
      options: settings of the attack; by default `AttackOptions()`.
      progress: called after each batch with the number of images it has completed.

    Returns:
      An `AttackResult` of NumPy arrays with leading axis B.

    Raises:
      ValueError: x, target or logits_fn are not as above, or no image has finite logits.
    """
    options = options or AttackOptions()
    x, target = checks.validated(logits_fn, params, x, target)
    devices = jax.local_devices()
    size = _batch_size(options, len(x), devices)
    solve = _sharded_solve(logits_fn, options, tuple(devices))
    results = []
    for start in range(0, len(x), size):
        batch = _padded(x[start : start + size], size), _padded(target[start : start + size], size)
        result = jax.tree.map(np.asarray, solve(params, *batch))
        count = min(size, len(x) - start)
        results.append(jax.tree.map(lambda a, count=count: a[:count], result))
        if progress:
            progress(count)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


@functools.lru_cache(maxsize=64)
def _sharded_solve(logits_fn, options, devices):
    """Compiled (params, x, target) -> AttackResult, with a loop of its own on each device."""
    mesh = jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)
    split, whole = PartitionSpec("batch"), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            functools.partial(_solve, logits_fn, options),
            mesh=mesh,
            in_specs=(whole, split, split),
            out_specs=split,
            check_vma=False,  # jaxopt's line searches mix varying and constant carries
        )
    )


def _solve(logits_fn, options, params, x, target) -> AttackResult:
    found = jax.vmap(functools.partial(search, logits_fn, options, params))(x, target)
    x_adv = jnp.clip(found.best.image, 0.0, 1.0)
    margin = jax.vmap(target_margin)(logits_fn(params, x_adv), target)
    success = found.best.success & (margin >= 0)
    distortion = jnp.sqrt(jnp.mean((x_adv - x) ** 2, axis=range(1, x.ndim)))
    status = jnp.select(
        [success & (distortion == 0), success, ~found.finite],
        [Status.ALREADY_TARGET, Status.SUCCESS, Status.NOT_FINITE],
        Status.NOT_FOUND,
    )
    return AttackResult(
        x_adv=x_adv,
        success=success,
        distortion=distortion,
        c=found.best_c,
        evaluations=found.evaluations,
        status=status.astype(jnp.int8),
    )


def _batch_size(options, images, devices):
    """Images per call: all devices' lanes, but for a few images only the power of 2 they need.

    In multiples of 8 lanes, XLA's CPU kernels sum in the same order: results are the same bits.
    """
    lanes = options.batch_size or (16 if devices[0].platform == "cpu" else 1024)
    needed = 2 ** math.ceil(math.log2(math.ceil(images / len(devices))))
    return len(devices) * 8 * math.ceil(min(lanes, needed) / 8)


def _padded(array, size):
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
