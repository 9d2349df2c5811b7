"""How near adversarial examples are to photographs, and what becomes of them (sec. 4.2, Figure 5).

Networks may see photographs at several sizes: what is made for one is resized for another.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, concatenated
from jaxadv.attacks.sampling import gaussian_noise, wrong_targets
from jaxadv.attacks.stored import logits_in_batches
from jaxadv.datasets.photographs import Photographs
from jaxadv.measures.robustness import rounded
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress, attack

BATCH = 32  # photographs that are in memory at a time
PROBLEMS = 16  # per file of results: an interruption loses at most so many


class Problems(NamedTuple):
    """P pairs of a photograph and a class to reach."""

    photograph: Int[np.ndarray, " P"]  # its number among those attacked
    label: Int[np.ndarray, " P"]
    target: Int[np.ndarray, " P"]
    random: Bool[np.ndarray, " P"]  # else it is the class that is the same for all


class Attacked(NamedTuple):
    """What was found for a network, which sees the photographs at a size of its own."""

    model: Model
    x: Float32[np.ndarray, "P side side 3"]  # the photograph of each problem
    found: AttackResult


class Fed(NamedTuple):
    """What the networks make of changed photographs, as fractions."""

    distortion: float  # root mean square, mean over problems
    wrong: list[float | None]  # of another class than the label, per network; None of no images
    target: list[float | None]  # of the target; None where there is none, too


def ranks(model: Model, photographs: Photographs, side: int) -> Int[np.ndarray, " N"]:
    """Numbers of classes that a network puts before the label, or cannot tell from it by NaN."""
    found = []
    for start in range(0, len(photographs.names), BATCH):
        images, labels = photographs.at(side, slice(start, start + BATCH))
        logits = logits_in_batches(model.network.logits, model.params, images)
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        found.append((~(logits <= own)).sum(axis=1))
    return np.concatenate(found)


def problems(labels: Int[np.ndarray, " n"], classes: int, seed: int, target: int) -> Problems:
    """Each photograph towards a random wrong class, then towards one that is the same for all.

    Those of the latter class are left out there.

    Example:
      >>> problems(np.array([5, 9]), classes=10, seed=0, target=9).random.tolist()
      [True, True, False]
    """
    random = wrong_targets(labels, classes, seed)
    others = np.flatnonzero(labels != target)
    chosen = np.concatenate([np.arange(len(labels)), others])
    targets = np.concatenate([random, np.full(len(others), target)])
    return Problems(chosen, labels[chosen], targets, np.arange(len(chosen)) < len(labels))


def attacked(
    model: Model,
    images: Float32[np.ndarray, "n side side 3"],
    problems: Problems,
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> Attacked:
    """Attacks a network, or reads what was found before, in files of `PROBLEMS` each.

    Args:
      model: the network.
      images: the photographs attacked.
      problems: on them.
      options: settings of the attack.
      cache_dir: where adversarial examples are kept.
      progress: called with the model's name and the number of problems just completed.
    """
    x, results = images[problems.photograph], []
    for start in range(0, len(x), PROBLEMS):
        part = slice(start, start + PROBLEMS)
        files = attack(model, x[part], problems.target[part], options, cache_dir, progress)
        results += [result for _, result in files]
    return Attacked(model, x, concatenated(results))


def after_rounding(
    attacked: Attacked, problems: Problems, factors: Sequence[float]
) -> Bool[np.ndarray, "factors 2 P"]:
    """Whether x + factor · r is taken for the target, as it is and rounded to 8 bits.

    Rounded images are clipped to [0, 1], others are not.
    """
    r = attacked.found.x_adv - attacked.x
    found = []
    for factor in factors:
        changed = attacked.x + np.float32(factor) * r if factor != 1 else attacked.found.x_adv
        classes = [predicted(attacked.model, each) for each in (changed, rounded(changed))]
        found.append([each == problems.target for each in classes])
    return np.array(found)


def transfer(
    results: Sequence[Attacked], problems: Problems, distortion: float, seed: int
) -> Iterator[tuple[str, Fed]]:
    """Feeds what was found for each network to all: as it is, and brought to a distortion.

    The difference r is `resized`, and added to the photograph as the other network sees it, so that
    the photograph itself is no blurrier than it always is. The last row is Gaussian noise of that
    distortion. None of these images are clipped to [0, 1]. Only successes are fed.

    Args:
      results: of networks.
      problems: that were attacked.
      distortion: root mean square, to which examples are brought.
      seed: of the noise.

    Yields:
      What a row is called, and what the networks make of it.
    """
    for to in (None, distortion):
        for made in results:
            kept = made.found.success
            r = (made.found.x_adv - made.x)[kept]
            size = np.array(to or made.found.distortion[kept], np.float32)
            images = [each.x[kept] + resized(r, each.x.shape[1], size) for each in results]
            name = made.model.name + (f" to {to:g}" if to else "")
            chosen = Problems(*(array[kept] for array in problems))
            yield name, _fed(results, images, chosen, float(size.mean()) if kept.any() else 0.0)
    noisy = [gaussian_noise(each.x[problems.random], distortion, seed) for each in results]
    chosen = Problems(*(array[problems.random] for array in problems))
    fed = _fed(results, noisy, chosen, distortion)
    nothing: list[float | None] = [None] * len(results)
    yield f"noise {distortion:g}", fed._replace(target=nothing)


def resized(
    r: Float32[np.ndarray, "P side side 3"], side: int, distortion: Shaped[np.ndarray, "..."]
) -> Float32[np.ndarray, "P other other 3"]:
    """Differences at another size (bicubic, anti-aliased), brought to a root mean square.

    Args:
      r: differences of images.
      side: of the squares.
      distortion: of all, or (P,) of each. Differences of 0 stay so.

    Example:
      >>> bool(np.sqrt(np.mean(resized(np.ones((1, 4, 4, 3), "f4"), 6, np.array(0.5)) ** 2)) == 0.5)
      True
    """
    if r.shape[1] != side:
        r = np.asarray(jax.image.resize(r, (len(r), side, side, 3), "cubic"))
    rms = np.sqrt(np.mean(r**2, axis=(1, 2, 3), keepdims=True))
    wanted = np.broadcast_to(distortion, len(r)).reshape(-1, 1, 1, 1)
    return (r * (wanted / np.where(rms > 0, rms, 1))).astype(np.float32)


def predicted(model: Model, images: Float32[np.ndarray, "P side side 3"]) -> Int[np.ndarray, " P"]:
    """Classes that images, at least one, are taken for."""
    return logits_in_batches(model.network.logits, model.params, images).argmax(axis=1)


def _fed(results, images, problems, distortion):
    if not len(problems.target):
        nothing: list[float | None] = [None] * len(results)
        return Fed(distortion, nothing, nothing)
    classes = [predicted(each.model, x) for each, x in zip(results, images, strict=True)]
    return Fed(
        distortion,
        [float(np.mean(each != problems.label)) for each in classes],
        [float(np.mean(each == problems.target)) for each in classes],
    )
