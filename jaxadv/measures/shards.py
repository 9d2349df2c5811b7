"""Generated examples of a whole source, shard by shard."""

import contextlib
import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxadv.attacks.stored import logits_in_batches
from jaxadv.attacks.types import Progress
from jaxadv.datasets.examples import Examples
from jaxadv.datasets.reading import read
from jaxadv.measures.generation import Generation
from jaxadv.storage import cache
from jaxadv.storage.errors import InputError, described
from jaxadv.storage.manifests import SCHEMA, Layout
from jaxadv.storage.shards import Run
from jaxadv.zoo import Model

LOGITS = 2**12  # that a manifest holds of a model, or else those of one image


def manifest(
    generation: Generation,
    models: Sequence[Model],
    examples: Examples,
    *,
    size: int | None = None,
    images: int | None = None,
    shard_size: int | None = None,
) -> dict[str, Any]:
    """What identifies a run, for `jaxadv.storage.shards.begin`.

    Args:
      generation: what is done to each image.
      models: the one that is attacked, and those that the examples are fed to.
      examples: the images.
      size: to which they were brought, if at all.
      images: number of images, from the first on; by default all.
      shard_size: images of a shard; by default as many as suit.

    Raises:
      ValueError: there would be too many shards; or a model fails.
    """
    image_shape = examples.image_shape
    columns = generation.columns(image_shape).items()
    identity = {
        "schema": SCHEMA,
        "model": models[0].name,
        "data": {"name": examples.name, "size": size, "fingerprint": examples.fingerprint()},
        "fingerprints": {each.name: _fingerprints(each) for each in models},
        "logits": _logits(generation, models, examples),
        "classes": None if examples.classes is None else [*examples.classes],
        "mode": generation.mode,
        "target": generation.target,
        "seed": generation.seed,
        "certify": generation.certified is not None,
        "attack": dataclasses.asdict(generation.attack),
        "count": min(images or len(examples), len(examples)),
        "shard_size": generation.shard_size(image_shape) if shard_size is None else shard_size,
        "columns": {name: {"dtype": dtype, "shape": [*shape]} for name, (dtype, shape) in columns},
    }
    Layout.of(identity)
    return identity


def _fingerprints(model):
    params, code = model.identity
    return {"params": cache.fingerprint(params), "source_file": cache.fingerprint(code)}


def _logits(generation, models, examples) -> dict[str, list[list[float | None]]]:
    """Of images looked at, by model: they depend on more than its fingerprints tell."""
    functions = (generation.logits_fn, generation.params), *generation.others.values()
    images = np.array([examples[index].image for index in examples.sampled])
    return {
        model.name: _kept(model.name, function, images)
        for model, function in zip(models, functions, strict=True)
    }


def _kept(name, function, images: Float[np.ndarray, "B *image"]):
    logits_fn, params = function
    try:
        logits = logits_in_batches(logits_fn, params, images).astype(np.float32)
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"{name}: {described(error)}") from error
    few = logits[: max(1, LOGITS // logits.shape[1])].tolist()
    return [[float(f"{x:.6g}") if np.isfinite(x) else None for x in row] for row in few]


def generate(
    generation: Generation,
    examples: Examples,
    run: Run,
    missing: Sequence[int],
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """Makes the shards of a run that are missing, in order; warns of images it cannot attack.

    Args:
      generation: what to do.
      examples: all images.
      run: where to write.
      missing: numbers of shards.
      workers: processes that read images ahead; see `jaxadv.datasets.reading.read`.
      progress: told numbers of images.

    Raises:
      InputError: as `Generation`; or the model failed when it ran, as for lack of memory.
      RuntimeError: a worker that reads was killed.
      OSError: a shard cannot be written.
    """
    rows, size = _Rows(missing, run.layout), run.layout.size
    with contextlib.closing(read(examples, rows, batch_size=size, workers=workers)) as batches:
        for shard, batch in zip(missing, batches, strict=True):
            first = shard * size
            batch = generation.checked(batch)
            _warn_of_errors(batch, first)
            try:
                columns = generation(batch, first, progress)
            except jax.errors.JaxRuntimeError as error:
                last = first + len(batch.images) - 1
                raise InputError(f"images {first} to {last}: {described(error)}") from error
            run.write(shard, columns)


def _warn_of_errors(batch, first):
    """One line per shard, as there may be very many."""
    if wrong := [(first + row, error) for row, error in enumerate(batch.errors) if error]:
        image, error = wrong[0]
        more = f"; nor can {len(wrong) - 1} more near it" if wrong[1:] else ""
        warnings.warn(f"image {image} cannot be attacked: {error}{more}", stacklevel=2)


class _Rows(Sequence):
    """The indices of all images of some shards, of which no more is kept than the shards."""

    def __init__(self, shards: Sequence[int], layout: Layout):
        self._shards, self._layout = shards, layout

    def __len__(self):
        return sum(self._layout.rows(shard) for shard in self._shards)

    def __getitem__(self, index):
        rows = range(len(self))[index]
        if isinstance(index, slice):
            return [self[row] for row in rows]
        shard, row = divmod(rows, self._layout.size)
        return self._shards[shard] * self._layout.size + row
