"""What is worth keeping between runs, in files named after all that it depends on."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs

DEFAULT_DIRECTORY = Path(platformdirs.user_cache_dir("jaxadv"))


def fingerprint(*values: Any) -> str:
    """16 hexadecimal digits from the values: arrays by content, others by repr, less addresses."""
    digest = hashlib.sha256()
    for path, value in jax.tree.leaves_with_path(values):
        digest.update(jax.tree_util.keystr(path).encode())
        if isinstance(value, (np.ndarray, jax.Array)):
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(re.sub(" at 0x[0-9a-f]+", "", repr(value)).encode())
    return digest.hexdigest()[:16]


def source_fingerprint(*packages: Any) -> str:
    """Fingerprint of all modules of packages: results made by older code are not reused.

    Args:
      *packages: Python packages, or their folders.
    """
    roots = [p if isinstance(p, Path) else Path(p.__file__).parent for p in packages]
    return fingerprint(
        [
            {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.py")}
            for root in roots
        ]
    )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path that becomes `path` at the end, so that `path` is whole or absent.

    Several processes, on several hosts, may do so at once: the last one's file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def stored(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Reads arrays from an .npz file, which is made first where it is not there."""
    if not path.exists():
        arrays: dict[str, Any] = dict(make())
        with replacing(path) as temporary:
            np.savez(temporary, **arrays)
        return arrays
    with np.load(path) as file:
        return dict(file)
