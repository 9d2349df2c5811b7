"""Linear relaxations: lines between which an activation lies on an interval."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

TINY = 1e-30  # in place of 0 in denominators
ROUNDING = 2.0**-44  # of an activation and a product, 512 times that of float64

Function = Callable[[jax.Array], jax.Array]


class Line(NamedTuple):
    """z -> slope · z + intercept, for each unit of a layer."""

    slope: jax.Array
    intercept: jax.Array


class Activation(NamedTuple):
    """What the lines need to know of an increasing activation."""

    turning: Function  # slope -> z ≥ 0: activation(z) − slope · z has no extrema but at ± z
    slopes: Callable[[Function, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def relaxation(
    activation: Function, low: Float[jax.Array, " units"], high: Float[jax.Array, " units"]
) -> tuple[Line, Line]:
    """The lines below and above an activation on [low, high], of the slopes chosen for it.

    `activation` is a key of `ACTIVATIONS`. For any slope, activation(z) − slope · z is extreme at
    an end or where it turns: the bound does not depend on how well slopes were chosen. Lines are
    moved apart by what rounding may have lost.
    """

    def gaps(slope):
        turn = ACTIVATIONS[activation].turning(slope)
        places = jnp.stack([low, high, jnp.clip(turn, low, high), jnp.clip(-turn, low, high)])
        values, products = activation(places), slope * places
        lost = ROUNDING * (jnp.abs(values) + jnp.abs(products)).max(axis=0)
        return (values - products).min(axis=0) - lost, (values - products).max(axis=0) + lost

    lower, upper = ACTIVATIONS[activation].slopes(activation, low, high)
    return Line(lower, gaps(lower)[0]), Line(upper, gaps(upper)[1])


def _chord(function, low, high):
    """The mean slope; where the ends nearly meet, that of the middle."""
    wide = high - low > 1e-6
    difference = (function(high) - function(low)) / jnp.where(wide, high - low, 1)
    return jnp.where(wide, difference, _derivative(function, (low + high) / 2))


def _derivative(function, z):
    return jax.jvp(function, (z,), (jnp.ones_like(z),))[1]


def _s_shaped_slopes(function, low, high):
    """CROWN's slopes for an odd function, up to a constant, that is concave for z > 0.

    Above: of the tangent at the middle, or at the point beyond it whose tangent passes over the low
    end; where there is none in the interval, of the chord. Below: the same, mirrored.
    """

    def above(low, high):
        def passes_over(z):
            return function(z) - _derivative(function, z) * (z - low) >= function(low)

        def halve(_, ends):
            left, right = ends
            middle = (left + right) / 2
            over = passes_over(middle)
            return jnp.where(over, left, middle), jnp.where(over, middle, right)

        ends = jnp.zeros_like(high), jnp.maximum(high, 0)
        _, right = jax.lax.fori_loop(0, 12, halve, ends)
        tangent = _derivative(function, jnp.maximum(right, (low + high) / 2))
        return jnp.where(passes_over(right), tangent, _chord(function, low, high))

    return above(-high, -low), above(low, high)


def _relu_slopes(function, low, high):
    """CROWN's adaptive slopes: above, of the chord; below, of the longer side."""
    return jnp.where(high > -low, 1.0, 0.0), _chord(function, low, high)


def _sigmoid_turning(slope):
    root = jnp.sqrt(jnp.maximum(1 - 4 * slope, 0))
    return jnp.log((1 + root) ** 2 / jnp.maximum(4 * slope, TINY)).clip(0)


ACTIVATIONS = {
    jax.nn.sigmoid: Activation(_sigmoid_turning, _s_shaped_slopes),
    jax.nn.tanh: Activation(lambda slope: _sigmoid_turning(slope / 4) / 2, _s_shaped_slopes),
    jax.nn.relu: Activation(jnp.zeros_like, _relu_slopes),
}
