"""Tiny data sets that stand in for the real ones: their arrays, and their raw files."""

import gzip
import hashlib
import struct

import numpy as np

from jaxadv.datasets import sources

NOWHERE = "http://127.0.0.1:9/"  # refuses connections


def random_arrays(size, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 28, 28), np.uint8)
    images[0, 0, :2] = 0, 255
    return images, rng.integers(0, 10, size, np.uint8)


ARRAYS = {"train": random_arrays(20, seed=1), "test": random_arrays(10, seed=2)}
(TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS) = ARRAYS.values()
IDX_FILES = {
    "train-images-idx3-ubyte": struct.pack(">4I", 2051, 20, 28, 28) + TRAIN_IMAGES.tobytes(),
    "train-labels-idx1-ubyte": struct.pack(">2I", 2049, 20) + TRAIN_LABELS.tobytes(),
    "t10k-images-idx3-ubyte": struct.pack(">4I", 2051, 10, 28, 28) + TEST_IMAGES.tobytes(),
    "t10k-labels-idx1-ubyte": struct.pack(">2I", 2049, 10) + TEST_LABELS.tobytes(),
}
GZ_FILES = {f"{name}.gz": gzip.compress(data) for name, data in IDX_FILES.items()}
NAME = "train-labels-idx1-ubyte"  # of the file that tests damage
SPLITS = {
    key: split._replace(num_examples=len(ARRAYS[key][1]))
    for key, split in sources.SOURCES["mnist"].splits.items()
}


def sums(files):
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def put_files(data_dir, files, name="mnist"):
    folder = data_dir / "downloads" / "manual" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)


def assert_holds(dataset, images, labels):
    expected = (images[..., None].astype(np.float64) / 255).astype(np.float32)
    np.testing.assert_array_equal(dataset.images, expected, strict=True)
    np.testing.assert_array_equal(dataset.labels, labels.astype(np.int32), strict=True)
