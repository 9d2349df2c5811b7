"""Networks that are looked at layer by layer, and images for them."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from jaxadv import datasets, zoo
from jaxadv.datasets import photographs
from jaxadv.networks import Network, Params, alexnet, lipschitz_bound, torch_weights
from jaxadv.runs import settings
from jaxadv.runs.inputs import load_networks, takes_photographs
from jaxadv.runs.photographs import check_decodable
from jaxadv.zoo.imported import layered


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Settings of such a command."""

    models: settings.Names = ("FC100-100-10", "FC200-200-10", "AE400-10", "LeNet-5")
    """Networks by name, EfficientNet-Lite0 among them, trained where need be; or your own, as
    module:function that returns (Network, params)."""
    count: int = 1000
    """Number of images to measure Jacobians at, at most: the first of the test set, or the first
    photographs, for networks that take them."""
    images: Path | None = None
    """Folder of PNG and JPEG photographs; by default the twenty of Foolbox."""
    weights: Path | None = None
    """AlexNet's weights as torchvision publishes them, .pth or .safetensors, in place of models."""
    random: bool = False
    """AlexNet's original layers, from a random start, in place of models."""


def load(config: Settings) -> dict[str, tuple[Network, Params]]:
    """The networks and their parameters, by name."""
    if config.weights:
        params = alexnet.from_torchvision(torch_weights.read(config.weights))
        classes = len(params["fc3"]["bias"])
        return {"AlexNet (torchvision)": (alexnet.torchvision_alexnet(classes), params)}
    if config.random:
        network = alexnet.alexnet()
        return {"AlexNet, random": (network, network.init(jax.random.key(config.seed)))}
    models = load_networks(config)
    return {name: (model.layered, model.params) for name, model in models.items()}


def some_images(
    config: Settings, image_shape: tuple[int, ...]
) -> Float[np.ndarray, "count *image"]:
    """The first images of the test set, or the first photographs, as far as there are so many.

    Args:
      config: with their number.
      image_shape: of one image: the data set's, or (side, side, 3), for photographs.
    """
    if not config.count:
        return np.zeros((0, *image_shape), np.float32)
    if image_shape == config.info.image_shape:
        test = datasets.load(config.dataset, "test", config.data_dir)
        return test.images[: config.count]
    return _photographs(config).at(image_shape[0], slice(config.count)).images


def check(config: Settings) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    of_photographs = [name for name in config.models if takes_photographs(name)]
    settings.check(config, [name for name in config.models if name not in of_photographs])
    settings.check_sizes(count=[config.count])
    for name in set(config.models) - set(zoo.PRETRAINED):
        network, params = zoo.untrained(name)
        jax.eval_shape(functools.partial(lipschitz_bound, layered(name, network)), params)
    if config.weights and config.random:
        raise ValueError("weights and random exclude each other")
    if config.weights and not config.weights.is_file():
        raise FileNotFoundError(f"there is no file {config.weights}")
    if config.images and not (of_photographs or config.weights or config.random):
        raise ValueError(
            f"images are photographs, which none of {list(config.models)} takes; count is the"
            " number of those of the data set"
        )
    if config.images:
        check_decodable(_photographs(config), config.count)


@functools.cache
def _photographs(config):
    if config.images:
        return photographs.without_classes(config.images)
    return photographs.of_wheel(config.cache_dir)
