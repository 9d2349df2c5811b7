"""Photographs that a command works on, and networks for them."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv import zoo
from jaxadv.attacks.checks import number_of_classes
from jaxadv.datasets import imagenet, photographs
from jaxadv.datasets.photographs import Photographs
from jaxadv.networks import alexnet, torch_weights
from jaxadv.runs.console import console
from jaxadv.runs.settings import Names, check_count, check_once, check_seed
from jaxadv.storage import cache
from jaxadv.storage.errors import InputError
from jaxadv.zoo.imported import layers_source

SIDE = 224  # of images for networks that do not tell
CHECKED = 8  # pixels a side, to which photographs are decoded to see whether they can be


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a command that works on photographs."""

    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    models: Names = ("EfficientNet-Lite0", "EfficientNet-Lite1")
    """Networks by name, or your own, as module:function that returns (logits_fn, params) or
    (Network, params); all of as many classes."""
    weights: Path | None = None
    """AlexNet's weights as torchvision publishes them, .pth or .safetensors: one network more."""
    side: int = SIDE
    """Pixels a side of the images for your own networks, unless they are a Network."""
    images: Path | None = None
    """Folder of PNG and JPEG photographs, in sub-folders named by class, its number or WordNet ID,
    unless there is a file of labels; by default the twenty of Foolbox."""
    labels: Path | None = None
    """Text file with a line for each photograph: its class, or the name of its file and its class.
    """
    seed: int = 0
    """Seed of targets and noise; an attack's own noise is always the same."""
    out: Path = Path("results")
    """Directory for tables and pictures."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of packages, adversarial examples and compiled code, for later runs."""

    @property
    def dataset(self) -> str:
        """What the photographs are called."""
        return self.images.resolve().name if self.images else "Foolbox's photographs"


class Seeing(NamedTuple):
    """A network, and the squares that it takes for images: pixels a side."""

    model: zoo.Model
    side: int


class Inputs(NamedTuple):
    """What a command starts from."""

    networks: list[Seeing]
    classes: tuple[str, ...]  # their names; 1,000 are taken for ImageNet's
    photographs: Photographs


@functools.cache
def prepared(settings: Settings) -> Inputs:
    """The networks and the photographs, all of which can be decoded and have classes of theirs.

    Raises:
      ValueError: settings that cannot work, or bad input: the message names the file.
      FileNotFoundError: a package is not to be had; the message says which file to put where.
      OSError: a file cannot be read.
    """
    sides = {name: _side(name, settings.side) for name in settings.models}
    found = given_photographs(settings.images, settings.labels, settings.cache_dir)
    networks = [Seeing(_alexnet(settings.weights), SIDE)] if settings.weights else []
    with console.status("loading networks"):
        named = [Seeing(zoo.ready(name, settings.cache_dir), side) for name, side in sides.items()]
    networks = named + networks
    counts = {each.model.name: _classes(each) for each in networks}
    if len({*counts.values()}) > 1:
        raise InputError(f"networks must have as many classes as each other, got {counts}")
    classes = max(counts.values())
    if (wrong := found.labels >= classes).any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"{found.names[at]} has the class {found.labels[at]}, expected 0 to {classes - 1}, as"
            f" {networks[0].model.name} has {classes}"
        )
    check_decodable(found)
    return Inputs(networks, class_names(classes, settings.cache_dir), found)


def given_photographs(folder: Path | None, labels: Path | None, cache_dir: Path) -> Photographs:
    """Those of a folder, with classes by `photographs.of_folder`; else the twenty of Foolbox.

    Raises:
      ValueError: labels without a folder, or bad input: the message names the file.
      FileNotFoundError: a package is not to be had; the message says which file to put where.
      OSError: a file cannot be read.
    """
    if folder:
        return photographs.of_folder(folder, labels, cache_dir)
    if labels:
        raise ValueError("labels are for the images of a folder, which is not given")
    return photographs.of_wheel(cache_dir)


def check_decodable(found: Photographs, most: int | None = None) -> None:
    """Raises ValueError, which names the file, if one cannot be decoded, of the first `most`."""
    with console.status("decoding photographs"):
        for number in range(len(found.names))[:most]:
            found.at(CHECKED, slice(number, number + 1))


def check(settings: Settings) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    if not (settings.models or settings.weights):
        raise ValueError("models must name at least one network, unless there are weights")
    check_once("models", settings.models)
    check_count("side", settings.side, 2**12)
    check_seed(settings.seed)
    if settings.weights and not settings.weights.is_file():
        raise FileNotFoundError(f"there is no file {settings.weights}")
    prepared(settings)


def _side(name, default):
    network, _ = zoo.untrained(name)
    shape = getattr(network, "input_shape", (default, default, 3))
    if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3:
        raise InputError(f"{name} takes images of {shape}, expected squares of three colours")
    return shape[0]


def class_names(classes: int, cache_dir: Path) -> tuple[str, ...]:
    """Names of so many classes: of ImageNet's, if there are 1,000, else their numbers."""
    if classes == imagenet.CLASSES:
        return imagenet.classes(cache_dir).names
    return tuple(map(str, range(classes)))


def _alexnet(path):
    try:
        params = alexnet.from_torchvision(torch_weights.read(path))
    except ValueError as error:
        reason = str(error)  # which may have the names of all arrays
        at = "" if str(path) in reason else f"{path}: "
        raise InputError(f"{at}{reason:.300}{'…' * (len(reason) > 300)}") from error
    network = alexnet.torchvision_alexnet(len(params["fc3"]["bias"]))
    return zoo.Model("AlexNet", network, params, math.nan, math.nan, layers_source(network))


def _classes(seeing):
    model, side = seeing
    image = np.zeros((1, side, side, 3), np.float32)
    try:
        return number_of_classes(model.network.logits, model.params, image)
    except ValueError as error:
        raise InputError(f"{model.name}: {error}") from error
