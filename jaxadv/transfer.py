"""How adversarial examples made for one model fare on others (sec. 4.2, Tables 1 and 2)."""

import dataclasses
from collections.abc import Callable, Sequence
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

CHUNK = 4096  # images per file: what an interruption can lose


class Noise(NamedTuple):
    """Images with Gaussian noise: the control."""

    stddev: float
    distortion: float  # root mean square, measured
    error: list[float]  # per model


class TransferResult(NamedTuple):
    """Tables 1 and 2 for `models`, and what they were computed from."""

    models: Sequence[Model]
    targets: np.ndarray
    examples: Sequence[AttackResult]  # per model
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
    examples = [attack(model, images, targets, options, cache_dir, progress) for model in models]

    def errors(inputs):
        return [error_rate(m.network.logits, m.params, inputs, labels) for m in models]

    noise = []
    for stddev in noise_stddevs:
        noisy = gaussian_noise(images, stddev, seed)
        noise.append(Noise(stddev, float(np.sqrt(np.mean((noisy - images) ** 2))), errors(noisy)))
    return TransferResult(
        models, targets, examples, np.array([errors(result.x_adv) for result in examples]), noise
    )


def attack(
    model: Model,
    images: np.ndarray,
    targets: np.ndarray,
    options: AttackOptions,
    cache_dir: Path,
    progress: Callable[[Model, int], None] | None = None,
) -> AttackResult:
    """`minimal_adversarial`, kept in files of `CHUNK` images each, so that it can be resumed."""
    # The batch size changes the speed, not the result.
    settings = dataclasses.replace(options, batch_size=None)
    code = cache.source_fingerprint(jaxadv.attacks, jaxadv.solvers)
    chunks = []
    for start in range(0, len(images), CHUNK):
        x, target = images[start : start + CHUNK], targets[start : start + CHUNK]
        key = cache.fingerprint(model.params, repr(model.network), settings, code, x, target)

        def solve(x=x, target=target):
            report = progress and (lambda count: progress(model, count))
            return minimal_adversarial(
                model.network.logits, model.params, x, target, options, progress=report
            )._asdict()

        path = Path(cache_dir, "attacks", f"{model.name}-{start:06d}-{key}.npz")
        found = path.exists()
        chunks.append(AttackResult(**cache.stored(path, solve)))
        if progress and found:
            progress(model, len(x))
    return AttackResult(*map(np.concatenate, zip(*chunks, strict=True)))
