"""Features learned without labels: the settings, the photographs, and what is trained on them."""

import dataclasses
import functools
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxadv.datasets import Examples, crops, natural
from jaxadv.networks import Network
from jaxadv.networks.quocnet import SMALL, quocnet
from jaxadv.runs import settings
from jaxadv.runs.inputs import train_each
from jaxadv.storage import cache
from jaxadv.training.features import stages
from jaxadv.zoo import features
from jaxadv.zoo.features import Encoder

QUICK = {"crops": 512, "epochs": 1, "count": 8}  # settings that --quick lowers
SIDE = 25  # of crops, and of the images of faces, in pixels


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the training."""

    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    images: Path | None = None
    """Folder of PNG and JPEG photographs to learn from; by default 32 of packages, which pip
    downloads."""
    crops: int = 8192
    """Number of crops of the photographs to learn from."""
    features: tuple[int, ...] = tuple(stage.features for stage in SMALL)
    """Number of features at each location, of each stage: three, or fewer, from the first on."""
    epochs: int = 6
    """Epochs of the training of each stage."""
    quick: bool = False
    """The first stage alone, from few crops, to see what comes out; the figures say little."""
    seed: int = 0
    """Seed of crops, filters and classifiers; an attack's own noise is always the same."""
    out: Path = Path("results")
    """Directory for tables and pictures."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of packages, trained weights, adversarial examples and compiled code, for later
    runs."""
    retrain: bool = False
    """Train again, even if there are weights of an earlier run."""

    @property
    def dataset(self) -> str:
        """What is classified."""
        return "faces and backgrounds"

    @property
    def network(self) -> Network:
        """The encoder."""
        widths = zip(SMALL, self.features, strict=False)
        return quocnet(SIDE, 1, [dataclasses.replace(stage, features=n) for stage, n in widths])


Config = TypeVar("Config", bound=Settings)


def shortened(config: Config) -> Config:
    """The settings of a quick run, if it is to be one."""
    if not config.quick:
        return config
    return settings.lowered(dataclasses.replace(config, features=config.features[:1]), QUICK)


def left_out(config: Settings) -> str:
    """What a quick run does not do, in words."""
    return "further stages, crops, epochs and images" if config.quick else ""


@functools.cache
def opened(config: Settings) -> Examples:
    """The photographs, as crops.

    Raises:
      InputError: one that is looked at is broken or too small, or there are none.
    """
    options = config.crops, SIDE, config.seed
    if config.images:
        return crops.open_folder(config.images, *options)
    return crops.open_crops(natural.natural_photographs(config.cache_dir), "photographs", *options)


def load(config: Settings, patches: np.ndarray) -> list[Encoder]:
    """The encoder with learned filters, and with random ones; trained, or read from files."""
    shared = config.network, patches, config.seed, config.cache_dir, config.retrain
    return train_each(
        [
            (f"{name} filters", functools.partial(features.learned, name, recipe, *shared))
            for name, recipe in features.recipes(config.epochs).items()
        ]
    )


def check(config: Settings) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    if config.crops < (fewest := 2 * features.BATCH):
        raise ValueError(f"crops must be at least {fewest}, got {config.crops}")
    settings.check_positive(epochs=config.epochs)
    settings.check_seed(config.seed)
    settings.check_count("the number of features", len(config.features), len(SMALL))
    settings.check_positive(features=min(config.features))
    recipe = features.recipes(config.epochs)["learned"]
    for number, stage in enumerate(stages(config.network), start=1):
        count, most = config.features[number - 1], recipe.dimensions(stage)
        settings.check_count(f"features of stage {number}", count, most)
    if config.images:
        opened(config)
