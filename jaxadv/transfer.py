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


class Noise(NamedTuple):
    """Images with Gaussian noise: the control."""

    stddev: float
    distortion: float  # root mean square, measured
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
    noise: list[Noise]


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
    progress: Callable[[Model, int], None] | None = None,
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
      progress: called with a model and the number of images just completed.
    """
    count = len(images)
    examples, error = [], []
    for model in models:
        files, parts, wrong = [], [], np.zeros(len(models))
        chunks = attack(model, images, targets, options, cache_dir, progress)
        for part, (path, result) in zip(_chunks(count), chunks, strict=True):
            wrong += len(result.x_adv) * _errors(models, result.x_adv, labels[part])
            files.append(path)
            parts.append(tuple(getattr(result, name) for name in Examples._fields[:-1]))
        examples.append(Examples(*map(np.concatenate, zip(*parts, strict=True)), files))
        error.append(wrong / count)
    noise = []
    for stddev in noise_stddevs:
        wrong, squares = np.zeros(len(models)), 0.0
        for part in _chunks(count):
            noisy = gaussian_noise(images[part], stddev, seed, first=part.start)
            wrong += len(noisy) * _errors(models, noisy, labels[part])
            squares += float(np.sum(np.square(noisy - images[part], dtype=np.float64)))
        distortion = math.sqrt(squares / images.size)
        noise.append(Noise(stddev, distortion, (wrong / count).tolist()))
    return TransferResult(models, targets, examples, np.array(error), noise)


def _chunks(count):
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _errors(models, images, labels):
    return np.array([error_rate(m.network.logits, m.params, images, labels) for m in models])


def attack(
    model: Model,
    images: np.ndarray,
    targets: np.ndarray,
    options: AttackOptions,
    cache_dir: Path,
    progress: Callable[[Model, int], None] | None = None,
) -> Iterator[tuple[Path, AttackResult]]:
    """`minimal_adversarial`, kept in files of `CHUNK` images each, so that it can be resumed."""
    # The batch size changes the speed, not the result.
    settings = dataclasses.replace(options, batch_size=None)
    code = cache.source_fingerprint(jaxadv.attacks, jaxadv.solvers)
    for part in _chunks(len(images)):
        x, target = images[part], targets[part]
        key = cache.fingerprint(model.params, repr(model.network), settings, code, x, target)

        def solve(x=x, target=target):
            report = progress and (lambda count: progress(model, count))
            return minimal_adversarial(
                model.network.logits, model.params, x, target, options, progress=report
            )._asdict()

        path = Path(cache_dir, "attacks", f"{model.name}-{part.start:06d}-{key}.npz")
        found = path.exists()
        result = AttackResult(**cache.stored(path, solve))
        if progress and found:
            progress(model, len(x))
        yield path, result
