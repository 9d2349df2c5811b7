"""Examples made in training: inside their box, adversarial, and near the attack's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxadv
from jaxadv.networks import lenet, mlp
from jaxadv.training import GradientSteps, MinimumDistortion
from jaxadv.training.perturbations import box_of

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def made(perturbation, logits, box, h, labels):
    return perturbation.make(logits, h, labels, box, KEY)


def norms(r):
    return np.linalg.norm(np.asarray(r).reshape(len(r), -1), axis=1)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("target", ["any", "random", "nearest"])
def test_examples_are_in_the_box_and_adversarial_when_made(mlp_on_mnist, mnist, layer, target):
    network, params = mlp_on_mnist
    x, labels = mnist.part(slice(200))
    h = network.between(params, jnp.asarray(x), 0, layer)
    box = box_of(network, layer)
    assert box == (0, 1)

    def above(h):
        return network.between(params, h, layer, 3)

    examples = made(MinimumDistortion(2, target), above, box, h, labels)
    classes = np.argmax(np.asarray(above(examples.activations)), axis=1)
    found, same, usable = map(np.asarray, examples)
    assert (same == labels).all() and found.shape == h.shape
    assert usable.mean() > {"any": 0.9, "nearest": 0.8, "random": 0.4}[target]
    assert found.min() >= 0 and found.max() <= 1
    assert (classes != labels)[usable].all()
    steps = np.asarray(made(GradientSteps(0.3, target=target), above, box, h, labels).activations)
    assert steps.min() >= 0 and steps.max() <= 1
    assert (norms(steps - h) <= 0.3 * (1 + 1e-5)).all() and norms(steps - h).max() > 0.25


def test_distortions_beside_the_full_attack(mlp_on_mnist, mnist):
    """A tenth to a fifth larger, for two gradients in place of some hundreds."""
    network, params = mlp_on_mnist
    x, labels = mnist.part(slice(64))
    full = jaxadv.untargeted(network.logits, params, x, labels, jaxadv.AttackOptions.quick())
    logits = functools.partial(network.logits, params)
    quick = made(MinimumDistortion(), logits, (0.0, 1.0), x, labels)
    both = full.success & np.asarray(quick.usable) & (full.distortion > 0)
    assert both.mean() > 0.9
    ratio = norms(quick.activations - x)[both].mean() / norms(full.x_adv - x)[both].mean()
    assert 1 <= ratio < 1.3


def test_the_optimum_where_it_is_known():
    """For a linear classifier of two classes without a wall: the projection on the boundary."""
    w, b = np.array([1.0, -2.0, 0.5]), 0.1
    h = jnp.array([[0.5, 0.4, 0.6], [0.6, 0.5, 0.5]])

    def logits(h):
        score = h @ jnp.array(w) + b
        return jnp.stack([score, -score], axis=1)

    labels = jnp.argmax(logits(h), axis=1)
    found = made(MinimumDistortion(1), logits, (-np.inf, np.inf), h, labels)
    distance = np.abs(np.asarray(h) @ w + b) / np.linalg.norm(w)
    np.testing.assert_allclose(norms(found.activations - h), distance, rtol=1e-2)


def test_several_steps_stay_in_the_ball_and_find_more(mlp_on_mnist, mnist):
    network, params = mlp_on_mnist
    x, labels = (jnp.asarray(array) for array in mnist.part(slice(200)))

    def wrong(perturbation):
        logits = functools.partial(network.logits, params)
        found = made(perturbation, logits, (0.0, 1.0), x, labels).activations
        assert norms(found - x).max() <= 1.0 + 1e-5
        return float((jnp.argmax(logits(found), axis=1) != labels).mean())

    assert wrong(GradientSteps(1.0, 4, random_start=True)) >= wrong(GradientSteps(1.0)) > 0.1


def test_boxes_follow_the_activations():
    assert [box_of(mlp(4), k) for k in (0, 1)] == [(0, 1), (0, 1)]
    assert [box_of(lenet(), k) for k in (0, 1, 4)] == [(0, 1), (0, np.inf), (0, np.inf)]
