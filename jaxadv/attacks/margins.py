"""By how much the target's logit leads, and by how much it must, for an image to be a success."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

ROUNDING = 4  # units in the last place by which logits may differ from one computation to another

NARROW = 1e-3  # the largest margin that the loss leaves to what follows it


def target_and_others(
    logits: Float[jax.Array, "*lanes k"], target: Int[jax.Array, "*lanes"]
) -> tuple[Float[jax.Array, "*lanes"], Float[jax.Array, "*lanes k"]]:
    """The target's logit; and the logits with -∞ in its place."""
    at_target = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    is_target = jnp.arange(logits.shape[-1]) == target[..., None]
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
    margin: float, gap: Float[jax.Array, "*lanes"], magnitude: Float[jax.Array, "*lanes"]
) -> Float[jax.Array, "*lanes"]:
    """The lead that makes a success: `margin` of the gap at x, and no less than rounding hides.

    The gap, by which the current class leads the target at x, is the same whatever is added to all
    logits, and scales as they do.
    """
    return jnp.maximum(margin * gap, rounding(magnitude))


def asked(margin: float, gap: Float[jax.Array, "*lanes"]) -> Float[jax.Array, "*lanes"]:
    """The lead at which the loss is to have its boundary: by the margin, or 0 if that is narrow."""
    return margin * gap if margin > NARROW else jnp.zeros_like(gap)


def rounding(magnitude: Float[jax.Array, "*lanes"]) -> Float[jax.Array, "*lanes"]:
    """By how much logits of a magnitude may differ from one computation to another."""
    return ROUNDING * jnp.finfo(magnitude.dtype).eps * magnitude


def beyond_reach(gap: Float[jax.Array, "*lanes"]) -> Bool[jax.Array, "*lanes"]:
    """Whether a finite gap is so large, as that of a masked class, that computing with it is not.

    No attack closes it; but neither are logits or gradients to blame.
    """
    return jnp.isfinite(gap) & (gap > 1 / jnp.finfo(gap.dtype).tiny ** 0.5)
