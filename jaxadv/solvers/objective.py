"""A user's objective and its gradient, which must have the shapes of what they are used as."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def evaluated(fun: Callable, value_and_grad: bool, x: Any, args: tuple) -> tuple[jax.Array, Any]:
    """The value of fun(x, *args) and its gradient, which fun returns, too, with value_and_grad.

    Raises:
      TypeError: where fun returns anything but a real scalar, or that and a pytree like x.
    """
    if not value_and_grad:
        return jax.value_and_grad(lambda x: _checked(fun(x, *args)))(x)
    both = fun(x, *args)
    if not (isinstance(both, tuple | list) and len(both) == 2):
        raise TypeError(
            f"with value_and_grad, fun must return (value, gradient), got {_described(both)}"
        )
    value, gradient = both
    if _shapes(gradient) != _shapes(x):
        raise TypeError(
            "with value_and_grad, fun must return (value, gradient), a gradient of the shapes of x,"
            f" {_shapes(x)}, got {_shapes(gradient)}"
        )
    return _checked(value), gradient


def _checked(value):
    scalar = jax.tree_util.all_leaves([value]) and jnp.shape(value) == ()
    if not (scalar and jnp.issubdtype(jnp.result_type(value), jnp.floating)):
        hint = "; one that returns (value, gradient) needs value_and_grad=True"
        raise TypeError(
            f"fun must return a real scalar, got {_described(value)}"
            + (hint if isinstance(value, tuple) else "")
        )
    return value


def _described(value):
    if jax.tree_util.all_leaves([value]):
        return f"{jnp.result_type(value)} of shape {jnp.shape(value)}"
    return f"a {type(value).__name__} of arrays of shapes {_shapes(value)}"


def _shapes(tree):
    return jax.tree.map(jnp.shape, tree)
