"""The attack by jaxopt's L-BFGS-B, mended: one image and target, to be vmapped over a batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep.state import Stage
from jaxadv.attacks.margins import beyond_reach, lead_and_magnitude, lead_in_loss, least_lead
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import Found
from jaxadv.attacks.types import LogitsFn
from jaxadv.solvers.lbfgsb import LBFGSB
from jaxadv.solvers.trees import select

# |r| is smoothed to √(‖r‖² + δ²) − δ, δ = 1e-4 ‖1‖: its gradient exists at r = 0, where we start.
L2_SMOOTHING = 1e-4
# Bisections between the last success and the last failure, which are near each other by then.
HALVINGS = 10
MAX_LINE_SEARCH = 8
TOL = 0.01  # of a component of the projected gradient, relative to the gap's largest at x


class Candidate(NamedTuple):
    """An image and how far it has come: its squared distortion, and whether it succeeds."""

    image: jax.Array
    norm_squared: jax.Array
    success: jax.Array


class SearchState(NamedTuple):
    """State of one image's search."""

    image: jax.Array  # current iterate, in the box
    solver: Any  # state of L-BFGS-B at `image` for the current c
    c: jax.Array
    succeeded_c: jax.Array  # largest c whose minimiser succeeded, 0 if none did
    failed_c: jax.Array  # smallest c whose minimiser failed, ∞ if none did
    failed: jax.Array  # that minimiser; x, the minimiser for c = ∞, if none did
    best: Candidate
    best_c: jax.Array
    c_steps: jax.Array  # values of c that are done with
    evaluations: jax.Array  # gradients of the network


def solve(
    logits_fn: LogitsFn,
    options: AttackOptions,
    params: Any,
    x: Float[jax.Array, "*image"],
    target: Int[jax.Array, ""],
    hidden: Float[jax.Array, ""],
) -> Found:
    """Szegedy et al. (2013), sec. 4.1: minimise c|r| + loss_f(x + r, l), for the largest good c.

    A larger c gives a smaller r, so the search keeps a bracket of the largest c whose minimiser is
    still classified as the target: c grows after a success and shrinks after a failure by
    `options.growth`, and is bisected in log c once both have been seen. Each descent starts from
    the best image so far, and every iterate of every descent is a candidate for the result. In the
    end the decision boundary is located between the best image and the minimiser that failed.
    `hidden` is the lead that orders of summation may hide.
    """
    gap, gap_gradient = _gap(logits_fn, params, x, target)
    in_loss = lead_in_loss(options.margin, gap, hidden)
    solver = _minimiser(logits_fn, options, params, x, target, gap, gap_gradient, in_loss)
    box = (jnp.zeros_like(x), jnp.ones_like(x))

    def candidate_at(image, logits):
        lead, magnitude = lead_and_magnitude(logits, target)
        success = lead >= least_lead(options.margin, gap, magnitude, hidden)
        return Candidate(image, jnp.sum((image - x) ** 2), success)

    def step(state: SearchState) -> SearchState:
        image, solver_state = solver.update(state.image, state.solver, box, state.c)
        candidate = candidate_at(image, solver_state.aux)
        best, improved = _smaller(candidate, state.best)
        state = state._replace(
            image=image,
            solver=solver_state,
            best=best,
            best_c=jnp.where(improved, state.c, state.best_c),
            # Those of the line search, and the one below: jit computes it whether the descent is
            # over or not.
            evaluations=state.evaluations
            + (solver_state.num_grad_eval - state.solver.num_grad_eval + 1),
        )
        descent_over = (
            ~(solver_state.error > TOL)
            | solver_state.failed_linesearch
            | (solver_state.iter_num >= options.max_iterations)
        )
        advanced = _advance_c(state, candidate.success, options)
        advanced = advanced._replace(solver=solver.init_state(advanced.image, box, advanced.c))
        return select(descent_over, advanced, state)

    def unfinished(state):
        # A step costs as much as its line search, which may go back, and the gradient after it.
        affordable = options.max_evaluations - HALVINGS - MAX_LINE_SEARCH - 2
        return (state.c_steps < options.c_steps) & (state.evaluations <= affordable)

    c = first_c(gap + in_loss, gap_gradient, options.penalty)
    at_x = Candidate(x, jnp.zeros_like(c), gap < 0)
    initial = SearchState(
        image=x,
        solver=solver.init_state(x, box, c),
        c=c,
        succeeded_c=jnp.zeros_like(c),
        failed_c=jnp.full_like(c, jnp.inf),
        failed=x,
        best=at_x,
        best_c=c,
        c_steps=jnp.where(at_x.success, options.c_steps, 0),
        evaluations=jnp.array(2),
    )
    final = jax.lax.while_loop(unfinished, step, initial)
    best = _boundary(logits_fn, params, candidate_at, final.best, final.failed)
    finite = jnp.isfinite(final.solver.value) & jnp.isfinite(final.solver.error)
    evaluations = final.evaluations + HALVINGS
    return Found(
        image=best.image,
        success=best.success,
        finite=finite | beyond_reach(gap),
        c=final.best_c,
        evaluations=evaluations,
        by_stage=evaluations * (jnp.arange(Stage.DONE) == Stage.DESCEND),
        lane_ticks=jnp.nan,
    )


