"""What lanes decide, by scalars alone: when steps settle, and which attacks follow."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import AttackOptions
from jaxadv.attacks.lockstep.averaging import window
from jaxadv.attacks.lockstep.sqp import c_of_step, stepped
from jaxadv.attacks.lockstep.stages import decided
from jaxadv.attacks.lockstep.state import (
    Best,
    Bracket,
    Evaluation,
    Move,
    Point,
    Products,
    Stage,
    Start,
    at_stage,
    loaded,
)
from jaxadv.attacks.lockstep.tuning import TUNING


def lane_at(stage, **changes):
    """A lane whose last point was at a distance of 1 from x, and not yet on the boundary."""
    one = jnp.ones(())
    at = Evaluation(loss=one, margin=-one, magnitude=one, others=one / 2)
    lane = loaded(jnp.array(1), jnp.array(0), jnp.array(True), 0 * one)
    point = Point(at, r_r=one, r_g=-one, g_g=one)
    return lane._replace(stage=at_stage(stage), point=point, **changes)


def products_at(**changes):
    """Inner products where ‖r‖ and the gradients have a norm of 1, after a step of 0."""
    zero, one = jnp.zeros(()), jnp.ones(())
    products = Products(one, -one, one, zero, zero, slope=zero, p_p=one, from_best=one, rms=zero)
    return products._replace(**changes)


def best_at(r_r, rms=0.0, round_=0):
    """A success found in that round."""
    return Best(jnp.array(r_r), jnp.array(rms), c=jnp.ones(()), round=jnp.array(round_))


def test_a_further_attack_descends_to_the_tolerance_asked_for_where_it_may_be_the_best():
    """After a step that gains 1e-5 of c‖r‖²; the tolerances are 3e-6 and 1e-4."""
    decide = jax.jit(decided)

    def goes_on(round_, best_r_r):
        one = jnp.ones(())
        lane = lane_at(
            Stage.DESCEND,
            fine=jnp.array(True),
            averaging_steps=jnp.array(20),
            round=jnp.array(round_),
            best=best_at(best_r_r),
        )
        seen = lane.point.seen._replace(loss=one - 1e-5)
        products = products_at(s_s=one, slope=-1e-5 * one)
        return decide(AttackOptions(), lane, seen, products)[0].stage == Stage.DESCEND

    assert goes_on(round_=1, best_r_r=1.0)
    assert not goes_on(round_=1, best_r_r=0.99)
    assert not goes_on(round_=0, best_r_r=1.0)


def after_polishing(r_r=1.0, *, reached=True, settings=None, **changes):
    """The lane after an attack whose last point on the ray was at a squared distance r_r from x."""
    one = jnp.ones(())
    lane = lane_at(Stage.POLISH, spent=jnp.array(TUNING.polishing[1]), **changes)
    seen = lane.point.seen._replace(margin=one if reached else -one)
    products = products_at(r_r=r_r * one)
    return jax.jit(decided)(AttackOptions(**(settings or {})), lane, seen, products)[0]


def test_further_attacks_end_where_many_in_a_row_found_nothing_nearer():
    def ended(round_, nearer):
        """The smallest distortion being 1, of the first attack."""
        return after_polishing(
            (1 - nearer) ** 2,
            settings={"rounds": 100},
            fine=jnp.array(True),
            round=jnp.array(round_),
            best=best_at(1.0),
        )

    last = TUNING.fruitless
    assert ended(last - 1, 0).stage == Stage.AVERAGE
    assert ended(last, 0).stage == Stage.DONE
    assert ended(last, 0.5 * TUNING.gain).stage == Stage.DONE
    assert ended(last, 2 * TUNING.gain).stage == Stage.AVERAGE
    assert [ended(last, n * TUNING.gain).best.round for n in (0.5, 2)] == [0, last]


def test_noise_of_further_attacks_is_other_noise_of_several_sizes_in_turn():
    """Of the first one, and of one that begins anew from a softer loss, it is 1.5 in size."""

    def noise(round_, averaging_steps):
        lane = lane_at(
            Stage.AVERAGE, round=jnp.array(round_), averaging_steps=jnp.array(averaging_steps)
        )
        start, scale = window(lane, size=4)
        return start // TUNING.shift, 2 * scale  # at a distance of 1

    rounds = 0, 1, 2, 3, 4
    places, averaged = zip(*(noise(each, 175 // 2) for each in rounds), strict=True)
    np.testing.assert_allclose(averaged, [1.5, 1.5, 4.5, 0.45, 1.5], rtol=1e-6)
    assert np.diff(places).min() >= 175  # as many as the first attack averages
    scattered = [noise(each, 2)[1] for each in rounds[1:]]
    np.testing.assert_allclose(scattered, [12.0, 24.0, 6.0, 12.0], rtol=1e-6)


def test_problems_on_which_steps_settled_late_and_far_off_are_attacked_again():
    """If nobody asks for another number of attacks."""
    first, far = TUNING.far_gradients, TUNING.far_rms

    def ended(rms=far, evaluations=first, round_=0, averaging_steps=0, fine=False, **asked):
        return after_polishing(
            settings=asked,
            fine=jnp.array(fine),
            evaluations=jnp.array(evaluations - 1),  # before the last of the attack
            averaging_steps=jnp.array(averaging_steps),
            round=jnp.array(round_),
            best=best_at(0.5, rms),
        ).stage

    further = {"fine": True, "averaging_steps": TUNING.scattered}
    last = TUNING.far_attacks - 1
    assert ended() == ended(round_=last - 1, **further) == Stage.AVERAGE
    assert ended(round_=last, **further) == Stage.DONE
    assert ended(round_=last, rounds=last + 2, **further) == Stage.AVERAGE
    assert ended(round_=1, rounds=2, **further) == Stage.DONE
    assert ended(rms=0.99 * far) == ended(restart=False) == Stage.DONE
    assert ended(evaluations=first - 1) == Stage.DONE
    assert ended(fine=True) == ended(round_=1, fine=True) == Stage.DONE  # after descents


def test_an_attack_that_nobody_asked_for_is_over_near_what_is_known():
    """Once what it came near to was the image that the lane had found on the problem before."""
    step = jax.jit(stepped)

    def goes_on(from_best, known=1.0, round_=1, best_round=0, rounds=1, missing=1.0, spent=0):
        one = jnp.ones(())
        lane = lane_at(
            Stage.SQP,
            averaging_steps=jnp.array(TUNING.scattered),
            round=jnp.array(round_),
            start=Start(gap=one, r_r=one, temperature=0.01 * one, hidden=0 * one),
            best=best_at(known, TUNING.far_rms, best_round),
            evaluations=jnp.array(TUNING.far_gradients),
            spent=jnp.array(spent),
        )
        seen = lane.point.seen._replace(loss=missing * one)
        stay = Move(*(jnp.array(False) for _ in range(5)), weight=0 * one)
        options, products = AttackOptions(rounds=rounds), products_at(from_best=from_best * one)
        lane, move = step(options, lane, seen, products, stay)
        assert move.to_x == (lane.stage == Stage.REFRESH)
        return Stage(int(lane.stage)), int(lane.round)

    near, far = 0.99 * TUNING.near_known**2, 1.01 * TUNING.near_known**2
    assert goes_on(far) == (Stage.SQP, 1)
    assert goes_on(near) == (Stage.AVERAGE, 2)
    assert goes_on(near, round_=2) == (Stage.DONE, 2)
    assert goes_on(near, best_round=1) == (Stage.SQP, 1)  # near to what it found itself
    assert goes_on(near, known=np.inf) == (Stage.SQP, 1)  # nothing is known yet
    assert goes_on(near, rounds=2) == (Stage.SQP, 1)
    assert goes_on(near, missing=2.0) == (Stage.SQP, 1)  # a step that is refused
    # One that does not settle is over, too, unless it found something itself.
    assert goes_on(far, spent=TUNING.sqp_steps) == (Stage.AVERAGE, 2)
    assert goes_on(far, spent=TUNING.sqp_steps, best_round=1) == (Stage.REFRESH, 1)


def test_short_steps_settle_only_where_the_gradient_is_small():
    """Once a step that c, far off, made short ended an attack 46 % beyond the nearest image.

    And another, where the limit was relative to a c that the same step had made too large.
    """
    step = jax.jit(stepped)

    def settles(gradient, c=1.0):
        """At c times what is stationary along r."""
        one = jnp.ones(())
        lane = lane_at(
            Stage.SQP,
            spent=jnp.array(3),
            start=Start(gap=one, r_r=one, temperature=0.01 * one, hidden=0 * one),
            temperature=TUNING.smooth_temperature * one,
            bracket=Bracket(c=c * TUNING.aim / 2, succeeded=0 * one, failed=one, tried=0),
        )  # c r w/AIM = 1, where c is 1
        seen = lane.point.seen._replace(loss=0 * one, margin=0 * one)
        products = products_at(s_s=1e-8 * one, p_p=gradient**2)
        stay = Move(*(jnp.array(False) for _ in range(5)), weight=0 * one)
        return step(AttackOptions(), lane, seen, products, stay)[0].stage == Stage.POLISH

    assert settles(jnp.array(0.1))
    for c in (jnp.array(1.0), jnp.array(2.9)):
        assert settles(jnp.array(0.99 * TUNING.residual), c)
        assert not settles(jnp.array(1.01 * TUNING.residual), c)


def test_what_averaging_did_not_find_is_attacked_once_more():
    """Once such a problem was given up, with budget left, though it could be solved."""

    def ended(round_, found, **settings):
        return after_polishing(
            reached=False,
            settings=settings,
            fine=jnp.array(True),
            averaging_steps=jnp.array(175),
            round=jnp.array(round_),
            evaluations=jnp.array(200),
            best=best_at(0.9 if found else np.inf),
        )

    again = ended(0, found=False)
    assert (again.stage, again.round, again.averaging_steps) == (Stage.REFRESH, 1, 0)
    for settings in ({}, {"restart": False}):
        assert ended(0, found=True, **settings).stage == Stage.DONE
    assert ended(0, found=False, restart=False).stage == Stage.DONE
    assert ended(1, found=False).stage == Stage.DONE


def test_descents_follow_where_the_ray_meets_the_boundary_farther_than_where_steps_settled():
    """Once what an earlier step had found, 6 % farther than that, was the result."""
    assert after_polishing(1.001**2).stage == Stage.DONE
    assert after_polishing(1.03**2).stage == Stage.REFRESH


def test_c_of_a_step_stays_near_what_is_stationary_along_r():
    """Once it drifted to 0 or infinity, and an image came out four times as far as the nearest."""
    multipliers = jnp.array([1e-9, 1.0, 1e9, jnp.inf, jnp.nan, -1.0])
    one = jnp.ones(len(multipliers))
    at = Evaluation(loss=one, margin=-one, magnitude=one, others=one / 2)
    none = jnp.zeros(len(multipliers), int)
    load = jax.jit(jax.vmap(loaded, in_axes=(0, 0, None, 0)))
    lane = load(none, none, jnp.array(True), 0 * one)
    lane = lane._replace(point=Point(at, r_r=one, r_g=-one, g_g=one))
    c = np.asarray(jax.jit(c_of_step)(AttackOptions(), lane, multipliers))
    stationary = TUNING.aim / 2  # 2c r = AIM g, along r
    assert c[1] == TUNING.multiplier * stationary  # from c = 1
    assert c[4] == 1  # NaN changes nothing
    usual = np.delete(c, 4) / stationary
    np.testing.assert_array_less(1 / TUNING.multiplier - 1e-6, usual)
    np.testing.assert_array_less(usual, TUNING.multiplier + 1e-6)
