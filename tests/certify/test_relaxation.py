"""Lines below and above activations, on a grid."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.certify import relaxation

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jax.nn.tanh, "relu": jax.nn.relu}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@functools.partial(jax.jit, static_argnums=0)
def gaps_to_lines(activation, low, width, slopes=None):
    """Largest (line below − activation) and (activation − line above) on a grid."""
    low, high = jnp.array([low]), jnp.array([low + width])
    chosen = relaxation.ACTIVATIONS[activation]
    if slopes is not None:
        chosen = chosen._replace(slopes=lambda *_: tuple(slopes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(relaxation.ACTIVATIONS, activation, chosen)
        lower, upper = relaxation.relaxation(activation, low, high)
    z = jnp.linspace(low, high, 1001)
    below = lower.slope * z + lower.intercept - activation(z)
    above = activation(z) - upper.slope * z - upper.intercept
    return jnp.array([below.max(), above.max()])


intervals = {"low": st.floats(-30, 30), "width": st.floats(0, 40)}


@each_activation
@settings(max_examples=60, derandomize=True, deadline=None)
@given(**intervals)
def test_lines_bound_the_activation(activation, low, width):
    with jax.enable_x64(True):
        gaps = np.asarray(gaps_to_lines(ACTIVATIONS[activation], low, width))
    assert -1e-3 < gaps.min() and gaps.max() < 1e-12  # they touch it, but for the grid


@each_activation
@settings(max_examples=60, derandomize=True, deadline=None)
@given(**intervals, slopes=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_lines_are_bounds_for_any_slopes(activation, low, width, slopes):
    with jax.enable_x64(True):
        gaps = np.asarray(
            gaps_to_lines(ACTIVATIONS[activation], low, width, jnp.array(slopes)[:, None])
        )
    assert gaps.max() < 1e-12
