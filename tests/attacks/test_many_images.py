"""Attacks on so many images that compiling with optimisation takes less time than it saves."""

import numpy as np
import pytest

from jaxadv import AttackOptions, all_targets, minimal_adversarial, untargeted
from jaxadv.attacks.lockstep.state import Stage
from jaxadv.attacks.sampling import wrong_targets

pytestmark = pytest.mark.slow


def test_little_of_the_gradients_of_a_long_queue_is_idle(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    target = wrong_targets(mnist.labels[:2000], 10, seed=0)
    result = minimal_adversarial(network.logits, params, mnist.images[:2000], target)
    assert result.success.all()
    assert result.utilisation >= 0.9


def test_more_attacks_find_smaller_distortions(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x, target = mnist.images[:300], wrong_targets(mnist.labels[:300], 10, seed=1)
    once, more = (
        minimal_adversarial(network.logits, params, x, target, options)
        for options in (AttackOptions(), AttackOptions.thorough(max_evaluations=600))
    )
    ratio = more.distortion / once.distortion
    assert more.success.all()
    assert ratio.max() <= 1 + 1e-6
    assert ratio.min() < 0.995
    # Once, steps that did not settle in a further attack made it average to the end.
    averaged = more.by_stage[once.by_stage[:, Stage.AVERAGE] == 0, Stage.AVERAGE]
    assert averaged.max() <= 2 * 31
    evaluations = more.evaluations  # few where ten attacks in a row found nothing nearer
    assert evaluations.min() < 150 and 200 < evaluations.mean() < evaluations.max() <= 600


def test_all_targets_are_those_attacked_one_by_one(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x = mnist.images[:6]
    result = all_targets(network.logits, params, x)
    assert result.x_adv.shape == (6, 10, 28, 28, 1)
    np.testing.assert_array_equal(result.target, np.tile(np.arange(10), (6, 1)))
    current = np.argmax(network.logits(params, x), axis=1)
    assert (result.distortion[np.arange(6), current] == 0).all()
    for target in (0, 7):
        single = minimal_adversarial(network.logits, params, x, np.full(6, target))
        np.testing.assert_array_equal(result.x_adv[:, target], single.x_adv)
        np.testing.assert_array_equal(result.evaluations[:, target], single.evaluations)


def test_untargeted_finds_the_nearest_class(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x, label = mnist.images[:40], mnist.labels[:40]
    result = untargeted(network.logits, params, x, label)
    assert result.success.all()
    predicted = np.argmax(network.logits(params, result.x_adv), axis=1)
    np.testing.assert_array_equal(predicted, result.target)
    assert (predicted != label).all()
    every = all_targets(network.logits, params, x)
    is_label = np.arange(10) == label[:, None]
    nearest = np.where(is_label, np.inf, every.distortion).min(axis=1)
    assert (result.distortion >= 0.999 * nearest).all()  # a descent may find what no attack has
    assert result.distortion.mean() <= 1.003 * nearest.mean()
    others = np.where(is_label, 0, every.evaluations).sum(axis=1)
    assert result.evaluations.mean() < 0.4 * others.mean()
