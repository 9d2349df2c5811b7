"""Error matrices against NumPy."""

import jax
import numpy as np
import pytest
from coarse import CoarselyConnected

from jaxadv.attacks import stored
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import gaussian_noise
from jaxadv.datasets import Dataset
from jaxadv.measures import transfer
from jaxadv.networks import Network, mlp
from jaxadv.zoo import Model

SHAPE, CLASSES, COUNT = (4, 4, 1), 3, 20
OPTIONS = AttackOptions(c_steps=3, max_iterations=20, smoothing_steps=0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(COUNT, *SHAPE)).astype("float32")
LABELS = RNG.integers(0, CLASSES, COUNT).astype("int32")
TARGETS = np.int32((LABELS + 1) % CLASSES)


def numpy_logits(model, x):
    h = x.reshape(len(x), -1)
    for layer in model.network.layers[:-1]:
        h = 1 / (
            1 + np.exp(-h @ model.params[layer.name]["kernel"] - model.params[layer.name]["bias"])
        )
    return h @ model.params["softmax"]["kernel"] + model.params["softmax"]["bias"]


def make_model(name, *hidden, scale=1.0):
    """Random weights, with biases by which all classes are likely."""
    network = mlp(*hidden, classes=CLASSES, input_shape=SHAPE)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    rng = np.random.default_rng(len(hidden))
    params = jax.tree.map(lambda a: (scale * rng.normal(size=a.shape)).astype("float32"), shapes)
    model = Model(name, network, params, train_error=0.25, test_error=0.5)
    params["softmax"]["bias"] -= numpy_logits(model, IMAGES).mean(axis=0)
    return model


LINEAR, SIGMOID = make_model("linear"), make_model("sigmoid", 12)


@pytest.fixture(scope="module", params=[8, 4096], ids="files of {}".format)
def result(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "CHUNK", request.param)
        yield transfer.transfer(
            [LINEAR, SIGMOID],
            Dataset(IMAGES, LABELS),
            TARGETS,
            options=OPTIONS,
            noise_stddevs=(0.2, 0.5),
            amplifications=[(0.3, False), (0.3, True)],
            seed=5,
            cache_dir=tmp_path_factory.mktemp("cache"),
        )


def numpy_errors(x):
    return [np.mean(np.argmax(numpy_logits(m, x), axis=1) != LABELS) for m in (LINEAR, SIGMOID)]


def test_error_matrix_equals_numpy(result):
    assert [model.name for model in result.models] == ["linear", "sigmoid"]
    np.testing.assert_array_equal(result.targets, TARGETS)
    expected = [numpy_errors(np.concatenate([*found.images()])) for found in result.examples]
    np.testing.assert_allclose(result.error, expected, rtol=1e-6)
    assert len(np.unique(result.error)) > 2  # rows and columns cannot have been exchanged


def rms(x, axis=None):
    return np.sqrt(np.mean((x.astype(float) - IMAGES) ** 2, axis=axis))


@pytest.mark.parametrize("stddev", [0.2, 0.5])
def test_rows_of_noise_equal_numpy(result, stddev):
    row = result.controls[f"noise {stddev}"]
    noisy = gaussian_noise(IMAGES, stddev, seed=5)
    assert row.distortion == pytest.approx(rms(noisy), rel=1e-5)
    assert row.distortion == pytest.approx(stddev, rel=0.2)
    np.testing.assert_allclose(row.error, numpy_errors(noisy), rtol=1e-6)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_rows_of_amplified_examples_equal_numpy(result, index, clip):
    name = result.models[index].name
    row = result.controls[f"{name} to 0.3 clipped" if clip else f"{name} to 0.3"]
    x_adv = np.concatenate([*result.examples[index].images()])
    moved = np.empty_like(x_adv)
    for i, (x, changed) in enumerate(zip(IMAGES, x_adv, strict=True)):
        norm = np.linalg.norm(changed - x)
        moved[i] = x + 0.3 * 4 * (changed - x) / norm if norm else x  # √n = 4
    moved = np.clip(moved, 0, 1) if clip else moved
    assert row.distortion == pytest.approx(rms(moved), rel=1e-5)
    np.testing.assert_allclose(row.error, numpy_errors(moved), rtol=1e-6)


def test_examples_are_taken_for_the_target_where_products_are_coarse_by_default(tmp_path):
    layers = (
        CoarselyConnected(12, jax.nn.sigmoid, name="hidden1"),
        CoarselyConnected(CLASSES, name="softmax"),
    )
    model = SIGMOID._replace(network=Network(layers, SHAPE))
    dataset = Dataset(IMAGES, LABELS)
    settings = {"options": OPTIONS, "noise_stddevs": (), "seed": 0, "cache_dir": tmp_path}
    found = transfer.transfer([model], dataset, TARGETS, **settings)
    (examples,) = found.examples
    x_adv = np.concatenate([*examples.images()])
    coarsely = np.argmax(model.network.logits(model.params, x_adv), axis=1)
    assert np.mean(coarsely == TARGETS) < 0.9
    assert found.error[0, 0] == np.mean(np.argmax(numpy_logits(SIGMOID, x_adv), axis=1) != LABELS)


def test_amplified_examples_have_the_distortion_and_keep_the_direction():
    rng = np.random.default_rng(1)
    examples = rng.uniform(size=IMAGES.shape).astype("float32")
    examples[3] = IMAGES[3]
    parts = iter([examples[:7], examples[7:]])
    moved = np.concatenate([*transfer.amplified(IMAGES, parts, 0.25, clip=False)])
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved[3], IMAGES[3])
    changed = np.arange(COUNT) != 3
    np.testing.assert_allclose(rms(moved, (1, 2, 3))[changed], 0.25, rtol=1e-5)
    cosine = np.sum((moved - IMAGES) * (examples - IMAGES), axis=(1, 2, 3))[changed]
    norms = 0.25 * rms(examples, (1, 2, 3))[changed] * examples[0].size
    np.testing.assert_allclose(cosine, norms, rtol=1e-4)
