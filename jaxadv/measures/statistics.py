"""Intervals and tests: of means, over images or trainings too, their differences, a probability."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts when they are used, as they take half a second
from jaxtyping import Float, Integer, Shaped

RESAMPLES = 9999  # of the bootstrap of a difference, and of the permutation test
CONFIDENCE = 0.95
EQUIVALENCE = 0.05  # margin of a difference of fractions that are taken for equal
RESAMPLINGS = 2000  # of the bootstrap of a mean or median
BLOCK = 2**20  # draws of it that are in memory at a time


class Comparison(NamedTuple):
    """The mean of a first sample less that of a second."""

    difference: float
    interval: tuple[float, float]
    effect: float | None  # Hedges' g; None where nothing varies
    effect_error: float | None  # half the length of its interval
    p: float


def compare(
    first: Float[np.ndarray, " d"], second: Float[np.ndarray, " D"], seed: int
) -> Comparison | None:
    """Whether two samples differ in their means.

    The permutation test (two-sided, Monte Carlo) exchanges members: under its null hypothesis,
    which sample a member is of says nothing of its value. Members count as independent: where they
    are not, the interval is too short and p too small. The interval of the difference is the
    percentile bootstrap's. That of Hedges' g is ± its normal approximation (Hedges and Olkin,
    Statistical Methods for Meta-Analysis, 1985).

    Args:
      first: values.
      second: values.
      seed: of the resamples.

    Returns:
      The comparison, or None where there are fewer than two of either.
    """
    if min(len(first), len(second)) < 2:
        return None
    pair = first, second
    options = {"vectorized": True, "n_resamples": RESAMPLES, "batch": 1000}
    low, high = scipy.stats.bootstrap(
        pair,
        _difference,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
        **options,
    ).confidence_interval
    test = scipy.stats.permutation_test(
        pair, _difference, rng=np.random.default_rng(seed), **options
    )
    interval = float(low), float(high)
    return Comparison(float(test.statistic), interval, *_effect(*pair), float(test.pvalue))


class Estimate(NamedTuple):
    """A mean, and its 95 % interval; None where a single value does not tell it."""

    mean: float
    interval: tuple[float, float] | None


def crossed_mean(values: Float[np.ndarray, "S N"]) -> Estimate | None:
    """The mean over S trainings and N images, as far as both are a sample of others.

    All trainings are measured on the same images, so that values vary with either. The variance of
    the mean is taken to be that of the trainings' means over S, plus that of the images' means over
    N; the interval is Student's, with Satterthwaite's degrees of freedom. Where one of the two
    hardly varies, or there is but one training, this is the t interval over the other. (A bootstrap
    of 5 trainings would be too short: 1.96 √(4/5) standard errors, where t takes 2.78. What varies
    with training and image together is counted twice: where that is most, the interval is too long,
    by at most √2. Of two trainings it may be too short: in simulations it then held the mean in
    88 % of cases at worst, of five in 95 %.) For differences that are paired, give the differences.

    Args:
      values: NaN where an image was not measured.

    Returns:
      Mean of the trainings' means, and its interval; None if there are no values.
    """
    there = np.isfinite(values)
    values = values[there.any(axis=1)][:, there.any(axis=0)]
    if not values.size:
        return None
    means = [np.nanmean(values, axis=1), np.nanmean(values, axis=0)]
    mean = float(means[0].mean())
    parts = [(each.var(ddof=1) / len(each), len(each) - 1) for each in means if len(each) > 1]
    if not parts:
        return Estimate(mean, None)
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / degrees for part, degrees in parts)
    degrees = variance**2 / squares if squares else 1  # of no consequence without variance
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, degrees) * math.sqrt(variance))
    return Estimate(mean, (mean - half, mean + half))


def equivalent(interval: tuple[float, float], margin: float = EQUIVALENCE) -> bool:
    """Whether a difference lies within ± margin, by two one-sided tests (Schuirmann, 1987).

    Both reject where the interval of the difference is inside, each at half of what the interval's
    confidence leaves: at 2.5 % for one of 95 %. False says that this was not shown.
    """
    return max(-interval[0], interval[1]) < margin


def least_p(tests: int) -> float:
    """The smallest p that `compare` can find by resampling, after Holm for so many tests."""
    return min(1.0, tests * 2 / (RESAMPLES + 1))


def _difference(first, second, axis=-1):
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _effect(first, second):
    """Hedges' g, and half the length of its interval."""
    if np.ptp(first) == np.ptp(second) == 0:
        return None, None
    d, total = len(first), len(first) + len(second)
    degrees = total - 2
    variance = ((d - 1) * first.var(ddof=1) + (total - d - 1) * second.var(ddof=1)) / degrees
    g = (1 - 3 / (4 * degrees - 1)) * _difference(first, second) / math.sqrt(variance)
    error = math.sqrt(total / (d * (total - d)) + g**2 / (2 * total))
    return float(g), float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) * error)


