"""Attacks towards several classes: all of them, or the nearest few, to leave the class of x."""

import dataclasses
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
from jaxadv.attacks.results import AttackResult, Status, concatenated
from jaxadv.attacks.types import SHARES, LogitsFn, Progress
from jaxadv.storage.devices import padded, side_by_side

PROBLEMS = 2**14  # at a time, at most, where images are repeated for several targets
PART_SIZE = 2**28  # bytes of their images, at most
# Of 382 images that FC123-456-10, LeNet-5 of another seed, and a network of 40 saturated units
# classify rightly, these leave out the nearest class of all for 2; the 4 that seem nearest leave it
# out for 5, and take as many gradients on the first network, 1.6 times as many on the second.
LIKELY = 9  # classes, those of the largest logits: the others are left out
NEAR = 2.0  # times the distance of the nearest, were the logits linear: farther ones are left out
CLOSE = 1.1  # times the least distortion that descents find: classes of larger ones are left out


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

    def attack(x):
        problems = (
            np.repeat(x, classes, axis=0),
            np.tile(np.arange(classes, dtype=np.int32), len(x)),
        )
        told = progress and _InImages(progress, len(x), len(x) * classes)
        result = queues.attack(logits_fn, params, *problems, options, told)
        return AttackResult(*(each.reshape(-1, classes, *each.shape[1:]) for each in result))

    return concatenated([attack(x[part]) for part in _parts(x, classes)])


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

    Attacks towards the classes that seem nearest, and keeps the smallest distortion of each image.
    Left out are those whose boundary would be more than twice as far as that of the nearest, were
    the logits linear (DeepFool's estimate, arXiv 1511.04599, eq. 8, within the box), unless none of
    the others is reached; and where `options` ask for much more than descents, those to which these
    find more than 1.1 times the least distortion. Descents have a `max_evaluations` of their own.

    Args:
      logits_fn: as for `minimal_adversarial`.
      params: as there.
      x: as there.
      label: (B,) integer classes to leave; where x is classified otherwise, r = 0.
      options: as there.
      classes: number of classes attacked per image, at most; by default 9.
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
    classes = min(LIKELY, others) if classes is None else classes
    if not 1 <= classes <= others:
        raise ValueError(f"classes must be from 1 to {others}, got {classes}")
    likely = min(others, max(classes, LIKELY))

    def attack(x, label):
        arrays = padded((x, label), 8 * 2 ** math.ceil(math.log2(max(1, len(x) / 8))))
        with jax.default_matmul_precision("highest"):
            nearest = _nearest_classes(logits_fn, params, *arrays, classes, likely)
        targets, close = (np.asarray(array)[: len(x)] for array in nearest)
        image, place = np.nonzero(close)
        problems = x, image, targets[image, place]
        tried = [_attacked(logits_fn, params, *problems, options, progress)]
        found = _smallest(tried, likely)
        lost = found.status == Status.NOT_FOUND
        image, place = np.nonzero(lost[:, None] & ~close)
        if len(image):
            problems = x[image], targets[image, place]
            tried.append((image, queues.attack(logits_fn, params, *problems, options, None)))
            found = _smallest(tried, likely)
        return found

    return concatenated([attack(x[part], label[part]) for part in _parts(x, classes)])


def _parts(x, count):
    """Slices of as many images as may be repeated so many times."""
    size = max(1, min(PROBLEMS, PART_SIZE // x[0].nbytes) // count)
    return [slice(start, start + size) for start in range(0, len(x), size)]


class _InImages:
    """Progress in images, from progress in problems."""

    def __init__(self, progress, images, problems):
        self.progress, self.images, self.problems, self.done = progress, images, problems, 0

    def __call__(self, problems):
        before, self.done = self.done, self.done + problems
        self.progress(self._images(self.done) - self._images(before))

    def _images(self, problems):
        return int(SHARES * problems) * self.images // self.problems / SHARES


def _attacked(logits_fn, params, x, image, target, options, progress):
    """Attacks images, by their numbers, towards targets, unless descents show these to be far.

    Returns numbers of images, and a result for each.
    """

    def attack(chosen, options, images):
        told = progress and _InImages(progress, images, int(chosen.sum()))
        problems = x[image[chosen]], target[chosen]
        return image[chosen], queues.attack(logits_fn, params, *problems, options, told)

    several = np.bincount(image)[image] > 1
    chosen, tried, told = np.ones_like(several), [], 0
    if _is_long(options) and several.any():
        told = len(x) // 4
        numbers, found = attack(several, _descents(options), told)
        tried.append((numbers, found))
        chosen[several] = _are_close(numbers, found, len(x))
    tried.append(attack(chosen, options, len(x) - told))
    numbers, results = zip(*tried, strict=True)
    return np.concatenate(numbers), concatenated(results)


def _is_long(options):
    """Whether attacks take much longer than descents, at least where the boundary is not smooth."""
    averages = options.smoothing_steps > 60 and options.temperature is not None
    return options.solver == "lockstep" and (averages or options.rounds > 1)


def _descents(options):
    """An attack's beginning, cut short."""
    return dataclasses.replace(
        options,
        **{"smoothing_steps": 0, "restart": False, "rounds": 1},
        tol=max(options.tol, 3e-4),
        max_iterations=min(options.max_iterations, 20),
    )


def _are_close(image, result, count):
    """Which results are about the smallest of their image, or have failed."""
    distortion, least = _found(result), np.full(count, np.inf)
    np.minimum.at(least, image, distortion)
    return ~result.success | (distortion <= CLOSE * least[image])


def _smallest(tried, before):
    """The smallest result of each image, with the gradients of all, and as many before them.

    Args:
      tried: numbers of images, and a result for each, several times.
      before: gradients.
    """
    images, results = zip(*tried, strict=True)
    image, result = np.concatenate(images), concatenated(results)
    order = np.lexsort((_found(result), image))
    first = np.unique(image[order], return_index=True)[1]
    smallest = AttackResult(*(each[order[first]] for each in result))
    counts = result.evaluations, result.cost, result.by_stage
    evaluations, cost, by_stage = (np.add.reduceat(each[order], first) for each in counts)
    return smallest._replace(
        evaluations=evaluations + before,
        cost=cost + before,
        by_stage=by_stage + before * (np.arange(Stage.DONE) == Stage.START),
    )


def _found(result):
    """Distortions, infinite where none was found."""
    return np.where(result.success, result.distortion, np.inf)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _nearest_classes(logits_fn, params, x, label, classes, likely):
    """(B, classes) nearest of the `likely` most likely ones, and which of them are to be attacked.

    Nearest by the distances of linear logits, where r must not leave the box at once. Those farther
    than `NEAR` times the nearest are not to be attacked.
    """

    def distances(x, label):
        logits, pullback = jax.vjp(lambda x: logits_fn(params, x[None])[0], x)
        lowest = jnp.finfo(logits.dtype).min  # of others, so that the label comes after them
        others = jnp.where(jnp.arange(len(logits)) == label, -jnp.inf, logits.clip(lowest))
        values, indices = jax.lax.top_k(others, likely)
        rows = jax.nn.one_hot(label, len(logits)) - jax.nn.one_hot(indices, len(logits))
        gradients = jax.vmap(lambda row: pullback(row.astype(logits.dtype))[0])(rows)
        outwards = ((x <= 0) & (gradients > 0)) | ((x >= 1) & (gradients < 0))
        gradients = jnp.where(outwards, 0, gradients)
        norms = jnp.sqrt(jnp.sum(gradients**2, axis=tuple(range(1, gradients.ndim))))
        distance = (logits[label] - values) / norms
        distance = jnp.where(jnp.isnan(distance), jnp.inf, distance)
        order = jnp.argsort(distance)[:classes]
        # Where x is misclassified, only the class it is taken for: there is nothing to look for.
        order = jnp.where(values[0] > logits[label], jnp.arange(classes), order)
        is_right = values[0] <= logits[label]
        close = is_right & (distance[order] <= NEAR * distance[order[0]])
        return indices[order], close.at[0].set(True)

    batch_size = side_by_side(8, x[0], each=likely)
    return jax.lax.map(lambda pair: distances(*pair), (x, label), batch_size=batch_size)
