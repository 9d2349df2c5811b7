"""What a PNG shows."""

import struct

import matplotlib.image
import numpy as np


def assert_png(path, inches):
    """A whole PNG of the size at 110 dots per inch, that is not of one colour."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
    np.testing.assert_allclose(struct.unpack(">2I", content[16:24]), 110 * np.array(inches), atol=1)
    assert [*path.parent.iterdir()] == [path]
    pixels = matplotlib.image.imread(path)
    assert pixels.std() > 0.05
    return np.uint8(np.rint(255 * pixels[..., :3])).reshape(-1, 3)


def share(pixels, color):
    return np.mean((np.abs(pixels.astype(int) - color) <= 1).all(axis=1))
