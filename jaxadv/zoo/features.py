"""Features that are learned without labels, stage by stage, and kept."""

import os
from pathlib import Path
from typing import NamedTuple

import jax

from jaxadv import networks, spectral, training
from jaxadv.networks.network import Network, Params
from jaxadv.storage import cache
from jaxadv.training.features import Images, PooledSparsity, greedy, stages
from jaxadv.training.fit import Progress, Schedule

BATCH, LEARNING_RATE = 64, 0.02


class Encoder(NamedTuple):
    """A network whose output are features, and its parameters."""

    name: str
    network: Network
    params: Params


def recipes(epochs: int) -> dict[str, PooledSparsity]:
    """How filters are learned, and the baseline whose filters stay random, by name."""
    schedule = Schedule(epochs, BATCH, LEARNING_RATE)
    return {"learned": PooledSparsity(schedule), "random": PooledSparsity(None)}


def learned(
    name: str,
    recipe: PooledSparsity,
    network: Network,
    images: Images,
    seed: int,
    cache_dir: str | os.PathLike = cache.DEFAULT_DIRECTORY,
    retrain: bool = False,
    *,
    progress: Progress | None = None,
) -> Encoder:
    """Returns a `quocnet` with its parameters, training those stages that are not kept.

    A stage is read only where recipe, seed, its inputs, and the code that trains are the same. One
    whose training was killed goes on where it was, to the same bits.

    Args:
      name: of the result, and part of the names of its files.
      recipe: of each stage.
      network: what to train.
      images: without labels.
      seed: of filters and the order of minibatches.
      cache_dir: where stages are kept.
      retrain: whether to train although there are kept ones.
      progress: told the fraction of the training that is done.
    """
    total = len(stages(network))
    code = cache.source_fingerprint(networks, spectral, training)

    def train(number, stage, inputs):
        about = cache.fingerprint(repr(stage), repr(recipe), seed, inputs, code)
        path = Path(cache_dir, "weights", f"QuocNet-{name}-stage{number}-{about}.npz")

        def told(fraction):
            if progress:
                progress((number - 1 + fraction) / total)

        def make():
            key = jax.random.fold_in(jax.random.key(seed), number)
            return recipe.train(stage, inputs, key, told, path.with_suffix(".partial"))[local]

        local = stage.layers[0].name
        kept = cache.stored(path, make, lambda _: not retrain)
        told(1.0)
        return {layer.name: {} for layer in stage.layers} | {local: kept}

    return Encoder(name, network, greedy(network, images, train))
