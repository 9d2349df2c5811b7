"""Adversarial examples of activations, cheap enough to make in training.

All are made for what follows a layer, `logits_fn(h)`, and stay in the box that its output is in.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep.averaging import smallest_r
from jaxadv.attacks.margins import target_and_others
from jaxadv.networks.network import Network

Logits = Callable[[jax.Array], jax.Array]  # of activations (B, …): (B, k)
Box = tuple[float, float]
Target = Literal["any", "random", "nearest"]  # any: away from the label
SEARCH = 3  # evaluations of the gap along r, after the first two
RANGES: dict[Callable[..., jax.Array], Box] = {
    jax.nn.sigmoid: (0.0, 1.0),
    jax.nn.relu: (0.0, math.inf),
    jax.nn.relu6: (0.0, 6.0),
    jnp.tanh: (-1.0, 1.0),
}


class Examples(NamedTuple):
    """Changed activations with the labels of what they were made from."""

    activations: jax.Array  # (B, …)
    labels: jax.Array  # (B,)
    usable: jax.Array  # (B,) bool: the others are not to be trained on


class Perturbation(Protocol):
    """How examples are made."""

    @property
    def gradients(self) -> float:
        """Of the layers above, per example, all that is computed to make it."""
        ...

    def make(
        self,
        logits_fn: Logits,
        h: Float[jax.Array, "B *shape"],
        labels: Int[jax.Array, " B"],
        box: Box,
        key: jax.Array,
    ) -> Examples:
        """Changes activations h in the box. Pure; what is random follows from the key."""
        ...


def box_of(network: Network, layer: int) -> Box:
    """The least and the largest value that the first `layer` layers can put out.

    Example:
      >>> from jaxadv.networks import lenet, mlp
      >>> box_of(mlp(100), 0), box_of(mlp(100), 1), box_of(lenet(), 1)
      ((0.0, 1.0), (0.0, 1.0), (0.0, inf))
    """
    if layer == 0:
        return 0.0, 1.0
    activation = getattr(network.layers[layer - 1], "activation", None)
    return RANGES.get(activation, (-math.inf, math.inf)) if activation else (-math.inf, math.inf)


@dataclasses.dataclass(frozen=True)
class GradientSteps:
    """Steps along the gradient of the cross-entropy, to an ℓ2 distance of `length` at most.

    A single step is that long (Goodfellow et al., arXiv 1412.6572, have ℓ∞); several are twice as
    long together and projected onto the ball (PGD: Madry et al., arXiv 1706.06083). Clipped to the
    box. All are usable, adversarial or not.
    """

    length: float
    steps: int = 1
    target: Target = "any"
    random_start: bool = False
    """Start from a random point of the sphere."""

    def __post_init__(self):
        check_positive(length=self.length, steps=self.steps)

    @property
    def gradients(self) -> float:
        """See `Perturbation`; those of `nearest` are not counted."""
        return self.steps

    def make(self, logits_fn, h, labels, box, key):
        """See `Perturbation`."""
        towards, sign = labels, 1.0
        if self.target != "any":
            towards, sign = _target(self.target, logits_fn, h, labels, key), -1.0

        def loss(point):
            logits = logits_fn(point)
            return sign * optax.softmax_cross_entropy_with_integer_labels(logits, towards).sum()

        step = self.length if self.steps == 1 else 2 * self.length / self.steps
        point = h
        if self.random_start:
            noise = jax.random.normal(jax.random.fold_in(key, 1), h.shape, h.dtype)
            point = jnp.clip(h + self.length * unit(noise), *box)
        for _ in range(self.steps):
            point = point + step * unit(jax.grad(loss)(point))
            r = point - h
            shrink = jnp.minimum(1, self.length / jnp.maximum(_norm(r), 1e-12))
            point = jnp.clip(h + shrink * r, *box)
        return Examples(point, labels, jnp.ones(labels.shape, bool))


@dataclasses.dataclass(frozen=True)
class MinimumDistortion:
    """The nearest example of a class, by the attack's move to the zero of a linear model.

    In each of so many rounds the gap between the logits is linearised, h + r moves to the nearest
    zero in the box, and along r to the boundary itself, by regula falsi. That takes as many
    gradients as rounds. Usable are examples that are adversarial.
    """

    rounds: int = 2
    target: Target = "any"
    factor: float = 1.0
    """By which r is lengthened at last."""

    def __post_init__(self):
        check_positive(rounds=self.rounds, factor=self.factor)

    @property
    def gradients(self) -> float:
        """See `Perturbation`: those of the linear models; a value along r counts a third."""
        return self.rounds * (1 + (SEARCH + 2) / 3) + 2 / 3

    def make(self, logits_fn, h, labels, box, key):
        """See `Perturbation`."""
        any_other = self.target == "any"
        target = labels if any_other else _target(self.target, logits_fn, h, labels, key)

        def gap(flat):
            at_target, others = target_and_others(logits_fn(flat.reshape(h.shape)), target)
            lead = others.max(axis=1) - at_target
            return -lead if any_other else lead

        flat = h.reshape(len(h), -1)
        nearest = jax.vmap(smallest_r, in_axes=(0, 0, 0, None, None))
        r, start = jnp.zeros_like(flat), gap(flat)
        for _ in range(self.rounds):
            gaps, pullback = jax.vjp(gap, flat + r)
            gradient = pullback(jnp.ones_like(gaps))[0]
            r = nearest(flat, gaps - jnp.sum(gradient * r, axis=1), gradient, *box)
            r = jnp.where(jnp.isfinite(r), r, 0.0)
            r = _at_boundary(lambda r: gap(jnp.clip(flat + r, *box)), r, start)
        found = jnp.clip(flat + self.factor * r, *box)
        return Examples(found.reshape(h.shape), labels, gap(found) < 0)


def _at_boundary(
    gap: Callable[[jax.Array], jax.Array], r: Float[jax.Array, "B n"], start: Float[jax.Array, " B"]
) -> Float[jax.Array, "B n"]:
    """Scales r to just beyond where the gap, `start` at 0, is zero: regula falsi, as in Illinois.

    Where 2 r is not beyond it, r becomes 2 r.
    """
    beyond = gap(r)
    far = beyond >= 0
    high = jnp.where(far, 2.0, 1.0)
    beyond = gap(high[:, None] * r)

    def halved(_, state):
        low, below, high, beyond = state
        middle = low + (high - low) * below / jnp.maximum(below - beyond, 1e-12)
        found = gap(middle[:, None] * r)
        past = found < 0
        low, below = jnp.where(past, low, middle), jnp.where(past, below / 2, found)
        high, beyond = jnp.where(past, middle, high), jnp.where(past, found, beyond / 2)
        return low, below, high, beyond

    state = jnp.zeros_like(start), jnp.maximum(start, 0.0), high, beyond
    reached = beyond < 0
    _, _, scale, _ = jax.lax.fori_loop(0, SEARCH, halved, state)
    return jnp.where(reached, scale, high)[:, None] * r


def _target(
    kind: Target,
    logits_fn: Logits,
    h: Float[jax.Array, "B *shape"],
    labels: Int[jax.Array, " B"],
    key: jax.Array,
) -> Int[jax.Array, " B"]:
    """Wrong classes: at random, or the nearest were the logits linear (DeepFool's estimate)."""
    if kind == "random":
        classes = jax.eval_shape(logits_fn, h).shape[1]
        return (labels + jax.random.randint(key, labels.shape, 1, classes)) % classes
    logits, pullback = jax.vjp(logits_fn, h)
    is_label = jax.nn.one_hot(labels, logits.shape[1])
    rows = is_label[None] - jnp.eye(logits.shape[1])[:, None]  # (k, B, k): label less class
    gradients = jax.vmap(lambda row: pullback(row)[0])(rows)
    norms = jnp.sqrt(jnp.sum(gradients**2, axis=tuple(range(2, gradients.ndim)))).T
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    distances = jnp.where(is_label == 1, jnp.inf, (own - logits) / jnp.maximum(norms, 1e-12))
    return jnp.argmin(distances, axis=1)


def _norm(r):
    return jnp.sqrt(jnp.sum(r**2, axis=tuple(range(1, r.ndim)), keepdims=True))


def unit(r: Float[jax.Array, "B *shape"]) -> Float[jax.Array, "B *shape"]:
    """Scaled to the ℓ2 norm 1, each entry of the first axis; zeros remain."""
    return r / jnp.maximum(_norm(r), 1e-12)


def check_positive(**settings: float) -> None:
    """Raises ValueError unless all are positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
