"""Lower bounds where float64 fails: weights that cancel, in rational arithmetic, and zeros."""

from fractions import Fraction

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxadv import certify
from jaxadv.certify import Mlp

METHODS = {
    "product": lambda mlp, x: certify.from_lipschitz(mlp, x, certify.pair_products(mlp)),
    "ECLipsE": lambda mlp, x: certify.from_lipschitz(mlp, x, certify.eclipse_fast(mlp)),
    "CROWN": lambda mlp, x: certify.crown(mlp, x, balls=6),
}
each_method = pytest.mark.parametrize("method", METHODS)


def cancelling(seed, gain):
    """A network of one pixel x ≥ 0, z_0 − z_1 = c − (v_1 w_1 − v_2 w_2) x, and exact c / (…).

    The products are of the order of gain², and their exact difference of that of 1.
    """
    rng = np.random.default_rng(seed)
    slope = Fraction(0)
    while not Fraction(1, 2) < slope < 50:
        first = gain * rng.uniform(1, 2, 2)
        second = gain * rng.uniform(1, 2, 2)
        second[1] = (second[0] * first[0] - rng.uniform(1, 10)) / first[1]
        products = [
            Fraction(float(v)) * Fraction(float(w)) for v, w in zip(first, second, strict=True)
        ]
        slope = products[0] - products[1]
    lead = rng.uniform(0.1, 0.9) * float(slope)
    layers = (
        (first[:, None], np.zeros(2)),
        (np.diag(second), np.zeros(2)),
        (np.array([[-1.0, 1.0], [0.0, 0.0]]), np.array([lead, 0.0])),
    )
    return Mlp(layers, (nn.relu, nn.relu)), Fraction(lead) / slope


@each_method
@pytest.mark.parametrize("gain", [2.0**10, 2.0**27])
def test_bounds_hold_where_weights_cancel(method, gain):
    for seed in range(12):
        mlp, distance = cancelling(seed, gain)
        bound = METHODS[method](mlp, np.zeros((1, 1)))[0, 1]
        assert 0 <= Fraction(float(bound)) <= distance
        if gain < 2**27 and method == "CROWN":
            assert bound == pytest.approx(float(distance), rel=1e-4)


def test_logits_are_within_their_rounding():
    for seed in range(12):
        mlp, _ = cancelling(seed, 2.0**27)
        h = [Fraction(0.7)]
        for weights, bias in mlp.layers:  # all hidden units are active
            rows = zip(weights.tolist(), bias.tolist(), strict=True)
            h = [sum(map(lambda w, z: Fraction(w) * z, row, h)) + Fraction(b) for row, b in rows]
        with jax.enable_x64(True):
            logits, errors = map(np.asarray, mlp.logits_and_errors(np.array([0.7])))
        for exact, logit, error in zip(h, logits.tolist(), errors.tolist(), strict=True):
            assert abs(exact - Fraction(logit)) <= Fraction(error)


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_layers_of_zeros_prove_that_no_image_changes_the_class(zero):
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(m, n)), rng.normal(size=m)) for m, n in ((5, 6), (4, 5), (3, 4))]
    layers[zero] = 0 * layers[zero][0], layers[zero][1]
    mlp = Mlp(tuple(layers), (nn.tanh, nn.sigmoid))
    np.testing.assert_array_equal(certify.eclipse_fast(mlp), np.zeros((3, 3)))
    x = rng.uniform(size=(2, 6))
    others = np.arange(3) != np.argmax(mlp.logits(x[0]))
    for method in METHODS.values():
        np.testing.assert_allclose(method(mlp, x), np.tile(others, (2, 1)), rtol=1e-6)
    nothing = Mlp(tuple((0 * weights, 0 * bias) for weights, bias in layers), mlp.activations)
    for method in METHODS.values():
        np.testing.assert_array_equal(method(nothing, x), np.zeros((2, 3)))  # all classes tie
