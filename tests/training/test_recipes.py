"""Losses against NumPy, optima against SciPy, and what trainings of each kind end with."""

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from jaxadv import training, zoo
from jaxadv.datasets import Dataset
from jaxadv.networks import autoencoder, autoencoder_classifier, error_rate, mlp
from jaxadv.training import Schedule, SparseAutoencoder, Supervised

KEY = jax.random.key(0)
SHAPE = (2, 3, 1)
SCHEDULE = Schedule(1, 10, 0.1)
RECIPES = {
    "supervised": (
        mlp(5, classes=3, input_shape=SHAPE),
        Supervised((1e-3, 0.0), Schedule(30, 20, 0.1)),
    ),
    "autoencoder": (
        autoencoder_classifier(4, classes=3, input_shape=SHAPE),
        SparseAutoencoder(
            sparsity=0.3,
            sparsity_weight=0.1,
            decay=0.0,
            schedule=Schedule(20, 20, 0.05),
            softmax=Supervised((1e-3,), Schedule(30, 20, 0.1)),
        ),
    ),
}
per_recipe = pytest.mark.parametrize("network, recipe", RECIPES.values(), ids=RECIPES)


def make_dataset(count=100):
    """Noisy images of three levels of brightness, which are the labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    images = 0.3 * rng.uniform(size=(count, *SHAPE)) + 0.3 * labels[:, None, None, None]
    return Dataset(images.astype("float32"), labels.astype("int32"))


def random_params(network):
    rng, shapes = np.random.default_rng(1), jax.eval_shape(network.init, KEY)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype("float32"), shapes)


def numpy_cross_entropy(logits, labels):
    return -scipy.special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.3, 0.7)])
def test_classifier_loss_equals_numpy(decay):
    network, (images, labels) = mlp(5, classes=3, input_shape=SHAPE), make_dataset()
    params = random_params(network)
    cross_entropy = numpy_cross_entropy(np.asarray(network.logits(params, images), float), labels)
    squares = [sum((array**2).sum() for array in layer.values()) for layer in params.values()]
    expected = cross_entropy + 0.5 * np.dot(decay, squares)
    loss = jax.jit(Supervised(decay, SCHEDULE).loss, static_argnums=0)
    loss = loss(network, params, images, labels)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "sparsity, sparsity_weight, decay", [(0.1, 0.0, 0.0), (0.1, 3.0, 0.0), (0.4, 2.0, 0.5)]
)
def test_autoencoder_loss_equals_numpy(sparsity, sparsity_weight, decay):
    network, images = autoencoder(4, SHAPE), make_dataset().images
    params = random_params(network)
    codes, logits = (np.asarray(network.between(params, images, 0, k), float) for k in (1, 2))
    pixels, target = scipy.special.expit(logits), images.reshape(len(images), -1)
    reconstruction = -np.sum(target * np.log(pixels) + (1 - target) * np.log(1 - pixels), axis=1)
    bernoulli = [np.array([p, 1 - p]) for p in codes.mean(axis=0)]
    divergence = sum(scipy.stats.entropy([sparsity, 1 - sparsity], q) for q in bernoulli)
    squares = sum((layer["kernel"] ** 2).sum() for layer in params.values())
    expected = reconstruction.mean() + sparsity_weight * divergence + decay * squares

    recipe = SparseAutoencoder(sparsity, sparsity_weight, decay, SCHEDULE, Supervised((), SCHEDULE))
    loss = jax.jit(recipe.loss, static_argnums=0)(network, params, images)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size, tolerance", [(100, 1e-4), (25, 1e-2)])
def test_softmax_regression_reaches_the_optimum_that_scipy_finds(batch_size, tolerance):
    decay, dataset = 0.05, make_dataset()
    x, classes = dataset.images.reshape(len(dataset.images), -1).astype(float), 3

    def objective(flat):
        kernel, bias = flat[:-classes].reshape(-1, classes), flat[-classes:]
        return numpy_cross_entropy(x @ kernel + bias, dataset.labels) + decay / 2 * flat @ flat

    optimum = scipy.optimize.minimize(objective, np.zeros((x.shape[1] + 1) * classes)).x

    recipe = Supervised((decay,), Schedule(epochs=300, batch_size=batch_size, learning_rate=0.05))
    network = mlp(classes=classes, input_shape=SHAPE)
    layer = training.train(network, dataset, recipe, KEY)["softmax"]
    found = np.concatenate([np.ravel(layer["kernel"]), layer["bias"]])
    np.testing.assert_allclose(found, optimum, atol=tolerance)


def trained(*args):
    return jax.tree.map(np.asarray, training.train(*args))


@per_recipe
def test_training_learns_the_same_from_the_same_key_and_tells_its_progress(network, recipe):
    dataset, told = make_dataset(), []
    params = trained(network, dataset, recipe, KEY, told.append)
    assert list(params) == [layer.name for layer in network.layers]
    assert error_rate(network.logits, params, *dataset) < 0.1

    assert told[0] > 0 and (np.diff(told) > 0).all()
    assert told[-1] == pytest.approx(1)

    same = trained(network, dataset, recipe, KEY)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    other = trained(network, dataset, recipe, jax.random.key(1))
    assert all((params[name]["kernel"] != other[name]["kernel"]).all() for name in params)


def test_standardisation_of_the_codes_is_folded_into_the_softmax(monkeypatch):
    network, recipe = RECIPES["autoencoder"]
    dataset, seen, train_softmax = make_dataset(), [], Supervised.train

    def record(recipe, network, codes, *args):
        seen.append((codes, train_softmax(recipe, network, codes, *args)["softmax"]))
        return {"softmax": seen[-1][1]}

    monkeypatch.setattr(Supervised, "train", record)
    params = training.train(network, dataset, recipe, KEY)

    [((standardised, labels), softmax)] = seen
    codes = np.asarray(network.between(params, dataset.images, 0, 1), float)
    expected = (codes - codes.mean(axis=0)) / (codes.std(axis=0) + 1e-3)
    np.testing.assert_allclose(standardised, expected, atol=1e-4)
    np.testing.assert_array_equal(labels, dataset.labels)
    np.testing.assert_allclose(
        network.logits(params, dataset.images),
        expected @ np.asarray(softmax["kernel"]) + softmax["bias"],
        atol=1e-4,
    )


@pytest.mark.parametrize("decay", [(), (0.1,), (0.1, 0.1, 0.1)])
def test_wrong_number_of_decays(decay):
    recipe = Supervised(decay, SCHEDULE)
    with pytest.raises(ValueError, match=f"per layer: got {len(decay)} for 2 layers"):
        training.train(RECIPES["supervised"][0], make_dataset(), recipe, KEY)


def test_an_autoencoder_wants_an_autoencoder_classifier(mnist):
    network, recipe = mlp(4), zoo.ZOO["AE400-10"].recipe
    with pytest.raises(ValueError, match=r"an autoencoder_classifier, got layers \['hidden1', "):
        recipe.train(network, mnist.part(slice(10)), jax.random.key(0))
