"""Problems with a known answer. All of a size share their compilations."""

import numpy as np
import pytest
import scipy.optimize

SOLVERS = ["lockstep", pytest.param("lbfgsb", marks=pytest.mark.slow)]
PIXELS = 100


def linear(params, x):
    weights, bias = params
    return x.reshape(len(x), -1) @ weights + bias


def linear_problem(images, pixels=PIXELS, scale=1.0, seed=0):
    """A two-class linear classifier, images, and as targets the classes they are not of.

    The images are not so near the boundary that the margin asked for would show in the distortion.
    """
    rng = np.random.default_rng(seed)
    weights = (scale * rng.normal(size=(pixels, 2))).astype(np.float32)
    params = weights, (-0.5 * weights.sum(axis=0)).astype(np.float32)
    x = rng.uniform(0.3, 0.7, size=(9 * images, pixels)).astype(np.float32)
    logits = linear(params, x)
    gap = np.abs(logits[:, 0] - logits[:, 1]) / np.abs(logits).max(axis=1)
    x = x[np.argsort(-gap)[:images]]
    return params, x, 1 - np.argmax(linear(params, x), axis=1)


def smallest_distortion(params, x, target):
    """Closed form in the box: clip(x + λ (w_t − w_s)) for the λ that just flips the class."""
    weights, bias = (np.asarray(p, np.float64) for p in params)
    direction = weights[:, target] - weights[:, 1 - target]
    offset = bias[target] - bias[1 - target]

    def gap(multiplier):
        return np.clip(x + multiplier * direction, 0, 1) @ direction + offset

    upper = 1 / np.abs(direction).min()
    multiplier = scipy.optimize.brentq(gap, 0, upper, xtol=1e-15, rtol=1e-12)
    return np.sqrt(np.mean((np.clip(x + multiplier * direction, 0, 1) - x) ** 2))
