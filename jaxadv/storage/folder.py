"""A folder of results: a local one, or one of an object store that fsspec reaches."""

import contextlib
import os
import re
import socket
import warnings
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from jaxadv.storage import cache
from jaxadv.storage.errors import InputError, described


class Folder:
    """Files that are whole or absent, by names relative to one place.

    Args:
      place: a path, or what fsspec opens: "memory://…", "s3://…" (with the package s3fs).

    Raises:
      InputError: fsspec does not know such places, or lacks a package for them.
    """

    def __init__(self, place: str | os.PathLike[str]):
        self._name = os.fspath(place)
        files: Any = LocalFileSystem()
        root = os.path.abspath(self._name)
        if "://" in self._name:
            try:
                files, root = fsspec.url_to_fs(self._name)
            except (ImportError, ValueError) as error:
                raise InputError(f"{self._name} cannot be opened: {described(error)}") from error
        self._files, self._root = files, root
        self.local = Path(root) if isinstance(files, LocalFileSystem) else None

    def __str__(self) -> str:
        return self._name

    def path(self, name: str) -> str:
        """Of a file, as fsspec takes it."""
        return f"{self._root}/{name}"

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file of a folder, by name; none where it is not there."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {f"{folder}/{entry['name'].rpartition('/')[2]}": entry["size"] for entry in entries}

    def open(self, name: str) -> Any:
        """A file of bytes, opened to read."""
        return self._files.open(self.path(name), "rb")

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        """The bytes of a file from `start` to `stop`, mapped into memory where it is local.

        Raises:
          ValueError: the file is shorter.
        """
        if self.local is not None:
            path = self.path(name)
            return np.memmap(path, np.uint8, mode="r", offset=start, shape=(stop - start,))
        data = self._files.cat_file(self.path(name), start=start, end=stop)
        return np.frombuffer(data, np.uint8, count=stop - start)

    def write(self, name: str, *parts: bytes | memoryview) -> None:
        """Writes a file that is whole or absent, whenever the process ends and if the disk is full.

        It may be broken after the machine has lost its power.
        """
        if self.local is None:
            self._files.makedirs(self._files._parent(self.path(name)), exist_ok=True)
            self._files.pipe_file(self.path(name), b"".join(parts))
            return
        with cache.replacing(self.local / name) as temporary, temporary.open("wb") as file:
            file.writelines(parts)

    def set_aside(self, name: str, reason: str) -> None:
        """Renames a damaged file, to its name and ".damaged", with a warning."""
        if self.local is not None:
            cache.set_aside(self.local / name, reason)
            return
        self._files.mv(self.path(name), self.path(name) + ".damaged")
        warnings.warn(f"{self}/{name} is damaged ({reason}): it is made anew", stacklevel=2)

    def remove_unfinished(self, names: Container[str]) -> None:
        """Removes what killed writers have left of files that nobody else writes now."""
        if self.local is None:
            return
        for path in (*self.local.glob(".*-*"), *self.local.glob("*/.*-*")):
            whole = path.with_name(re.sub(r"^\.[0-9a-f]{16}-", "", path.name))
            if whole != path and whole.relative_to(self.local).as_posix() in names:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, process: int, processes: int) -> Iterator[None]:
        """Holds the share of one of several processes; freed however this process ends.

        An object store has no locks, as some network file systems: there, nobody is told.

        Raises:
          InputError: another process holds it, or one is there that shares the work among another
            number of processes. The message says which.
        """
        if self.local is None or os.name == "nt":
            yield
            return
        self.local.mkdir(parents=True, exist_ok=True)
        path = self.local / f"lock-{process}-of-{processes}"
        with _locked(path):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            try:
                for other in self.local.glob("lock-*-of-*"):
                    if not other.name.endswith(f"-of-{processes}"):
                        with contextlib.suppress(FileNotFoundError), _locked(other, shared=True):
                            other.unlink()  # which a process that was killed has left
                yield
            finally:
                path.unlink(missing_ok=True)


def _locked(path, *, shared=False):
    """The open file that holds a lock of the name, until it is closed or the process ends."""
    import fcntl  # which Windows does not have

    while True:
        file = path.open("r" if shared else "a+", encoding="utf-8")
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise InputError(f"{path.parent} is being written by {holder}") from None
        except OSError:  # a file system without locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # the last holder has just removed it
