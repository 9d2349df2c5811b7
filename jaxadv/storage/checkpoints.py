"""How far long work is, kept by orbax while it lasts."""

import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv.storage import cache
from jaxadv.storage.errors import InputError

INTERVAL = 20.0  # seconds between two checkpoints, at least


class Checkpoints:
    """The last state of a loop, in a folder that is removed when the loop has ended.

    A context manager. Without a folder, nothing is kept.

    Example:
      >>> with Checkpoints(None) as checkpoints:
      ...     first, total = checkpoints.restored(0)
      ...     for number in range(first, 3):
      ...         checkpoints.keep(number + 1, total := total + number)
      >>> total
      3
    """

    def __init__(self, folder: Path | None, interval: float | None = None):
        self._folder = folder
        self._interval = INTERVAL if interval is None else interval
        self._last = time.monotonic()
        self._manager: Any = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *_) -> None:
        if self._manager is not None:
            self._manager.close()
            if kind is None and self._folder is not None:
                shutil.rmtree(self._folder)

    def restored(self, state: Any) -> tuple[int, Any]:
        """How many steps are done, and the state after them; (0, state) if nothing was kept.

        A damaged folder is set aside with a warning.

        Args:
          state: a pytree of arrays at the start.
        """
        if self._folder is None or not self._folder.is_dir():
            return 0, state
        kept = cache.intact(self._folder, lambda _: self._read(state))
        if not self._folder.is_dir() and self._manager is not None:  # it was set aside
            self._manager.close()
            self._manager = None
        return (0, state) if kept is None else kept

    def _read(self, state):
        manager, arguments = self._opened()
        step = manager.latest_step()
        if step is None:
            return None
        like = jax.tree.map(  # on the same device, not on the one that it was kept from
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
        )
        kept = manager.restore(step, args=arguments.StandardRestore(like))
        return step, jax.tree.map(_committed_as, state, kept)

    def keep(self, step: int, state: Any) -> None:
        """Keeps the state after so many steps, unless the last one was kept just now.

        Raises:
          InputError: it cannot be written, as where a disk is full.
        """
        if self._folder is None or time.monotonic() - self._last < self._interval:
            return
        try:
            manager, arguments = self._opened()
            manager.save(step, args=arguments.StandardSave(state))
        except Exception as error:  # orbax's are of many kinds, and long
            reason = getattr(error, "strerror", None) or str(error).split(" [", 1)[0]
            raise InputError(f"cannot write into {self._folder}: {reason}") from error
        self._last = time.monotonic()

    def _opened(self) -> tuple[Any, Any]:
        """The folder's manager, made only where it is needed, and orbax's arguments."""
        import orbax.checkpoint as ocp  # which takes a second

        if self._manager is None and self._folder is not None:
            options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
            self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
        return self._manager, ocp.args


def _committed_as(old, new):
    """The new array, free to go to other devices if the old one is: orbax's never are."""
    return new if old.committed else jax.device_put(np.asarray(new))
