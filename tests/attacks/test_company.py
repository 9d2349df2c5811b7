"""An image and a target give the same bits in any company, order, split and number of devices."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxadv import AttackOptions, minimal_adversarial
from jaxadv.attacks import queues
from jaxadv.networks import FullyConnected, Network

NETWORKS = {
    "sigmoid": (jax.nn.sigmoid, (100,), AttackOptions(smoothing_steps=0, max_evaluations=60)),
    "ReLU": (jax.nn.relu, (200, 1000), AttackOptions(smoothing_steps=20, max_evaluations=60)),
    "history, few lanes": (
        *(jax.nn.sigmoid, (100,)),
        AttackOptions(smoothing_steps=0, history_size=5, batch_size=2),
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def problems(request):
    """(logits_fn, params, images, targets, options), of random weights."""
    activation, widths, options = NETWORKS[request.param]
    hidden = [FullyConnected(n, activation, name=f"hidden{i}") for i, n in enumerate(widths)]
    network = Network((*hidden, FullyConnected(10, name="softmax")), (28, 28, 1))
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(100, *network.input_shape)).astype(np.float32)
    return network.logits, params, x, rng.integers(0, 10, 100), options


def assert_same(found, expected, chosen=slice(None)):
    for name, values in found._asdict().items():
        if name != "cost":  # which has a share of the lanes that ran idle
            np.testing.assert_array_equal(values, getattr(expected, name)[chosen], err_msg=name)


def test_same_bits(problems, monkeypatch):
    logits_fn, params, x, target, options = problems
    monkeypatch.setattr(queues, "MAX_ROUNDS", 2)  # more problems than two devices' queues hold

    def attack(chosen):
        return minimal_adversarial(logits_fn, params, x[chosen], target[chosen], options)

    expected = attack(slice(None))
    assert expected.success.mean() > 0.9
    order = np.random.default_rng(1).permutation(100)
    for chosen in (slice(20), slice(7, 8), order[:50], slice(50, None)):
        assert_same(attack(chosen), expected, chosen)


def test_same_bits_on_one_device_and_on_three():
    program = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 3)
from jaxadv import AttackOptions, minimal_adversarial
rng = np.random.default_rng(0)
params = rng.normal(size=(100, 50)).astype("float32"), rng.normal(size=(50, 10)).astype("float32")
def logits(params, x): return jax.nn.relu(x @ params[0]) @ params[1]
x, target = rng.uniform(size=(40, 100)).astype("float32"), rng.integers(0, 10, 40)
options = AttackOptions(smoothing_steps=20, max_evaluations=60, history_size=3)
devices = jax.local_devices()
found = []
for count in (1, 3):
    jax.local_devices = lambda: devices[:count]
    found.append(minimal_adversarial(logits, params, x, target, options).x_adv)
np.testing.assert_array_equal(*found)
"""
    as_users = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=as_users)
