"""Problems over a box with a known answer, and what solves them step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

OPTIONS = {"linesearch_init": "max", "stop_if_linesearch_fails": True}


def least_squares(n=30, seed=0):
    """A problem ½‖Ax − b‖² over [0, 1]ⁿ with many active bounds: (A, b, its exact minimiser)."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n + 5, n)), 5 * rng.normal(size=n + 5)
    minimiser = scipy.optimize.lsq_linear(a, b, (0, 1), method="bvls", tol=1e-14).x
    assert n / 2 < np.sum((minimiser == 0) | (minimiser == 1)) < n
    return a, b, minimiser


def half_square(x, a, b):
    return 0.5 * jnp.sum((a @ x - b) ** 2)


def unit_box(x):
    return jax.tree.map(jnp.zeros_like, x), jax.tree.map(jnp.ones_like, x)


def descend(solver, x, bounds, *args, iterations=500):
    """Calls `update`, which compiles faster than `run`, until the tolerance is met."""
    x = jax.tree.map(lambda leaf: jnp.array(leaf, leaf.dtype), x)  # else weak types compile twice
    state = jax.jit(solver.init_state)(x, bounds, *args)
    update = jax.jit(solver.update)
    while state.error > solver.tol and state.iter_num < iterations:
        x, state = update(x, state, bounds, *args)
    assert update._cache_size() == 1  # types of the state do not change
    return x, state
