"""An image and a target give the same bits in any company, order, split and number of devices."""

import functools

import jax
import numpy as np
import pytest

from jaxadv import AttackOptions, minimal_adversarial, untargeted
from jaxadv.attacks import queues
from jaxadv.networks import FullyConnected, Network

IMAGES = 70  # more than two devices' queues hold below
NETWORKS = {
    "sigmoid": (jax.nn.sigmoid, (100,), AttackOptions(smoothing_steps=0, max_evaluations=60)),
    "ReLU": (jax.nn.relu, (200, 1000), AttackOptions(smoothing_steps=20, max_evaluations=60)),
    "history, few lanes": (
        *(jax.nn.sigmoid, (100,)),
        AttackOptions(smoothing_steps=0, history_size=5, batch_size=2),
    ),
    "one lane": (
        *(jax.nn.relu, (30,)),
        AttackOptions(smoothing_steps=5, max_evaluations=30, batch_size=1),
    ),
}


@functools.cache
def problems(name):
    """(logits_fn, params, images, targets, options), of random weights."""
    activation, widths, options = NETWORKS[name]
    hidden = [FullyConnected(n, activation, name=f"hidden{i}") for i, n in enumerate(widths)]
    network = Network((*hidden, FullyConnected(10, name="softmax")), (28, 28, 1))
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(IMAGES, *network.input_shape)).astype(np.float32)
    return network.logits, params, x, rng.integers(0, 10, IMAGES), options


def assert_same(found, expected, chosen=slice(None)):
    for name, values in found._asdict().items():
        if name != "cost":  # which has a share of the lanes that ran idle
            np.testing.assert_array_equal(values, getattr(expected, name)[chosen], err_msg=name)


@pytest.fixture(autouse=True)
def short_queues(monkeypatch):
    monkeypatch.setattr(queues, "MAX_ROUNDS", 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_same_bits(name):
    logits_fn, params, x, target, options = problems(name)

    def attack(chosen):
        return minimal_adversarial(logits_fn, params, x[chosen], target[chosen], options)

    expected = attack(slice(None))
    assert expected.success.mean() > 0.9
    order = np.random.default_rng(1).permutation(IMAGES)
    for chosen in (slice(20), slice(7, 8), order[:35], slice(35, None)):
        assert_same(attack(chosen), expected, chosen)


def test_same_bits_on_one_device(monkeypatch):
    logits_fn, params, x, target, options = problems("ReLU")
    label = np.asarray(logits_fn(params, x)).argmax(axis=1)
    order = np.random.default_rng(1).permutation(21)

    def attack(chosen):
        return minimal_adversarial(logits_fn, params, x[chosen], target[chosen], options)

    def leave(chosen):
        return untargeted(logits_fn, params, x[chosen], label[chosen], options)

    expected, left = attack(slice(21)), leave(slice(21))
    devices = jax.local_devices()
    assert len(devices) > 1  # of which they do not get the same numbers of images
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    assert_same(attack(slice(21)), expected)
    assert_same(leave(order), left, order)
