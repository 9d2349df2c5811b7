"""Intervals and tests, against SciPy's and closed forms."""

import numpy as np
import pytest
import scipy.stats

from jaxadv.measures import statistics
from jaxadv.measures.statistics import (
    bootstrap_mean,
    bootstrap_median,
    clopper_pearson,
    compare,
    crossed_mean,
    equivalent,
    holm,
    least_p,
    paired_p,
    pairs_needed,
)


def test_comparison_against_student():
    rng = np.random.default_rng(3)
    natural, random = rng.normal(0.4, 1, 150), rng.normal(0, 1, 200)
    found = compare(natural, random, seed=0)
    student = scipy.stats.ttest_ind(natural, random)
    assert found.difference == pytest.approx(natural.mean() - random.mean())
    np.testing.assert_allclose(found.interval, student.confidence_interval(0.95), atol=0.03)
    g = student.statistic * (1 / 150 + 1 / 200) ** 0.5
    assert found.effect == pytest.approx(g, rel=0.003) and abs(found.effect) < abs(g)
    # From the noncentral t distribution of the statistic.
    half = scipy.stats.nct.interval(0.95, 348, student.statistic)
    assert 2 * found.effect_error == pytest.approx(
        np.ptp(half) * (1 / 150 + 1 / 200) ** 0.5, rel=0.03
    )
    assert found.p == pytest.approx(student.pvalue, rel=0.5)


@pytest.mark.parametrize("shift", [0.0, 0.02, -0.02, 0.04, -0.04, 0.1])
def test_equivalence_against_two_t_tests(shift):
    rng = np.random.default_rng(0)
    pair = rng.normal(0, 0.15, 200), rng.normal(0, 0.15, 200)
    pair = pair[0] - pair[0].mean() + shift, pair[1] - pair[1].mean()
    above = scipy.stats.ttest_ind(pair[0] + 0.05, pair[1], alternative="greater").pvalue
    below = scipy.stats.ttest_ind(pair[0] - 0.05, pair[1], alternative="less").pvalue
    assert equivalent(compare(*pair, seed=0).interval) == (max(above, below) < 0.025)
    assert not equivalent((shift - 0.05, shift + 0.05))


def test_least_p(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 99)
    p = compare(np.arange(30) + 100.0, np.arange(30) * 1.0, seed=0).p
    assert p == pytest.approx(least_p(1)) and least_p(7) == pytest.approx(7 * p)
    assert least_p(100) == 1


def test_comparison_of_few():
    found = compare(np.ones(3), np.zeros(3), seed=0)
    assert found.p == pytest.approx(2 / 20)  # of all ways to choose three of six
    assert found[:4] == (1, (1, 1), None, None)
    assert compare(np.ones(1), np.ones(9), seed=0) is None


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    assert len(holm([])) == 0


@pytest.mark.parametrize("hits", [0, 1, 17, 99, 100])
def test_clopper_pearson(hits):
    expected = scipy.stats.binomtest(hits, 100).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(clopper_pearson(np.array(hits), 100), expected)


@pytest.mark.parametrize("samples", [1, 50, 10**9])
def test_clopper_pearson_without_hits(samples):
    low, high = clopper_pearson(np.array([0]), samples)
    assert low == 0
    assert high == pytest.approx(-np.expm1(np.log(0.025) / samples))


def test_bootstrap():
    fractions = np.random.default_rng(0).uniform(size=(400, 2))
    fractions[:, 1] = 0.25
    (low, same), (high, also_same) = bootstrap_mean(fractions, seed=0)
    assert same == pytest.approx(0.25) and also_same == pytest.approx(0.25)
    mean, error = fractions[:, 0].mean(), fractions[:, 0].std() / 20
    np.testing.assert_allclose([low, high], [mean - 1.96 * error, mean + 1.96 * error], atol=2e-3)


def student(values):
    return scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)


def test_crossed_mean_is_students_where_only_one_thing_varies():
    rng = np.random.default_rng(0)
    effect = rng.normal(0.1, 1, 5)
    trainings = crossed_mean(np.repeat(effect[:, None], 100, axis=1))
    assert trainings.mean == pytest.approx(effect.mean())
    np.testing.assert_allclose(trainings.interval, student(effect))
    np.testing.assert_allclose(crossed_mean(np.repeat(effect[None], 4, axis=0))[1], student(effect))
    np.testing.assert_allclose(crossed_mean(effect[None]).interval, student(effect))


def test_crossed_mean_of_missing_and_single_values():
    values = np.array([[1.0, 2.0, np.nan, 3.0], [3.0, np.nan, np.nan, 5.0]])
    mean, (low, high) = crossed_mean(values)
    assert mean == pytest.approx((2 + 4) / 2)  # of the trainings' means
    variance = 1 + np.var([2, 2, 4], ddof=1) / 3  # of these, and of the images' means
    degrees = variance**2 / (1 + (4 / 9) ** 2 / 2)
    half = scipy.stats.t.ppf(0.975, degrees) * variance**0.5
    np.testing.assert_allclose([low, high], [mean - half, mean + half])
    assert crossed_mean(np.full((2, 3), np.nan)) is None
    assert crossed_mean(np.ones((1, 1))) == (1, None)
    assert crossed_mean(np.ones((2, 3))) == (1, (1, 1))


@pytest.mark.parametrize("scales", [(1, 0, 0), (0, 1, 0), (1, 5, 0), (0.2, 1, 5), (0, 0, 1)])
def test_crossed_mean_covers_the_truth(scales):
    """Effects of trainings, of images, and of both together: at least 95 % of the intervals do."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        parts = rng.normal(size=(5, 1)), rng.normal(size=(1, 40)), rng.normal(size=(5, 40))
        low, high = crossed_mean(sum(map(np.multiply, scales, parts))).interval
        hits += low <= 0 <= high
    assert hits >= 600 * 0.93  # two standard errors below


def test_bootstrap_in_blocks(monkeypatch):
    """Whatever the blocks, there are as many means, each of as many draws."""
    ones, values = np.ones((7, 2)), np.arange(7.0)
    for block in (1, 50, 10**6):
        monkeypatch.setattr(statistics, "BLOCK", block)
        assert sum(len(counts) for counts in statistics._drawn(7, 0)) == statistics.RESAMPLINGS
        np.testing.assert_allclose(bootstrap_mean(ones, seed=0), 1)
        np.testing.assert_allclose(bootstrap_mean(values, seed=0), [1.57, 4.43], atol=0.2)


@pytest.mark.parametrize("count", [1, 8, 101])
def test_bootstrap_of_the_median(count):
    values = np.random.default_rng(0).lognormal(size=count)
    theirs = (values[0],) * 2
    if count > 1:
        options = {"method": "percentile", "rng": np.random.default_rng(1)}
        theirs = scipy.stats.bootstrap((values,), np.median, **options).confidence_interval
    ours = bootstrap_median(values, seed=0)
    np.testing.assert_allclose(ours, theirs, rtol=0.05)
    np.testing.assert_array_equal(ours, bootstrap_median(values, seed=0))


def test_paired_differences_against_scipy_and_simulation():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.5, 1, 12)
    expected = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert paired_p(differences) == pytest.approx(expected)
    assert paired_p(differences[:1]) is None and pairs_needed(differences[:1], 0.1) is None
    count = pairs_needed(differences / differences.std(ddof=1), 0.4)
    p = scipy.stats.ttest_1samp(rng.normal(0.4, 1, (4000, count)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)
