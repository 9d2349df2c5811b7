"""Queues of problems for all local devices, and the verdict on what is found."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep import loop as lockstep
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status, concatenated
from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.storage.devices import padded, sharded

MAX_ROUNDS = 32  # a queue is at most so many times as long as the lanes are many


def attack(
    logits_fn: LogitsFn,
    params: Any,
    x: Float[np.ndarray, "B *image"],
    target: Int[np.ndarray, " B"],
    options: AttackOptions,
    progress: Progress | None,
) -> AttackResult:
    """Gives the problems to all local devices, queue by queue."""
    devices = tuple(jax.local_devices())
    lanes, queue = lanes_and_queue(logits_fn, params, options, x, devices)
    # Lanes are all that the batch size changes: others of as many use the same compilation.
    settings = dataclasses.replace(options, batch_size=None)
    solve = _sharded_solve(logits_fn, settings, lanes, devices)
    results = []
    for start in range(0, len(x), queue * len(devices)):
        chunk = slice(start, start + queue * len(devices))
        parts = [np.array_split(array[chunk], len(devices)) for array in (x, target)]
        counts = np.array([len(part) for part in parts[0]])
        problems = (np.concatenate([padded(part, queue) for part in split]) for split in parts)
        with jax.default_matmul_precision("highest"):  # TF32 would upset the line search
            result = solve(params, *problems, counts)
        real = np.concatenate([np.arange(queue) < count for count in counts])
        results.append(AttackResult(*(np.asarray(array)[real] for array in result)))
        if progress:
            progress(int(counts.sum()))
    return concatenated(results)


@functools.lru_cache(maxsize=64)
def _sharded_solve(logits_fn, options, lanes, devices):
    """Compiled (params, x, target, counts) -> outcome, with a loop of its own per device."""
    return sharded(functools.partial(_solve, logits_fn, options, lanes), devices)


def _solve(logits_fn, options, lanes, params, x, target, count):
    """Solves a queue, and judges the outcome by a forward pass: the fields of `AttackResult`."""
    if options.solver == "lockstep":
        found = lockstep.solve(logits_fn, options, lanes, params, x, target, count[0])
    else:
        from jaxadv.attacks import lbfgsb  # here, so that nothing else needs jaxopt

        found = jax.vmap(functools.partial(lbfgsb.solve, logits_fn, options, params))(x, target)
    x_adv = jnp.clip(found.image, 0.0, 1.0)
    success = found.success & (_predictions(logits_fn, params, x_adv, lanes) == target)
    distortion = jnp.sqrt(jnp.mean((x_adv - x) ** 2, axis=tuple(range(1, x.ndim))))
    status = jnp.select(
        [success & (distortion == 0), success, ~found.finite],
        [Status.ALREADY_TARGET, Status.SUCCESS, Status.NOT_FINITE],
        Status.NOT_FOUND,
    )
    evaluations = found.evaluations
    cost = evaluations * (found.lane_ticks / evaluations.sum())
    judged = x_adv, success, distortion, found.c, evaluations, status.astype(jnp.int8)
    return *judged, target, cost


def _predictions(logits_fn, params, images, lanes):
    """The classes of a queue of images, in batches of the lanes' size."""
    batches = images.reshape(-1, lanes, *images.shape[1:])
    logits = jax.lax.map(functools.partial(logits_fn, params), batches)
    return jnp.argmax(logits, axis=-1).reshape(-1)


def lanes_and_queue(
    logits_fn: LogitsFn,
    params: Any,
    options: AttackOptions,
    x: Float[np.ndarray, "B *image"],
    devices: Sequence[Any],
) -> tuple[int, int]:
    """Images that a device works on side by side, and images that it is given at a time.

    A few images take no more lanes than the power of 2 they need. Lanes are multiples of 8, as
    suits XLA's CPU kernels.
    """
    share = math.ceil(len(x) / len(devices))
    lanes = options.batch_size
    if lanes is None:
        state = x[0].nbytes * (2 * options.history_size + 8)
        size = state + _activations_size(logits_fn, params, x[:1])
        if devices[0].platform == "cpu":  # in the cache; and in the end, few lanes run idle
            lanes = min(64, 2**22 // size, share // 16)
        else:  # as much work as fits a part of the memory
            lanes = min(4096, 2**32 // size)
    lanes = 8 * math.ceil(max(1, min(lanes, _power_of_2(share))) / 8)
    if options.solver == "lbfgsb":
        return lanes, lanes
    return lanes, lanes * min(MAX_ROUNDS, _power_of_2(math.ceil(share / lanes)))


def _activations_size(logits_fn, params, image):
    """Bytes that are read and written for one more image, by XLA's estimate."""

    def total(count):
        images = jax.ShapeDtypeStruct((count, *image.shape[1:]), image.dtype)
        analysis = jax.jit(logits_fn).lower(params, images).cost_analysis() or {}
        return analysis.get("bytes accessed", 0)

    return int(max(0, total(2) - total(1)))


def _power_of_2(number):
    return 2 ** math.ceil(math.log2(number))
