"""Lipschitz constants of what layers are made of, from ℓ2 to ℓ2 (sec. 4.3 of arXiv 1312.6199)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

STEEPEST_SLOPES = {  # of activations
    jax.nn.sigmoid: 0.25,
    jax.nn.tanh: 1.0,
    jax.nn.relu: 1.0,
    jax.nn.identity: 1.0,
}


class LayerBound(NamedTuple):
    """Factors whose product is a Lipschitz constant of a layer, from ℓ2 to ℓ2."""

    name: str
    norm: jax.Array  # an upper bound of the operator norm
    activation: float = 1.0
    normalisation: float = 1.0
    pooling: float = 1.0

    @property
    def product(self) -> jax.Array:
        """The layer's constant."""
        return self.norm * (self.activation * self.normalisation * self.pooling)


def activation_constant(layer: str, activation: Callable) -> float:
    """The steepest slope of a layer's activation.

    Raises:
      ValueError: the activation is none of `STEEPEST_SLOPES`.
    """
    if activation not in STEEPEST_SLOPES:
        raise ValueError(
            f"activation of {layer} must be one of {[each.__name__ for each in STEEPEST_SLOPES]},"
            f" got {getattr(activation, '__name__', activation)}"
        )
    return STEEPEST_SLOPES[activation]


def pooling_constant(window: int, stride: int) -> float:
    """⌈window / stride⌉, of max-pooling by squares: an input is in at most its square of windows.

    It is attained, by an input that is the maximum of all the windows it is in. Contractive, as
    sec. 4.3 has it, is max-pooling only where the stride is at least the window.

    >>> pooling_constant(3, 2)
    2.0
    """
    return float(math.ceil(window / stride))


def contrast_constant(epsilon: float, gamma: float) -> float:
    """ε^−γ, of contrast normalisation h / (ε + ‖h‖²)^γ (sec. 4.3).

    Raises:
      ValueError: γ is not in [0.5, 1], or ε not positive.
    """
    if not (epsilon > 0 and 0.5 <= gamma <= 1):
        raise ValueError(
            f"epsilon must be positive and gamma in [0.5, 1], got {epsilon} and {gamma}"
        )
    return epsilon**-gamma


def local_response_constant(size: int, k: float, beta: float) -> float:
    """√n k^−β, of local response normalisation h_i / (k + α Σ_j h_j²)^β over n channels around i.

    A row of its Jacobian is s^−β (e_i − 2 β α h_i h / s) on the n channels around i, where
    s = k + α ‖h‖², and has a norm of at most s^−β for β ≤ 1; each channel is in n rows. (Gradient
    ascent on the Jacobian's norm found none above k^−β, which would be the constant of sec. 4.3.)

    Raises:
      ValueError: β is not in [0.5, 1], or k not positive.
    """
    return math.sqrt(size) * contrast_constant(k, beta)
