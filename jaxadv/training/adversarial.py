"""Training on adversarial examples of the layers' outputs (Szegedy et al., 2013, sec. 4.2)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from jaxadv.networks.network import Network, Params
from jaxadv.training import pools
from jaxadv.training.fit import Of
from jaxadv.training.perturbations import (
    Examples,
    GradientSteps,
    MinimumDistortion,
    box_of,
    check_positive,
)
from jaxadv.training.recipes import Extended, Supervised, cross_entropy

INPUT = "input"  # the name of the images, where a layer's is asked for


@dataclasses.dataclass(frozen=True)
class Source:
    """Adversarial examples of one layer's output, which train the layers above it alone."""

    layer: str
    """The layer's name, or `INPUT` for the images."""
    perturbation: GradientSteps | MinimumDistortion
    weight: float = 1.0
    """Of their mean cross-entropy in the loss."""
    made: int = 100
    """Examples made per step, from the first images of the minibatch."""
    slots: int = 0
    """Size of the pool, of which `made` random slots are replaced per step; 0 is no pool, but the
    examples just made: a pool of age 0."""
    drawn: int = 100
    """Examples drawn from the pool per step."""

    def __post_init__(self):
        check_positive(weight=self.weight)
        if self.made < 1 or self.drawn < 1:
            raise ValueError(f"made and drawn must be at least 1, got {self.made}, {self.drawn}")
        if self.slots and self.slots < self.made:
            raise ValueError(
                f"a pool must have room for what is made per step: got {self.slots} slots for"
                f" {self.made}"
            )


class State(NamedTuple):
    """Where the bookkeeping stands."""

    step: jax.Array
    pools: tuple[pools.Pool | None, ...]  # per source


@dataclasses.dataclass(frozen=True)
class Adversarial(Extended):
    """As `supervised`, with adversarial examples of layers' outputs mixed in all the time.

    The loss is `clean` · the mean cross-entropy of the minibatch, plus for each source its weight ·
    the mean cross-entropy of its examples, as the layers above classify them, and the decay. Stored
    activations are constants: examples of a layer's output leave the layers below as they are.
    """

    supervised: Supervised
    sources: tuple[Source, ...]
    alternate: bool = False
    """Whether each step trains on one source only, in turns, or on all."""
    clean: float = 1.0

    def __post_init__(self):
        layers = [source.layer for source in self.sources]
        if not layers or len(set(layers)) < len(layers):
            raise ValueError(f"sources must be of at least one layer, each once, got {layers}")
        if not 0 <= self.clean < float("inf"):
            raise ValueError(f"clean must not be negative or infinite, got {self.clean}")
        batch_size = self.supervised.schedule.batch_size
        for source in self.sources:
            if source.made > batch_size:
                raise ValueError(
                    f"at most {batch_size} examples, as many as the minibatch has, can be made per"
                    f" step, got {source.made}"
                )

    @property
    def gradients(self) -> float:
        """Of the network, or what follows a layer, per image of a minibatch."""
        images = self.supervised.schedule.batch_size
        made = [
            source.made * source.perturbation.gradients
            + (source.drawn if source.slots else source.made)
            for source in self.sources
        ]
        turns = len(self.sources) if self.alternate else 1
        return float(self.clean > 0) + sum(made) / turns / images

    def initial(self, network: Network) -> State:
        """The state of `prepare` before the first step: pools without examples."""
        shapes = network.shapes(jax.eval_shape(network.init, jax.random.key(0)))
        filled = tuple(
            pools.empty(source.slots, shapes[index]) if source.slots else None
            for source, index in zip(self.sources, self.layers(network), strict=True)
        )
        return State(jnp.zeros((), int), filled)

    def layers(self, network: Network) -> list[int]:
        """How many layers are below each source's examples.

        Raises:
          ValueError: the network has no such layer, or none follows.
        """
        names = [INPUT, *(str(layer.name) for layer in network.layers[:-1])]
        for source in self.sources:
            if source.layer not in names:
                raise ValueError(f"unknown layer {source.layer!r}, expected one of {names}")
        return [names.index(source.layer) for source in self.sources]

    def prepare(
        self,
        network: Network,
        params: Params,
        state: State,
        key: jax.Array,
        images: Float[jax.Array, "B *image"],
        labels: Int[jax.Array, " B"],
    ) -> tuple[tuple, State]:
        """Makes examples at the current weights, and says which the step trains on.

        Returns:
          (images, labels, per source whether it has its turn and its `Examples`), and the state.
        """
        mixed, kept = [], []
        for index, (source, layer) in enumerate(
            zip(self.sources, self.layers(network), strict=True)
        ):
            turn = state.step % len(self.sources) == index if self.alternate else jnp.array(True)
            keys = jax.random.split(jax.random.fold_in(key, index), 3)
            made = self._made(network, params, source, layer, images, labels, keys[0], turn)
            pool = state.pools[index]
            if pool is not None:
                pool = pools.refreshed(pool, made, keys[1], turn)
                made = pools.drawn(pool, keys[2], source.drawn)
            kept.append(pool)
            mixed.append((turn, made))
        return (images, labels, tuple(mixed)), State(state.step + 1, tuple(kept))

    def _made(self, network, params, source, layer, images, labels, key, turn):
        images, labels = images[: source.made], labels[: source.made]

        def above(h):
            return network.between(params, h, layer, len(network.layers))

        def make():
            h = network.between(params, images, 0, layer)
            return source.perturbation.make(above, h, labels, box_of(network, layer), key)

        if not self.alternate:
            return make()
        like = jax.eval_shape(make)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.cond(turn, make, lambda: nothing)

    def loss(
        self,
        network: Network,
        params: Params,
        images: Float[jax.Array, "B *image"],
        labels: Int[jax.Array, " B"],
        mixed: tuple[tuple[jax.Array, Examples], ...],
    ) -> Float[jax.Array, ""]:
        """Of a minibatch and the examples that `prepare` gives with it."""
        total = jnp.zeros(())
        if self.clean:
            total += self.clean * cross_entropy(network.logits(params, images), labels)
        for source, layer, (turn, made) in zip(
            self.sources, self.layers(network), mixed, strict=True
        ):

            def of_examples(made, layer=layer):
                logits = network.between(params, made.activations, layer, len(network.layers))
                each = optax.softmax_cross_entropy_with_integer_labels(logits, made.labels)
                count = jnp.maximum(made.usable.sum(), 1)
                return jnp.where(made.usable, each, 0.0).sum() / count

            if self.alternate:
                mean = jax.lax.cond(turn, of_examples, lambda made: jnp.zeros(()), made)
            else:
                mean = of_examples(made)
            total += source.weight * mean
        return self.supervised.decayed(total, network, params)

    def options(self, network: Network) -> dict[str, Any]:
        """See `Extended`."""
        return {"prepare": Of(self.prepare, network), "state": self.initial(network)}
