"""What training on adversarial examples is compared with: dropout and virtual adversaries."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxadv.networks.network import Network, Params
from jaxadv.training.fit import Of
from jaxadv.training.perturbations import check_positive, unit
from jaxadv.training.recipes import Extended, Supervised, cross_entropy


@dataclasses.dataclass(frozen=True)
class Dropout(Extended):
    """As `supervised`, with units left out at random (Srivastava et al., 2014).

    What remains is divided by the share that does.
    """

    supervised: Supervised
    image: float = 0.1
    """Share of the pixels that is left out."""
    hidden: float = 0.1
    """Share of the outputs of each hidden layer that is left out."""

    def __post_init__(self):
        for name in ("image", "hidden"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")

    @property
    def gradients(self) -> float:
        """Of the network, per image of a minibatch."""
        return 1.0

    def prepare(self, params: Params, state: tuple, key: jax.Array, *minibatch: jax.Array):
        """Adds the key of the step to the minibatch."""
        return (*minibatch, key), state

    def loss(
        self,
        network: Network,
        params: Params,
        images: Float[jax.Array, "B *image"],
        labels: Int[jax.Array, " B"],
        key: jax.Array,
    ) -> Float[jax.Array, ""]:
        """That of `supervised`, of the network that is left."""
        h = images
        for index in range(len(network.layers)):
            share = self.hidden if index else self.image
            h = network.between(
                params, _thinned(h, share, jax.random.fold_in(key, index)), index, index + 1
            )
        return self.supervised.decayed(cross_entropy(h, labels), network, params)

    def options(self, network: Network) -> dict[str, Any]:
        """See `Extended`."""
        return {"prepare": self.prepare}


def _thinned(h, share, key):
    """Zeros in place of a share, in steps of 1/256, of the entries."""
    out = round(256 * share)
    if not out:
        return h
    stays = jax.random.bits(key, h.shape, jnp.uint8) >= out
    return jnp.where(stays, h * (256 / (256 - out)), 0.0)


@dataclasses.dataclass(frozen=True)
class VirtualAdversarial(Extended):
    """As `supervised`, plus the divergence of predictions nearby (VAT: Miyato et al., 1704.03976).

    KL(p(x) ‖ p(x + r)) is added, with p(x) and r constants: r is `length` long in ℓ2, in the
    direction that one power iteration finds from a random point at distance `probe`.
    """

    supervised: Supervised
    length: float
    weight: float = 1.0
    probe: float = 0.1

    def __post_init__(self):
        check_positive(length=self.length, weight=self.weight, probe=self.probe)

    @property
    def gradients(self) -> float:
        """Of the network, per image of a minibatch: two in the loss, one to find r."""
        return 3.0

    def prepare(
        self,
        network: Network,
        params: Params,
        state: tuple,
        key: jax.Array,
        images: Float[jax.Array, "B *image"],
        labels: Int[jax.Array, " B"],
    ):
        """Adds x + r, and the log-probabilities at x, to the minibatch."""
        near = self.probe * unit(jax.random.normal(key, images.shape, images.dtype))
        here = jax.nn.log_softmax(network.logits(params, images))

        def divergence(r):
            return _divergence(here, network.logits(params, images + r)).sum()

        r = self.length * unit(jax.grad(divergence)(near))
        return (images, labels, images + r, here), state

    def loss(
        self,
        network: Network,
        params: Params,
        images: Float[jax.Array, "B *image"],
        labels: Int[jax.Array, " B"],
        changed: Float[jax.Array, "B *image"],
        here: Float[jax.Array, "B k"],
    ) -> Float[jax.Array, ""]:
        """That of `supervised`, and the mean divergence."""
        away = _divergence(here, network.logits(params, changed)).mean()
        return self.supervised.loss(network, params, images, labels) + self.weight * away

    def options(self, network: Network) -> dict[str, Any]:
        """See `Extended`."""
        return {"prepare": Of(self.prepare, network)}


def _divergence(here, logits):
    """KL(p ‖ q), from log-probabilities of p and logits of q: (B,)."""
    return jnp.sum(jnp.exp(here) * (here - jax.nn.log_softmax(logits)), axis=1)
