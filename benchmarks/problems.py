"""Networks, and images of theirs to attack, each with a class to reach or to leave."""

from collections.abc import Iterator
from typing import NamedTuple

import common
import numpy as np

from jaxadv import zoo
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import Dataset, photographs
from jaxadv.networks import predictions

TRAINED = "FC100-100-10", "CNN", "LeNet-5"  # on MNIST
LITE = "EfficientNet-Lite0"
NETWORKS: tuple[str, ...] = *TRAINED, LITE
RECOGNISED = 17  # of the twenty photographs, by EfficientNet-Lite0
TARGET = 9  # of each photograph, besides a random one


class Problems(NamedTuple):
    """N images, and what is wanted of each."""

    title: str
    model: zoo.Model
    x: np.ndarray  # (N, …) float32 in [0, 1]
    classes: np.ndarray  # (N,): targets, or labels that the images are to leave
    targeted: bool = True


def of(names: tuple[str, ...], counts: dict[str, int], config: common.Common) -> Iterator[Problems]:
    """The problems of the networks, loaded one after the other.

    Args:
      names: of `NETWORKS`. FC100-100-10 is attacked without targets, too.
      counts: of images, by network.
      config: cores, seed and directories.
    """
    splits = common.load_data(config) if set(names) & set(TRAINED) else {}
    for name in names:
        if name == LITE:
            yield of_photographs(counts[name], config)
            continue
        model = common.load_model(name, splits, config)
        x, labels = splits["train"].part(slice(counts[name]))
        yield Problems(name, model, x, wrong_targets(labels, config.info.classes, config.seed))
        if name == "FC100-100-10":
            yield Problems(f"{name}, untargeted", model, x, labels, targeted=False)


def of_photographs(count: int, config: common.Common) -> Problems:
    """EfficientNet-Lite0 on photographs that it recognises: to random targets, then all to one."""
    model = zoo.ready(LITE, config.cache_dir)
    images, labels = photographs.load(model.layered.input_shape[0], config.cache_dir)
    right = predictions(model.network.logits, model.params, images) == labels
    x, labels = Dataset(images, labels).part(np.flatnonzero(right)[:count])
    random = wrong_targets(labels, classes=1000, seed=config.seed)
    targets = np.concatenate([random, np.full_like(random, TARGET)])
    return Problems(LITE, model, np.concatenate([x] * 2), targets)
