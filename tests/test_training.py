"""Losses against NumPy, optima against SciPy, the optimiser's steps against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from jaxadv.datasets.tfds import Dataset
from jaxadv.networks.network import autoencoder, autoencoder_classifier, mlp
from jaxadv.training import fit as training
from jaxadv.training.fit import Schedule, SparseAutoencoder, Supervised

KEY = jax.random.key(0)
SHAPE = (2, 3, 1)
RECIPES = {
    "supervised": (
        mlp(5, classes=3, input_shape=SHAPE),
        Supervised((1e-3, 0), Schedule(30, 20, 0.1)),
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
    loss = training._classifier_loss(network, decay, params, images, labels)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "sparsity, sparsity_weight, decay", [(0.1, 0, 0), (0.1, 3, 0), (0.4, 2, 0.5)]
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

    recipe = SparseAutoencoder(sparsity, sparsity_weight, decay, schedule=None, softmax=None)
    loss = training._autoencoder_loss(network, recipe, params, images)
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


@pytest.mark.parametrize("epochs, batch_size", [(10, 8), (1, 20), (25, 1000)])
def test_fit_follows_the_schedule(epochs, batch_size):
    """With a constant gradient, Adam's step is the learning rate."""
    steps, peak = epochs * (40 // min(batch_size, 40)), 0.1
    warmup = max(1, steps // 10)
    rising = [peak * (0.1 + 0.9 * t / warmup) for t in range(warmup)]
    falling = peak * (1 + np.cos(np.pi * np.linspace(0, 1, steps - warmup, endpoint=False))) / 2

    def loss(params, ones):
        return params * ones.mean()

    schedule = Schedule(epochs, batch_size, peak)
    moved = training.fit(loss, jnp.zeros(()), (np.ones(40, "float32"),), schedule, KEY)
    np.testing.assert_allclose(-moved, sum(rising) + sum(falling), rtol=1e-4)


def test_fit_goes_through_the_data_in_a_new_order_each_epoch():
    data, batches, epochs = np.arange(23, dtype="float32"), [], []

    def loss(params, batch, same_batch):
        jax.debug.callback(lambda *pair: batches.append(pair), batch, same_batch)
        return params * batch.mean()

    def progress(fraction):
        jax.effects_barrier()
        epochs.append((fraction, [*batches]))
        batches.clear()

    training.fit(loss, jnp.zeros(()), (data, data), Schedule(3, 5, 0.1), KEY, progress)
    assert [fraction for fraction, _ in epochs] == pytest.approx([1 / 3, 2 / 3, 1])
    orders = []
    for _, pairs in epochs:
        first, second = np.swapaxes(pairs, 0, 1)
        assert first.shape == (4, 5)  # what does not fill a minibatch is left out
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first)) == 20 and set(first.flat) <= set(data)
        orders.append(tuple(first.flat))
    assert len(set(orders)) == 3


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_error_rate_equals_numpy(batch_size):
    network, (images, labels) = mlp(classes=3, input_shape=SHAPE), make_dataset()
    params = random_params(network)
    logits = (
        images.reshape(len(images), -1) @ params["softmax"]["kernel"] + params["softmax"]["bias"]
    )
    expected = np.mean(np.argmax(logits, axis=1) != labels)
    assert 0.2 < expected < 0.9
    assert training.error_rate(network.logits, params, images, labels, batch_size) == expected


@per_recipe
def test_training_learns_the_same_from_the_same_key_and_tells_its_progress(network, recipe):
    dataset, told = make_dataset(), []
    params = training.train(network, dataset, recipe, KEY, told.append)
    assert list(params) == [layer.name for layer in network.layers]
    assert training.error_rate(network.logits, params, *dataset) < 0.1

    assert told[0] > 0 and (np.diff(told) > 0).all()
    assert told[-1] == pytest.approx(1)

    same = training.train(network, dataset, recipe, KEY)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    other = training.train(network, dataset, recipe, jax.random.key(1))
    assert all((params[name]["kernel"] != other[name]["kernel"]).all() for name in params)


def test_standardisation_of_the_codes_is_folded_into_the_softmax(monkeypatch):
    network, recipe = RECIPES["autoencoder"]
    dataset, seen, train_classifier = make_dataset(), [], training._train_classifier

    def record(network, codes, *args):
        seen.append((codes, train_classifier(network, codes, *args)["softmax"]))
        return {"softmax": seen[-1][1]}

    monkeypatch.setattr(training, "_train_classifier", record)
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
    recipe = Supervised(decay, Schedule(1, 10, 0.1))
    with pytest.raises(ValueError, match=f"per layer: got {len(decay)} for 2 layers"):
        training.train(RECIPES["supervised"][0], make_dataset(), recipe, KEY)
