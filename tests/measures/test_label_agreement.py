"""Label agreement, against brute force and where the truth is known."""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats

from jaxadv.measures import layers, maximisers, statistics
from jaxadv.measures.directions import draw
from jaxadv.measures.label_agreement import label_agreement
from jaxadv.measures.statistics import compare

PIXELS = layers.pixels((28, 28, 1))


def _both(found):
    return found.top["natural"], found.top["random"]


def test_label_agreement_by_brute_force():
    labels = np.random.default_rng(0).integers(-2, 3, (3, 6, 7))
    found = label_agreement(labels)
    assert found.shape == (3, 6)
    for index in np.ndindex(3, 6):
        pairs = list(itertools.combinations(labels[index], 2))
        assert found[index] == pytest.approx(np.mean([a == b for a, b in pairs]))


@pytest.mark.parametrize("k", [2, 5, 40])
def test_chance_level_by_simulation(k):
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat([0, 1, 2, 7], [5, 10, 25, 40]))
    chance = label_agreement(labels)
    assert chance == pytest.approx(sum(n * (n - 1) for n in (5, 10, 25, 40)) / (80 * 79))
    draws = labels[rng.permuted(np.tile(np.arange(80), (4000, 1)), axis=1)[:, :k]]
    agreement = label_agreement(draws)
    assert agreement.mean() == pytest.approx(chance, abs=4 * agreement.std() / 4000**0.5)


def test_comparison_finds_units_that_are_alone_in_having_a_meaning():
    """Each pixel is white in four images of one class, and noise in all others."""
    rng = np.random.default_rng(0)
    labels = np.arange(500) % 10
    images = rng.uniform(0, 0.9, (500, 784)).astype(np.float32)
    for pixel in range(784):
        images[rng.choice(np.flatnonzero(labels == pixel % 10), 4, replace=False), pixel] = 1
    directions = draw(jax.random.key(0), 784, 100)
    found = maximisers.maximisers(PIXELS, directions, images, 4)
    natural, random = (label_agreement(labels[top.positions]) for top in _both(found))
    np.testing.assert_array_equal(natural, 1)
    found = compare(natural, random, seed=0)
    assert found.difference == pytest.approx(1 - random.mean()) and found.difference > 0.8
    assert 0.8 < found.interval[0] < found.difference < found.interval[1]
    assert found.effect - found.effect_error > 3 and found.p == pytest.approx(2e-4)


def test_comparison_finds_nothing_in_noise(monkeypatch):
    """Where labels have nothing to do with images, p is uniform."""
    monkeypatch.setattr(statistics, "RESAMPLES", 499)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (2000, 28, 28)).astype(np.float32)
    directions = draw(jax.random.key(0), 784, 100)
    found = maximisers.maximisers(PIXELS, directions, images, 8)
    p = []
    for seed in range(60):
        labels = rng.integers(0, 10, 2000)
        pair = (label_agreement(labels[top.positions]) for top in _both(found))
        p.append(compare(*pair, seed).p)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.05
