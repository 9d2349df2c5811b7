"""Products of the solvers are of full precision, where the default is less, as on accelerators."""

import jax
import jax.numpy as jnp
import pytest
from coarse import products

from jaxadv.solvers import LBFGSB, minimize_bounded

SIZE = 7


def least_squares(x, matrix):
    return ((matrix @ x - 1) ** 2).sum()  # the product is the user's: of the default precision


def by_minimize_bounded(x, matrix):
    return minimize_bounded(least_squares, x, (0, 1), matrix).x


def by_lbfgsb(x, matrix):
    bounds = jnp.zeros_like(x), jnp.ones_like(x)
    return LBFGSB(least_squares, implicit_diff=False).run(x, bounds, matrix).params


@pytest.mark.parametrize("solve", [by_minimize_bounded, by_lbfgsb])
@pytest.mark.parametrize("axes", [None, (0, None)], ids=["one", "vmapped"])
def test_products_are_precise_but_those_of_the_objective(solve, axes):
    x, matrix = jnp.zeros((3, SIZE)), jnp.ones((5, SIZE))
    if axes is None:
        x = x[0]
    else:
        solve = jax.vmap(solve, axes)
    full, default = products(solve, x, matrix)
    assert full and default
    assert all("5x7x" in line for line in default), default
