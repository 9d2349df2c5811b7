"""What is worth keeping between runs, in files named after all that it depends on."""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs

from jaxadv.storage.errors import described

Kept = TypeVar("Kept")
DIGEST = "digest"  # the name of the fingerprint of all else in a file
DEFAULT_DIRECTORY = Path(platformdirs.user_cache_dir("jaxadv"))


def fingerprint(*values: Any) -> str:
    """16 hexadecimal digits from the values: arrays by content, others by repr, less addresses."""
    digest = hashlib.sha256()
    for path, value in jax.tree.leaves_with_path(values):
        digest.update(jax.tree_util.keystr(path).encode())
        if isinstance(value, (np.ndarray, jax.Array)):
            digest.update(f"{value.dtype}{value.shape}".encode())
            if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = jax.random.key_data(value)
            # As bytes, since bfloat16 and its like have no buffer.
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
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

    Several processes, on several hosts, may do so at once: the last one's file remains. Errors of
    writing name `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)  # which a full disk leaves out
        raise
    finally:
        temporary.unlink(missing_ok=True)


def intact(path: Path, read: Callable[[Path], Kept]) -> Kept | None:
    """What is read from a file or folder; None where it is not there, or damaged.

    What is damaged is set aside under the name of `set_aside`, with a warning.

    Args:
      path: what to read.
      read: raises any exception where it is damaged.

    Raises:
      PermissionError: it may not be read.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except Exception as error:  # damage makes readers raise any
        set_aside(path, described(error))
        return None


def set_aside(path: Path, reason: str) -> None:
    """Renames a damaged file or folder, to its name and ".damaged", with a warning."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir():
        shutil.rmtree(aside)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        os.replace(path, aside)
    warnings.warn(
        f"{path} is damaged ({reason}): it is set aside as {aside.name}, and made anew",
        stacklevel=2,
    )


def check_digest(digest: str, *values: Any) -> None:
    """Checks what was read against the `fingerprint` kept with it.

    Raises:
      ValueError: it is another.
    """
    if digest != (found := fingerprint(*values)):
        raise ValueError(f"its content has the digest {found}, not {digest}")


def stored(
    path: Path,
    make: Callable[[], dict[str, np.ndarray]],
    usable: Callable[[dict[str, np.ndarray]], bool] = lambda arrays: True,
) -> dict[str, np.ndarray]:
    """Reads arrays from an .npz file, which is made where it is not there, damaged or not usable.

    Args:
      path: of the file.
      make: makes the arrays.
      usable: called with arrays that were read.
    """
    arrays = intact(path, _read)
    if arrays is None or not usable(arrays):
        arrays = {name: np.asarray(array) for name, array in make().items()}
        digest: dict[str, Any] = {DIGEST: np.array(fingerprint(arrays))}
        with replacing(path) as temporary:
            np.savez(temporary, **arrays, **digest)
    return arrays


def _read(path):
    with path.open("rb") as opened, np.load(opened) as file:  # which leaves a broken one open
        if sum(entry.file_size for entry in file.zip.infolist()) > path.stat().st_size:
            raise ValueError("its parts are longer than the file")  # and may fill the memory
        arrays = dict(file)
    check_digest(str(arrays.pop(DIGEST)), arrays)
    return arrays
