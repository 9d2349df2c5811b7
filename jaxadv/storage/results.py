"""Results that lie in shards, read lazily: what `python -m jaxadv.generate` has written."""

import contextlib
import functools
import itertools
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.storage import manifests, shards
from jaxadv.storage.errors import InputError
from jaxadv.storage.folder import Folder
from jaxadv.storage.manifests import Layout
from jaxadv.storage.npz import Parts, write_arrays

_CHUNK = 2**16  # rows looked up at a time


class Column(np.lib.mixins.NDArrayOperatorsMixin):
    """One array over all shards, of which only the rows asked for are read.

    It is indexed as a NumPy array is, which the result is; arithmetic and comparisons, and NumPy's
    functions, read all of it.
    """

    def __init__(self, results: "Results", name: str):
        self._results, self._name = results, name
        self.dtype, row = results.layout.columns[name]
        self.shape = (len(results), *row)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<column {self._name}: {self.dtype.name} {self.shape}>"

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[np.ndarray]:
        """The rows in order, as many at a time as a shard has."""
        size = self._results.layout.size
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a column is read from files: there is no array without a copy")
        return self._read(range(len(self))).astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(each) if isinstance(each, Column) else each for each in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getitem__(self, key: Any) -> Any:
        first, *others = key if isinstance(key, tuple) and key else (key,)
        if first is None or first is Ellipsis or isinstance(first, tuple) or _is_truth(first):
            return np.asarray(self)[key]
        rows, first = self._rows(first)
        return self._read(rows)[(first, *others)]

    def _rows(self, key):
        """The rows that the first part of an index needs, in order, and its place among them."""
        if isinstance(key, slice):
            return range(len(self))[key], slice(None)
        index = np.asarray(key)
        if index.dtype == bool and len(index) == len(self):
            rows = np.flatnonzero(index.any(axis=tuple(range(1, index.ndim))))
            return rows, index[rows]
        if not index.size and not isinstance(key, np.ndarray):  # which are float64, as NumPy has it
            index = index.astype(np.int64)
        if index.dtype.kind not in "iu":
            raise IndexError(f"{self!r} cannot be indexed by {index.dtype} {index.shape}")
        if index.size and not -len(self) <= index.min() <= index.max() < len(self):
            raise IndexError(f"index {key} is out of bounds of {len(self)} rows")
        index = index.astype(np.int64)
        rows, places = np.unique(index % max(len(self), 1), return_inverse=True)
        return rows, places.reshape(index.shape) if index.ndim else 0

    def _read(self, rows):
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), _CHUNK):
            chunk = np.asarray(rows[start : start + _CHUNK], np.int64)
            place, local = np.divmod(chunk, self._results.layout.size)
            bounds = np.flatnonzero(np.diff(place, prepend=-1, append=-1))
            for begin, end in itertools.pairwise(bounds):
                part = out[start + begin : start + end]
                self._results._read(self._name, place[begin], local[begin:end], part)
        return out


def _is_truth(key):
    """Whether an index is a bool, which makes an axis of its own."""
    scalar = isinstance(key, (bool, np.bool)) or (isinstance(key, np.ndarray) and not key.ndim)
    return scalar and np.asarray(key).dtype == bool


