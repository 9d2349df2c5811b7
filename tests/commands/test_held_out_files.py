"""Held-out images and labels in files that cannot be used end before any work."""

import numpy as np
import pytest

from jaxadv import units
from jaxadv.units import Config

IMAGES, LABELS = np.zeros((9, 28, 28, 1), np.float32), np.arange(9)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES.reshape(9, 784), LABELS, r"shape \(N, 28, 28\[, 1\]\), got \(9, 784\)"),
        (IMAGES[:8], LABELS, r"a label per image, shape \(8,\), got \(9,\)"),
        (IMAGES, LABELS[:, None], r"a label per image, shape \(9,\), got \(9, 1\)"),
        (IMAGES, LABELS / 1, "labels must hold integers, got float64"),
        (IMAGES.astype(int), LABELS, "must hold uint8 or floating-point .* got int64"),
        (IMAGES + 2, LABELS, r"must lie in \[0, 1\], got values from 2 to 2"),
        (IMAGES - 1, LABELS, r"must lie in \[0, 1\], got values from -1 to -1"),
        (IMAGES + np.float32(np.nan), LABELS, r"must lie in \[0, 1\], got values from nan"),
        (b"text", LABELS, "images must be an .npy file, got .*images.npy"),
        (IMAGES, b"", "labels must be an .npy file, got .*labels.npy"),
    ],
)
def test_bad_files(tmp_path, images, labels, message):
    files = {"images": tmp_path / "images.npy", "labels": tmp_path / "labels.npy"}
    for path, content in zip(files.values(), (images, labels), strict=True):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content)
    config = Config(models=("CNN",), out=tmp_path / "out", cache_dir=tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        units.check(config)
