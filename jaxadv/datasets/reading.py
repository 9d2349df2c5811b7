"""Batches of examples, read ahead by grain, in other processes where that is asked for."""

import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from jaxadv.datasets.examples import UNKNOWN, Examples

AHEAD = 2  # batches that are read before they are asked for, in this process


class Batch(NamedTuple):
    """Some examples as arrays."""

    images: Float32[np.ndarray, "B *image_shape"]  # in [0, 1]; NaN where there is an error
    labels: Int32[np.ndarray, " B"] | None  # −1 where not known; None where none is known
    targets: Int32[np.ndarray, " B"] | None  # likewise
    errors: tuple[str | None, ...]  # why there is no image

    @property
    def readable(self) -> Bool[np.ndarray, " B"]:
        """Whether there is an image."""
        return np.array([error is None for error in self.errors])


def read(
    examples: Examples,
    indices: Sequence[int] | Int[np.ndarray, " N"],
    *,
    batch_size: int,
    workers: int = 0,
) -> Generator[Batch, None, None]:
    """Reads examples in order, ahead of what is asked for; memory holds a few batches per process.

    Whoever does not read to the end closes it, as by `contextlib.closing`, which ends the workers.

    Args:
      examples: of `open_source`.
      indices: of the examples, of which a range takes no memory.
      batch_size: examples in a batch; in the last one, what is left.
      workers: processes that read and decode, if there is anything to decode; 0 for a thread of
        this one. A program that asks for them needs `if __name__ == "__main__":`.

    Raises:
      RuntimeError: a worker was killed.

    Example:
      >>> examples = Examples(np.arange(10, dtype="uint8").reshape(5, 2), "five")
      >>> [batch.images.shape for batch in read(examples, range(5), batch_size=2)]
      [(2, 2), (2, 2), (1, 2)]
    """
    batches = _Batches(examples, indices, batch_size)
    iterator = _grain_iterator(batches, 0 if examples.are_arrays else workers)
    try:
        yield from iterator
    finally:
        iterator.close()


class _Batches:
    """A sequence of batches."""

    def __init__(self, examples: Examples, indices: Any, size: int):
        self._examples, self._indices, self._size = examples, indices, size

    def __len__(self):
        return -(-len(self._indices) // self._size)

    def __getitem__(self, index):
        chosen = self._indices[index * self._size : (index + 1) * self._size]
        if (at_once := self._examples.at_once(chosen)) is not None:
            return Batch(*at_once, (None,) * len(chosen))
        images = np.empty((len(chosen), *self._examples.image_shape), np.float32)
        classes = np.full((2, len(chosen)), UNKNOWN, np.int32)
        errors = []
        for row, example in enumerate(chosen):
            image, label, target, error = self._examples[int(example)]
            images[row] = np.nan if image is None else image
            classes[:, row] = [UNKNOWN if each is None else each for each in (label, target)]
            errors.append(error)
        known = (classes != UNKNOWN).any(axis=1)
        labels = classes[0] if self._examples.labelled or known[0] else None
        targets = classes[1] if self._examples.targeted or known[1] else None
        return Batch(images, labels, targets, tuple(errors))


def _grain_iterator(batches: _Batches, workers: int) -> Any:
    """All that is peculiar to grain."""
    import grain  # takes half a second
    from absl import flags

    data = grain.MapDataset.source(batches)
    if not workers:
        return iter(data.to_iter_dataset(grain.ReadOptions(1, AHEAD)))
    if not flags.FLAGS.is_parsed():  # as grain expects of whoever uses processes
        flags.FLAGS.mark_as_parsed()
    data = data.to_iter_dataset(grain.ReadOptions(0, 0))
    # Not through shared memory: containers have 64 MB of it, and a killed process leaves it behind.
    options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
    data = grain.experimental.WithOptionsIterDataset(data, options)
    return iter(data.mp_prefetch(grain.MultiprocessingOptions(workers, 1), _begin_worker))


def _begin_worker(worker: int, workers: int) -> None:
    """Workers leave Ctrl-C and accelerators to their parent, and end when it has ended.

    When they are stopped, they do not wait until somebody takes what they have read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, os._exit, (0,), exitpriority=100)


def _end_with_parent():
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
