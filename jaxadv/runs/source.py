"""Where a command takes a user's images from."""

import dataclasses
from pathlib import Path

from jaxadv.datasets.examples import Examples, open_source
from jaxadv.runs import arguments
from jaxadv.runs.settings import check_positive
from jaxadv.storage import cache


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a command that works on a user's images."""

    data: str = arguments.REQUIRED
    """Source of the images."""
    images: int | None = None
    """Number of images, from the first on, or all if there are fewer; by default all."""
    size: int | None = None
    """Pixels a side, to which images are cropped and resized; by default they stay as they are."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of compiled code, and of trained weights."""

    def opened(self) -> Examples:
        """The images; InputError where they are not to be had."""
        return open_source(self.data, size=self.size, data_dir=self.data_dir)

    def check_source(self, out: str) -> None:
        """Checks the settings, and that results do not come to lie among the images.

        Raises:
          ValueError: they do, or there are to be no images.
        """
        check_positive(images=self.images)
        data, results = (Path(each).expanduser().resolve() for each in (self.data, out))
        if "://" not in out and data.is_dir() and data in (results, *results.parents):
            raise ValueError(f"out must not be in the folder of the data, got {out} in {self.data}")

    def place(self) -> str:
        """Where they are: an absolute path, if it is one."""
        path = Path(self.data).expanduser()
        return str(path.resolve()) if path.exists() else self.data
