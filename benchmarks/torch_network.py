"""A network of layers as a torch module with the same weights."""

import itertools
from typing import Any

import jax
import numpy as np
import torch

from jaxadv.networks import (
    Convolution,
    FullyConnected,
    GlobalAverage,
    InvertedResidual,
    Network,
    Params,
    Standardise,
)
from jaxadv.spectral.arguments import pads_per_axis

torch.backends.cudnn.allow_tf32 = False  # in convolutions, as in products by default
ACTIVATIONS: dict[Any, Any] = {
    jax.nn.sigmoid: torch.nn.Sigmoid,
    jax.nn.relu: torch.nn.ReLU,
    jax.nn.relu6: torch.nn.ReLU6,
}


def torch_network(network: Network, params: Params) -> torch.nn.Module:
    """The same network as a torch module, (B, channels, height, width) -> (B, k) logits.

    Raises:
      AssertionError: the logits of the two differ, or a layer is of a kind unknown here.
    """
    parts = zip(network.layers, network.shapes(params), strict=False)
    modules = [_modules(layer, params[layer.name], shape) for layer, shape in parts]
    model = torch.nn.Sequential(*itertools.chain(*modules)).requires_grad_(False).eval()
    model = model.to(memory_format=torch.channels_last)  # as images are; on a CPU, faster
    x = np.random.default_rng(0).uniform(size=(8, *network.input_shape)).astype("float32")
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(network.logits)(params, x)
    logits = model(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    return model.to("cpu" if jax.default_backend() == "cpu" else "cuda")


def _modules(layer, params, shape):
    """Of one layer, whose input has the shape (height, width, channels) or (n,)."""
    match layer:
        case Standardise():
            return [_Standardise(layer)]
        case Convolution():
            return _convolution(layer, params, shape)
        case InvertedResidual():
            return [_Residual(layer, params, shape)]
        case GlobalAverage():
            return [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        case FullyConnected():
            return _fully_connected(layer, params, shape)
    raise AssertionError(f"no module of torch for the layer {layer}")


def _convolution(layer, params, shape):
    assert not layer.normalise and layer.pool_stride is None, layer
    size, strides = (layer.size,) * 2, (layer.stride,) * 2
    rows, columns = pads_per_axis(layer.padding, shape[:2], size, strides, (1, 1))
    pads = (*columns, *rows)
    symmetric = len(set(pads)) == 1
    padding = [] if symmetric else [torch.nn.ZeroPad2d(pads)]
    module = torch.nn.Conv2d(
        *(shape[-1], layer.features, layer.size, layer.stride, pads[0] if symmetric else 0),
        groups=layer.groups,
    )
    _set(module, np.transpose(params["kernel"], (3, 2, 0, 1)), params["bias"])
    pooling = [torch.nn.MaxPool2d(layer.pool)] if layer.pool > 1 else []
    return [*padding, module, *_activation(layer), *pooling]


def _fully_connected(layer, params, shape):
    kernel, flatten = np.asarray(params["kernel"]), []
    if len(shape) == 3:  # torch flattens the channels first
        flatten = [torch.nn.Flatten()]
        kernel = kernel.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
    module = torch.nn.Linear(*kernel.shape)
    _set(module, kernel.T, params["bias"])
    return [*flatten, module, *_activation(layer)]


def _activation(layer):
    return [] if layer.activation is jax.nn.identity else [ACTIVATIONS[layer.activation]()]


def _set(module, weight, bias):
    module.weight.data = torch.tensor(np.ascontiguousarray(weight))
    module.bias.data = torch.tensor(np.array(bias))


class _Standardise(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(layer, name))[:, None, None])

    def forward(self, h):
        return (h - self.mean) / self.std


class _Residual(torch.nn.Module):
    def __init__(self, layer, params, shape):
        super().__init__()
        modules = []
        for part in layer.parts(shape[-1]):
            modules += _modules(part, params[part.name], shape)
            shape = (*(-(-side // part.stride) for side in shape[:2]), part.features)
        self.inner = torch.nn.Sequential(*modules)

    def forward(self, h):
        inner = self.inner(h)
        return h + inner if inner.shape == h.shape else inner
