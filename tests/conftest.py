"""Two CPU devices, as on the smallest machine the commands run on, and a small trained network."""

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(scope="session")
def mnist():
    """The first 3,000 training images of MNIST."""
    from jaxadv.datasets import tfds as datasets

    return datasets.load("mnist", "train[:3000]")


@pytest.fixture(scope="session")
def mlp_on_mnist(mnist):
    """(network, params) of a sigmoid network that fits `mnist` well."""
    from jaxadv.networks.network import mlp
    from jaxadv.training.fit import Schedule, Supervised, train

    network = mlp(40, 40)
    recipe = Supervised((1e-5, 1e-5, 1e-6), Schedule(30, 100, 0.01))
    params = train(network, mnist, recipe, jax.random.key(0))
    return network, jax.tree.map(np.asarray, params)
