"""Attacks kept in files, so that they are resumed after an interruption, and not done twice."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from jaxadv.attacks import checks
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, concatenated
from jaxadv.attacks.several_targets import all_targets
from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.storage import cache
from jaxadv.storage.devices import batches, together

# What results follow from, besides a user's own functions; not imported, as networks are heavy.
CODE = [
    Path(__file__).parents[1] / each
    for each in ("attacks", "networks", "solvers", "spectral", "storage")
]
SAME = 1e-3  # of the logits' standard deviation, by how much they may differ between machines
TIE = 1e-6  # of the same, by how much a success may trail in another computation
CHUNK = 4096  # problems per file, at most: what memory must hold, and an interruption can lose
CHUNK_SIZE = 2**26  # bytes of their images, at most


def stored_attack(
    name: str,
    logits_fn: LogitsFn,
    params: Any,
    identity: str,
    images: Float[np.ndarray, "N *image"],
    targets: Int[np.ndarray, " N"],
    options: AttackOptions,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Iterator[tuple[Path, AttackResult]]:
    """`minimal_adversarial`, kept in files of `CHUNK` images at most.

    A file is read instead of made again where all is the same that its result depends on: the
    parameters, the images and targets, the options, whether JAX computes in float64, and the code.
    As `logits_fn` may depend on more than `identity` tells, the logits of the examples are kept,
    too, and compared with those that it has now: where they differ, the attack is made anew, with a
    warning.

    Args:
      name: of the network, which begins the names of its files.
      logits_fn: as for `minimal_adversarial`.
      params: as there.
      identity: tells `logits_fn` from others, as its code or the repr of the network does.
      images: (N, …) as there.
      targets: (N,) as there.
      options: as there.
      cache_dir: its folder "attacks" has the files.
      progress: as there; those of a file that is read are done at once.

    Yields:
      Each file, and the result in it, in the order of the images.

    Raises:
      ValueError: as `minimal_adversarial`.
    """
    made_by = _fingerprint(params, identity, options)
    for part in chunks(images):
        x, target = images[part], targets[part]

        def attack(x=x, target=target):
            return minimal_adversarial(logits_fn, params, x, target, options, progress=progress)

        path = _path(cache_dir, name, part, cache.fingerprint(made_by, x, target))
        yield path, _stored(path, attack, (logits_fn, params), len(x), progress)


def stored_all_targets(
    name: str,
    logits_fn: LogitsFn,
    params: Any,
    identity: str,
    images: Float[np.ndarray, "N *image"],
    options: AttackOptions,
    cache_dir: Path,
    progress: Progress | None = None,
) -> AttackResult:
    """`all_targets`, kept in files of about `CHUNK` problems each.

    Args:
      name: as for `stored_attack`, like the other arguments.
      logits_fn: as there.
      params: as there.
      identity: as there.
      images: (N, …) as there.
      options: as there.
      cache_dir: as there.
      progress: as there.

    Returns:
      As `all_targets`, arrays of shape (N, k, …).

    Raises:
      ValueError: as `all_targets`.
    """
    classes = checks.number_of_classes(logits_fn, params, images[:1])
    made_by = _fingerprint(params, identity, options)
    results = []
    for part in chunks(images, each=classes):
        x = images[part]

        def attack(x=x):
            return all_targets(logits_fn, params, x, options, progress=progress)

        path = _path(cache_dir, name, part, cache.fingerprint(made_by, x, "all targets"))
        results.append(_stored(path, attack, (logits_fn, params), len(x), progress))
    return concatenated(results)


def chunks(images: Float[np.ndarray, "N *image"], *, each: int = 1) -> list[slice]:
    """Slices of the images of a file, the last shorter, if there are `each` problems per image.

    Example:
      >>> chunks(np.zeros((5000, 28, 28, 1), "f4"))
      [slice(0, 4096, None), slice(4096, 5000, None)]
    """
    count, most = len(images), min(CHUNK, CHUNK_SIZE // images[0].nbytes)
    size = max(1, most // each)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _fingerprint(params, identity, options):
    """Of all that results follow from, but for the problems."""
    precision = str(jax.dtypes.canonicalize_dtype(np.float64))  # that JAX computes in
    code = cache.source_fingerprint(*CODE)
    return cache.fingerprint(params, identity, repr(options), precision, code)


def _path(cache_dir, name, part, key):
    name = name.replace(":", ".")  # which file names on Windows cannot hold
    return Path(cache_dir, "attacks", f"{name}-{part.start:06d}-{key}.npz")


def _stored(
    path: Path,
    attack: Callable[[], AttackResult],
    model: tuple[LogitsFn, Any],
    count: int,
    progress: Progress | None,
) -> AttackResult:
    """The result of an attack on so many images, from its file if it is there and of this model."""

    def make():
        result = attack()
        return result._asdict() | {"logits": _logits(*model, result.x_adv, result.success)}

    def usable(kept):
        if not _belongs(kept, model):
            warnings.warn(f"{path} is of a model with other logits: it is made anew", stacklevel=2)
            return False
        if progress:  # which else the attack tells
            progress(count)
        return True

    arrays = cache.stored(path, make, usable)
    return AttackResult(**{name: arrays[name] for name in AttackResult._fields})


def logits_in_batches(
    logits_fn: LogitsFn, params: Any, images: Float[np.ndarray, "B *image"]
) -> Shaped[np.ndarray, "B k"]:
    """Logits of many images, as precise as attacks take them; padded, so that one program does."""
    apply, size = jax.jit(logits_fn), together(images[0])
    with jax.default_matmul_precision("highest"):
        parts = [np.asarray(apply(params, x))[:count] for count, x in batches(images, size)]
    return np.concatenate(parts)


def _logits(logits_fn: LogitsFn, params: Any, x_adv: np.ndarray, success: np.ndarray):
    """Logits of all adversarial images, (…, k) for (…, *image) ones."""
    flat = x_adv.reshape(-1, *x_adv.shape[success.ndim :])
    logits = logits_in_batches(logits_fn, params, flat).astype(np.float32)
    return logits.reshape(*success.shape, -1)


def _belongs(arrays: dict[str, np.ndarray], model: tuple[LogitsFn, Any]) -> bool:
    """Whether the model has the logits that are kept, and the successes are successes on it."""
    kept, success = arrays["logits"], arrays["success"]
    now = _logits(*model, arrays["x_adv"], success)
    if now.shape != kept.shape:
        return False
    finite = kept[np.isfinite(kept)]
    scale = finite.std() if len(finite) else 0
    at_target = np.take_along_axis(now, arrays["target"][..., None], axis=-1)
    if not (now <= at_target + TIE * scale)[success].all():
        return False
    return bool(np.allclose(now, kept, rtol=0, atol=SAME * scale, equal_nan=True))
