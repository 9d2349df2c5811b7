"""Photographs and faces without licences to copy them, read from the packages that have them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxadv.datasets import photographs
from jaxadv.datasets.dataset import Dataset
from jaxadv.storage import cache, wheels

SCIKIT_IMAGE = (
    "scikit-image==0.26.0"
    " --hash=sha256:7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466"
)
SCIKIT_LEARN = (
    "scikit-learn==1.9.1"
    " --hash=sha256:e5d7b18a5b9dca241a74695f3275fa4c895a9dadc72b3d8df5fa9d1083c9b83e"
)
FACES = "skimage/data/lfw_subset.npy"
WHEELS = {
    SCIKIT_IMAGE: [
        f"skimage/data/{name}"
        for name in (
            *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png"),
            *("coins.png", "grass.png", "gravel.png", "motorcycle_left.png", "rocket.jpg"),
        )
    ],
    SCIKIT_LEARN: ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
}


class Files:
    """Files in memory, as `jaxadv.datasets.images.ImageFolder` has them."""

    def __init__(self, names: Sequence[str], contents: Sequence[bytes]):
        self._names, self._contents = names, contents

    def __len__(self):
        return len(self._names)

    def name(self, index: int) -> str:
        """Of a file."""
        return self._names[index]

    def __getitem__(self, index):
        return {"image": self._contents[index]}


def natural_photographs(cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Files:
    """The 32 photographs of Foolbox (20 of ImageNet), scikit-image (10) and scikit-learn (2).

    Args:
      cache_dir: where the packages are kept, which pip downloads at the first call.

    Raises:
      FileNotFoundError: pip does not have one; the message says which file to put where.
    """
    found = photographs.of_wheel(cache_dir)
    names, contents = [*found.names], [found.read(number) for number in range(len(found.names))]
    for requirement, members in WHEELS.items():
        names += [member.rpartition("/")[2] for member in members]
        contents += wheels.members(requirement, members, cache_dir)
    return Files(names, contents)


def faces(cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Dataset:
    """100 faces (label 1) of Labeled Faces in the Wild and 100 of its backgrounds (0), 25 × 25.

    The tiny subset that scikit-image has: (200, 25, 25, 1), of greys.

    Args:
      cache_dir: as for `natural_photographs`.

    Raises:
      FileNotFoundError: as `natural_photographs`.
    """
    [content] = wheels.members(SCIKIT_IMAGE, [FACES], cache_dir)
    images = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
    return Dataset(images[..., None], (np.arange(200) < 100).astype(np.int32))
