"""Features without labels: whitening, orthonormal filters, pooled sparsity, and interruptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coarse import products

from jaxadv.networks import FullyConnected, Network
from jaxadv.networks.local import receptive_fields
from jaxadv.networks.quocnet import Stage, quocnet
from jaxadv.storage import checkpoints
from jaxadv.training import Schedule, Supervised, features
from jaxadv.training.features import PooledSparsity
from jaxadv.training.readout import train_readout

STAGE = quocnet(6, 1, (Stage(2, 3, pool=2, contrast=3),))  # 4 × 4 locations of 9 inputs
LOCAL = STAGE.layers[0]
LEARNED = PooledSparsity(Schedule(4, 25, 0.1), kept=0.6)
KEY = jax.random.key(0)
between = jax.jit(Network.between, static_argnums=(0, 3, 4))


@pytest.fixture(scope="module")
def images():
    """Independent sparse sources, mixed by bars: sums of few of them are not Gaussian."""
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(400, 12)) * (rng.uniform(size=(400, 12)) < 0.3)
    bars = np.zeros((12, 6, 6))
    for index in range(6):
        bars[index, index], bars[6 + index, :, index] = 1, 1
    noise = 0.05 * rng.normal(size=(400, 6, 6))
    return (np.tensordot(sources, bars, 1) + noise)[..., None].astype("float32")


@pytest.fixture(scope="module")
def whitening(images):
    return features.whiten(LOCAL, images, 6)


@pytest.fixture(scope="module")
def learned(images):
    return LEARNED.train(STAGE, images, KEY)


def test_whitened_fields_have_the_identity_as_covariance(images, whitening):
    z = np.asarray(whitening(receptive_fields(images, 3)), float)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    covariance = np.einsum("bli,blj->lij", z, z) / len(z)
    np.testing.assert_allclose(covariance, np.broadcast_to(np.eye(6), (16, 6, 6)), atol=1e-3)


def test_the_largest_principal_components_are_kept(images, whitening):
    fields = np.asarray(receptive_fields(images, 3), float)[:, 5]
    values, vectors = np.linalg.eigh(np.cov(fields.T, bias=True))
    expected = vectors[:, -6:] / np.sqrt(values[-6:])
    signs = np.sign((expected * np.asarray(whitening.projection[5])).sum(axis=0))
    np.testing.assert_allclose(whitening.projection[5], expected * signs, rtol=5e-3, atol=5e-3)


def test_newton_and_schulz_find_the_nearest_orthonormal_filters():
    start = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 6, 2)))[0]
    start += 0.1 * np.random.default_rng(2).normal(size=start.shape)
    u, _, vt = np.linalg.svd(start, full_matrices=False)
    found = features.orthonormalised(jnp.asarray(start, jnp.float32))
    np.testing.assert_allclose(found, u @ vt, atol=1e-5)
    full, default = products(features.orthonormalised, start)
    assert full and not default  # of fewer digits, they would be found to as few


def test_the_loss_is_the_pooled_sparsity_and_its_gradient_numerical(images, whitening):
    z = whitening(receptive_fields(images[:5], 3))
    filters = np.random.default_rng(0).normal(size=(16, 6, 2)).astype("float32")
    h = np.einsum("blk,lkf->blf", z, filters).reshape(5, 4, 4, 2).astype(float)
    pooled = [
        np.sqrt(1e-4 + (h[:, i : i + 2, j : j + 2] ** 2).sum(axis=(1, 2)))
        for i, j in np.ndindex(3, 3)
    ]
    loss = jax.jit(lambda filters: LEARNED.loss(STAGE, filters, z))
    value, gradient = jax.value_and_grad(loss)(filters)
    assert value == pytest.approx(np.mean(pooled), rel=1e-5)
    direction = np.random.default_rng(1).normal(size=filters.shape).astype("float32")
    up, down = (loss(filters + s * direction) for s in (1e-2, -1e-2))
    assert np.sum(gradient * direction) == pytest.approx(float(up - down) / 2e-2, rel=1e-2)


def test_learned_filters_are_orthonormal_and_sparser_than_random_ones(images, whitening, learned):
    random = PooledSparsity(None, kept=0.6).train(STAGE, images, KEY)
    means = {}
    for name, params in (("learned", learned), ("random", random)):
        kernel = np.asarray(params["local1"]["kernel"], float)
        filters = np.linalg.pinv(np.asarray(whitening.projection, float)) @ kernel
        gram = filters.swapaxes(1, 2) @ filters
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(2), (16, 2, 2)), atol=1e-3)
        h = np.asarray(between(STAGE, params, images, 0, 1))
        np.testing.assert_allclose(h.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(h.std(axis=0), 1, atol=1e-3)
        means[name] = np.asarray(between(STAGE, params, images, 0, 2)).mean()
    assert means["learned"] < 0.95 * means["random"]


def test_an_interrupted_training_goes_on_to_the_same_bits(images, learned, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)

    def stop(fraction):
        if fraction == 0.5:
            raise KeyboardInterrupt

    told, folder = [], tmp_path / "partial"
    with pytest.raises(KeyboardInterrupt):
        LEARNED.train(STAGE, images, KEY, stop, folder)
    resumed = LEARNED.train(STAGE, images, KEY, told.append, folder)
    assert told == [0.5, 0.75, 1] and not folder.exists()
    jax.tree.map(np.testing.assert_array_equal, resumed, learned)


def test_more_features_than_dimensions_are_refused(images):
    with pytest.raises(ValueError, match="must be orthonormal, got 2 features in 1 dimensions"):
        PooledSparsity(None, kept=0.1).train(STAGE, images[:9], KEY)


def test_stages_are_trained_on_what_those_below_make_of_the_images(images):
    network, seen = quocnet(6, 1, (Stage(2, 3, pool=2, contrast=3), Stage(3, 2, pool=1))), []

    def train(number, stage, inputs):
        seen.append((number, [layer.name for layer in stage.layers], inputs))
        return stage.init(jax.random.key(number))

    params = features.greedy(network, images[:7], train)
    assert list(params) == [layer.name for layer in network.layers]
    (_, first, start), (number, second, below) = seen
    assert (number, first[0], second[-1]) == (2, "local1", "contrast2")
    np.testing.assert_array_equal(start, images[:7])
    expected = between(network, params, images[:7], 0, 3)
    np.testing.assert_allclose(below, expected, rtol=1e-5)


def test_a_readout_is_trained_on_standardised_codes(three_levels):
    """Which are scaled in vain: as all scales are taken out, the logits stay."""
    network = Network(
        (FullyConnected(4, name="hidden"), FullyConnected(3, name="softmax")), (2, 3, 1)
    )
    params = network.init(KEY)
    scaled = params | {"hidden": jax.tree.map(lambda leaf: 50 * leaf, params["hidden"])}
    recipe = Supervised((1e-3,), Schedule(40, 20, 0.05))
    fitted, other = (train_readout(network, p, three_levels, recipe, KEY) for p in (params, scaled))
    logits = network.logits(fitted, three_levels.images)
    np.testing.assert_allclose(
        network.logits(other, three_levels.images), logits, rtol=0.05, atol=0.05
    )
    assert (np.argmax(logits, axis=1) == three_levels.labels).mean() > 0.9
