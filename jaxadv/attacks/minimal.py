"""Minimum-distortion adversarial examples for whole arrays of images."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxadv.attacks import checks, lbfgsb, lockstep
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status

MAX_ROUNDS = 32  # a queue is at most so many times as long as the lanes are many


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

    Szegedy et al. (2013), sec. 4.1. The images are given in queues to all local devices. Success is
    judged by a forward pass of its own on the images returned.

    Args:
      logits_fn: pure function (params, (B, …) images) -> (B, k) logits. Static under jit: give the
        same function object to use a compilation again.
      params: pytree of arrays.
      x: (B, …) floating-point images in [0, 1].
      target: (B,) integer classes in [0, k).
      options: settings of the attack; by default `AttackOptions()`.
      progress: called after each round of queues with the number of images completed.

    Returns:
      An `AttackResult` of NumPy arrays with leading axis B.

    Raises:
      ValueError: x, target or logits_fn are not as above, or no image has finite logits.
    """
    options = options or AttackOptions()
    x, target = checks.validated(logits_fn, params, x, target)
    devices = tuple(jax.local_devices())
    lanes, queue = _lanes_and_queue(options, x, devices)
    solve = _sharded_solve(logits_fn, options, lanes, devices)
    results = []
    for start in range(0, len(x), queue * len(devices)):
        chunk = slice(start, start + queue * len(devices))
        parts = [np.array_split(array[chunk], len(devices)) for array in (x, target)]
        counts = np.array([len(part) for part in parts[0]])
        padded = (np.concatenate([_padded(part, queue) for part in split]) for split in parts)
        with jax.default_matmul_precision("highest"):  # TF32 would upset the line search
            result = jax.tree.map(np.asarray, solve(params, *padded, counts))
        real = np.concatenate([np.arange(queue) < count for count in counts])
        results.append(jax.tree.map(lambda array, real=real: array[real], result))
        if progress:
            progress(int(counts.sum()))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


@functools.lru_cache(maxsize=64)
def _sharded_solve(logits_fn, options, lanes, devices):
    """Compiled (params, x, target, counts) -> AttackResult, with a loop of its own per device."""
    mesh = jax.make_mesh((len(devices),), ("queue",), (AxisType.Auto,), devices=devices)
    split, whole = PartitionSpec("queue"), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            functools.partial(_solve, logits_fn, options, lanes),
            mesh=mesh,
            in_specs=(whole, split, split, split),
            out_specs=split,
            check_vma=False,  # carries start as constants, which differ from what varies by device
        )
    )


def _solve(logits_fn, options, lanes, params, x, target, count) -> AttackResult:
    """Solves a queue, and judges the outcome by a forward pass of its own."""
    if options.solver == "lockstep":
        found = lockstep.solve(logits_fn, options, lanes, params, x, target, count[0])
    else:
        found = jax.vmap(functools.partial(lbfgsb.solve, logits_fn, options, params))(x, target)
    x_adv = jnp.clip(found.image, 0.0, 1.0)
    success = found.success & (_predictions(logits_fn, params, x_adv, lanes) == target)
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
        c=found.c,
        evaluations=found.evaluations,
        status=status.astype(jnp.int8),
    )


def _predictions(logits_fn, params, images, lanes):
    """The classes of a queue of images, in batches of the lanes' size."""
    batches = images.reshape(-1, lanes, *images.shape[1:])
    logits = jax.lax.map(functools.partial(logits_fn, params), batches)
    return jnp.argmax(logits, axis=-1).reshape(-1)


def _lanes_and_queue(options, x, devices):
    """Images that a device works on side by side, and images that it is given at a time.

    A few images take no more lanes than the power of 2 they need. In multiples of 8 lanes, XLA's
    CPU kernels sum in the same order: results are the same bits.
    """
    share = math.ceil(len(x) / len(devices))
    lanes = options.batch_size or _default_lanes(options, x[0].size, devices[0].platform)
    lanes = 8 * math.ceil(min(lanes, _power_of_2(share)) / 8)
    if options.solver == "lbfgsb":
        return lanes, lanes
    return lanes, lanes * min(MAX_ROUNDS, _power_of_2(math.ceil(share / lanes)))


def _default_lanes(options, pixels, platform):
    """As many lanes as keep their state within a CPU's cache, or a part of a device's memory."""
    if options.solver == "lbfgsb":
        return 16 if platform == "cpu" else 1024
    state = 4 * pixels * (2 * options.history_size + 8)  # bytes
    most, memory = (64, 2**22) if platform == "cpu" else (4096, 2**31)
    return min(most, max(8, memory // state))


def _power_of_2(number):
    return 2 ** math.ceil(math.log2(number))


def _padded(array, size):
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
