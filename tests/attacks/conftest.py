"""The attack on MNIST that several files compare with."""

import pytest

from jaxadv import minimal_adversarial
from jaxadv.attacks.sampling import wrong_targets


@pytest.fixture(scope="session")
def attacked(mnist, mlp_on_mnist):
    """(images, targets, what the attack with default settings finds)."""
    network, params = mlp_on_mnist
    x = mnist.images[:50]
    target = wrong_targets(mnist.labels[:50], 10, seed=0)
    return x, target, minimal_adversarial(network.logits, params, x, target)
