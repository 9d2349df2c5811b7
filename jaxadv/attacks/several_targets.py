"""Attacks towards several classes: all of them, or the nearest few, to leave the class of x."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxadv.attacks import checks, queues
from jaxadv.attacks.lockstep.state import Stage
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, concatenated
from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.storage.devices import padded, side_by_side

PROBLEMS = 2**14  # at a time, at most, where images are repeated for several targets
PART_SIZE = 2**28  # bytes of their images, at most
LIKELY = 9  # classes, those of the largest logits, among which the nearest are looked for


def all_targets(
    logits_fn: LogitsFn,
    params: Any,
    x: ArrayLike,
    options: AttackOptions | None = None,
    *,
    progress: Progress | None = None,
) -> AttackResult:
    """Approximates D(x, l) for every class l; see `minimal_adversarial`.

    Args:
      logits_fn: as for `minimal_adversarial`.
      params: as there.
      x: (B, …) as there.
      options: as there.
      progress: told numbers of images.

    Returns:
      An `AttackResult` of arrays of shape (B, k, …). Where l is the class of x, r = 0.

    Raises:
      ValueError: as `minimal_adversarial`.
    """
    options = checks.checked_options(options)
    x = checks.checked_images(x)
    x, _ = checks.validated(logits_fn, params, x, np.zeros(len(x), int))
    classes = checks.number_of_classes(logits_fn, params, x[:1])

    def targets(part):
        return np.tile(np.arange(classes, dtype=np.int32), (len(x[part]), 1))

    parts = _attack_each(logits_fn, params, x, classes, targets, options, progress)
    return concatenated([*parts])


def untargeted(
    logits_fn: LogitsFn,
    params: Any,
    x: ArrayLike,
    label: ArrayLike,
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
    options = checks.checked_options(options)
    x, label = checks.validated(logits_fn, params, x, label, name="label")
    others = checks.number_of_classes(logits_fn, params, x[:1]) - 1
    classes = min(4, others) if classes is None else classes
    if not 1 <= classes <= others:
        raise ValueError(f"classes must be from 1 to {others}, got {classes}")
    likely = min(others, max(classes, LIKELY))

    def nearest(part):
        count = len(x[part])
        arrays = padded((x[part], label[part]), 8 * 2 ** math.ceil(math.log2(max(1, count / 8))))
        with jax.default_matmul_precision("highest"):
            return _nearest_classes(logits_fn, params, *arrays, classes, likely)[:count]

    def smallest(results):
        best = np.argmin(np.where(results.success, results.distortion, np.inf), axis=1)
        chosen = AttackResult(*(array[np.arange(len(best)), best] for array in results))
        return chosen._replace(
            evaluations=results.evaluations.sum(axis=1) + likely,
            cost=results.cost.sum(axis=1) + likely,
            by_stage=results.by_stage.sum(axis=1) + likely * (np.arange(Stage.DONE) == Stage.START),
        )

    parts = _attack_each(logits_fn, params, x, classes, nearest, options, progress)
    return concatenated([smallest(part) for part in parts])


def _attack_each(logits_fn, params, x, count, targets, options, progress):
    """Attacks images towards `count` classes each, a part of them at a time.

    Yields results of shape (part, count, …). `targets` maps a slice of x to its (part, count)
    classes.
    """
    size = max(1, min(PROBLEMS, PART_SIZE // x[0].nbytes) // count)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        problems = np.repeat(x[part], count, axis=0), np.asarray(targets(part)).reshape(-1)
        told = progress and _Whole(count, progress)
        result = queues.attack(logits_fn, params, *problems, options, told)
        yield jax.tree.map(lambda array: array.reshape(-1, count, *array.shape[1:]), result)


class _Whole:
    """Progress in images, from progress in problems, of which there are `each` to an image."""

    def __init__(self, each, progress):
        self.each, self.progress, self.problems = each, progress, 0

    def __call__(self, problems):
        before, self.problems = self.problems, self.problems + problems
        self.progress(self.problems // self.each - before // self.each)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _nearest_classes(logits_fn, params, x, label, classes, likely):
    """(B, classes) nearest of the `likely` most likely ones, by the distances of linear logits."""

    def distances(x, label):
        logits, pullback = jax.vjp(lambda x: logits_fn(params, x[None])[0], x)
        lowest = jnp.finfo(logits.dtype).min  # of others, so that the label comes after them
        others = jnp.where(jnp.arange(len(logits)) == label, -jnp.inf, logits.clip(lowest))
        values, indices = jax.lax.top_k(others, likely)
        rows = jax.nn.one_hot(label, len(logits)) - jax.nn.one_hot(indices, len(logits))
        gradients = jax.vmap(lambda row: pullback(row.astype(logits.dtype))[0])(rows)
        norms = jnp.sqrt(jnp.sum(gradients**2, axis=tuple(range(1, gradients.ndim))))
        distance = (logits[label] - values) / norms
        distance = jnp.where(jnp.isnan(distance), jnp.inf, distance)
        nearest = indices[jnp.argsort(distance)[:classes]]
        # Where x is misclassified, only the class it is taken for: there is nothing to look for.
        return jnp.where(values[0] > logits[label], indices[0], nearest)

    batch_size = side_by_side(8, x[0], each=likely)
    return jax.lax.map(lambda pair: distances(*pair), (x, label), batch_size=batch_size)
