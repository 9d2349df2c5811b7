"""What a folder of results holds: its manifest, and the shards that follow from it to the byte."""

import dataclasses
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxadv.storage.errors import InputError
from jaxadv.storage.folder import Folder

NAME, SHARDS = "manifest.json", "shards"
SCHEMA = 1
RECORDED = (
    "source",
    "versions",
    "device",
    "data_source",
)  # what does not tell one run from another
LOGITS = "logits"  # of some images, by model: the same if they differ as between machines
SAME = 1e-3  # of the logits' median deviation, by how much they may, and
SAME_RELATIVE = 1e-6  # of one that is large, as where a class is masked
MOST_SHARDS = 10**6
FINGERPRINTS = {  # by the end of a name: what others mean
    ".params": " (other weights)",
    ".source_file": " (something in the model's file was changed, be it a comment)",
    "data.fingerprint": " (other images)",
}
DTYPES = (
    *("bool", "int8", "uint8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
_COLUMN = re.compile(r"[a-zA-Z]\w*(/\w[^/\\]*)?")  # as a path, it leads nowhere but down


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything is in the shards, which are safetensors files.

    Example:
      >>> columns = {"index": {"dtype": "int64", "shape": []}}
      >>> layout = Layout.of({"schema": 1, "count": 5, "shard_size": 2, "columns": columns})
      >>> layout.shards, [layout.rows(shard) for shard in range(3)], layout.path(2)
      (3, [2, 2, 1], 'shards/000002.safetensors')
    """

    digest: str  # of what identifies the run
    count: int  # rows in all
    size: int  # rows of each shard but the last
    columns: dict[str, tuple[np.dtype, tuple[int, ...]]]  # dtype and shape of a row, by name

    @classmethod
    def of(cls, manifest: Any) -> "Layout":
        """The layout that a manifest describes.

        Raises:
          ValueError: it describes none.
        """
        found = manifest if isinstance(manifest, dict) else {}
        if found.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {_short(found.get('schema'))}, not {SCHEMA}")
        for key in ("count", "shard_size"):
            if not _is_size(size := found.get(key)):
                raise ValueError(f"{key} must be a positive integer, got {_short(size)}")
        columns = found.get("columns")
        if not isinstance(columns, dict) or not columns:
            raise ValueError(f"columns must be an object, got {_short(columns)}")
        parsed = {name: _column(name, column) for name, column in columns.items()}
        # The largest items first, so that arrays in a file are aligned.
        ordered = sorted(parsed, key=lambda name: (-parsed[name][0].itemsize, name))
        layout = cls(
            digest=_digest(manifest),
            count=manifest["count"],
            size=manifest["shard_size"],
            columns={name: parsed[name] for name in ordered},
        )
        if layout.shards > MOST_SHARDS:
            raise ValueError(f"shard_size must give at most {MOST_SHARDS} shards of {layout.count}")
        if layout.count * sum(map(layout.row_bytes, parsed)) >= 2**63:
            raise ValueError("its columns are longer than any file")
        return layout

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.size)

    def rows(self, shard: int) -> int:
        """Number of rows of a shard."""
        return min(self.size, self.count - shard * self.size)

    def path(self, shard: int) -> str:
        """Of a shard's file in its folder."""
        return f"{SHARDS}/{shard:06}.safetensors"

    def row_bytes(self, column: str) -> int:
        """Bytes of a row of a column."""
        dtype, shape = self.columns[column]
        return dtype.itemsize * math.prod(shape)

    def spans(self, shard: int) -> dict[str, tuple[int, int]]:
        """First byte of each column of a shard, and the one after its last, behind the header."""
        spans, stop = {}, 0
        for column in self.columns:
            start, stop = stop, stop + self.rows(shard) * self.row_bytes(column)
            spans[column] = start, stop
        return spans

    def header(self, shard: int, sha256: str) -> bytes:
        """What a shard begins with, up to its arrays.

        Args:
          shard: its number.
          sha256: of all that follows, 64 hexadecimal digits.
        """
        metadata = {"sha256": sha256, "manifest": self.digest, "shard": f"{shard:06}"}
        entries: dict[str, Any] = {"__metadata__": metadata}
        for column, span in self.spans(shard).items():
            dtype, shape = self.columns[column]
            bits = f"{dtype.kind.upper()}{8 * dtype.itemsize}"
            entries[column] = {
                "dtype": "BOOL" if dtype.kind == "b" else bits,
                "shape": [self.rows(shard), *shape],
                "data_offsets": span,
            }
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def file_bytes(self, shard: int) -> int:
        """Bytes of the file of a shard."""
        arrays = self.rows(shard) * sum(map(self.row_bytes, self.columns))
        return len(self.header(shard, "0" * 64)) + arrays


def read(folder: Folder) -> tuple[dict[str, Any], Layout] | None:
    """A folder's manifest and the layout that it describes; None where there is none.

    Raises:
      InputError: it is damaged, or of another version.
    """
    try:
        with folder.open(NAME) as file:
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(text)
        return manifest, Layout.of(manifest)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder}/{NAME} is no manifest of results: {error}") from error


def differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """What was changed in a value of a manifest, in words.

    Example:
      >>> list(differences("options", {"tol": 0.1, "c": 1}, {"tol": 0.2}))
      ['options.tol was 0.1 and is 0.2', 'options.c was 1 and is not there']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            yield from differences(f"{name}.{key}", old.get(key, ...), new.get(key, ...))
    elif _text(old) != _text(new):  # True is not 1
        meaning = next((text for end, text in FINGERPRINTS.items() if name.endswith(end)), "")
        yield f"{name} was {_short(old)} and is {_short(new)}{meaning}"


def other_logits(old: Any, new: dict[str, Any]) -> Iterator[str]:
    """Which models have other logits than before, in words.

    Args:
      old: by model, a list of logits for each image, null where not finite; or anything.
      new: such lists.

    Example:
      >>> old = {"m": [[0.0, 2.0, None]], "n": [[1.0, 2.0]]}
      >>> list(other_logits(old, {"m": [[0.0001, 2.0, None]], "n": [[1.0, 2.5]]}))
      ['n has other logits than before, up to 0.5 apart where they spread by 0.5']
    """
    for name in old.keys() & new.keys() if isinstance(old, dict) else ():
        try:
            before, now = (np.array(each[name], float) for each in (old, new))
        except (TypeError, ValueError):
            before, now = np.zeros(0), np.array(new[name], float)
        if before.shape != now.shape:
            yield f"{name} has other logits than before, of the shape {now.shape}"
            continue
        finite = before[np.isfinite(before)]
        spread = np.median(np.abs(finite - np.median(finite))) if len(finite) else 0.0
        if not np.allclose(now, before, SAME_RELATIVE, SAME * spread, equal_nan=True):
            apart = np.nan_to_num(np.abs(now - before)).max()
            yield (
                f"{name} has other logits than before, up to {apart:.3g} apart where they spread"
                f" by {spread:.3g}"
            )


def _digest(manifest):
    unlike = *RECORDED, LOGITS
    identity = {key: value for key, value in manifest.items() if key not in unlike}
    return hashlib.sha256(_text(identity).encode()).hexdigest()


def _text(value):
    return "" if value is ... else json.dumps(value, sort_keys=True, allow_nan=False)


def _column(name, column):
    if not (_COLUMN.fullmatch(name) and name.isprintable()):
        raise ValueError(f"a column cannot have the name {_short(name)}")
    dtype, shape = (column.get(k) if isinstance(column, dict) else None for k in ("dtype", "shape"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(
            f"the dtype of {name} must be one of {', '.join(DTYPES)}, got {_short(dtype)}"
        )
    if not isinstance(shape, list) or len(shape) > 16 or not all(map(_is_size, shape)):
        raise ValueError(
            f"the shape of {name} must be a list of at most 16 sizes, got {_short(shape)}"
        )
    return np.dtype(dtype).newbyteorder("<"), tuple(shape)


def _is_size(value):
    return type(value) is int and 0 < value < 2**63


def _short(value):
    if value is ...:
        return "not there"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]} … {text[-30:]}"
