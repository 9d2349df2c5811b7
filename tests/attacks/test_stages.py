"""The stages of lanes: recorded runs against the table of what follows what."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problems import PIXELS

from jaxadv import AttackOptions
from jaxadv.attacks.lockstep import loop
from jaxadv.attacks.lockstep.averaging import noise_for
from jaxadv.attacks.lockstep.stages import SUCCESSORS
from jaxadv.attacks.lockstep.state import Stage, Vectors
from jaxadv.solvers.pairs import no_pairs

LANES = 64


def network(params, x):
    """Non-smooth towards some classes, linear towards others, NaN in a corner."""
    hidden, last = params
    h = x @ hidden
    logits = jnp.where(jnp.arange(10) < 5, jnp.abs(h), h) @ last
    return jnp.where((x[:, :1] > 0.9) & (x[:, 1:2] > 0.5), jnp.nan, logits)


@pytest.fixture(scope="module")
def transitions():
    """Pairs of stages that followed each other, of `LANES` problems with a budget of 150."""
    rng = np.random.default_rng(0)
    shapes = (PIXELS, 10), (10, 10)
    params = tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
    x = jnp.asarray(rng.uniform(size=(LANES, PIXELS)), jnp.float32)
    target = jnp.asarray(rng.integers(0, 10, LANES))
    evaluate = functools.partial(loop._evaluate, network, params, (PIXELS,))
    tick_once = jax.jit(loop._tick, static_argnums=2)
    noise = noise_for(x[0])
    load = jax.jit(loop._loaded)
    queue = x, target, np.zeros(LANES, "f4"), np.arange(LANES)
    followed = set()
    for rounds in 1, 2:
        options = AttackOptions(smoothing_steps=20, rounds=rounds, max_evaluations=150)
        state = (
            load(queue, np.array(LANES), np.arange(LANES)),
            Vectors(x, x, 0 * x, 0 * x, x, x, jnp.zeros((LANES, 10))),
            no_pairs(4, LANES, PIXELS, x.dtype),
        )
        spent = np.zeros((LANES, Stage.DONE), int)
        for tick in range(options.max_evaluations):
            before = state[0].stage
            spent += np.arange(Stage.DONE) == np.asarray(before)[:, None]
            state = tick_once(options, noise, evaluate, jnp.array(tick), *state)
            followed |= set(zip(before.tolist(), state[0].stage.tolist(), strict=True))
        assert (state[0].stage == Stage.DONE).all() and (state[0].evaluations <= 150).all()
        np.testing.assert_array_equal(state[0].by_stage, spent)
    return {(Stage(one), Stage(other)) for one, other in followed}


def test_stages_follow_as_the_table_says(transitions):
    for one, other in transitions:
        assert other in SUCCESSORS[one] | {Stage.DONE}, f"{one.name} to {other.name}"


def test_the_table_has_no_more_than_what_happens(transitions):
    """But for what follows where there is no averaging, or where only descents fail."""
    listed = {(one, other) for one, others in SUCCESSORS.items() for other in others}
    unseen = {(Stage.START, Stage.REFRESH), (Stage.DESCEND, Stage.AVERAGE)}
    assert listed - transitions <= unseen
