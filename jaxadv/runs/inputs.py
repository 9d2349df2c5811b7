"""What commands start from: data, and networks that are trained or read."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from jaxadv import datasets, zoo
from jaxadv.datasets import Dataset
from jaxadv.runs.console import console, progress_bars
from jaxadv.runs.settings import Settings
from jaxadv.storage.devices import called_on
from jaxadv.training import Controlled, Supervised

Trained = TypeVar("Trained")  # a zoo.Model, or the like
PRIME = "'"  # ends the name of a network that is trained on P2
CONTROL = ", "  # stands between the name of a network and how its norms are controlled


def load_data(settings: Settings) -> dict[str, Dataset]:
    """The splits of the data set, by name."""
    name = settings.dataset
    with console.status(f"loading {name}"):
        return {
            split: datasets.load(name, split, settings.data_dir) for split in settings.info.examples
        }


def load_models(
    settings: Settings, splits: Mapping[str, Dataset], names: Sequence[str] | None = None
) -> list[zoo.Model]:
    """Trains the networks, or reads their weights: those of the settings, or `names`."""
    options = {"cache_dir": settings.cache_dir, "retrain": settings.retrain}
    arguments = splits, settings.seed, settings.info
    return train_each(
        [
            (name, functools.partial(zoo.load, name, *arguments, **options))
            for name in (settings.models if names is None else names)
        ]
    )


def load_model(
    name: str, image_shape: tuple[int, ...], seed: int, cache_dir: Path, data_dir: Path | None
) -> zoo.Model:
    """A user's own network, or one by name, on MNIST trained if need be; errors are not measured.

    Raises:
      ValueError: there is no such network, or it does not take images of this shape.
    """
    network, _ = zoo.untrained(name)
    expected = getattr(network, "input_shape", image_shape)
    if expected != image_shape:
        raise ValueError(f"{name} takes images of {expected}, got {image_shape}")
    if name not in zoo.ZOO:
        return zoo.ready(name, cache_dir)
    settings = Settings(models=(name,), seed=seed, cache_dir=cache_dir, data_dir=data_dir)
    (model,) = load_models(settings, load_data(settings))
    return model


def takes_photographs(name: str) -> bool:
    """Whether a network takes square images in colour, as those for photographs do.

    Raises:
      ValueError: there is no such network.
    """
    shape = getattr(zoo.untrained(name)[0], "input_shape", ())
    return len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3


def load_networks(settings: Settings) -> dict[str, zoo.Model]:
    """The networks of the settings, some of which may take photographs: those are only read."""
    models = {
        name: zoo.ready(name, settings.cache_dir)
        for name in settings.models
        if takes_photographs(name)
    }
    others = [name for name in settings.models if name not in models]
    if others:
        models |= {
            model.name: model for model in load_models(settings, load_data(settings), others)
        }
    return {name: models[name] for name in settings.models}


def load_models_on_halves(
    settings: Settings, halves: Mapping[str, Dataset], test: Dataset
) -> list[zoo.Model]:
    """As `load_models`, on P1, or with another seed on P2 if the name ends with a prime."""
    models = {}
    for part, prime, seed in (("P1", "", settings.seed), ("P2", PRIME, settings.seed + 1)):
        names = [name for name in settings.models if name.endswith(PRIME) == bool(prime)]
        splits = {"train": halves[part], "test": test}
        bare = [name.removesuffix(PRIME) for name in names]
        seeded = dataclasses.replace(settings, seed=seed % 2**32)
        for name, model in zip(names, load_models(seeded, splits, bare), strict=True):
            models[name] = model._replace(name=name)
    return [models[name] for name in settings.models]


def load_models_with_control(
    settings: Settings,
    splits: Mapping[str, Dataset],
    strengths: Sequence[float],
    limits: Sequence[float],
    seeds: Sequence[int],
) -> list[list[zoo.Model]]:
    """Trains each network with each control of its layers' norms, or reads its weights.

    A strength of 0 is no control. Names tell the control: "FC100-100-10, penalty 0.001". The seeds
    take the place of that of the settings.

    Returns:
      The networks of each seed.
    """
    recipes = {}
    for name in settings.models:
        network, recipe = zoo.ZOO[name].network, supervised_recipe(name)
        controlled = {
            f"{name}{CONTROL}penalty {s:g}" if s else name: Controlled(recipe, s) if s else recipe
            for s in strengths
        }
        controlled |= {f"{name}{CONTROL}limit {s:g}": Controlled(recipe, limit=s) for s in limits}
        recipes |= {title: zoo.Entry(network, each) for title, each in controlled.items()}
    return train_from_seeds(settings, splits, recipes, seeds)


def train_from_seeds(
    settings: Settings,
    splits: Mapping[str, Dataset],
    recipes: Mapping[str, zoo.Entry],
    seeds: Sequence[int],
) -> list[list[zoo.Model]]:
    """Trains networks, by name, or reads their weights: those of each seed."""
    options = {"cache_dir": settings.cache_dir, "retrain": settings.retrain}
    models = train_each(
        [
            (name, functools.partial(zoo.trained, name, *entry, splits, seed, **options))
            for name, entry in recipes.items()
            for seed in seeds
        ]
    )
    return [models[index :: len(seeds)] for index in range(len(seeds))]


def without_control(name: str) -> str:
    """The name of the network that `load_models_with_control` trains without control."""
    return name.partition(CONTROL)[0]


def supervised_recipe(name: str) -> Supervised:
    """How a network of the zoo is trained; ValueError unless it is by labels alone."""
    recipe = zoo.ZOO[name].recipe if name in zoo.ZOO else None
    if not isinstance(recipe, Supervised):
        raise ValueError(f"models must be trained by labels alone, got {name}")
    return recipe


def trained_on(name: str) -> str:
    """The half that `load_models_on_halves` trained a network on; a dash for a user's own."""
    return "–" if ":" in name else "P2" if name.endswith(PRIME) else "P1"


def train_each(trainings: Sequence[tuple[str, Callable[..., Trained]]]) -> list[Trained]:
    """Calls trainings side by side, one on each local device.

    Args:
      trainings: each with a name, and called with a function `progress`. Those of the same name
        share a bar.
    """
    done, stopped = np.zeros(len(trainings)), threading.Event()
    names = np.array([name for name, _ in trainings])
    with progress_bars() as bars:
        tasks = {
            name: bars.add_task(_action(name), total=100 * (names == name).sum(), start=False)
            for name in dict.fromkeys(names)
        }

        def told(index: int, fraction: float) -> None:
            if stopped.is_set():
                raise CancelledError("another training has failed, or was interrupted")
            name, done[index] = names[index], fraction
            bars.update(tasks[name], completed=100 * done[names == name].sum())

        def run(index: int) -> Trained:
            name, train = trainings[index]
            bars.start_task(tasks[name])
            trained = train(progress=functools.partial(told, index))
            told(index, 1.0)
            return trained

        try:
            calls = [functools.partial(run, index) for index in range(len(trainings))]
            return called_on(jax.local_devices(), calls)
        finally:
            stopped.set()


def _action(name):
    return f"{'loading' if ':' in name or name in zoo.PRETRAINED else 'training'} {name}"
