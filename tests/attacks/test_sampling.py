"""Targets and noise: their distributions, and that each image's are its own."""

import numpy as np
import pytest
import scipy.stats

from jaxadv.attacks.sampling import gaussian_noise, wrong_targets

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(50, 28, 28, 1)).astype("float32")


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_targets_are_uniform_over_the_wrong_classes(classes):
    labels = np.repeat(np.arange(classes, dtype="int32"), 3000)
    targets = wrong_targets(labels, classes, seed=0)
    assert targets.dtype == np.int32 and targets.shape == labels.shape
    for label in range(classes):
        counts = np.bincount(targets[labels == label], minlength=classes)
        assert len(counts) == classes and counts[label] == 0
        assert scipy.stats.chisquare(np.delete(counts, label)).pvalue > 1e-3


def test_target_of_two_classes_is_the_other_one():
    np.testing.assert_array_equal(wrong_targets(np.array([0, 1, 1, 0]), 2, seed=0), [1, 0, 0, 1])


def test_targets_depend_on_seed_and_index_alone():
    labels = RNG.integers(0, 10, 200)
    targets = wrong_targets(labels, 10, seed=3)
    np.testing.assert_array_equal(wrong_targets(labels, 10, seed=3), targets)
    np.testing.assert_array_equal(wrong_targets(labels[:70], 10, seed=3), targets[:70])
    assert np.mean(wrong_targets(labels, 10, seed=4) != targets) > 0.7
    same_labels = wrong_targets(np.zeros(200, int), 10, seed=3)
    np.testing.assert_array_equal((targets - labels) % 10, same_labels)
    assert len(set(same_labels)) == 9


@pytest.mark.parametrize("stddev", [0.1, 0.3])
def test_noise_is_gaussian(stddev):
    noisy = gaussian_noise(IMAGES, stddev, seed=0)
    assert noisy.dtype == np.float32 and noisy.shape == IMAGES.shape
    noise = (noisy - IMAGES).ravel()
    assert abs(noise.mean()) < 4 * stddev / np.sqrt(noise.size)
    np.testing.assert_allclose(noise.std(), stddev, rtol=4 / np.sqrt(2 * noise.size))
    assert scipy.stats.kstest(noise / stddev, "norm").pvalue > 1e-3
    assert noisy.min() < 0 and noisy.max() > 1  # not clipped


def test_noise_depends_on_seed_and_index_alone():
    noisy = gaussian_noise(IMAGES, 0.1, seed=3)
    np.testing.assert_array_equal(gaussian_noise(IMAGES, 0.1, seed=3), noisy)
    np.testing.assert_array_equal(gaussian_noise(IMAGES[:20], 0.1, seed=3), noisy[:20])
    np.testing.assert_allclose(
        gaussian_noise(np.zeros_like(IMAGES), 0.1, seed=3), noisy - IMAGES, atol=1e-6
    )


def test_noise_is_independent_between_images_pixels_and_seeds():
    zeros = np.zeros_like(IMAGES)
    noise = [gaussian_noise(zeros, 1.0, seed).reshape(len(zeros), -1) for seed in (0, 1)]
    images = np.corrcoef(np.concatenate(noise))  # 100 × 100, each from 784 pixels
    assert np.abs(images - np.eye(100)).max() < 6 / np.sqrt(784)
    neighbours = np.corrcoef(noise[0][:, :-1].ravel(), noise[0][:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(noise[0].size)


@pytest.mark.parametrize("stddev", [0.0, 0])
def test_no_noise(stddev):
    np.testing.assert_array_equal(gaussian_noise(IMAGES, stddev, seed=0), IMAGES, strict=True)


@pytest.mark.parametrize(
    "labels, classes, message",
    [
        ([0, 0], 1, "there must be at least 2 classes, got 1"),
        ([0, 3], 3, "labels must be from 0 to 2, got 0 to 3"),
        ([-1, 0], 3, "labels must be from 0 to 2, got -1 to 0"),
    ],
)
def test_targets_need_another_class(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        wrong_targets(np.array(labels), classes, seed=0)
