"""Lipschitz constants of what layers are made of, from ℓ2 to ℓ2 (sec. 4.3 of arXiv 1312.6199)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

STEEPEST_SLOPES = {  # of activations
    jax.nn.sigmoid: 0.25,
    jax.nn.tanh: 1.0,
    jax.nn.relu: 1.0,
    jax.nn.relu6: 1.0,
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
    """(1 + (n − 1)^¾ (β / (β + 1))^(β + 1)) k^−β, of local response normalisation.

    That is h_i / s_i^β, where s_i = k + α Σ_j h_j² over the n channels j around i. The entries of
    its Jacobian are s_i^−β (1 − 2 α β h_i² / s_i) on the diagonal, of at most k^−β for β ≤ 1, and
    elsewhere −2 α β h_i h_j / s_i^(β + 1). As 2 α |h_i h_j| ≤ s_i − k, each of the latter is at
    most the maximum of β (s − k) / s^(β + 1), which is m = k^−β (β / (β + 1))^(β + 1), and a column
    of them (n − 1) m in sum; as 2 α |h_i| Σ_j |h_j| ≤ √(n − 1) (s_i − k), a row is √(n − 1) m. The
    norm of a matrix is at most √(rows · columns). That gives 1.64 k^−β for n = 5 and β = ¾.

    The constant may be smaller: at h = 0 the norm is k^−β, that of sec. 4.3, and gradient ascent,
    as in the tests, found none above it; but that is not proven.

    >>> round(local_response_constant(5, 1.0, 0.75), 2)
    1.64

    Raises:
      ValueError: β is not in [0.5, 1], or k not positive.
    """
    most = (beta / (beta + 1)) ** (beta + 1)
    return (1 + (size - 1) ** 0.75 * most) * contrast_constant(k, beta)
