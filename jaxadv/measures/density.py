"""Which fraction of random perturbations of a given size change the class of an image.

Szegedy et al. (2013) leave open how often adversarial negatives appear (sec. 5). The size is given
in units of the distance D = ‖r‖ of the nearest adversarial example found, so that images compare.
"""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its parts when they are used, as they take half a second
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.datasets import Dataset
from jaxadv.measures.nearest import Nearest
from jaxadv.storage.devices import batches, sharded
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress

REGIONS = ("isotropic", "around the example", "in the span")
MAX_SAMPLES = 2**30  # per image, norm and region: counts are int32
IMAGES = 4  # that each device is given at a time


class Counts(NamedTuple):
    """What was measured for a network."""

    model: Model
    examples: Nearest
    changed: np.ndarray  # (images, regions, norms) perturbations that changed the class
    seconds: float  # that the sampling took, compilation included


class _Image(NamedTuple):
    """One image, or several along a leading axis, as the compiled function takes them."""

    number: jax.Array | np.ndarray  # () in the whole array
    x: jax.Array | np.ndarray
    label: jax.Array | np.ndarray
    samples: jax.Array | np.ndarray  # () 0 for padding
    x_adv: jax.Array | np.ndarray
    distance: jax.Array | np.ndarray
    basis: jax.Array | np.ndarray


def count_all_changed(
    models: Sequence[Model],
    chosen: Sequence[Dataset],
    examples: Sequence[Nearest],
    norms: Sequence[float],
    samples: int,
    seed: int,
    *,
    clip: bool = False,
    progress: NamedProgress | None = None,
) -> list[Counts]:
    """`count_changed` for each network, on its own images; `progress` is told its name, too."""
    counts = []
    for model, (x, label), near in zip(models, chosen, examples, strict=True):
        start = time.perf_counter()
        report = progress and functools.partial(progress, model.name)
        logits_fn, settings = model.network.logits, (norms, samples, seed)
        options = {"clip": clip, "progress": report}
        changed = count_changed(logits_fn, model.params, x, label, near, *settings, **options)
        counts.append(Counts(model, near, changed, time.perf_counter() - start))
    return counts


def count_changed(
    logits_fn: LogitsFn,
    params: Any,
    x: np.ndarray,
    label: np.ndarray,
    examples: Nearest,
    norms: Sequence[float],
    samples: int,
    seed: int,
    *,
    clip: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Counts the random perturbations after which the class is not the image's, in three regions.

    With u uniform on the unit sphere of all directions and v on that of the span, and s a norm:
    isotropic is x + s D u; around the example, x_adv + s D u; in the span, x + s D v. As x_adv lies
    barely beyond the boundary, the fraction around it is 1 for the smallest s. From there on it is
    1/2 where the boundary is flat, and less where the other class ends there in a corner.

    The same u and v serve for all norms, and u in two regions, so that the points of a curve are
    correlated. Each sample has a key of its own, from the seed, the image's index and the sample's:
    counts do not depend on the number of devices or on the batch size, but for rounding of the
    logits. Samples are drawn on the devices, and only counts leave them.

    Args:
      logits_fn: pure function (params, (B, …) images) -> (B, k) logits. Static under jit.
      params: pytree of arrays.
      x: (N, …) images in [0, 1].
      label: (N,) their classes by logits_fn.
      examples: of these images; where there is none, nothing is counted.
      norms: S norms s, in units of D.
      samples: per image, norm and region, from 1 to 2³⁰.
      seed: of the perturbations.
      clip: whether perturbed images are clipped to [0, 1], which makes perturbations smaller.
      batch_size: samples that each device draws side by side, rounded up to a multiple of 8; by
        default as many as suit it.
      progress: called with the number of images just completed.

    Returns:
      (N, 3, S) int32 counts, in the order of `REGIONS`.

    Raises:
      ValueError: samples is out of range.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ValueError(f"samples must be from 1 to {MAX_SAMPLES}, got {samples}")
    devices = tuple(jax.local_devices())
    if batch_size is None:
        # Few on a CPU: its cache must hold the activations.
        batch_size = 8 if devices[0].platform == "cpu" else min(samples, 8192)
    count = _sharded_count(logits_fn, -(-batch_size // 8) * 8, clip, devices)
    images = _Image(
        number=np.arange(len(x), dtype=np.int32),
        x=x,
        label=np.asarray(label, np.int32),
        samples=np.where(examples.found, samples, 0).astype(np.int32),
        x_adv=examples.x_adv,
        distance=examples.distance.astype(x.dtype),
        basis=examples.basis,
    )
    key, sizes = jax.random.key(seed), np.asarray(norms, x.dtype)
    parts = []
    for real, part in batches(images, IMAGES * len(devices)):
        with jax.default_matmul_precision("highest"):  # as attacks: examples are on boundaries
            parts.append(np.asarray(count(params, key, sizes, part))[:real])
        if progress:
            progress(real)
    return np.concatenate(parts)


@functools.lru_cache(maxsize=64)
def _sharded_count(logits_fn, batch_size, clip, devices):
    """Compiled (params, key, norms, images) -> counts, with a loop of its own per device."""

    def count(params, key, norms, images):
        one = functools.partial(_count, logits_fn, batch_size, clip, params, key, norms)
        return jax.lax.map(one, images)

    return sharded(count, devices, whole=3)


def _count(logits_fn, batch_size, clip, params, key, norms, image):
    """(3, S) counts for one image, batch by batch."""
    key = jax.random.fold_in(key, image.number)
    centres = jnp.stack([image.x, image.x_adv, image.x])[:, None]

    def add(batch, counts):
        sample = batch * batch_size + jnp.arange(batch_size)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(sample)
        u, v = jax.vmap(functools.partial(_directions, image.basis))(keys)
        directions = jnp.stack([u, u, v]).reshape(3, batch_size, *image.x.shape)

        def changed(norm):
            x = centres + norm * image.distance * directions
            x = jnp.clip(x, 0, 1) if clip else x
            logits = logits_fn(params, x.reshape(-1, *image.x.shape))
            other = jnp.argmax(logits, axis=1).reshape(3, batch_size) != image.label
            return jnp.sum(other & (sample < image.samples), axis=1)

        return counts + jax.lax.map(changed, norms).T

    batches = (image.samples + batch_size - 1) // batch_size
    return jax.lax.fori_loop(0, batches, add, jnp.zeros((3, len(norms)), jnp.int32))


def _directions(basis, key):
    """Two unit vectors (n,): uniform among all, and among those that the rows of basis span."""
    everywhere, within = jax.random.split(key)
    u = jax.random.normal(everywhere, basis.shape[1:], basis.dtype)
    v = jax.random.normal(within, basis.shape[:1], basis.dtype) @ basis
    return u / jnp.linalg.norm(u), v / jnp.linalg.norm(v)


def flat_fraction(norm: ArrayLike, n: int) -> Float[np.ndarray, "*norms"]:
    """The fraction of directions in n dimensions that cross a flat boundary at distance 1.

    A spherical cap: ½ I_{1 − 1/s²}((n − 1)/2, ½) for norms s > 1, where I is the regularised
    incomplete beta function, and 0 for others.
    """
    norms = np.maximum(np.asarray(norm, float), 1.0)
    return np.asarray(0.5 * scipy.special.betainc((n - 1) / 2, 0.5, 1 - norms**-2.0))