def holm(p: Sequence[float]) -> Float[np.ndarray, " m"]:
    """p-values of m tests, adjusted for their number (Holm, 1979).

    >>> holm([0.01, 0.2, 0.03]).round(3).tolist()
    [0.03, 0.2, 0.06]
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    factors = len(p) - np.arange(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p)[order]))
    return adjusted


def clopper_pearson(
    hits: Integer[np.ndarray, "*shape"], samples: int, level: float = CONFIDENCE
) -> Float[np.ndarray, "2 *shape"]:
    """The exact two-sided confidence interval of a binomial's probability.

    Without hits it is from 0 to 1 − ((1 − level)/2)^(1/samples), about 3.7 / samples. For hits
    pooled from several images it holds, too, for the mean of their probabilities: a sum of unequal
    binomials has less variance than a binomial of the mean probability.
    """
    hits, tail = np.asarray(hits), (1 - level) / 2
    low = scipy.stats.beta.ppf(tail, hits, samples - hits + 1)
    high = scipy.stats.beta.ppf(1 - tail, hits + 1, samples - hits)
    return np.stack([np.where(hits == 0, 0.0, low), np.where(hits == samples, 1.0, high)])


def summary(statistic: Callable[[np.ndarray], Any], values: Shaped[np.ndarray, "N *shape"]) -> Any:
    """A statistic of N values, such as their mean or its interval, for JSON; None where N is 0.

    Example:
      >>> summary(np.mean, np.array([1, 2])), summary(np.mean, np.array([]))
      (1.5, None)
    """
    return np.asarray(statistic(values)).tolist() if len(values) else None


def bootstrap_mean(
    values: Shaped[np.ndarray, "N *shape"], seed: int, level: float = CONFIDENCE
) -> Float[np.ndarray, "2 *shape"]:
    """The percentile interval of the mean over N images drawn anew.

    It holds the variation between images and that of sampling. Where all values are the same it has
    no length, and says nothing.
    """
    share = 1 / len(values)
    means = [np.tensordot(counts * share, values, axes=1) for counts in _drawn(len(values), seed)]
    return _percentiles(np.concatenate(means), level)


def bootstrap_median(
    values: Shaped[np.ndarray, " N"], seed: int, level: float = CONFIDENCE
) -> Float[np.ndarray, "2"]:
    """The percentile interval of the median over N images drawn anew."""
    values, count, medians = np.sort(values), len(values), []
    for counts in _drawn(count, seed):
        upto = np.cumsum(counts, axis=1)  # draws among the smallest values
        middle = [np.argmax(upto >= rank, axis=1) for rank in ((count + 1) // 2, count // 2 + 1)]
        medians.append(values[middle].mean(axis=0))
    return _percentiles(np.concatenate(medians), level)


def _drawn(count, seed):
    """How often each image is among as many drawn anew: blocks of the `RESAMPLINGS` rows."""
    rng, most = np.random.default_rng(seed), max(1, BLOCK // count)
    for start in range(0, RESAMPLINGS, most):
        rows = min(most, RESAMPLINGS - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def _percentiles(means, level):
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)


def paired_p(differences: Float[np.ndarray, " S"]) -> float | None:
    """P of the two-sided t test that paired differences have the mean 0; None for fewer than two.

    Example:
      >>> round(paired_p(np.array([1.0, 2.0, 3.0])), 3)
      0.074
    """
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))
    return float(2 * scipy.stats.t.sf(abs(t), len(differences) - 1))


def sign_test(wins: int, losses: int) -> float:
    """P of the exact two-sided sign test: of pairs that differ, as many are won as lost (McNemar).

    Example:
      >>> sign_test(6, 0), sign_test(0, 0)
      (0.03125, 1.0)
    """
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def pairs_needed(
    differences: Float[np.ndarray, " S"], effect: float, power: float = 0.8
) -> int | None:
    """How many pairs the t test needs to find a mean difference, with these differences' variance.

    By the normal approximation, at a level of 5 %; None for fewer than two differences.

    Example:
      >>> pairs_needed(np.array([-0.12, 0.0, 0.12]), 0.05)
      46
    """
    if len(differences) < 2:
        return None
    z = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) + scipy.stats.norm.ppf(power)
    return max(2, math.ceil((z * differences.std(ddof=1) / effect) ** 2))
