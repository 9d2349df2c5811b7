"""Networks that are trained in many ways: the settings, and what is trained."""

import dataclasses
from typing import TypeVar

from jaxadv import certify, zoo
from jaxadv.datasets import Dataset
from jaxadv.runs import settings
from jaxadv.runs.inputs import train_from_seeds
from jaxadv.zoo import adversarial
from jaxadv.zoo.adversarial import MARK

QUICK = {"seeds": 1, "epochs": 2, "images": 20}  # settings that --quick lowers
QUICK_WAYS = "decay", "dropout", "input", "paper", "layers"


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Settings of trainings."""

    models: settings.Names = ("FC100-100-10",)
    """Networks to train in every way: FC100-100-10, LeNet-5."""
    ways: tuple[str, ...] = ()
    """Ways of training, such as decay, dropout, input, hidden1, paper, layers, vat; by default all
    that the network has."""
    epochs: int = adversarial.EPOCHS
    """Epochs of each training."""
    seeds: int = 3
    """Number of trainings in each way, with the seeds seed, seed + 1, …"""
    quick: bool = False
    """Two epochs of some ways from one seed, to see what comes out; the figures say little."""
    validation: bool = False
    """Hold out the last sixth of the training images and test on these, to choose settings by."""
    balls: int = 20
    """Balls around an image in which CROWN bounds the network; more give larger lower bounds."""


Config = TypeVar("Config", bound=Settings)


def shortened(config: Config) -> Config:
    """The settings of a quick run, if it is to be one."""
    if not config.quick:
        return config
    return settings.lowered(dataclasses.replace(config, ways=config.ways or QUICK_WAYS), QUICK)


def tested(config: Settings, splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """The splits to train and to test on: of MNIST, 50,000 and 10,000 images for validation."""
    if not config.validation:
        return splits
    train = splits["train"]
    first = len(train.labels) - len(train.labels) // 6
    return {"train": train.part(slice(first)), "test": train.part(slice(first, None))}


def left_out(config: Settings) -> str:
    """What a quick run does not do, in words."""
    if not config.quick:
        return ""
    done, of_all = recipes(config), recipes(dataclasses.replace(config, ways=()))
    rest = ", ".join(name for name in of_all if name not in done)
    return f"further seeds, epochs and images{f', and {rest}' if rest else ''}"


def seeds(config: Settings) -> range:
    """Of the trainings in each way."""
    return range(config.seed, config.seed + config.seeds)


def recipes(config: Settings) -> dict[str, zoo.Entry]:
    """Network and recipe of each training, by the name of the network and the way."""
    return {
        f"{name}{MARK}{way}": zoo.Entry(zoo.ZOO[name].network, recipe)
        for name in config.models
        for way, recipe in _of(config, name).items()
    }


def _of(config, name):
    all_ways = adversarial.trainings(name, zoo.ZOO[name].network, config.epochs)
    unknown = [way for way in config.ways if way not in all_ways]
    if unknown:
        raise ValueError(f"unknown ways {unknown} for {name}, expected some of {list(all_ways)}")
    return {way: all_ways[way] for way in config.ways or all_ways}


def load(config: Settings, splits: dict[str, Dataset]) -> list[list[zoo.Model]]:
    """Trains each network in each way, or reads its weights: the networks of each seed."""
    return train_from_seeds(config, splits, recipes(config), seeds(config))


def gradients(config: Settings, images: int) -> list[float]:
    """Gradients of the network that each training on so many images takes."""
    return [
        recipe.gradients * config.epochs * (images - images % adversarial.BATCH)
        for name in config.models
        for recipe in _of(config, name).values()
    ]


def check(config: Settings) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    for name in config.models:
        if name not in adversarial.CHOSEN:
            expected = list(adversarial.CHOSEN)
            raise ValueError(f"models must be some of {expected}, got {name}")
    settings.check_positive(epochs=config.epochs)
    settings.check_count("seeds", config.seeds, 2**32 - config.seed)
    settings.check_once("ways", config.ways)
    certify.check_balls(config.balls)
    recipes(config)
