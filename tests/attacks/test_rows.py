import jax
import numpy as np
import pytest

from jaxadv.attacks.lockstep.rows import for_lanes, rows_of, written


@pytest.mark.parametrize("lanes", [1, 3, 8, 20])
def test_changes_the_lanes_that_are_wanted_alone(lanes):
    values = np.arange(2.0 * lanes, dtype=np.float32).reshape(lanes, 2)

    @jax.jit
    def negated(values, wanted):
        def change(rows, where, state):
            return written(state, where, (-rows_of(values, rows), rows_of(values, rows)[:, 0]))

        return for_lanes(wanted, change, (values, values[:, 1]))

    rng = np.random.default_rng(0)
    for wanted in (np.ones(lanes, bool), np.zeros(lanes, bool), rng.random(lanes) < 0.5):
        both, first = negated(values, wanted)
        np.testing.assert_array_equal(both, np.where(wanted[:, None], -values, values))
        np.testing.assert_array_equal(first, np.where(wanted, values[:, 0], values[:, 1]))


@pytest.mark.parametrize("lanes", [1, 16])
def test_work_that_no_lane_wants_is_not_done(lanes):
    done = []

    @jax.jit
    def changed(values, wanted):
        def body(_, values):
            def change(rows, where, state):
                jax.debug.callback(lambda _: done.append(1), values[rows])
                return written(state, where, state[rows] + 1)

            return for_lanes(wanted, change, values)

        return jax.lax.fori_loop(0, 3, body, values)

    values = np.zeros((lanes, 2), np.float32)
    if lanes == 1:  # from a loop of one turn XLA would move the work to before it
        compiled = changed.lower(values, np.zeros(lanes, bool)).compile()
        assert "conditional" in compiled.as_text()
    jax.block_until_ready(changed(values, np.zeros(lanes, bool)))
    jax.effects_barrier()
    assert not done
    jax.block_until_ready(changed(values, np.arange(lanes) == 0))
    jax.effects_barrier()
    assert len(done) == 3
