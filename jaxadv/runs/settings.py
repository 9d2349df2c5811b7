"""The settings that all commands share, and how settings are checked."""

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from jaxadv import datasets, zoo
from jaxadv.datasets import DatasetInfo
from jaxadv.runs.arguments import alias
from jaxadv.storage import cache

Config = TypeVar("Config", bound=Any)  # a dataclass of settings
Names = Annotated[tuple[str, ...], alias("--model")]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that every command has; each has its own defaults for `models` and `out`."""

    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    dataset: Literal["mnist", "fashion_mnist"] = "mnist"
    """Data set."""
    models: Names = ()
    """Networks by name, trained where need be; or your own, as module:function that returns
    (logits_fn, params) or (Network, params)."""
    seed: int = 0
    """Seed of trainings, targets and noise; an attack's own noise is always the same."""
    out: Path = Path("results")
    """Directory for tables and pictures."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of trained weights, adversarial examples and compiled code, for later runs."""
    retrain: bool = False
    """Train again, even if there are weights of an earlier run."""

    @property
    def info(self) -> DatasetInfo:
        """Shape, classes and sizes of the data set."""
        return datasets.info(self.dataset)


def check(settings: Settings, architectures: Sequence[str] | None = None) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work.

    Args:
      settings: of any command.
      architectures: the models' names in the zoo, where they are not `settings.models`.
    """
    names = settings.models
    zoo.check_names(names if architectures is None else architectures, settings.info)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must name at least one network, each once, got {names}")
    check_seed(settings.seed)


def lowered(config: Config, most: Mapping[str, int]) -> Config:
    """The settings with no more than so many of what `most` names."""
    lower = {name: min(value, getattr(config, name)) for name, value in most.items()}
    return dataclasses.replace(config, **lower)


def check_count(name: str, value: int, largest: int) -> None:
    """Raises ValueError unless the value is from 1 to the largest."""
    if not 1 <= value <= largest:
        raise ValueError(f"{name} must be from 1 to {largest}, got {value}")


def check_seed(seed: int) -> None:
    """Raises ValueError unless JAX takes the seed as it is."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}, got {seed}")


def check_positive(**settings: int | None) -> None:
    """Raises ValueError unless the settings that are given are at least 1."""
    for name, value in settings.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_sizes(**settings: Sequence[float]) -> None:
    """Raises ValueError unless the values of all settings are finite, and none is negative."""
    for name, values in settings.items():
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"{name} must not be negative, infinite or NaN, got {tuple(values)}")


def check_counts(name: str, values: Sequence[int], smallest: int, largest: int) -> None:
    """Raises ValueError unless there are values, each once, from the smallest to the largest."""
    if not values or not all(smallest <= value <= largest for value in values):
        raise ValueError(f"{name} must be from {smallest} to {largest}, got {tuple(values)}")
    check_once(name, values)


def check_once(name: str, values: Sequence[float | str]) -> None:
    """Raises ValueError if a value is there twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"{name} must be there once each, got {tuple(values)}")


def check_writable(directory: Path) -> None:
    """Creates the directory if need be; raises OSError unless files can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(f"cannot write into {directory}: {error.strerror}") from error