class Results:
    """Columns of the shards that are there, as attributes, or by name as in `results["index"]`.

    `manifest` is what the run is identified by, `files` names the images, `missing` lists the
    shards that are not there: row `i` of a column is then that of the `i`-th image of those that
    are.
    """

    def __init__(self, folder: Folder, manifest: dict[str, Any], layout: Layout):
        self.manifest = manifest
        self.layout = layout
        self._folder = folder
        self._there = sorted(self._listed())
        self._known: set[int] = set()  # shards whose headers were checked
        self._length = sum(map(layout.rows, self._there))
        self.missing = sorted(set(range(layout.shards)) - set(self._there))

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<results in {self._folder}: {len(self)} × {', '.join(self.layout.columns)}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *filter(str.isidentifier, self.layout.columns)]

    def __getitem__(self, name: str) -> Column:
        if name not in self.layout.columns:
            raise KeyError(f"the results have no column {name!r}, but {[*self.layout.columns]}")
        return Column(self, name)

    def __getattr__(self, name: str) -> Column:
        if not name.startswith("_") and name in self.layout.columns:
            return Column(self, name)
        raise AttributeError(f"the results have no column {name!r}")

    @functools.cached_property
    def files(self) -> list[str] | None:
        """Name of each image by its index: its path in the folder that was attacked.

        None where images have no names, or until the run is complete.

        Raises:
          InputError: the file of names is damaged.
        """
        try:
            with self._folder.open(shards.FILES) as file:
                names = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            names = None
        found = names if isinstance(names, list) else []
        if len(found) != self.layout.count or not all(isinstance(name, str) for name in found):
            raise InputError(
                f"{self._folder}/{shards.FILES} is damaged; the command that wrote it replaces it"
            )
        return found

    def verify(self) -> None:
        """Reads all files, and checks them against their SHA-256 and against `SHA256SUMS`.

        Raises:
          InputError: some are damaged, missing, or not of this run; the message names them.
        """
        listed, found = self._listed_sums(), {}
        for name in {manifests.NAME, shards.FILES} & {manifests.NAME, *(listed or ())}:
            with contextlib.suppress(FileNotFoundError):
                found[name] = shards.sha256(self._folder, name)
        for shard in self._there:
            with contextlib.suppress(InputError):
                found[self.layout.path(shard)] = shards.checksum(self._folder, self.layout, shard)
        expected = {manifests.NAME, *map(self.layout.path, self._there), *(listed or ())}
        damaged = [
            path
            for path in sorted(expected)
            if path not in found or (listed is not None and listed.get(path) != found[path])
        ]
        if damaged:
            raise InputError(f"{self._folder} has damaged files: {', '.join(damaged)}")

    def _listed_sums(self):
        try:
            with self._folder.open(shards.SUMS) as file:
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:  # the run is not complete
            return None
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

    def _listed(self):
        ends = (0, self.layout.shards - 1)
        sizes = {self.layout.rows(shard): self.layout.file_bytes(shard) for shard in ends}
        for name, size in self._folder.sizes(manifests.SHARDS).items():
            if re.fullmatch(r"shards/[0-9]{6}\.safetensors", name):
                shard = int(name[7:13])
                if sizes.get(self.layout.rows(shard)) != size:
                    raise self._wrong(shard)
                yield shard

    def _wrong(self, shard):
        return InputError(
            f"{self._folder}/{self.layout.path(shard)} is damaged, or not of the run in "
            f"{manifests.NAME}; the command that wrote it replaces it"
        )

    def _read(self, column, place, rows, out):
        """Reads rows, by their numbers in the shard at a place of the list, into an array."""
        shard, each = self._there[place], self.layout.row_bytes(column)
        before, after = self.layout.header(shard, "*" * 64).split(b"*" * 64, 1)
        length = len(before) + 64 + len(after)
        start = length + self.layout.spans(shard)[column][0]
        first, last = int(rows.min()), int(rows.max())
        path = self.layout.path(shard)
        try:
            if shard not in self._known:
                header = self._folder.block(path, 0, length).tobytes()
                if not (header.startswith(before) and header.endswith(after)):
                    raise ValueError
                self._known.add(shard)
            block = self._folder.block(path, start + first * each, start + (last + 1) * each)
        except (ValueError, FileNotFoundError):  # or it was cut or removed since it was listed
            raise self._wrong(shard) from None
        array = block.view(out.dtype).reshape(-1, *out.shape[1:])
        np.take(array, rows - first, axis=0, out=out, mode="clip")


def read_results(directory: str | os.PathLike[str]) -> Results:
    """Opens the results of `python -m jaxadv.generate`, or of any run of `shards.begin`.

    Nothing but the list of files is read before it is asked for, and of a file then only the rows
    and columns that are. Results of a run that still goes on may be read.

    Args:
      directory: a path, or what fsspec opens: "s3://…".

    Returns:
      Its columns as attributes: `results.x_adv[results.success]`.

    Raises:
      InputError: there are no results, or files are not as the manifest says. A file is checked in
        this way when first read from; `Results.verify` checks the content of all.

    Example:
      >>> import tempfile
      >>> from jaxadv.storage import shards
      >>> columns = {"index": {"dtype": "int64", "shape": []}}
      >>> manifest = {"count": 5, "shard_size": 2, "columns": columns}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with shards.begin(folder, manifest) as run:
      ...         for shard in run.missing():
      ...             start = 2 * shard
      ...             run.write(shard, {"index": np.arange(start, min(start + 2, 5))})
      ...     results = read_results(folder)
      ...     print(results.index, results.index[1:4], results.index > 2)
      <column index: int64 (5,)> [1 2 3] [False False False  True  True]
    """
    folder = Folder(directory)
    found = manifests.read(folder)
    if found is None:
        raise InputError(f"{folder} holds no results: there is no {manifests.NAME}")
    results = Results(folder, *found)
    if results.missing:
        warnings.warn(
            f"{folder} is not complete: {len(results.missing)} of {results.layout.shards} shards "
            f"are missing, and so {results.layout.count - len(results)} of {results.layout.count} "
            "images",
            stacklevel=2,
        )
    return results


def export_npz(results: Results, path: str | os.PathLike[str]) -> None:
    """Writes all columns into one uncompressed .npz file, in the memory of one shard.

    Args:
      results: of `read_results`.
      path: of the file, which is whole or absent.

    Raises:
      InputError: a shard is damaged.
      OSError: the file cannot be written.
    """
    columns = {name: results[name] for name in results.layout.columns}
    write_arrays(
        Path(path),
        {name: Parts(each.shape, each.dtype, each.parts()) for name, each in columns.items()},
    )
