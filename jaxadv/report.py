"""One HTML page for the results of any command, with all that it shows embedded.

Of generated examples: robust accuracy against distortion, how the attacks ended, and images to page
through. Of other commands: their tables beside the paper's, and their pictures. All have settings
and versions.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jaxadv
from jaxadv.datasets import examples
from jaxadv.reports import page
from jaxadv.reports.page import folder, generated
from jaxadv.runs import arguments, command, settings
from jaxadv.runs.console import say
from jaxadv.storage import manifests
from jaxadv.storage.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the page."""

    directory: arguments.Place = arguments.REQUIRED
    """Folder that a command has written, or a place in an object store where generate has."""
    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    out: Path | None = None
    """File to write; by default report.html in the folder, for an object store here."""
    images: int | None = None
    """Number of generated examples to show, spaced evenly if there are more; by default 1000, of
    large images as many as fit into 32 MB."""
    data: str | None = None
    """Source of the images that were attacked; by default that of the run, unless this is
    module:function, whose code is run only if it is given here."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""

    @property
    def path(self) -> Path:
        """Of the page."""
        return self.out or Path("" if "://" in self.directory else self.directory) / page.NAME


def run(config: Config) -> None:
    """Writes the page."""
    if "://" in config.directory or (Path(config.directory) / manifests.NAME).exists():
        results = jaxadv.read_results(config.directory)
        originals = functools.partial(read_originals, results.manifest, config)
        runs = [generated.run(results, originals, config.images)]
    else:
        runs = folder.runs(Path(config.directory))
    page.write(config.path, runs)
    say(f"The page is {config.path}.")


def read_originals(
    manifest: Mapping[str, Any], config: Config, indices: Sequence[int]
) -> list[np.ndarray | None]:
    """Images that were attacked, from their source; InputError where they are not to be had."""
    data = manifest.get("data")
    known = data if isinstance(data, dict) and isinstance(data.get("size"), int | None) else {}
    source = manifest.get("data_source") if config.data is None else config.data
    if config.data is None and (":" in str(source) and not str(source).startswith("tfds:")):
        raise InputError(f"{source} may be code to run, which has to be asked for by --data")
    found = examples.open_source(str(source), size=known.get("size"), data_dir=config.data_dir)
    if found.fingerprint() != known.get("fingerprint"):
        raise InputError(f"{source} is not the data that was attacked")
    return [found[index].image for index in indices]


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    if "://" not in config.directory and not Path(config.directory).is_dir():
        raise NotADirectoryError(f"{config.directory} is not a folder")
    if config.images is not None and config.images < 1:
        raise ValueError(f"images must be at least 1, got {config.images}")
    settings.check_writable(config.path.parent)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
