"""Weights trained once and kept, in safetensors files whose metadata says what they are."""

import json
import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np
import safetensors
import safetensors.numpy

from jaxadv import networks, spectral, training
from jaxadv.datasets.dataset import Dataset
from jaxadv.networks.evaluate import error_rate
from jaxadv.networks.network import Network
from jaxadv.storage import cache
from jaxadv.training.fit import Progress
from jaxadv.training.recipes import Recipe
from jaxadv.zoo.imported import LogitsOnly, layered, layers_source


class Model(NamedTuple):
    """A trained network, and its errors as fractions."""

    name: str
    network: Network | LogitsOnly
    params: Any  # a dict, unless they are a user's own
    train_error: float
    test_error: float
    source: str = ""  # fingerprint of the layers' code, as it was when the model was loaded
    seconds: float | None = None  # that its training took, if all at once

    @property
    def layered(self) -> Network:
        """The network, for what looks into layers.

        Raises:
          ValueError: only the logits are known.
        """
        return layered(self.name, self.network)

    @property
    def identity(self) -> tuple[Any, str]:
        """What the logits follow from: fingerprints of this name what is kept for the model."""
        return self.params, repr(self.network) + self.source


def evaluated(
    name: str, network: Network | LogitsOnly, params: Any, splits: dict[str, Dataset]
) -> Model:
    """A network with its errors on the splits "train" and "test"."""
    train, test = (
        error_rate(network.logits, params, *splits[split]) for split in ("train", "test")
    )
    return Model(name, network, params, train, test, layers_source(network))


def trained(
    name: str,
    network: Network,
    recipe: Recipe,
    splits: dict[str, Dataset],
    seed: int,
    *,
    cache_dir: str | os.PathLike = cache.DEFAULT_DIRECTORY,
    retrain: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Returns a network with the weights it was trained to, training it if need be.

    Weights are read only where network, recipe, seed, data, and the code that trains are the same.
    A damaged file is set aside with a warning, as `name.damaged`, and the network trained anew.

    Args:
      name: of the model, and the start of the file's name.
      network: what to train.
      recipe: how to train it.
      splits: "train" and "test".
      seed: of the initialisation and the order of the minibatches.
      cache_dir: where weights are kept.
      retrain: whether to train although weights are there.
      progress: told the fraction of the training that is done.
    """
    run = {
        "model": name,
        "network": repr(network),
        "recipe": repr(recipe),
        "seed": str(seed),
        "data": cache.fingerprint(splits["train"], splits["test"]),
        "code": cache.source_fingerprint(networks, spectral, training),
    }
    path = Path(cache_dir, "weights", f"{name}-{cache.fingerprint(run)}.safetensors")
    kept = None if retrain else cache.intact(path, lambda path: _read(path, name, network))
    if kept is not None:
        return kept
    key, checkpoint = jax.random.key(seed), path.with_suffix(".partial")
    start, interrupted = time.perf_counter(), checkpoint.is_dir()
    params = training.train(network, splits["train"], recipe, key, progress, checkpoint)
    seconds = time.perf_counter() - start
    model = evaluated(name, network, jax.tree.map(np.asarray, params), splits)
    model = model._replace(seconds=None if interrupted else seconds)
    _write(path, model, run)
    return model


def _write(path: Path, model: Model, run: dict[str, str]) -> None:
    results = {name: getattr(model, name) for name in ("train_error", "test_error", "seconds")}
    versions = {package: metadata.version(package) for package in ("jaxadv", "jax", "flax")}
    flat: Any = flax.traverse_util.flatten_dict(model.params, sep="/")
    about = run | {"results": json.dumps(results), "versions": json.dumps(versions)}
    about[cache.DIGEST] = cache.fingerprint(flat, about)
    with cache.replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(flat, about))  # a full disk is an OSError


def _read(path: Path, name: str, network: Network) -> Model:
    with safetensors.safe_open(path, "numpy") as file:
        flat = {key: file.get_tensor(key) for key in file.keys()}
        about = dict(file.metadata())
    cache.check_digest(about.pop(cache.DIGEST), flat, about)
    params = {str(layer.name): {} for layer in network.layers}  # flattening drops empty ones
    params |= flax.traverse_util.unflatten_dict(flat, sep="/")
    results = json.loads(about["results"])
    return Model(name, network, params, **results, source=layers_source(network))
