"""Features without labels: filters of local receptive fields whose pooled outputs are sparse.

Stage by stage, each receptive field is whitened by its principal components, and the filters of a
location, kept orthonormal, minimise the mean of the pooled outputs √(ε + Σ h²). That is topographic
ICA, and the limit of reconstruction ICA (Le et al., 2011) for a large weight of the reconstruction:
on whitened fields, orthonormal filters reconstruct best.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.networks.local import LocallyConnected, receptive_fields
from jaxadv.networks.network import Network, Params
from jaxadv.networks.quocnet import LAYERS
from jaxadv.training.fit import Of, Progress, Schedule, fit
from jaxadv.training.readout import outputs

NEWTON_SCHULZ = 5  # iterations: after a step of Adam, singular values are near 1
AT_ONCE = 256  # images whose fields are in memory
SMALLEST = 1e-6  # variance that is scaled to 1, relative to the field's largest

Images = Float[jax.Array | np.ndarray, "N height width channels"]


class Whitening(NamedTuple):
    """z = (h − mean) V of each location's field h: its principal components, of variance 1."""

    mean: Float[jax.Array, "locations inputs"]
    projection: Float[jax.Array, "locations inputs dimensions"]

    def __call__(self, fields: Float[jax.Array, "B locations inputs"]) -> jax.Array:
        """The fields, whitened: (B, locations, dimensions)."""
        return jnp.einsum("bli,lik->blk", fields - self.mean, self.projection)


@dataclasses.dataclass(frozen=True)
class PooledSparsity:
    """How a stage is trained; without a schedule its filters stay random, as a baseline."""

    schedule: Schedule | None
    kept: float = 0.4
    """Share of a field's principal components that is kept, the largest; the rest is mostly noise,
    whose sparsity would be learned, too."""
    most: int = 40
    """Number of them that is kept, at most."""
    whitened: int = 4096
    """Images, the first ones, from which the components are computed."""

    def dimensions(self, stage: Network) -> int:
        """Of the whitened fields of a stage: the most features that it can have."""
        inputs = _local(stage).size ** 2 * stage.input_shape[-1]
        return min(self.most, math.ceil(self.kept * inputs))

    def loss(
        self,
        stage: Network,
        filters: Float[jax.Array, "locations dimensions features"],
        z: Float[jax.Array, "B locations dimensions"],
    ) -> Float[jax.Array, ""]:
        """The mean of the pooled outputs for whitened fields."""
        h = jnp.einsum("blk,lkf->blf", z, filters)
        rows, columns = _local(stage).grid(stage.input_shape)
        pooled = stage.layers[1].apply({}, h.reshape(len(z), rows, columns, -1))
        return pooled.mean()

    def prepare(self, stage: Network, filters, whitening: Whitening, key, images: Images):
        """Whitens a minibatch."""
        return (whitening(_fields(_local(stage), images)),), whitening

    def train(
        self,
        stage: Network,
        images: Images,
        key: jax.Array,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Params:
        """Trains a stage from random filters.

        Args:
          stage: one of `stages`.
          images: its inputs.
          key: everything random follows from it.
          progress: told the fraction done, after each epoch.
          checkpoint: as for `jaxadv.training.fit.fit`.

        Returns:
          The stage's parameters; whitening is part of the kernel and the bias.

        Raises:
          ValueError: there are more features than dimensions to be orthonormal in.
        """
        local = _local(stage)
        dimensions = self.dimensions(stage)
        if local.features > dimensions:
            found = f"{local.features} features in {dimensions} dimensions"
            raise ValueError(f"filters of a location must be orthonormal, got {found}")
        whitening = whiten(local, images[: self.whitened], dimensions)
        shape = *whitening.projection.shape[::2], local.features
        filters = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 0), shape))[0]
        if self.schedule:
            filters = fit(
                Of(self.loss, stage),
                *(filters, (images,), self.schedule, jax.random.fold_in(key, 1), progress),
                project=orthonormalised,
                prepare=Of(self.prepare, stage),
                state=whitening,
                checkpoint=checkpoint,
            )
        kernel = jnp.matmul(whitening.projection, filters, precision="highest")
        bias = -jnp.einsum("li,lif->lf", whitening.mean, kernel, precision="highest")
        return {layer.name: {} for layer in stage.layers} | {
            local.name: {"kernel": kernel, "bias": bias}
        }


def stages(network: Network) -> list[Network]:
    """The stages of a `quocnet`, each a network on the output of the one before."""
    shapes = network.shapes(jax.eval_shape(network.init, jax.random.key(0)))
    return [
        Network(network.layers[first : first + LAYERS], shapes[first])
        for first in range(0, len(network.layers), LAYERS)
    ]


def _local(stage: Network) -> Any:
    return stage.layers[0]


def greedy(
    network: Network, images: Images, train: Callable[[int, Network, Images], Params]
) -> Params:
    """Trains stage after stage, each on what those below make of the images.

    Args:
      network: a `quocnet`.
      images: without labels.
      train: called with the stage's number from 1, the stage, and its inputs.

    Returns:
      The parameters of all layers.
    """
    params: Params = {}
    for number, stage in enumerate(stages(network), start=1):
        params |= train(number, stage, images)
        images = outputs(stage, params, images, LAYERS, AT_ONCE)
    return params


def orthonormalised(
    filters: Float[jax.Array, "locations dimensions features"],
) -> Float[jax.Array, "locations dimensions features"]:
    """The nearest filters that are orthonormal in each location, by Newton and Schulz's iteration.

    The singular values at the start must be below √3.
    """
    with jax.default_matmul_precision("highest"):
        for _ in range(NEWTON_SCHULZ):
            filters = 1.5 * filters - 0.5 * filters @ (filters.mT @ filters)
    return filters


def whiten(local: LocallyConnected, images: Images, dimensions: int) -> Whitening:
    """Whitening of the fields of each location over images, to so many dimensions."""
    images = jnp.asarray(images)
    parts = [images[i : i + AT_ONCE] for i in range(0, len(images), AT_ONCE)]
    mean: Any = sum(_fields(local, part).sum(axis=0) for part in parts) / len(images)
    covariance = sum(_scatter(local, part, mean) for part in parts) / len(images)
    return Whitening(mean, _projection(covariance, dimensions))


@functools.partial(jax.jit, static_argnums=0)
def _fields(local, images):
    return receptive_fields(images, local.size, local.stride)


@functools.partial(jax.jit, static_argnums=0)
def _scatter(local, images, mean):
    """Σ (h − mean) (h − mean)ᵀ over the images, for each location."""
    fields = _fields(local, images) - mean
    return jnp.einsum("bli,blj->lij", fields, fields, precision="highest")


@functools.partial(jax.jit, static_argnums=1)
def _projection(covariance, dimensions):
    variances, directions = jnp.linalg.eigh(covariance)  # in ascending order
    variances, directions = variances[:, -dimensions:], directions[:, :, -dimensions:]
    floor = SMALLEST * variances[:, -1:]
    return directions * jax.lax.rsqrt(jnp.maximum(variances, floor))[:, None]
