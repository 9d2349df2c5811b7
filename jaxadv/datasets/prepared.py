"""Folders of prepared data sets: whether they are whole, and what killed preparations left."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from jaxadv.storage import cache

SUMS = "sha256.json"  # of the other files of a folder, by name
ABANDONED = 3600  # seconds without a change after which nobody prepares any more


def check(folder: Path, read: Callable[[], object]) -> None:
    """Sets a damaged folder aside, with a warning (see `cache.intact`).

    Args:
      folder: of the prepared data set, which need not exist.
      read: reads all of it; called where no sums are kept, to raise what damage makes it raise.
    """

    def checked(folder):
        if not (folder / SUMS).exists():
            try:
                return read()
            except FileNotFoundError as error:  # of a file in the folder, which is there
                raise ValueError(f"a file is missing: {error}") from error
        kept = json.loads((folder / SUMS).read_bytes())
        found = _sums(folder)
        if bad := [name for name, sha256 in kept.items() if found.get(name) != sha256]:
            raise ValueError(f"not as it was prepared: {', '.join(bad)}")

    if folder.exists():
        cache.intact(folder, checked)


def keep_sums(folder: Path) -> None:
    """Writes the sums of the files, unless they are there or the folder is read-only."""
    if not (folder / SUMS).exists():
        with contextlib.suppress(OSError), cache.replacing(folder / SUMS) as temporary:
            temporary.write_text(json.dumps(_sums(folder), indent=1), encoding="utf-8")


def remove_abandoned(folder: Path) -> None:
    """Removes TFDS's temporary folders that nobody has written to for `ABANDONED` seconds."""
    for left in folder.parent.glob(f"incomplete.*_{folder.name}"):
        with contextlib.suppress(OSError):  # another process was faster
            changed = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
            if time.time() - changed > ABANDONED:
                shutil.rmtree(left)


def _sums(folder):
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != SUMS and not path.name.startswith("."):
            with path.open("rb") as file:
                sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
