"""What attacks return."""

import enum
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Int8


class Status(enum.IntEnum):
    """How the search for one image ended."""

    SUCCESS = 0  # found an image in the box that is classified as the target
    ALREADY_TARGET = 1  # x itself is classified as the target: r = 0
    NOT_FOUND = 2  # no image tried was classified as the target, by the margin
    NOT_FINITE = 3  # logits or gradients of this image were NaN or infinite
    UNREADABLE = 4  # no image, or not the target it was to have; of `jaxadv.generate` alone


class AttackResult(NamedTuple):
    """One entry per problem, in the order given, shape (B,) or (B, k).

    Failures are included, and images that were of the target already: the mean distortion is that
    of `distortion[status == Status.SUCCESS]`.
    """

    x_adv: Float[np.ndarray, "B ..."]  # in [0, 1]; if it failed, some image tried
    success: Bool[np.ndarray, "B ..."]  # x_adv is classified as the target
    distortion: Float[np.ndarray, "B ..."]  # root mean square of x_adv − x, even if it failed
    c: Float[np.ndarray, "B ..."]  # the c of the step or descent that found x_adv
    evaluations: Int[np.ndarray, "B ..."]  # gradients of the network spent
    status: Int8[np.ndarray, "B ..."]  # a Status
    target: Int[np.ndarray, "B ..."]  # the class to reach
    cost: Float[np.ndarray, "B ..."]  # `evaluations`, and a share of those of lanes that ran idle
    by_stage: Int[np.ndarray, "B ... 7"]  # `evaluations` by `lockstep.state.Stage`

    @property
    def utilisation(self) -> float:
        """Of all gradients computed, the share that was for problems not yet solved.

        NaN for the solver lbfgsb, whose lanes wait for each other in nested loops.
        """
        return float(self.evaluations.sum() / self.cost.sum())


def concatenated(results: Iterable[AttackResult]) -> AttackResult:
    """Joins results along the leading axis."""
    return AttackResult(*map(np.concatenate, zip(*results, strict=True)))


class Found(NamedTuple):
    """What a solver found for its images, before it is checked."""

    image: Float[jax.Array, "..."]  # the smallest success, or else the last iterate
    success: Bool[jax.Array, "..."]
    finite: Bool[jax.Array, "..."]  # whether the last logits and gradient were
    c: Float[jax.Array, "..."]
    evaluations: Int[jax.Array, "..."]
    by_stage: Int[jax.Array, "... 7"]
    lane_ticks: jax.Array | float | None  # gradients computed, also for lanes without a problem
