"""How adversarial examples made for one model fare on others (sec. 4.2, Tables 1 and 2)."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jaxadv.attacks
import jaxadv.solvers
from jaxadv import cache
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.attacks.sampling import gaussian_noise
from jaxadv.training import error_rate
from jaxadv.zoo import Model

CHUNK = 4096  # images per file: what memory must hold, and an interruption can lose


class Fed(NamedTuple):
    """What the models make of changed images."""

    distortion: float  # root mean square over all pixels of all images
    error: list[float]  # per model


class Examples(NamedTuple):
    """Adversarial examples for one model; the images themselves are left in files."""

    distortion: np.ndarray  # (N,) root mean square
    success: np.ndarray  # (N,) bool
    evaluations: np.ndarray  # (N,) gradients of the network
    cost: np.ndarray  # (N,) the same, with a share of those of idle lanes
    files: list[Path]

    def images(self) -> Iterator[np.ndarray]:
        """The (n, …) adversarial images, file by file."""
        for path in self.files:
            with np.load(path) as file:
                yield file["x_adv"]


class TransferResult(NamedTuple):
    """Tables 1 and 2 for `models`, and what they were computed from."""

    models: Sequence[Model]
    targets: np.ndarray
    examples: Sequence[Examples]  # per model
    error: np.ndarray  # (rows: made for, columns: fed to), fractions of all attacked images
    noise: dict[float, Fed]  # by standard deviation


def transfer(
    models: Sequence[Model],
    images: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    *,
    options: AttackOptions,
    noise_stddevs: Sequence[float],
    seed: int,
    cache_dir: Path,
    progress: Callable[[str, int], None] | None = None,
) -> TransferResult:
    """Attacks every model on the same images and targets, and feeds the results to all of them.

    Memory holds the adversarial images of one file at a time.

    Args:
      models: trained networks.
      images: (N, …) float32 in [0, 1].
      labels: (N,) true classes.
      targets: (N,) wrong classes to reach.
      options: settings of the attack.
      noise_stddevs: one row of Gaussian noise for each; the noise is not clipped to [0, 1].
      seed: of the noise.
      cache_dir: where adversarial examples are kept.
      progress: called with a model's name and the number of images just completed.
    """
    examples = []
    for model in models:
        files, parts = [], []
        for path, result in attack(model, images, targets, options, cache_dir, progress):
            files.append(path)
            parts.append(tuple(getattr(result, name) for name in Examples._fields[:-1]))
        examples.append(Examples(*map(np.concatenate, zip(*parts, strict=True)), files))
    error = np.array([feed(models, images, labels, found.images()).error for found in examples])
    noise = {
        stddev: feed(models, images, labels, noisy(images, stddev, seed))
        for stddev in noise_stddevs
    }
    return TransferResult(models, targets, examples, error, noise)


def feed(
    models: Sequence[Model],
    images: np.ndarray,
    labels: np.ndarray,
    changed: Iterator[np.ndarray],
) -> Fed:
    """The models' errors on changed versions of (N, …) images, which come in chunks, in order."""
    wrong, squares, done = np.zeros(len(models)), 0.0, 0
    for x in changed:
        part = slice(done, done := done + len(x))
        errors = [error_rate(m.network.logits, m.params, x, labels[part]) for m in models]
        wrong += len(x) * np.array(errors)
        squares += float(np.sum(np.square(x - images[part], dtype=np.float64)))
    return Fed(math.sqrt(squares / images.size), (wrong / len(images)).tolist())


def noisy(images: np.ndarray, stddev: float, seed: int) -> Iterator[np.ndarray]:
    """The images with Gaussian noise, in chunks."""
    for part in _chunks(len(images)):
        yield gaussian_noise(images[part], stddev, seed, first=part.start)


def _chunks(count):
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def attack(
    model: Model,
    images: np.ndarray,
    targets: np.ndarray,
    options: AttackOptions,
    cache_dir: Path,
    progress: Callable[[str, int], None] | None = None,
) -> Iterator[tuple[Path, AttackResult]]:
    """`minimal_adversarial`, kept in files of `CHUNK` images each, so that it can be resumed."""
    # The batch size changes the speed, not the result.
    settings = dataclasses.replace(options, batch_size=None)
    code = cache.source_fingerprint(jaxadv.attacks, jaxadv.solvers)
    for part in _chunks(len(images)):
        x, target = images[part], targets[part]
        key = cache.fingerprint(model.params, repr(model.network), settings, code, x, target)

        def solve(x=x, target=target):
            report = progress and (lambda count: progress(model.name, count))
            return minimal_adversarial(
                model.network.logits, model.params, x, target, options, progress=report
            )._asdict()

        name = model.name.replace(":", ".")  # which file names on Windows cannot hold
        path = Path(cache_dir, "attacks", f"{name}-{part.start:06d}-{key}.npz")
        found = path.exists()
        result = AttackResult(**cache.stored(path, solve))
        if progress and found:
            progress(model.name, len(x))
        yield path, result