def _minimiser(logits_fn, options, params, x, target, gap, gap_gradient, lead) -> LBFGSB:
    """L-BFGS-B on c|r| + T·CE(logits/T), as a function of the image and c; aux: the logits."""
    usable = jnp.isfinite(gap) & (gap > 0)
    temperature = 1.0
    if options.temperature is not None:
        temperature = options.temperature * jnp.where(usable, gap, 1)
    # Makes TOL relative: at the boundary the loss has about half the gradient of the gap.
    scale = 1 / jnp.max(jnp.abs(gap_gradient))
    scale = jnp.where(jnp.isfinite(scale), scale, 1.0)

    def objective(image, c):
        logits = logits_fn(params, image[None])[0]
        loss = temperature * optax.softmax_cross_entropy_with_integer_labels(
            logits.at[target].add(-lead) / temperature, target
        )
        return scale * (c * penalty(image - x, options.penalty) + loss), logits

    return LBFGSB(
        objective,
        has_aux=True,
        history_size=options.history_size,
        tol=TOL,
        maxls=MAX_LINE_SEARCH,
        linesearch_init="max",
        implicit_diff=False,
        unroll=False,
    )


def _boundary(logits_fn, params, candidate_at, best: Candidate, failed) -> Candidate:
    """Bisects between the best image and one that failed, for a smaller success."""

    def halve(_, ends):
        success, failure = ends
        middle = (success.image + failure) / 2
        candidate = candidate_at(middle, logits_fn(params, middle[None])[0])
        success, improved = _smaller(candidate, success)
        return success, jnp.where(improved, failure, middle)

    nearer, _ = jax.lax.fori_loop(0, HALVINGS, halve, (best, failed))
    return select(best.success, nearer, best)


def penalty(r: Float[jax.Array, "*image"], name: str) -> Float[jax.Array, ""]:
    """|r| as the paper leaves it open: "l2_squared", ‖r‖², or "l2", ‖r‖ smoothed at 0."""
    norm_squared = jnp.sum(r**2)
    if name == "l2_squared":
        return norm_squared
    smoothing = L2_SMOOTHING * r.size**0.5
    return jnp.sqrt(norm_squared + smoothing**2) - smoothing


def first_c(
    gap: Float[jax.Array, ""], gap_gradient: Float[jax.Array, "*image"], penalty_name: str
) -> Float[jax.Array, ""]:
    """The c whose minimiser would lie on the decision boundary if the logits were linear.

    With g the gap between the logits of the current class and the target, and G its gradient's
    norm, the boundary is at ‖r‖ = g/G, where the cross-entropy of two classes has the gradient G/2:
    stationary for c = G²/(4g) with ‖r‖², and for c = G/2 with ‖r‖.
    """
    norm_squared = jnp.sum(gap_gradient**2)
    c = norm_squared / (4 * gap) if penalty_name == "l2_squared" else jnp.sqrt(norm_squared) / 2
    return jnp.where(jnp.isfinite(c) & (c > 0), c, 1.0)


def _gap(logits_fn, params, x, target):
    """The largest logit less the target's, and its gradient."""

    def gap(image):
        output = logits_fn(params, image[None])[0]
        return jnp.max(output) - output[target]

    return jax.value_and_grad(gap)(x)


def _smaller(candidate: Candidate, best: Candidate) -> tuple[Candidate, jax.Array]:
    """The smaller success; before the first success the latest finite candidate."""
    closer = candidate.success & (candidate.norm_squared < best.norm_squared)
    improved = jnp.where(best.success, closer, jnp.isfinite(candidate.norm_squared))
    return select(improved, candidate, best), improved


def _advance_c(state: SearchState, success: jax.Array, options: AttackOptions) -> SearchState:
    """Narrows the bracket by the outcome at the current c and chooses the next c."""
    succeeded_c = jnp.where(success, state.c, state.succeeded_c)
    failed_c = jnp.where(success, state.failed_c, state.c)
    bracketed = (succeeded_c > 0) & jnp.isfinite(failed_c)
    grown = jnp.where(success, state.c * options.growth, state.c / options.growth)
    bisected = jnp.exp(0.5 * (jnp.log(succeeded_c) + jnp.log(failed_c)))
    return state._replace(
        image=state.best.image,
        c=jnp.where(bracketed, bisected, grown),
        succeeded_c=succeeded_c,
        failed_c=failed_c,
        failed=jnp.where(success, state.failed, state.image),
        c_steps=state.c_steps + 1,
    )
