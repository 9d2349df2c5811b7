"""QuocNet's sizes, and its weights over eight devices."""

import subprocess
import sys

import jax
import pytest

from jaxadv.networks.quocnet import PUBLISHED, PUBLISHED_SIDE, Stage, cost, quocnet


def test_the_published_network_has_more_than_a_billion_weights():
    network = quocnet(PUBLISHED_SIDE, 3, PUBLISHED)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    kernels = [layer["kernel"] for layer in shapes.values() if "kernel" in layer]
    assert [round(kernel.size / 1e6) for kernel in kernels] == [260, 544, 412]
    assert [kernel.shape for kernel in kernels] == [
        (183**2, 18 * 18 * 3, 8),
        (162**2, 18 * 18 * 8, 8),
        (141**2, 18 * 18 * 8, 8),
    ]
    assert network.shapes(shapes)[-1] == (137, 137, 8)
    found = cost(network)
    assert found.weights == sum(kernel.size for kernel in kernels) == 1_216_858_464
    assert found.bytes == 4 * (found.weights + 8 * (183**2 + 162**2 + 141**2))
    assert found.forward == pytest.approx(2.43e9, rel=2e-3)
    assert found.training == pytest.approx(14.6e9, rel=2e-3)
    assert found.adam_bytes / 2**30 == pytest.approx(18.14, rel=1e-3)


def test_on_a_laptop_it_is_small():
    assert 1e6 < cost(quocnet()).weights < 1.5e6


def test_stages_that_do_not_fit_are_refused():
    network = quocnet(12, 1, (Stage(8, 7, pool=3), Stage(8, 5)))
    with pytest.raises(ValueError, match="windows of 5 do not fit into a side of 4"):
        cost(network)


def test_spread_over_eight_devices_it_is_the_same():
    program = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jaxadv.networks.quocnet import Stage, quocnet, spread
network = quocnet(7, 2, (Stage(3, 3, pool=2, contrast=3),), shards=8)  # 25 locations
params = network.init(jax.random.key(0))
x = np.random.default_rng(0).random((4, 7, 7, 2), "float32")
top = lambda params: network.between(params, x, 0, 3)[..., 0]
loss = jax.jit(jax.value_and_grad(lambda params: (top(params) ** 2).sum()))
one, eight = loss(params), loss(spread(params, jax.devices()))
for kernel in (spread(params, jax.devices())["local1"]["kernel"], eight[1]["local1"]["kernel"]):
    assert [shard.data.shape for shard in kernel.addressable_shards] == [(4, 18, 3)] * 8
    assert kernel.sharding.device_set == set(jax.devices())
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, eight)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
