"""Models by name: networks of the zoo, and a user's own, that fit a data set."""

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv.attacks import checks
from jaxadv.datasets.dataset import Dataset, DatasetInfo
from jaxadv.networks.network import Network
from jaxadv.storage import cache
from jaxadv.training.fit import Progress
from jaxadv.zoo.imported import LogitsOnly, imported, layered, layers_source
from jaxadv.zoo.kept import Model, evaluated, trained
from jaxadv.zoo.registry import PRETRAINED, ZOO


def check_names(names: Iterable[str], info: DatasetInfo) -> None:
    """Checks names of models before any work.

    Args:
      names: keys of `ZOO` or `PRETRAINED`, or module:function (see `zoo.imported.imported`).
      info: of the data set that the models are for.

    Raises:
      ValueError: there is no such network, or it does not map images of this shape to logits of as
        many classes.
    """
    for name in names:
        _network(name, info)


def with_layers(name: str, info: DatasetInfo) -> Network:
    """The network of a name, not trained, for what looks into layers.

    Raises:
      ValueError: as `check_names`, or of a user's own only the logits are known.
    """
    return layered(name, _network(name, info))


def load(
    name: str,
    splits: dict[str, Dataset],
    seed: int,
    info: DatasetInfo,
    *,
    cache_dir: str | os.PathLike = cache.DEFAULT_DIRECTORY,
    retrain: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Returns the model of a name, trained if need be; a user's own is not.

    Args:
      name: see `check_names`.
      splits: "train" and "test" of the data set.
      seed: see `trained`.
      info: of the data set.
      cache_dir: see `trained`.
      retrain: see `trained`.
      progress: see `trained`.

    Raises:
      ValueError: as `check_names`.
    """
    check_names([name], info)
    if name not in ZOO:
        return evaluated(name, *_ready(name, cache_dir), splits)
    options = {"cache_dir": cache_dir, "retrain": retrain, "progress": progress}
    return trained(name, *ZOO[name], splits, seed, **options)


def ready(name: str, cache_dir: str | os.PathLike = cache.DEFAULT_DIRECTORY) -> Model:
    """Returns a model that needs no training, whose errors are not measured.

    Args:
      name: a key of `PRETRAINED`, or module:function.
      cache_dir: where the packages of weights are kept.

    Raises:
      ValueError: there is no such network.
      FileNotFoundError: its weights are not to be had; the message says which file to put where.
    """
    network, params = _ready(name, cache_dir)
    return Model(name, network, params, math.nan, math.nan, layers_source(network))


def _ready(name, cache_dir):
    if ":" in name:
        return imported(name)
    if name not in PRETRAINED:
        raise _unknown(name, PRETRAINED)
    return PRETRAINED[name].load(Path(cache_dir))


def _unknown(name, known):
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(by_lower[each]) for each in close)}?" if close else ""
    return ValueError(
        f"unknown model {name!r}, expected module:function or a name in jaxadv.zoo.ZOO or"
        f" jaxadv.zoo.PRETRAINED{hint}"
    )


def untrained(name: str) -> tuple[Network | LogitsOnly, Any]:
    """The network of a name, and the shapes of its parameters, or a user's own.

    Raises:
      ValueError: there is no such network.
    """
    if ":" in name:
        return imported(name)
    if name not in (*ZOO, *PRETRAINED):
        raise _unknown(name, [*ZOO, *PRETRAINED])
    network = ZOO[name].network if name in ZOO else PRETRAINED[name].network()
    return network, jax.eval_shape(network.init, jax.random.key(0))


def _network(name: str, info: DatasetInfo) -> Network | LogitsOnly:
    """The network of a name, which fits the data set."""
    network, params = untrained(name)
    shape = getattr(network, "input_shape", info.image_shape)
    if shape != info.image_shape:
        raise ValueError(
            f"{name} takes images of {shape}, expected {info.image_shape}, those of {info.name}"
        )
    image = np.zeros((1, *info.image_shape), "float32")
    try:
        classes = checks.number_of_classes(network.logits, params, image)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if classes != info.classes:
        raise ValueError(
            f"{name} has {classes} classes, expected {info.classes}, those of {info.name}"
        )
    return network
