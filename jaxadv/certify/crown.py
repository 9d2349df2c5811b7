"""Proven lower bounds on D(x, l), for fully connected networks.

D(x, l) is the smallest ‖r‖ with f(x + r) = l and x + r in [0, 1]; an attack bounds it from above.
The class l is not reached while any other logit exceeds that of l. All is computed in float64, and
what rounding may have gained there is subtracted: the bounds hold for the network in exact
arithmetic.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.networks.network import FullyConnected, Network, Params, identity
from jaxadv.storage.devices import batches, sharded

IMAGES = 8  # that each device is given at a time
ROUNDING = 1e-9  # of the terms of a sum, more than float64 loses on thousands of them
TINY = 1e-30  # in place of 0 in denominators

Function = Callable[[jax.Array], jax.Array]


class Mlp(NamedTuple):
    """A fully connected network: layers h -> activation(W h + b), the last without activation."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # (W (out, in), b (out,)) in float64
    activations: tuple[Function, ...]  # between the layers: keys of `ACTIVATIONS`


class Line(NamedTuple):
    """z -> slope · z + intercept, for each unit of a layer."""

    slope: jax.Array
    intercept: jax.Array


class Activation(NamedTuple):
    """What the bounds need to know of an increasing activation."""

    steepest: float  # its largest slope
    turning: Function  # slope -> z ≥ 0: activation(z) − slope · z has no extrema but at ± z
    slopes: Callable[[Function, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def check(network: Network) -> None:
    """Raises ValueError unless the network is one that `mlp` takes."""
    for layer in getattr(network, "layers", [network]):
        if not isinstance(layer, FullyConnected):
            raise ValueError(f"lower bounds need FullyConnected layers, got {type(layer).__name__}")
    *hidden, last = (layer.activation for layer in network.layers)
    if last is not identity or not set(hidden) <= set(ACTIVATIONS):
        raise ValueError(
            "lower bounds need sigmoid, tanh or ReLU between the layers and nothing after the"
            f" last, got {[layer.activation.__name__ for layer in network.layers]}"
        )


def mlp(network: Network, params: Params) -> Mlp:
    """The weights and activations of a `Network` of FullyConnected layers.

    Raises:
      ValueError: other layers, or activations other than sigmoid, tanh and ReLU.
    """
    check(network)
    arrays = [params[layer.name] for layer in network.layers]
    return Mlp(
        tuple((np.array(a["kernel"], float).T, np.array(a["bias"], float)) for a in arrays),
        tuple(layer.activation for layer in network.layers[:-1]),
    )


def pair_products(mlp: Mlp) -> np.ndarray:
    """(k, k) Lipschitz constants of z_j − z_l: ‖W_j − W_l‖ times those of the earlier layers.

    Szegedy et al. (2013), sec. 4.3, with the last layer's norm taken for two classes alone.
    """
    with jax.enable_x64(True):
        earlier = math.prod(
            ACTIVATIONS[activation].steepest * float(jnp.linalg.norm(weights, ord=2))
            for (weights, _), activation in zip(mlp.layers[:-1], mlp.activations, strict=True)
        )
    last = mlp.layers[-1][0]
    return earlier * np.linalg.norm(last[:, None] - last, axis=-1)


def eclipse_fast(mlp: Mlp) -> np.ndarray:
    """(k, k) Lipschitz constants of z_j − z_l by ECLipsE-Fast, never above `pair_products`.

    Xu & Sivaranjani (2024), arXiv 2404.04375: a matrix M is passed on from layer to layer, where
    the product passes on a number.
    """
    with jax.enable_x64(True):
        inverse = jnp.eye(mlp.layers[0][0].shape[1])  # of M
        for (weights, _), activation in zip(mlp.layers[:-1], mlp.activations, strict=True):
            half = ACTIVATIONS[activation].steepest / 2
            passed = weights @ inverse @ weights.T
            scale = 1 / (2 * half**2 * jnp.linalg.norm(passed, ord=2))
            inverse = jnp.linalg.inv(scale * jnp.eye(len(passed)) - (half * scale) ** 2 * passed)
        last = mlp.layers[-1][0]
        rows = last[:, None] - last
        return np.sqrt(np.einsum("jlm,mn,jln->jl", rows, inverse, rows).clip(0))


def from_lipschitz(mlp: Mlp, x: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Lower bounds max_j (z_j − z_l) / L_jl on D(x, l).

    Args:
      mlp: the network.
      x: (B, …) images.
      constants: (k, k) Lipschitz constants L of z_j − z_l.

    Returns:
      (B, k) root mean squares over the pixels; 0 where l is the class of x.
    """
    images = np.asarray(x, float).reshape(len(x), -1)
    with jax.enable_x64(True):
        logits = np.asarray(jax.vmap(functools.partial(_logits, mlp))(images))
    gaps = logits[:, :, None] - logits[:, None]
    gaps -= ROUNDING * (1 + np.abs(logits).max(axis=1)[:, None, None])
    bounds = (gaps / np.maximum(constants, TINY)).max(axis=1).clip(0)
    return (1 - ROUNDING) * np.minimum(bounds / math.sqrt(images.shape[1]), 1)


def crown(mlp: Mlp, x: np.ndarray, *, box: bool = True, balls: int = 20) -> np.ndarray:
    """Lower bounds on D(x, l) by CROWN (Zhang et al., 2018, arXiv 1811.00866) on balls around x.

    In a ball, each activation lies between two lines; with these, z_y − z_l is bounded by a linear
    function of the image, where y is the class of x. (On FC100-100-10, other classes in place of y
    raised the median bound by 0.2 % for 40 % more time, and slopes optimised by Adam by 1.6 % for
    five times the time.) Each ball is tried for all l at once.

    Args:
      mlp: the network.
      x: (B, …) images in [0, 1].
      box: whether to use that x + r stays in [0, 1], which no bound needs to be valid.
      balls: tried per image, at least 2.

    Returns:
      (B, k) root mean squares over the pixels; 0 where l is the class of x, and at most 1.
    """
    images = np.asarray(x, float).reshape(len(x), -1)
    devices = tuple(jax.local_devices())
    solve = _sharded_search(mlp.activations, box, balls, devices)
    found = []
    for count, part in batches(images, IMAGES * len(devices)):
        with jax.enable_x64(True):
            found.append(np.asarray(solve(mlp.layers, part))[:count])
    return np.concatenate(found) / math.sqrt(images.shape[1])


@functools.lru_cache(maxsize=64)
def _sharded_search(activations, box, balls, devices):
    """Compiled (layers, images) -> bounds, with a loop over the images per device."""

    def search(layers, images):
        return jax.lax.map(lambda x: _search(Mlp(layers, activations), x, box, balls), images)

    return sharded(search, devices)


def _search(mlp, x, box, balls):
    """(k,) radii of balls around x without any image of class l.

    What holds in the ball of radius R keeps l at the distance h(R), or out of the ball: min(R, h)
    is proven. Where h falls with R, no ball will prove more than max(R, h); mostly it does, but for
    jumps of ReLU's slopes. The next R halves the widest interval left, and tells about all classes.
    """
    label = jnp.argmax(_logits(mlp, x))
    room = (x, 1 - x) if box else (jnp.full_like(x, jnp.inf),) * 2
    farthest = math.sqrt(len(x))  # that x + r can be from x in [0, 1]

    def distances(radius):
        found = jnp.minimum(_distances(mlp, x, label, room, radius), farthest)
        return jnp.where(jnp.arange(len(found)) == label, 0.0, found)

    def try_ball(bounds, index):
        low, high = bounds
        widest = jnp.argmax((high - low) / jnp.maximum(high, TINY))
        middle = (low[widest] + high[widest]) / 2
        # First a point; then a ball so large that it is the answer if the network is linear.
        radius = jnp.select([index == 0, index == 1], [0.0, jnp.max(high)], middle)
        found = distances(radius)
        low = jnp.maximum(low, jnp.minimum(radius, found))
        return (low, jnp.maximum(low, jnp.minimum(high, jnp.maximum(radius, found)))), None

    start = jnp.zeros(len(mlp.layers[-1][1]))
    (low, _), _ = jax.lax.scan(try_ball, (start, start + farthest), jnp.arange(balls))
    return (1 - ROUNDING) * low


def _logits(mlp, x):
    for (weights, bias), activation in zip(mlp.layers, (*mlp.activations, identity), strict=True):
        x = activation(weights @ x + bias)
    return x


def _distances(mlp, x, label, room, radius):
    """(k,) distances to where z_label − z_l may be 0, if they are less than the radius."""
    *hidden, (weights, bias) = mlp.layers
    lines = []
    for activation, (inner, offset) in zip(mlp.activations, hidden, strict=True):
        both = jnp.concatenate([inner, -inner]), jnp.concatenate([offset, -offset])
        rows, constants = _linear_bound(*both, hidden[: len(lines)], lines)
        bounds = _value(rows, constants, x) + _smallest(rows, room, radius)
        low, high = bounds[: len(inner)], -bounds[len(inner) :]
        lines.append(_lines(activation, low, jnp.maximum(low, high)))
    rows, constants = _linear_bound(weights[label] - weights, bias[label] - bias, hidden, lines)
    return _nearest(rows, _value(rows, constants, x), room)


def _linear_bound(rows, constants, layers, lines):
    """rows, constants with rows · x + constants ≤ those given, applied to the layers' outputs."""
    for (weights, bias), (lower, upper) in zip(layers[::-1], lines[::-1], strict=True):
        positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
        rows = positive * lower.slope + negative * upper.slope
        constants += positive @ lower.intercept + negative @ upper.intercept + rows @ bias
        rows = rows @ weights
    return rows, constants


def _value(rows, constants, x):
    """Rows · x + constants, less what rounding may have added."""
    return rows @ x + constants - ROUNDING * (1 + jnp.abs(rows) @ x + jnp.abs(constants))


def _smallest(rows, room, radius):
    """Lower bounds on rows · r for ‖r‖ ≤ radius and r in the box.

    The Lagrangian dual, a bound for any multiplier 1/scale. At the best one r = −scale · rows, cut
    at the walls; taken is the best for the walls at which pixels are, as most of an image's are.
    """
    scale = jnp.maximum(radius / jnp.sqrt(_squares(_movable(rows, room))), TINY)[:, None]
    r = _cut(-scale * rows, room)
    return jnp.sum(r * (r / (2 * scale) + rows), axis=1) - radius**2 / (2 * scale[:, 0])


def _nearest(rows, margins, room):
    """Lower bounds on ‖r‖ for r in the box with margins + rows · r ≤ 0.

    The dual of a quadratic program, a bound for any multiplier 2 · scale; Newton's steps approach
    the best one from below.
    """
    margins = jnp.maximum(margins, 0)
    scale = margins / _squares(_movable(rows, room))
    for _ in range(6):
        r = _cut(-scale[:, None] * rows, room)
        free = r == -scale[:, None] * rows
        left = margins + jnp.where(free, 0, rows * r).sum(axis=1)
        scale = jnp.maximum(scale, left / _squares(jnp.where(free, rows, 0)))
    r = _cut(-scale[:, None] * rows, room)
    squares = 2 * scale * margins + jnp.sum(r * (r + 2 * scale[:, None] * rows), axis=1)
    return jnp.sqrt(jnp.maximum(squares, 0))


def _movable(rows, room):
    """The rows, 0 where a pixel is at the wall that rows · r would fall towards."""
    down, up = room
    return jnp.where(jnp.where(rows > 0, down, up) > 0, rows, 0)


def _cut(r, room):
    down, up = room
    return jnp.clip(r, -down, up)


def _squares(rows):
    return jnp.maximum(jnp.sum(rows**2, axis=1), TINY)


def _lines(activation, low, high):
    """The lines below and above an activation on [low, high], of the slopes chosen for it.

    For any slope, activation(z) − slope · z is extreme at an end or where it turns: the bound does
    not depend on how well slopes were chosen.
    """

    def gaps(slope):
        turn = ACTIVATIONS[activation].turning(slope)
        places = jnp.stack([low, high, jnp.clip(turn, low, high), jnp.clip(-turn, low, high)])
        return activation(places) - slope * places

    lower, upper = ACTIVATIONS[activation].slopes(activation, low, high)
    return Line(lower, gaps(lower).min(axis=0)), Line(upper, gaps(upper).max(axis=0))


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
    jax.nn.sigmoid: Activation(1 / 4, _sigmoid_turning, _s_shaped_slopes),
    jax.nn.tanh: Activation(1, lambda slope: _sigmoid_turning(slope / 4) / 2, _s_shaped_slopes),
    jax.nn.relu: Activation(1, jnp.zeros_like, _relu_slopes),
}
