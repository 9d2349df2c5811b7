"""How networks are trained: by labels, with or without control of their layers' norms."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from jaxadv.datasets.dataset import Dataset
from jaxadv.networks.lipschitz import layer_bounds
from jaxadv.networks.network import Network, Params
from jaxadv.training.fit import Of, Progress, Schedule, fit

GRAM_ITERATIONS = 5  # in training: norms are at most n^(1/64) too large, mostly much less


@runtime_checkable
class Recipe(Protocol):
    """Trains networks. The repr tells all that the result depends on: kept weights go by it."""

    def train(
        self,
        network: Network,
        dataset: Dataset,
        key: jax.Array,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Params:
        """Trains a network from a random start; see `train`."""
        ...


def train(
    network: Network,
    dataset: Dataset,
    recipe: Recipe,
    key: jax.Array,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Params:
    """Trains the network from a random start.

    Args:
      network: for a `SparseAutoencoder`, an `autoencoder_classifier`.
      dataset: images (N, …) and labels (N,).
      recipe: how to train.
      key: everything random follows from it.
      progress: told the fraction done, after each epoch.
      checkpoint: folder for how far a training by labels is, while it lasts: one that was killed
        goes on from there, to the same bits.

    Returns:
      The parameters of all layers.

    Raises:
      ValueError: the recipe is not for such a network.
    """
    return recipe.train(network, dataset, key, progress, checkpoint)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Cross-entropy on labels, with the weight decay λ/2 Σ w² over weights and biases per layer."""

    decay: tuple[float, ...]
    schedule: Schedule

    @property
    def gradients(self) -> float:
        """Of the network, per image of a minibatch."""
        return 1.0

    def loss(
        self,
        network: Network,
        params: Params,
        images: Float[jax.Array | np.ndarray, "B *image"],
        labels: Int[jax.Array | np.ndarray, " B"],
    ) -> Float[jax.Array, ""]:
        """Mean cross-entropy over a minibatch, and the decay."""
        return self.decayed(cross_entropy(network.logits(params, images), labels), network, params)

    def decayed(
        self, loss: Float[jax.Array, ""], network: Network, params: Params
    ) -> Float[jax.Array, ""]:
        """A loss, and the decay."""
        for layer, strength in zip(network.layers, self.decay, strict=True):
            loss += 0.5 * strength * optax.tree.norm(params[layer.name], squared=True)
        return loss

    def train(
        self,
        network: Network,
        dataset: Dataset,
        key: jax.Array,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Params:
        """Trains all layers together; see `train`."""
        loss = Of(self.loss, network)
        return train_all_layers(network, dataset, self, key, progress, loss, checkpoint=checkpoint)


class Extended:
    """A recipe like `supervised`, but for its loss, and for what else `fit` is to do."""

    supervised: Supervised
    loss: Callable[..., jax.Array]  # of network, parameters and minibatch

    def options(self, network: Network) -> dict[str, Any]:
        """Those of `fit`, but for `checkpoint`."""
        return {}

    def train(
        self,
        network: Network,
        dataset: Dataset,
        key: jax.Array,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Params:
        """Trains all layers together; see `train`."""
        return train_all_layers(
            *(network, dataset, self.supervised, key, progress, Of(self.loss, network)),
            checkpoint=checkpoint,
            **self.options(network),
        )


@dataclasses.dataclass(frozen=True)
class Controlled(Extended):
    """As `supervised`, with the layers' operator norms ‖W‖ under control (sec. 4.3).

    Adds `strength` · Σ ‖W‖² to the loss; and after each step, layers whose ‖W‖ exceeds `limit` are
    scaled down to it (a radial projection onto the norm ball). The norms are upper bounds by Gram
    iteration.
    """

    supervised: Supervised
    strength: float = 0.0
    limit: float | None = None

    def loss(
        self,
        network: Network,
        params: Params,
        images: Float[jax.Array | np.ndarray, "B *image"],
        labels: Int[jax.Array | np.ndarray, " B"],
    ) -> Float[jax.Array, ""]:
        """That of `supervised`, and the penalty on the norms."""
        penalty = 0.0
        if self.strength:
            bounds = layer_bounds(network, params, "gram", GRAM_ITERATIONS)
            penalty = self.strength * sum(bound.norm**2 for bound in bounds)
        return self.supervised.loss(network, params, images, labels) + penalty

    def options(self, network: Network) -> dict[str, Any]:
        """Where there is a limit, the projection onto it."""
        return {} if self.limit is None else {"project": Of(self._within_norm_balls, network)}

    def _within_norm_balls(self, network, params):
        """Scales down the kernels of layers whose norm exceeds the limit."""
        params, limit = dict(params), self.limit
        assert limit is not None
        for bound in layer_bounds(network, params, "gram", GRAM_ITERATIONS):
            if "kernel" not in params[bound.name]:
                raise ValueError(f"a limit needs layers with a kernel, got {bound.name} without")
            layer, scale = params[bound.name], jnp.minimum(1, limit / bound.norm)
            params[bound.name] = layer | {"kernel": layer["kernel"] * scale}
        return params


def cross_entropy(
    logits: Float[jax.Array, "B k"], labels: Int[jax.Array | np.ndarray, " B"]
) -> Float[jax.Array, ""]:
    """Its mean over a minibatch."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train_all_layers(
    network: Network,
    dataset: Dataset,
    recipe: Supervised,
    key: jax.Array,
    progress: Progress | None,
    loss: Callable[..., jax.Array],
    **options: Any,
) -> Params:
    """Trains with a loss(params, *minibatch) on (images, labels); options are those of `fit`."""
    if len(recipe.decay) != len(network.layers):
        raise ValueError(
            f"one weight decay per layer: got {len(recipe.decay)} for {len(network.layers)} layers"
        )
    params = network.init(jax.random.fold_in(key, 0))
    key = jax.random.fold_in(key, 1)
    return fit(loss, params, tuple(dataset), recipe.schedule, key, progress, **options)
