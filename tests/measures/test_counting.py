"""Fractions against closed forms, on flat boundaries, and counts against NumPy."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from jaxadv import zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.datasets import Dataset
from jaxadv.measures import density
from jaxadv.measures.density import count_changed, flat_fraction
from jaxadv.measures.nearest import Nearest, nearest, nearest_examples
from jaxadv.measures.statistics import clopper_pearson

NORMS = (0.5, 1.5, 2.0, 4.0, 8.0)


def two_classes(params, x):
    """Class 1 beyond the flat boundary w·x = b."""
    score = x.reshape(len(x), -1) @ params["w"] - params["b"]
    return jax.numpy.stack([-score, score], axis=1)


def three_classes(params, x):
    return jax.numpy.tanh(x.reshape(len(x), -1) @ params["kernel"]) + params["bias"]


def flat_problem(n, dimension, images=3, distance=0.25):
    """Images (images, n) at a distance from a flat boundary whose normal lies in the span."""
    rng = np.random.default_rng(n)
    basis = np.linalg.qr(rng.normal(size=(n, dimension)))[0].T.astype("float32")
    x = rng.uniform(size=(images, n)).astype("float32")
    x[:] = x[0]
    params = {"w": basis[0], "b": np.float32(basis[0] @ x[0] + distance)}
    turned = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0].astype("float32") @ basis
    examples = Nearest(
        x_adv=x + np.float32(distance) * basis[0],
        distance=np.full(images, distance),
        basis=np.tile(turned, (images, 1, 1)),
        dimension=np.full(images, dimension),
    )
    return params, x, np.zeros(images, int), examples


def random_problem(images=5, n=12):
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(n, 3)).astype("float32"), "bias": np.zeros(3, "float32")}
    x = rng.uniform(size=(images, 2, n // 2)).astype("float32")
    label = np.argmax(np.tanh(x.reshape(images, n) @ params["kernel"]), axis=1)
    basis = np.linalg.qr(rng.normal(size=(images, n, 2)))[0].transpose(0, 2, 1).astype("float32")
    x_adv = (x + 0.1 * rng.normal(size=x.shape)).astype("float32")
    examples = Nearest(x_adv, rng.uniform(0.1, 1, images), basis, np.full(images, 2))
    return params, x, label, examples


count_random = functools.partial(count_changed, three_classes, *random_problem(), NORMS)


@pytest.mark.parametrize("norm", [1.001, 1.5, 3.0, 50.0])
def test_flat_fraction_in_few_dimensions(norm):
    assert flat_fraction(norm, 1) == 0.5
    assert flat_fraction(norm, 2) == pytest.approx(np.arccos(1 / norm) / np.pi)
    assert flat_fraction(norm, 3) == pytest.approx((1 - 1 / norm) / 2)


@pytest.mark.parametrize("n", [5, 784])
@pytest.mark.parametrize("norm", [1.5, 8.0, 32.0])
def test_flat_fraction_is_the_area_of_a_cap(n, norm):
    def area(angle):
        return scipy.integrate.quad(lambda a: np.sin(a) ** (n - 2), 0, angle, epsabs=0)[0]

    assert flat_fraction(norm, n) == pytest.approx(
        area(np.arccos(1 / norm)) / area(np.pi), rel=1e-6
    )


@pytest.mark.parametrize("n", [1, 2, 784])
def test_nothing_is_beyond_a_flat_boundary_that_is_farther(n):
    np.testing.assert_array_equal(flat_fraction(np.array([0.0, 0.5, 1.0]), n), 0)


@pytest.mark.parametrize("n, dimension", [(2, 1), (6, 2), (40, 3)])
def test_counts_on_a_flat_boundary(n, dimension):
    samples = 3000
    counts = count_changed(two_classes, *flat_problem(n, dimension), NORMS, samples, seed=1)
    assert counts.shape == (3, 3, len(NORMS)) and counts.dtype == np.int32
    norms = np.array(NORMS)
    expected = [flat_fraction(norms, n), np.full(5, 0.5), flat_fraction(norms, dimension)]
    low, high = clopper_pearson(counts.sum(axis=0), 3 * samples, level=0.9999)
    assert (low <= expected).all() and (expected <= high).all()
    np.testing.assert_array_equal(counts[:, [0, 2], 0], 0)


@pytest.mark.parametrize("clip", [False, True])
def test_counts_are_those_of_numpy(clip):
    params, x, label, examples = random_problem()
    samples = 50
    counts = count_random(samples, seed=7, clip=clip)
    expected = np.zeros_like(counts)
    for i, image in enumerate(x):
        for sample in range(samples):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), i), sample)
            keys = jax.random.split(key)
            u = np.asarray(jax.random.normal(keys[0], (12,)))
            v = np.asarray(jax.random.normal(keys[1], (2,))) @ examples.basis[i]
            for way, (start, r) in enumerate(((image, u), (examples.x_adv[i], u), (image, v))):
                for j, norm in enumerate(NORMS):
                    r = norm * examples.distance[i] * r / np.linalg.norm(r)
                    perturbed = start.reshape(-1) + r
                    perturbed = np.clip(perturbed, 0, 1) if clip else perturbed
                    other = np.argmax(np.tanh(perturbed @ params["kernel"])) != label[i]
                    expected[i, way, j] += other
    assert 0 < expected.sum() < expected.size * samples
    np.testing.assert_array_equal(counts, expected)


def test_seed():
    first, again, other = (count_random(40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_counts_do_not_depend_on_what_is_computed_together(monkeypatch):
    expected = count_random(50, seed=3)
    np.testing.assert_array_equal(count_random(50, seed=3, batch_size=24), expected)
    done = []
    monkeypatch.setattr(density, "IMAGES", 1)
    np.testing.assert_array_equal(count_random(50, seed=3, progress=done.append), expected)
    assert done == [2, 2, 1]
    devices = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    np.testing.assert_array_equal(count_random(50, seed=3), expected)


def test_bad_number_of_samples():
    with pytest.raises(ValueError, match="samples must be from 1 to 1073741824, got 0"):
        count_random(0, seed=0)


def attack_results(x, directions, success):
    """Results of attacks on images of class 0, towards classes 0, 1, …, in (N, k, n) directions."""
    shape = directions.shape[:2]
    values = dict.fromkeys(AttackResult._fields) | {
        "x_adv": (x[:, None] + directions).astype("float32"),
        "success": success,
        "distortion": np.sqrt(np.mean(directions**2, axis=tuple(range(2, directions.ndim)))),
        "target": np.tile(np.arange(shape[1]), (len(x), 1)),
    }
    return AttackResult(**values)


def test_nearest():
    a, b, c = np.eye(5)[:3]
    none = np.zeros(5)
    x = np.full((4, 5), 0.5, "float32")
    directions = np.array(
        [
            [none, 0.3 * a, 0.2 * (a + b), 0.1 * c, 0.4 * b],  # c, a + b, then a, are the nearest
            [none, 0.1 * a, 0.2 * a, 0.2 * (a + b), 0.4 * c],  # the second depends on the first
            [none, 0.1 * a, 0.2 * b, 0.3 * c, 0.4 * c],  # of which the first fails
            [none, 0.1 * a, 0.2 * b, 0.3 * c, 0.4 * c],  # all fail
        ]
    )
    success = np.ones((4, 5), bool)
    success[2, 1] = success[2, 3:] = success[3, 1:] = False
    found = nearest(x, np.zeros(4, int), attack_results(x, directions, success), 3)
    np.testing.assert_allclose(found.distance, [0.1, 0.1, 0.2, 0], rtol=1e-6)
    np.testing.assert_allclose((found.x_adv - x)[:3], [0.1 * c, 0.1 * a, 0.2 * b], atol=1e-7)
    np.testing.assert_array_equal(found.dimension, [3, 2, 1, 0])
    np.testing.assert_array_equal(found.found, [True, True, True, False])
    projections = np.einsum("idn,idm->inm", found.basis, found.basis)
    expected = [np.diag([1, 1, 1, 0, 0]), np.diag([1, 1, 0, 0, 0]), np.diag([0, 1, 0, 0, 0])]
    np.testing.assert_allclose(projections[:3], expected, atol=1e-5)
    np.testing.assert_array_equal(found.basis[3], 0)


def test_a_network_without_any_example_is_refused(monkeypatch):
    _, x, label, _ = random_problem()
    failed = attack_results(x, np.zeros((5, 3, *x.shape[1:])), np.zeros((5, 3), bool))
    monkeypatch.setattr("jaxadv.measures.nearest.attack_all_targets", lambda *args: failed)
    model = zoo.Model("mine:network", None, {}, 0, 0)
    data = Dataset(x, np.int32(label))
    with pytest.raises(ValueError, match=r"no adversarial example for mine:network, of 5 images"):
        nearest_examples([model], [data], 2, options=AttackOptions(), cache_dir=Path("none"))


def test_nothing_is_counted_where_there_is_no_example():
    params, x, label, examples = random_problem()
    none = np.array([0, 2, 2, 0, 2])
    counts = count_changed(
        three_classes, params, x, label, examples._replace(dimension=none), NORMS, 40, seed=1
    )
    expected = np.where(none[:, None, None] > 0, count_random(40, seed=1), 0)
    np.testing.assert_array_equal(counts, expected)
