"""Images of examples as they are embedded: original, difference and distorted, as PNG of 8 bits."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float, Shaped, UInt8

COLUMNS = ("original", "difference", "distorted")
SMALL = 100  # pixels a side, below which they are shown as squares


def example(
    original: Shaped[np.ndarray, "..."] | None, distorted: Shaped[np.ndarray, "..."], **words: Any
) -> dict[str, Any]:
    """An example for the page's script.

    Args:
      original: values in [0, 1], or None where it is not to be had.
      distorted: of the same shape; see `planes` for how shapes are shown.
      **words: what else the script shows: `index`, `file`, `label`, `target`, `status`,
        `distortion` and `certified`.

    Returns:
      The words, `images` in the order of `COLUMNS`, or the distorted one alone, and `factor`: what
      the difference is multiplied by; that of 0 is grey.
    """
    if original is None:
        return words | {"factor": None, "images": [png(planes(distorted))]}
    difference = distorted.astype(float) - original
    factor = amplification(difference)
    shown = original, 0.5 + factor * difference, distorted
    return words | {"factor": factor, "images": [png(planes(each)) for each in shown]}


def amplification(difference: Float[np.ndarray, "..."]) -> float:
    """The factor, of two digits, by which a difference about fills the range from -0.5 to 0.5.

    Example:
      >>> amplification(np.array([0.01, -0.03])), amplification(np.zeros(2))
      (16.0, 1.0)
    """
    largest = float(np.abs(difference).max(initial=0))
    if not 0 < largest < math.inf:
        return 1.0
    digit = 10.0 ** (math.floor(math.log10(0.5 / largest)) - 1)
    return float(f"{math.floor(0.5 / largest / digit) * digit:.2g}")


def planes(image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "height width *channels"]:
    """An array in [0, 1] as what PNG can hold: grey, or red, green and blue.

    (H, W), (H, W, 1) and (H, W, 3) as they are, (1, H, W) and (3, H, W) with channels last, other
    channels by their mean; n values as a square where n is one, or else as a line.

    Example:
      >>> [planes(np.zeros(shape)).shape for shape in [(784,), (28, 28, 1), (3, 32, 32), (7,)]]
      [(28, 28), (28, 28), (32, 32, 3), (1, 7)]
    """
    if image.ndim != 3 and image.ndim != 2:
        side = math.isqrt(image.size)
        image = image.reshape((side, side) if side**2 == image.size else (1, image.size))
    if image.ndim == 3 and image.shape[-1] not in (1, 3) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(axis=-1)
    return np.rint(255 * np.nan_to_num(image).clip(0, 1)).astype(np.uint8)


def png(pixels: UInt8[np.ndarray, "height width *channels"]) -> str:
    """A PNG, in base64."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def most(shape: Sequence[int]) -> int:
    """How many images of a shape a page has if nothing else is said: 1,000, or those in 32 MB.

    Example:
      >>> most((28, 28, 1)), most((224, 224, 3))
      (1000, 70)
    """
    return max(1, min(1000, 32_000_000 // (len(COLUMNS) * math.prod(shape))))
