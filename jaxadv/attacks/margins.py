"""By how much the target's logit leads, and by how much it must, for an image to be a success."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from jaxadv.attacks.types import LogitsFn

ROUNDING = 4  # units in the last place by which logits may differ from one computation to another
SUMMING = 16  # of the same, for what logits are summed from: orders of summation differ
SHARE = 2.0**-5  # of an image or of parameters, that is changed to see what logits are summed from
NARROW = 1e-4  # the largest lead, relative to the gap, that the loss leaves to what follows it


def target_and_others(
    logits: Float[jax.Array, "*lanes k"], target: Int[jax.Array, "*lanes"]
) -> tuple[Float[jax.Array, "*lanes"], Float[jax.Array, "*lanes k"]]:
    """The target's logit; and the logits with -∞ in its place."""
    is_target = jnp.arange(logits.shape[-1]) == target[..., None]
    at_target = jnp.sum(jnp.where(is_target, logits, 0), axis=-1)  # faster than a gather
    return at_target, jnp.where(is_target, -jnp.inf, logits)


def lead_and_magnitude(
    logits: Float[jax.Array, "*lanes k"], target: Int[jax.Array, "*lanes"]
) -> tuple[Float[jax.Array, "*lanes"], Float[jax.Array, "*lanes"]]:
    """The target's logit less the largest other one, and the larger magnitude of these two.

    Other logits are not looked at: classes that are masked, by -1e9 or -∞, count for nothing.
    """
    at_target, others = target_and_others(logits, target)
    largest = jnp.max(others, axis=-1)
    return at_target - largest, jnp.maximum(jnp.abs(at_target), jnp.abs(largest))


def least_lead(
    margin: ArrayLike,
    gap: Float[jax.Array, "*lanes"],
    magnitude: Float[jax.Array, "*lanes"],
    hidden: Float[jax.Array, "*lanes"],
) -> Float[jax.Array, "*lanes"]:
    """The lead that makes a success: `margin` of the gap at x, and no less than rounding hides.

    The gap, by which the current class leads the target at x, is the same whatever is added to all
    logits, and scales as they do. `hidden` is from `hidden_by_summation`.
    """
    return jnp.maximum(margin * gap, jnp.maximum(rounding(magnitude), hidden))


def lead_in_loss(
    margin: ArrayLike, gap: Float[jax.Array, "*lanes"], hidden: Float[jax.Array, "*lanes"]
) -> Float[jax.Array, "*lanes"]:
    """The lead at which the loss is to have its boundary: that asked for, or 0 if it is narrow.

    And 0 where the gap is, which lanes take it for before they know it.
    """
    lead = jnp.maximum(margin * gap, hidden)
    return jnp.where((gap > 0) & (lead > NARROW * gap), lead, 0.0)


def rounding(magnitude: Float[jax.Array, "*lanes"]) -> Float[jax.Array, "*lanes"]:
    """By how much logits of a magnitude may differ from one computation to another."""
    return ROUNDING * jnp.finfo(magnitude.dtype).eps * magnitude


def beyond_reach(gap: Float[jax.Array, "*lanes"]) -> Bool[jax.Array, "*lanes"]:
    """Whether a finite gap is so large, as that of a masked class, that computing with it is not.

    No attack closes it; but neither are logits or gradients to blame.
    """
    return jnp.isfinite(gap) & (gap > 1 / jnp.finfo(gap.dtype).tiny ** 0.5)


def perturbed(params: Any) -> Any:
    """The parameters, each number larger or smaller by a share of itself, at random.

    But for scalars, as these scale sums, or are added in one step.
    """
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten(map(_perturbed, leaves, range(len(leaves))))


def _perturbed(leaf, index):
    leaf = jnp.asarray(leaf)
    if leaf.ndim == 0 or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    return leaf * (1 + SHARE * _signs(leaf.shape, index).astype(leaf.dtype))


def _signs(shape, index):
    """±1, at random: the last steps of MurmurHash3. Compiling jax.random's takes far longer."""
    number = jax.lax.iota(jnp.uint32, math.prod(shape)) + jnp.uint32(index * 0x9E3779B9 % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        number = (number ^ (number >> shift)) * jnp.uint32(factor)
    return 1 - 2 * ((number ^ number >> 16) & 1).astype(jnp.int8).reshape(shape)


def hidden_by_summation(
    logits_fn: LogitsFn,
    params: Any,
    params_perturbed: Any,
    x: Float[jax.Array, "B *image"],
    target: Int[jax.Array, " B"],
    logits: Float[jax.Array, "B k"],
) -> Float[jax.Array, " B"]:
    """By how much the logits at x may differ from one order of summation to another, estimated.

    Or by how much half precision rounds them, where they come in that.

    Logits may be small because what they are summed from cancels, as where a bias makes up for the
    mean of the weights. How large that is shows when the image darkens, and in `perturbed`
    parameters: by a share of what it is summed from, each logit changes. Only the target and the
    largest other class count.
    """
    _, others = target_and_others(logits, target)
    pair = jnp.stack([target, jnp.argmax(others, axis=-1)], axis=-1)
    changed = logits_fn(params, (1 - SHARE) * x), logits_fn(params_perturbed, x)
    changes = jnp.abs(jnp.stack(changed) - logits) / SHARE
    changes = jnp.take_along_axis(
        jnp.where(jnp.isfinite(changes), changes, 0.0), pair[None], axis=-1
    )
    largest = jnp.max(changes, axis=(0, -1)).astype(x.dtype)
    hidden = SUMMING * jnp.finfo(largest.dtype).eps * largest
    if jnp.finfo(logits.dtype).eps <= jnp.finfo(x.dtype).eps:
        return hidden
    rounded = rounding(jnp.abs(jnp.take_along_axis(logits, pair, axis=-1)).max(axis=-1))
    return jnp.maximum(hidden, rounded.astype(x.dtype))
