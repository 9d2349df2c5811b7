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
        """Bounds the block's Lipschitz constant, by the product of its parts', plus 1 for h."""
        bounds, shape = [], input_shape
        for part in self.parts(input_shape[-1]):
            bounds.append(part.lipschitz(params[str(part.name)], shape, method, iterations).product)
            sides = (-(-side // part.stride) for side in shape[:2])
            shape = (*sides, part.features)
        norm = math.prod(bounds, start=jnp.ones(()))
        return LayerBound(str(self.name), norm + 1 if shape == input_shape else norm)
