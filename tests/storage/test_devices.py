"""Work spread over two devices, against NumPy."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.storage.devices import batches, called_on, padded, sharded

DEVICES = jax.local_devices()


def test_calls_are_made_side_by_side_one_on_each_device():
    both = threading.Barrier(2, timeout=60)  # which only two threads together pass

    def call(number):
        both.wait()
        return number, jnp.zeros(()).device

    found = called_on(DEVICES, [lambda number=number: call(number) for number in range(4)])
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert {device for _, device in found[:2]} == {device for _, device in found[2:]} == {*DEVICES}


def test_an_interruption_is_raised_at_once_and_no_further_calls_are_made():
    released, made = threading.Event(), []

    def call(number):
        made.append(number)
        if number == 1:
            raise KeyboardInterrupt
        released.wait(60)

    with pytest.raises(KeyboardInterrupt):
        called_on(DEVICES, [lambda number=number: call(number) for number in range(9)])
    released.set()
    assert len(made) <= 3


def affine(weights, bias, parts):
    return {"out": parts["x"] @ weights + bias, "places": parts["y"] + jnp.arange(len(parts["y"]))}


def test_sharded_gives_each_device_its_own_part():
    assert len(DEVICES) == 2
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(3, 2)).astype("float32"), np.float32([1, 2])
    parts = {"x": rng.normal(size=(6, 3)).astype("float32"), "y": np.arange(6) * 10}
    found = sharded(affine, DEVICES, whole=2)(weights, bias, parts)
    np.testing.assert_allclose(found["out"], parts["x"] @ weights + bias, rtol=1e-5)
    # Places in the part of a device, of which there are two.
    np.testing.assert_array_equal(found["places"], parts["y"] + [0, 1, 2, 0, 1, 2])
    assert found["out"].sharding.device_set == set(DEVICES)


def test_sharded_loops_end_on_each_device_alone():
    def steps(limit):
        return jax.lax.while_loop(lambda n: n < limit[0], lambda n: n + 1, 0)[None]

    compiled = sharded(steps, DEVICES, whole=0)
    np.testing.assert_array_equal(compiled(np.array([3, 700])), [3, 700])
    text = compiled.lower(np.array([3, 700])).compile().as_text()
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all"):
        assert collective not in text


@pytest.mark.parametrize("size", [3, 5])
def test_padded(size):
    tree = {"a": np.float32([1, 2, 3]), "b": [np.ones((3, 2), bool)]}
    found = padded(tree, size)
    expected = {
        "a": np.float32([1, 2, 3, 0, 0])[:size],
        "b": [np.array([[1, 1]] * 3 + [[0, 0]] * 2, bool)[:size]],
    }
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found, expected)


@pytest.mark.parametrize("total, sizes", [(1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_batches(total, sizes):
    tree = np.arange(1, 1 + total), np.ones((total, 2), np.int8)
    found = list(batches(tree, 4))
    assert [count for count, _ in found] == sizes
    for array, *parts in zip(tree, *(part for _, part in found), strict=True):
        assert all(len(part) == 4 and part.dtype == array.dtype for part in parts)
        real = [part[:count] for part, count in zip(parts, sizes, strict=True)]
        np.testing.assert_array_equal(np.concatenate(real), array)
        assert not parts[-1][sizes[-1] :].any()
