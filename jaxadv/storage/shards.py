"""Results in shards of a fixed number of images: written whole or not at all, and gone on with.

A folder holds `manifest.json`, `shards/000000.safetensors` and so on, and, once all are there,
`files.json` where images have names, and `SHA256SUMS` as `sha256sum --check` reads it. Nothing in
the files depends on how many processes have written them, or on how often these were killed.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.storage import manifests
from jaxadv.storage.errors import InputError
from jaxadv.storage.folder import Folder
from jaxadv.storage.manifests import LOGITS, RECORDED, Layout

SUMS, FILES = "SHA256SUMS", "files.json"
REMEDY = "give another --out, or delete {} to begin anew"
ELSEWHERE = ": its code, or weights that are not among its parameters, have changed"
_BLOCK = 2**20  # bytes read at a time


class Run:
    """The share of the shards that one process writes: every `processes`-th, from `process` on."""

    def __init__(self, folder: Folder, layout: Layout, process: int, processes: int):
        self.layout = layout
        self.share = range(process, layout.shards, processes)
        self._folder = folder
        self._sums: dict[int, str] = {}  # SHA-256 of the files that were written or checked

    def missing(self) -> list[int]:
        """The shards of the share that are still to be written, in order.

        Those there are read and checked. A damaged one is set aside, with a warning, and missing.
        """
        there = self._folder.sizes(manifests.SHARDS)
        return [shard for shard in self.share if not self._is_intact(shard, there)]

    def write(self, shard: int, columns: Mapping[str, np.ndarray]) -> None:
        """Writes a shard, which is there as a whole afterwards, or else as it was before.

        Args:
          shard: its number; it has the rows from `shard * shard_size` on.
          columns: arrays by name, each (rows, *shape) of the dtype that the manifest says.

        Raises:
          ValueError: the columns are others.
          OSError: it cannot be written.
        """
        self._check(shard, columns)
        parts = [
            np.ascontiguousarray(columns[name], dtype).data
            for name, (dtype, _) in self.layout.columns.items()
        ]
        content = hashlib.sha256()
        for part in parts:
            content.update(part)
        header = self.layout.header(shard, content.hexdigest())
        whole = hashlib.sha256(header)
        for part in parts:
            whole.update(part)
        self._folder.write(self.layout.path(shard), header, *parts)
        self._sums[shard] = whole.hexdigest()

    def complete(self, files: Sequence[str] | None = None) -> bool:
        """Whether all shards, of all processes, are there; if so, writes `SHA256SUMS`.

        Shards that other processes have written are read and checked, as by `missing`.

        Args:
          files: names of the images, by index, to write beside them.
        """
        there, shards = self._folder.sizes(manifests.SHARDS), range(self.layout.shards)
        if not all(self.layout.path(shard) in there for shard in shards):
            return False
        if not all([self._is_intact(shard, there) for shard in shards]):
            return False
        beside = [manifests.NAME]
        if files is not None:
            self._folder.write(FILES, json.dumps([*files], indent=0).encode() + b"\n")
            beside.append(FILES)
        sums = {name: sha256(self._folder, name) for name in beside}
        sums |= {self.layout.path(shard): self._sums[shard] for shard in shards}
        lines = [f"{digest}  {name}\n" for name, digest in sums.items()]
        self._folder.write(SUMS, "".join(lines).encode())
        return True

    def _is_intact(self, shard, there):
        if self.layout.path(shard) not in there:
            return False
        if shard not in self._sums:
            try:
                self._sums[shard] = checksum(self._folder, self.layout, shard)
            except InputError as error:
                self._folder.set_aside(self.layout.path(shard), str(error))
                return False
        return True

    def _check(self, shard, columns):
        expected = {
            name: f"{dtype.name} {(self.layout.rows(shard), *shape)}"
            for name, (dtype, shape) in self.layout.columns.items()
        }
        found = {name: f"{array.dtype.name} {array.shape}" for name, array in columns.items()}
        if found != expected:
            raise ValueError(f"shard {shard} must have the columns {expected}, got {found}")


@contextlib.contextmanager
def begin(
    directory: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    *,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Run]:
    """Begins a run into a folder, or goes on with it; holds the lock of the share until the end.

    Where it is gone on with under other versions of packages, or on another device, it warns.

    Args:
      directory: a path, or what fsspec opens; made where it is not there.
      manifest: of values that JSON can hold: `count` and `shard_size` in rows, `columns` with the
        `dtype` and the `shape` of a row by name, and all else that the results depend on. The keys
        of `manifests.RECORDED` are kept from the beginning, but need not be the same later.
      process: number of this process, from 0.
      processes: among how many the shards are shared.

    Yields:
      The run.

    Raises:
      InputError: the folder holds another run (the message says what differs), its manifest is
        damaged, or another process of the machine writes there.
      ValueError: the manifest is not as above, or there is no such process.
      OSError: the folder cannot be written.
    """
    if not 0 <= process < processes:
        raise ValueError(f"process must be one of {processes}, counted from 0, got {process}")
    new = json.loads(json.dumps({"schema": manifests.SCHEMA, **manifest}, allow_nan=False))
    layout = Layout.of(new)
    folder = Folder(directory)
    with folder.lock(process, processes):
        old = manifests.read(folder)
        if old is None or not folder.sizes(manifests.SHARDS):  # of which nothing came
            folder.write(manifests.NAME, json.dumps(new, indent=2).encode() + b"\n")
        else:
            _check_same(folder, old[0], new)
        run = Run(folder, layout, process, processes)
        mine = {layout.path(shard) for shard in run.share}
        folder.remove_unfinished(mine | {manifests.NAME, SUMS, FILES} if processes == 1 else mine)
        yield run


def checksum(folder: Folder, layout: Layout, shard: int) -> str:
    """The SHA-256 of a shard's file, all of which is read and checked.

    Raises:
      InputError: it is damaged, or not this shard of this run.
    """
    content = hashlib.sha256()
    with folder.open(layout.path(shard)) as file:
        header = file.read(len(layout.header(shard, "0" * 64)))
        whole = hashlib.sha256(header)
        while block := file.read(_BLOCK):
            content.update(block)
            whole.update(block)
    if header != layout.header(shard, content.hexdigest()):
        raise InputError(f"it is not what was written as shard {shard} of this run")
    return whole.hexdigest()


def sha256(folder: Folder, name: str) -> str:
    """Of a small file."""
    with folder.open(name) as file:
        return hashlib.sha256(file.read()).hexdigest()


def _check_same(folder, old, new):
    changed = {
        key: "; ".join(manifests.differences(key, old.get(key, ...), new.get(key, ...)))
        for key in old | new
        if key != LOGITS
    }
    others = "; ".join(manifests.other_logits(old.get(LOGITS), new.get(LOGITS, {})))
    if others and not any(line for key, line in changed.items() if key not in RECORDED):
        changed[LOGITS] = others + ELSEWHERE
    for recorded in (False, True):
        lines = [line for key, line in changed.items() if line and recorded == (key in RECORDED)]
        if lines and not recorded:
            raise InputError(
                f"{folder} holds another run: {'; '.join(lines)}; {REMEDY.format(folder)}"
            )
        if lines:
            warnings.warn(f"{folder} was begun elsewhere: {'; '.join(lines)}", stacklevel=4)
