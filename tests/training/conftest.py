"""A problem that trainings take no time for, and a count of what is compiled."""

import contextlib

import numpy as np
import pytest

from jaxadv.datasets import Dataset


@pytest.fixture(scope="session")
def three_levels():
    """20 noisy images of three levels of brightness, which are the labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    images = 0.3 * rng.uniform(size=(20, 2, 3, 1)) + 0.3 * labels[:, None, None, None]
    return Dataset(images.astype("float32"), labels.astype("int32"))


@pytest.fixture
def compiled():
    """Collects the names of trainings' programs that are traced anew."""
    from jaxadv.training import fit

    @contextlib.contextmanager
    def collect():
        before = fit._epoch.cache_info().misses
        found = []
        yield found
        found += ["epoch"] * (fit._epoch.cache_info().misses - before)

    return collect
