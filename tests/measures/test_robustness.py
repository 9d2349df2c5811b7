"""Noise and rounding on adversarial examples, against NumPy on a linear model."""

import numpy as np
import pytest

from jaxadv.attacks import stored
from jaxadv.attacks.sampling import gaussian_noise
from jaxadv.measures.robustness import robustness, rounded
from jaxadv.measures.transfer import Examples
from jaxadv.networks import mlp
from jaxadv.zoo import Model

SHAPE, COUNT = (4, 4, 1), 50
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(16, 3)).astype("float32")
IMAGES = RNG.uniform(size=(COUNT, *SHAPE)).astype("float32")
EXAMPLES = np.clip(IMAGES + RNG.normal(0, 0.1, IMAGES.shape), 0, 1).astype("float32")
MODEL = Model(
    "linear",
    mlp(classes=3, input_shape=SHAPE),
    {"softmax": {"kernel": KERNEL, "bias": np.zeros(3, "float32")}},
    train_error=0.0,
    test_error=0.0,
)
LABELS = np.argmax(IMAGES.reshape(COUNT, -1) @ KERNEL, axis=1)
STDDEVS = (0.05, 0.5)


@pytest.fixture(scope="module", params=[8, 4096], ids="files of {}".format)
def found(request, tmp_path_factory):
    """Examples in files of some size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "CHUNK", request.param)
        folder, files = tmp_path_factory.mktemp("examples"), []
        for part in stored.chunks(IMAGES):
            files.append(folder / f"{part.start}.npz")
            np.savez(files[-1], x_adv=EXAMPLES[part])
        yield Examples(*[np.zeros(COUNT)] * 4, files)


@pytest.fixture(scope="module")
def kinds(found):
    settings = {"amplification": 2.0, "noise_stddevs": STDDEVS, "seed": 3}
    return robustness(MODEL, IMAGES, LABELS, found, **settings)


def error(x):
    return np.mean(np.argmax(x.reshape(COUNT, -1) @ KERNEL, axis=1) != LABELS)


@pytest.mark.parametrize(
    "kind, images",
    [
        ("originals", IMAGES),
        ("examples", EXAMPLES),
        ("amplified", IMAGES + 2 * (EXAMPLES - IMAGES)),
    ],
)
def test_errors_equal_numpy(kinds, kind, images):
    measured = kinds[kind]
    eight_bits = np.uint8(np.round(255 * np.clip(images, 0, 1))) / 255
    assert measured.unchanged == pytest.approx(error(images), abs=1e-6)
    assert measured.rounded == pytest.approx(error(eight_bits), abs=1e-6)
    noisy = [gaussian_noise(images, stddev, seed=3) for stddev in STDDEVS]
    assert measured.noise == pytest.approx([error(x) for x in noisy], abs=1e-6)


def test_the_changes_matter(kinds):
    assert kinds["originals"].unchanged == 0
    assert 0 < kinds["examples"].unchanged < kinds["amplified"].unchanged
    assert all(kind.noise[1] > kind.noise[0] for kind in kinds.values())


def test_rounded():
    x = np.float32([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.7])
    np.testing.assert_allclose(rounded(x), np.float32([0, 0, 0, 1, 128, 255, 255]) / 255)
    assert rounded(x).dtype == np.float32
