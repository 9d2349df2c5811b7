"""Images among which a command looks for those that maximise directions in layers."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from jaxadv import zoo
from jaxadv.datasets.npy import open_npy
from jaxadv.datasets.photographs import Images, Squares
from jaxadv.networks import Network
from jaxadv.runs import settings
from jaxadv.runs.inputs import load_data, takes_photographs
from jaxadv.runs.photographs import check_decodable, class_names, given_photographs
from jaxadv.zoo.imported import layered


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Settings of such a command."""

    images: Path | None = None
    """Held-out images, in place of the test set: an .npy file, (N, height, width[, channels]), with
    floating-point numbers in [0, 1] or uint8, which may be larger than the memory. For networks
    that take photographs, a folder of these, PNG and JPEG, in sub-folders named by class, its
    number or WordNet ID, unless there are labels; by default the twenty of Foolbox."""
    labels: Path | None = None
    """Their classes: an .npy file, (N,), with integers; of photographs, a text file with a line for
    each, its class, or the name of its file and its class."""


class HeldOut(NamedTuple):
    """Held-out images."""

    images: Images
    labels: Integer[np.ndarray, " N"]
    source: str
    others: Images  # that principal components are found from: the same, if there are no others
    classes: Sequence[str] = ()  # names of the labels, if they have any


def check(config: Settings) -> tuple[dict[str, Network], int]:
    """The networks by name, not trained, and the number of images.

    Raises:
      ValueError: settings that cannot work, or bad input: the message names the file.
      FileNotFoundError: a package is not to be had; the message says which file to put where.
      OSError: a file cannot be read.
    """
    settings.check(config, [name for name in config.models if not takes_photographs(name)])
    networks = {name: layered(name, zoo.untrained(name)[0]) for name in config.models}
    shapes = {name: network.input_shape for name, network in networks.items()}
    if len({*shapes.values()}) > 1:
        raise ValueError(f"models must take images of one shape, got {shapes}")
    given = _given(config)
    if given and isinstance(given.images, Squares):
        check_decodable(given.images.photographs)
    return networks, len(given.labels) if given else config.info.examples["test"]


def load(config: Settings) -> HeldOut:
    """The images, for settings that have been checked; others are those of the training set."""
    given = _given(config)
    if given and isinstance(given.images, Squares):
        return given
    splits = load_data(config)
    others = splits["train"].images
    test = HeldOut(*splits["test"], f"the test set of {config.dataset}", others)
    return given._replace(others=others) if given else test


@functools.cache
def _given(config):
    """All but the test set."""
    if not takes_photographs(config.models[0]):
        found = open_npy(config.images, config.labels, config.info.image_shape)
        return found and HeldOut(*found, str(config.images), found.images)
    found = given_photographs(config.images, config.labels, config.cache_dir)
    network, params = zoo.untrained(config.models[0])
    network = layered(config.models[0], network)
    *_, (classes,) = network.shapes(params)
    images = Squares(found, network.input_shape[0])
    source = str(config.images or "Foolbox's package")
    names = class_names(classes, config.cache_dir)
    return HeldOut(images, found.labels, source, images, names)
