"""Training of an autoencoder, and of softmax on its codes."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxadv.datasets.dataset import Dataset
from jaxadv.networks.mnist import autoencoder
from jaxadv.networks.network import Network, Params
from jaxadv.training.fit import Of, Progress, Schedule, fit
from jaxadv.training.readout import train_readout
from jaxadv.training.recipes import Supervised

SHARE = 0.9  # of the autoencoder in the time: encoding and decoding costs ten times the softmax


@dataclasses.dataclass(frozen=True)
class SparseAutoencoder:
    """A sparse autoencoder on the images alone, then softmax on its codes, which stay as they are.

    The autoencoder minimises, per image, the cross-entropy of the pixels, plus
    `sparsity_weight` · Σ_j KL(`sparsity` ‖ mean activation of unit j over the minibatch), plus
    `decay` · Σ w². The softmax has the weight decay of `softmax`.
    """

    sparsity: float
    sparsity_weight: float
    decay: float
    schedule: Schedule
    softmax: Supervised

    def loss(
        self, network: Network, params: Params, images: Float[jax.Array | np.ndarray, "B *image"]
    ) -> Float[jax.Array, ""]:
        """That of an `autoencoder` on a minibatch."""
        codes = network.between(params, images, 0, 1)
        pixels = network.between(params, codes, 1, 2)
        target = images.reshape(pixels.shape)
        reconstruction = optax.sigmoid_binary_cross_entropy(pixels, target).sum(axis=1).mean()
        weights = sum(jnp.sum(layer["kernel"] ** 2) for layer in params.values())
        divergence = _divergence(self.sparsity, codes.mean(axis=0))
        return reconstruction + self.sparsity_weight * divergence + self.decay * weights

    def train(
        self,
        network: Network,
        dataset: Dataset,
        key: jax.Array,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Params:
        """Trains an `autoencoder_classifier`, without checkpoints; see `train`."""
        names = [layer.name for layer in network.layers]
        if len(names) != 2 or names[0] != "features":
            raise ValueError(f"expected an autoencoder_classifier, got layers {names}")
        first = progress and (lambda fraction: progress(SHARE * fraction))
        second = progress and (lambda fraction: progress(SHARE + (1 - SHARE) * fraction))
        encoder = self._train_encoder(network, dataset, key, first)
        key = jax.random.fold_in(key, 2)
        return train_readout(network, encoder, dataset, self.softmax, key, second)

    def _train_encoder(self, network, dataset, key, progress):
        """The parameters of the first layer."""
        features, _ = network.layers
        full = autoencoder(features.units, network.input_shape)
        params = full.init(jax.random.fold_in(key, 0))
        loss = Of(self.loss, full)
        images = (np.asarray(dataset.images),)
        params = fit(loss, params, images, self.schedule, jax.random.fold_in(key, 1), progress)
        return {features.name: params[features.name]}


def _divergence(sparsity, activation):
    """Σ_j KL(sparsity ‖ activation_j) between Bernoulli distributions."""
    active = sparsity * jnp.log(sparsity / activation)
    return (active + (1 - sparsity) * jnp.log((1 - sparsity) / (1 - activation))).sum()
