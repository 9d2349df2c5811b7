"""Seconds per image of a gradient of a network alone: the ceiling of any attack on it."""

import time

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxadv import AttackOptions, zoo
from jaxadv.attacks.queues import lanes_and_queue

STEPS = 50
REPETITIONS = 5


def gradient_seconds(model: zoo.Model, x: np.ndarray, lanes: int | None = None) -> float:
    """Seconds per image of the value and the gradient of a logit, within a jitted loop.

    Args:
      model: the network.
      x: (N, …) images; as many as needed are taken, again and again.
      lanes: images side by side on each device; by default as many as our attack takes.
    """
    devices = tuple(jax.local_devices())
    options = AttackOptions(batch_size=lanes)
    attack = model.network.logits, model.params, options
    lanes, _ = lanes_and_queue(*attack, x[:1], devices[0].platform)
    size = lanes * len(devices)
    mesh = jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    images = jax.device_put(np.resize(x, (size, *x.shape[1:])), sharding)

    def logit(params, image):
        return model.network.logits(params, image[None])[0, 0]

    @jax.jit
    def ascend(params, images):
        def step(images, _):
            value, gradient = jax.vmap(jax.value_and_grad(logit, 1), (None, 0))(params, images)
            return images + 1e-3 * gradient, value

        return jax.lax.scan(step, images, length=STEPS)

    def seconds():
        with jax.default_matmul_precision("highest"):  # as the attack
            start = time.perf_counter()
            jax.block_until_ready(ascend(model.params, images))
            return time.perf_counter() - start

    seconds()  # compiles
    return float(np.median([seconds() for _ in range(REPETITIONS)])) / STEPS / size
