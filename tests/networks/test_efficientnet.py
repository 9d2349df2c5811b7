"""EfficientNet-Lite against torch, with random weights (efficientnet_fixture.py), and trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from efficientnet_fixture import CLASSES, FILE, images, random_state

from jaxadv.networks import efficientnet, efficientnet_lite, pretrained_efficientnet_lite

STATE = random_state()


def test_logits_and_gradients_are_those_of_torch():
    x = images().astype(float)
    network = dataclasses.replace(efficientnet_lite(0, CLASSES), input_shape=x.shape[1:])
    params = efficientnet.from_pytorch({name: a.astype(float) for name, a in STATE.items()})

    def logits(params, x):
        found = network.logits(params, x)
        return found[:, 3].sum(), found

    with np.load(FILE) as expected, jax.enable_x64(True):
        gradient, found = jax.jit(jax.grad(logits, argnums=1, has_aux=True))(params, x)
        np.testing.assert_allclose(found, expected["logits"], rtol=1e-9)
        np.testing.assert_allclose(gradient[:, ::9, ::9], expected["gradient"], rtol=1e-7)


def test_parameters_are_in_float32_unless_the_arrays_are_in_float64():
    half = {name: array.astype(jnp.bfloat16) for name, array in STATE.items()}
    for state in (STATE, half):
        params = efficientnet.from_pytorch(state)
        assert {array.dtype for array in jax.tree.leaves(params)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    "variant, side, blocks, features, parameters",
    [
        (0, 224, 16, {16, 24, 40, 80, 112, 192, 320}, 4_631_000),
        (1, 240, 21, {16, 24, 40, 80, 112, 192, 320}, 5_389_848),
        (2, 260, 21, {16, 24, 48, 88, 120, 208, 352}, 6_063_024),
    ],
)
def test_sizes(variant, side, blocks, features, parameters):
    network = efficientnet_lite(variant)
    assert network.input_shape == (side, side, 3)
    outputs = [layer.features for layer in network.layers if layer.name.startswith("block")]
    assert len(outputs) == blocks and set(outputs) == features
    shapes = jax.tree.leaves(efficientnet.parameter_shapes(variant))
    assert sum(leaf.size for leaf in shapes) == parameters


@pytest.mark.parametrize(
    "change, message",
    [
        ({"_bn0.bias": None}, "no array '_bn0.bias', expected those of efficientnet_lite_pytorch"),
        ({"_fc.bias": None}, r"_fc\.weight has the shape \(7, 1280\), expected \(1, 1280\)"),
        ({"_blocks.3._bn1.weight": np.zeros(5)}, r"_blocks\.3\._bn1\.weight has the shape \(5,\)"),
        ({"_conv_head.weight": np.float32(1)}, r"_conv_head\.weight has the shape \(\), expected"),
        ({"_bn1.bias": np.full(1280, np.nan)}, r"_bn1\.bias must be finite"),
        ({"_bn1.running_var": np.full(1280, -2)}, r"running_var must not be negative, got -2"),
    ],
)
def test_other_weights_are_refused(change, message):
    arrays = {name: array for name, array in (STATE | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        efficientnet.from_pytorch(arrays)


@pytest.mark.parametrize("function", [efficientnet_lite, pretrained_efficientnet_lite])
def test_other_variants_are_refused(function):
    with pytest.raises(ValueError, match=r"EfficientNet-Lite must be in \[0, 1, 2\], got 5"):
        function(5)
