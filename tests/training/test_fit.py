"""The optimiser's steps against closed forms, and the order of the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.training.fit import Schedule, fit

KEY = jax.random.key(0)


@pytest.mark.parametrize("epochs, batch_size", [(10, 8), (1, 20), (25, 1000)])
def test_fit_follows_the_schedule(epochs, batch_size):
    """With a constant gradient, Adam's step is the learning rate."""
    steps, peak = epochs * (40 // min(batch_size, 40)), 0.1
    warmup = max(1, steps // 10)
    rising = [peak * (0.1 + 0.9 * t / warmup) for t in range(warmup)]
    falling = peak * (1 + np.cos(np.pi * np.linspace(0, 1, steps - warmup, endpoint=False))) / 2

    def loss(params, ones):
        return params * ones.mean()

    schedule = Schedule(epochs, batch_size, peak)
    moved = fit(loss, jnp.zeros(()), (np.ones(40, "float32"),), schedule, KEY)
    np.testing.assert_allclose(-moved, sum(rising) + sum(falling), rtol=1e-4)


def test_fit_goes_through_the_data_in_a_new_order_each_epoch():
    data, batches, epochs = np.arange(23, dtype="float32"), [], []

    def loss(params, batch, same_batch):
        jax.debug.callback(lambda *pair: batches.append(pair), batch, same_batch)
        return params * batch.mean()

    def progress(fraction):
        jax.effects_barrier()
        epochs.append((fraction, [*batches]))
        batches.clear()

    fit(loss, jnp.zeros(()), (data, data), Schedule(3, 5, 0.1), KEY, progress)
    assert [fraction for fraction, _ in epochs] == pytest.approx([1 / 3, 2 / 3, 1])
    orders = []
    for _, pairs in epochs:
        first, second = np.swapaxes(pairs, 0, 1)
        assert first.shape == (4, 5)  # what does not fill a minibatch is left out
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first)) == 20 and set(first.flat) <= set(data)
        orders.append(tuple(first.flat))
    assert len(set(orders)) == 3
