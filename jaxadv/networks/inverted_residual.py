"""Inverted residual blocks (Sandler et al., 2018, arXiv 1801.04381)."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.networks.layers import HE_NORMAL, Convolution
from jaxadv.spectral.lipschitz import LayerBound


class InvertedResidual(nn.Module):
    """φ(h) = project(depthwise(expand(h))), plus h where that has its shape.

    To `expansion` times as many channels by 1 × 1 kernels and ReLU6 (for an expansion of 1, not at
    all); a kernel of size × size per channel and ReLU6; and to the features by 1 × 1 kernels.
    """

    features: int
    size: int = 3
    stride: int = 1
    expansion: int = 6

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width channels"]
    ) -> Float[jax.Array, "B _ _ features"]:
        """Applies the block."""
        inner = h = jnp.asarray(h)
        for part in self.parts(h.shape[-1]):
            inner = part(inner)
        return h + inner if inner.shape == h.shape else inner

    @nn.nowrap
    def parts(self, channels: int) -> tuple[Convolution, ...]:
        """The convolutions, in their order, of an input of so many channels."""
        wide = channels * self.expansion
        he: dict[str, Any] = {"kernel_scaling": HE_NORMAL}
        spatial: dict[str, Any] = {"size": self.size, "stride": self.stride, "padding": "SAME"}
        depthwise = Convolution(wide, jax.nn.relu6, groups=wide, name="depthwise", **spatial, **he)
        project = Convolution(self.features, size=1, name="project", **he)
        if self.expansion == 1:
            return depthwise, project
        return Convolution(wide, jax.nn.relu6, 1, name="expand", **he), depthwise, project

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """Bounds the block's Lipschitz constant; see `jaxadv.networks.lipschitz.layer_bounds`.

        By the product of its parts' constants, plus 1 for h. As the depthwise kernels and ReLU6
        keep channels apart, that product bounds the block for any positive scales of the channels
        before and after the depthwise kernels, by which the parts on either side are divided and
        multiplied. `_balanced` chooses them: in EfficientNet-Lite0, for a fifth of the bound.
        """
        bounds, shape = [], input_shape
        params = _balanced(params)
        for part in self.parts(input_shape[-1]):
            bounds.append(part.lipschitz(params[str(part.name)], shape, method, iterations).product)
            sides = (-(-side // part.stride) for side in shape[:2])
            shape = (*sides, part.features)
        norm = math.prod(bounds, start=jnp.ones(()))
        return LayerBound(str(self.name), norm + 1 if shape == input_shape else norm)


def _balanced(params):
    """Kernels of which the depthwise ones have norms near 1, and the others norms as alike as can.

    The norms of a channel's depthwise kernel w, of the column a of the expansion that gives the
    channel, and of the row b of the projection that takes it, only guide the choice.
    """
    kernels = {name: jax.lax.stop_gradient(part["kernel"]) for name, part in params.items()}
    waves = jnp.fft.rfft2(kernels["depthwise"], (16, 16), (0, 1))
    w = _away_from_0(jnp.abs(waves).max((0, 1, 2)))
    before = jnp.ones_like(w)
    if "expand" in params:
        a, b = (
            _away_from_0(jnp.linalg.norm(kernels[name][0, 0], axis=axis))
            for name, axis in (("expand", 0), ("project", 1))
        )
        before = jnp.sqrt(a / (w * b))
    after = w * before
    scales = {"expand": 1 / before, "depthwise": before / after, "project": after[:, None]}
    return {name: {"kernel": part["kernel"] * scales[name]} for name, part in params.items()}


def _away_from_0(norms):
    """Those of channels that do next to nothing, or nothing, would make scales of any size."""
    smallest = jnp.finfo(norms.dtype)
    return jnp.maximum(norms, smallest.eps * norms.max() + smallest.tiny)
