"""Minimum-distortion adversarial examples for whole arrays of images."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxadv.attacks import checks
from jaxadv.attacks.lockstep import loop as lockstep
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status

MAX_ROUNDS = 32  # a queue is at most so many times as long as the lanes are many
PROBLEMS = 2**14  # at a time, at most, where images are repeated for several targets
PART_SIZE = 2**28  # bytes of their images, at most
LIKELY = 9  # classes, those of the largest logits, among which the nearest are looked for

LogitsFn = Callable[[Any, jax.Array], jax.Array]
Progress = Callable[[int], None]


def minimal_adversarial(
    logits_fn: LogitsFn,
    params: Any,
    x: np.ndarray,
    target: np.ndarray,
    options: AttackOptions | None = None,
    *,
    progress: Progress | None = None,
) -> AttackResult:
    """Approximates D(x, l): the smallest r with f(x + r) = l and x + r in [0, 1].

    Szegedy et al. (2013), sec. 4.1. The images are given in queues to all local devices. Success is
    judged by a forward pass of its own on the images returned, in full float32 precision (on
    accelerators with faster, less precise matrix products, jax.default_matmul_precision "highest").

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
      ValueError: x, target or logits_fn are not as above, or none of the first 256 images has
        finite logits.
    """
    x, target = checks.validated(logits_fn, params, x, target)
    return _attack(logits_fn, params, x, target, options or AttackOptions(), progress)


def all_targets(
    logits_fn: LogitsFn,
    params: Any,
    x: np.ndarray,
    options: AttackOptions | None = None,
    *,
    progress: Progress | None = None,
) -> AttackResult:
    """D(x, l) for every class l: as `minimal_adversarial`, with arrays of shape (B, k, …).

    Where l is the class of x, r = 0. `progress` is told numbers of images.
    """
    x, _ = checks.validated(logits_fn, params, x, np.zeros(len(x), int))
    classes = checks.number_of_classes(logits_fn, params, x[:1])
    options = options or AttackOptions()

    def targets(part):
        return np.tile(np.arange(classes, dtype=np.int32), (len(x[part]), 1))

    parts = _attack_each(logits_fn, params, x, classes, targets, options, progress)
    return _concatenated([*parts])


def untargeted(
    logits_fn: LogitsFn,
    params: Any,
    x: np.ndarray,
    label: np.ndarray,
    options: AttackOptions | None = None,
    *,
    classes: int | None = None,
    progress: Progress | None = None,
) -> AttackResult:
    """The smallest r with f(x + r) ≠ label and x + r in [0, 1], approximately.

    Attacks towards the nearest few classes, and keeps the smallest distortion of each image. The
    nearest are those whose boundary would be, were the logits linear (DeepFool's estimate, arXiv
    1511.04599, eq. 8).

    Args:
      logits_fn: as for `minimal_adversarial`.
      params: as there.
      x: as there.
      label: (B,) integer classes to leave; where x is classified otherwise, r = 0.
      options: as there.
      classes: number of classes attacked per image; by default 4, or all where there are fewer.
      progress: told numbers of images.

    Returns:
      An `AttackResult`; `target` has the class reached, `evaluations` those towards all classes and
      for finding the nearest ones.

    Raises:
      ValueError: as `minimal_adversarial`; or `classes` is not from 1 to k − 1.
    """
    x, label = checks.validated(logits_fn, params, x, label, name="label")
    others = checks.number_of_classes(logits_fn, params, x[:1]) - 1
    classes = min(4, others) if classes is None else classes
    if not 1 <= classes <= others:
        raise ValueError(f"classes must be from 1 to {others}, got {classes}")
    likely = min(others, max(classes, LIKELY))

    def nearest(part):
        arrays = x[part], label[part]
        with jax.default_matmul_precision("highest"):
            return _nearest_classes(logits_fn, params, *arrays, classes, likely)

    def smallest(results):
        best = np.argmin(np.where(results.success, results.distortion, np.inf), axis=1)
        chosen = AttackResult(*(array[np.arange(len(best)), best] for array in results))
        return chosen._replace(
            evaluations=results.evaluations.sum(axis=1) + likely,
            cost=results.cost.sum(axis=1) + likely,
        )

    options = options or AttackOptions()
    parts = _attack_each(logits_fn, params, x, classes, nearest, options, progress)
    return _concatenated([smallest(part) for part in parts])


def _attack_each(logits_fn, params, x, count, targets, options, progress):
    """Attacks images towards `count` classes each, a part of them at a time.

    Yields results of shape (part, count, …). `targets` maps a slice of x to its (part, count)
    classes.
    """
    size = max(1, min(PROBLEMS, PART_SIZE // x[0].nbytes) // count)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        problems = np.repeat(x[part], count, axis=0), np.asarray(targets(part)).reshape(-1)
        result = _attack(logits_fn, params, *problems, options, _Whole(count, progress))
        yield jax.tree.map(lambda array: array.reshape(-1, count, *array.shape[1:]), result)


def _concatenated(results):
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


class _Whole:
    """Progress in images, from progress in problems, of which there are `each` to an image."""

    def __init__(self, each, progress):
        self.each, self.progress, self.problems = each, progress, 0

    def __call__(self, problems):
        before, self.problems = self.problems, self.problems + problems
        if self.progress:
            self.progress(self.problems // self.each - before // self.each)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _nearest_classes(logits_fn, params, x, label, classes, likely):
    """(B, classes) nearest of the `likely` most likely ones, by the distances of linear logits."""

    def distances(x, label):
        logits, pullback = jax.vjp(lambda x: logits_fn(params, x[None])[0], x)
        others = jnp.where(jnp.arange(len(logits)) == label, -jnp.inf, logits)
        values, indices = jax.lax.top_k(others, likely)
        rows = jax.nn.one_hot(label, len(logits)) - jax.nn.one_hot(indices, len(logits))
        gradients = jax.vmap(lambda row: pullback(row.astype(logits.dtype))[0])(rows)
        norms = jnp.sqrt(jnp.sum(gradients**2, axis=range(1, gradients.ndim)))
        distance = (logits[label] - values) / norms
        distance = jnp.where(jnp.isnan(distance), jnp.inf, distance)
        # Where x is misclassified, the nearest is the class it is taken for.
        distance = distance.at[0].min(jnp.where(values[0] > logits[label], -jnp.inf, jnp.inf))
        return indices[jnp.argsort(distance)[:classes]]

    return jax.lax.map(lambda pair: distances(*pair), (x, label), batch_size=8)


def _attack(logits_fn, params, x, target, options, progress) -> AttackResult:
    """Gives the problems to all local devices, queue by queue."""
    devices = tuple(jax.local_devices())
    lanes, queue = lanes_and_queue(logits_fn, params, options, x, devices)
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
    return _concatenated(results)


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
        from jaxadv.attacks import lbfgsb  # here, so that nothing else needs jaxopt

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
        target=target,
        cost=found.evaluations * (found.lane_ticks / found.evaluations.sum()),
    )


def _predictions(logits_fn, params, images, lanes):
    """The classes of a queue of images, in batches of the lanes' size."""
    batches = images.reshape(-1, lanes, *images.shape[1:])
    logits = jax.lax.map(functools.partial(logits_fn, params), batches)
    return jnp.argmax(logits, axis=-1).reshape(-1)


def lanes_and_queue(
    logits_fn: LogitsFn,
    params: Any,
    options: AttackOptions,
    x: np.ndarray,
    devices: tuple[jax.Device, ...],
) -> tuple[int, int]:
    """Images that a device works on side by side, and images that it is given at a time.

    A few images take no more lanes than the power of 2 they need. In multiples of 8 lanes, XLA's
    CPU kernels sum in the same order: results are the same bits.
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


def _padded(array, size):
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
