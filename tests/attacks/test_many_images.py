"""Attacks on so many images that compiling with optimisation takes less time than it saves."""

import pytest

from jaxadv import AttackOptions, minimal_adversarial
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
    assert 300 < more.evaluations.mean() < more.evaluations.max() <= 600
