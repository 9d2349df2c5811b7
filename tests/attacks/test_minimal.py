"""The attack on a network trained on MNIST: against float64, SciPy, and itself at other sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxadv import AttackOptions, Status, minimal_adversarial


def test_every_image_of_mnist_succeeds_in_the_box(attacked):
    x, _, result = attacked
    assert result.success.all()
    assert result.x_adv.dtype == np.float32
    assert result.x_adv.shape == x.shape
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    distortion = np.sqrt(np.mean((result.x_adv - x) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(result.distortion, distortion, rtol=1e-5)


def test_success_agrees_batched_singly_and_in_float64(attacked, mlp_on_mnist):
    _, target, result = attacked
    network, params = mlp_on_mnist
    batched = np.argmax(network.logits(params, result.x_adv), axis=1)
    singly = [int(jnp.argmax(network.logits(params, x[None]))) for x in result.x_adv]
    h = result.x_adv.reshape(50, -1).astype(np.float64)
    for name in ("hidden1", "hidden2"):
        z = h @ params[name]["kernel"].astype(np.float64) + params[name]["bias"]
        h = 1 / (1 + np.exp(-z))
    z = h @ params["softmax"]["kernel"].astype(np.float64) + params["softmax"]["bias"]
    for predicted in (batched, singly, np.argmax(z, axis=1)):
        np.testing.assert_array_equal(predicted, target)


def test_smaller_than_the_distortion_of_a_plain_penalty_method(attacked, mlp_on_mnist):
    """SciPy's L-BFGS-B at a fixed grid of c never does better by more than 0.5 % on average."""
    x, target, result = attacked
    network, params = mlp_on_mnist
    images = 4

    @jax.jit
    def objective(image, original, target, c):
        logits = network.logits(params, image.reshape(1, 28, 28, 1).astype(jnp.float32))[0]
        loss = jax.nn.logsumexp(logits) - logits[target]
        return c * jnp.sum((image - original) ** 2) + loss, jnp.argmax(logits)

    gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))
    best = np.full(images, np.inf)
    for index in range(images):
        original = x[index].ravel()
        for c in np.geomspace(0.1, 30, 8):

            def fun(image, original=original, index=index, c=c):
                (value, _), grad = gradient(image, original, target[index], c)
                return float(value), np.asarray(grad, np.float64)

            found = scipy.optimize.minimize(
                fun, original, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 784
            ).x
            if objective(found, original, target[index], c)[1] == target[index]:
                best[index] = min(best[index], np.sqrt(np.mean((found - original) ** 2)))
    assert np.isfinite(best).all()
    assert result.distortion[:images].mean() <= 1.005 * best.mean()


@pytest.mark.parametrize(
    "settings",
    [
        {"penalty": "l2"},
        pytest.param({"solver": "lbfgsb", "penalty": "l2"}, marks=pytest.mark.slow),
    ],
)
def test_penalties_and_solvers_agree(attacked, mlp_on_mnist, settings):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    options, images = AttackOptions(**settings), 20
    result = minimal_adversarial(network.logits, params, x[:images], target[:images], options)
    assert result.success.all()
    assert abs(result.distortion.mean() / expected.distortion[:images].mean() - 1) <= 0.01


def test_target_that_is_the_current_class(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x = mnist.images[:5]
    target = np.argmax(network.logits(params, x), axis=1)
    result = minimal_adversarial(network.logits, params, x, target)
    np.testing.assert_array_equal(result.x_adv, x)
    np.testing.assert_array_equal(result.distortion, 0)
    assert result.success.all()
    assert (result.status == Status.ALREADY_TARGET).all()


def test_budget_of_gradients(attacked, mlp_on_mnist):
    x, target, unlimited = attacked
    network, params = mlp_on_mnist
    budget = 20
    options = AttackOptions(max_evaluations=budget)
    result = minimal_adversarial(network.logits, params, x, target, options)
    np.testing.assert_array_equal(result.by_stage.sum(axis=-1), result.evaluations)
    expected = np.minimum(unlimited.evaluations, budget)
    np.testing.assert_array_equal(result.evaluations, expected)


def test_paper_options_use_its_cross_entropy(attacked, mlp_on_mnist):
    """At T = 1 the minimisers are not quite the nearest points of the decision boundary."""
    x, target, expected = attacked
    network, params = mlp_on_mnist
    options, images = AttackOptions.paper(max_evaluations=500), 20
    assert options.temperature is None and options.max_evaluations == 500
    result = minimal_adversarial(network.logits, params, x[:images], target[:images], options)
    assert result.success.all()
    assert 1.0 <= result.distortion.mean() / expected.distortion[:images].mean() <= 1.05


def test_quick_options_take_fewer_gradients(attacked, mlp_on_mnist):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    result = minimal_adversarial(network.logits, params, x, target, AttackOptions.quick())
    assert result.success.all()
    assert result.evaluations.mean() <= 0.75 * expected.evaluations.mean()
    assert result.distortion.mean() <= 1.015 * expected.distortion.mean()
