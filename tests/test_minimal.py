"""The attack against closed forms, float64, and itself at other batch sizes."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxadv import AttackOptions, Status, all_targets, minimal_adversarial, untargeted
from jaxadv.attacks import queues
from jaxadv.attacks import untargeted as several
from jaxadv.attacks.sampling import wrong_targets

SOLVERS = ["lockstep", pytest.param("lbfgsb", marks=pytest.mark.slow)]


def linear(params, x):
    weights, bias = params
    return x.reshape(len(x), -1) @ weights + bias


def linear_problem(images, pixels, scale, seed=0):
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


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", ["l2_squared", "l2"])
@pytest.mark.parametrize("images, pixels, scale", [(1, 20, 1.0), (7, 100, 0.1), (40, 784, 10.0)])
def test_linear_classifier_reaches_closed_form(images, pixels, scale, penalty, solver):
    params, x, target = linear_problem(images, pixels, scale)
    options = AttackOptions(solver=solver, penalty=penalty)
    result = minimal_adversarial(linear, params, x, target, options)
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert result.success.all()
    assert (result.status == Status.SUCCESS).all()
    ratio = result.distortion / expected
    assert ratio.min() >= 1 - 1e-5
    assert ratio.max() <= 1.001


@pytest.mark.parametrize("solver", SOLVERS)
def test_linear_classifier_with_active_box(solver):
    params, x, target = linear_problem(12, 60, 1.0)
    x = np.where(x > 0.6, np.float32(1), np.minimum(x, np.float32(0.6)))  # the box cuts many steps
    target = 1 - np.argmax(linear(params, x), axis=1)
    result = minimal_adversarial(linear, params, x, target, AttackOptions(solver=solver))
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert np.any((result.x_adv == 0) | (result.x_adv == 1))
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-3)


def smallest_r_bound(weights, bias, x, target):
    """A lower bound of ‖r‖, and tight: the dual of min ½‖r‖² within the box and the target's class.

    For multipliers λ ≥ 0, the r of the Lagrangian is clip(Aᵀλ), with A the differences of weights.
    """
    others = np.arange(weights.shape[1]) != target
    differences = (weights[:, [target]] - weights[:, others]).T
    offsets = bias[target] - bias[others]
    scale = np.sum(differences**2, axis=1).max()

    def negative_dual(scaled_multipliers):
        multipliers = scaled_multipliers / scale
        z = np.clip(x + multipliers @ differences, 0, 1)
        lead = differences @ z + offsets
        return multipliers @ lead - 0.5 * np.sum((z - x) ** 2), lead / scale

    found = scipy.optimize.minimize(
        negative_dual,
        np.zeros(len(offsets)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(offsets),
        options={"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-14},
    )
    return np.sqrt(-2 * found.fun)


@pytest.mark.parametrize("penalty", ["l2_squared", "l2"])
@pytest.mark.parametrize(
    "images, pixels, classes, scale", [(3, 30, 3, 1.0), (16, 200, 10, 0.03), (5, 784, 40, 10.0)]
)
def test_linear_classifier_of_many_classes_reaches_the_optimum(
    images, pixels, classes, scale, penalty
):
    rng = np.random.default_rng(0)
    weights = scale * rng.normal(size=(pixels, classes))
    params = weights.astype(np.float32), (-0.5 * weights.sum(axis=0)).astype(np.float32)
    x = rng.uniform(size=(images, pixels)).astype(np.float32).round(1)  # some at the bounds
    target = (np.argmax(linear(params, x), axis=1) + rng.integers(1, classes, images)) % classes
    options = AttackOptions(penalty=penalty)
    result = minimal_adversarial(linear, params, x, target, options)
    double = [np.asarray(param, np.float64) for param in params]
    bound = [smallest_r_bound(*double, *pair) for pair in zip(x, target, strict=True)]
    assert result.success.all()
    ratio = result.distortion * np.sqrt(pixels) / bound
    assert ratio.min() >= 1 - 1e-5
    assert ratio.max() <= 1.001


@pytest.fixture(scope="module")
def attacked(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x = mnist.images[:50]
    target = wrong_targets(mnist.labels[:50], 10, seed=0)
    return x, target, minimal_adversarial(network.logits, params, x, target)


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
    images = 12

    @jax.jit
    def objective(image, original, target, c):
        logits = network.logits(params, image.reshape(1, 28, 28, 1).astype(jnp.float32))[0]
        loss = jax.nn.logsumexp(logits) - logits[target]
        return c * jnp.sum((image - original) ** 2) + loss, jnp.argmax(logits)

    gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))
    best = np.full(images, np.inf)
    for index in range(images):
        original = x[index].ravel()
        for c in np.geomspace(0.1, 30, 12):

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


@pytest.mark.parametrize("batch_size", [8, 21, 64])
def test_batch_size_does_not_change_a_bit(attacked, mlp_on_mnist, batch_size):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    options = AttackOptions(batch_size=batch_size)
    result = minimal_adversarial(network.logits, params, x, target, options)
    for name, values in result._replace(cost=expected.cost)._asdict().items():
        np.testing.assert_array_equal(values, getattr(expected, name), err_msg=name)


def test_neither_order_nor_other_images_change_a_bit(attacked, mlp_on_mnist):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    chosen = np.random.default_rng(0).permutation(50)[:37]
    result = minimal_adversarial(network.logits, params, x[chosen], target[chosen])
    for name, values in result._replace(cost=expected.cost[chosen])._asdict().items():
        np.testing.assert_array_equal(values, getattr(expected, name)[chosen], err_msg=name)


def test_one_image_alone_gives_the_same_bits(attacked, mlp_on_mnist):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    result = minimal_adversarial(network.logits, params, x[7:8], target[7:8])
    np.testing.assert_array_equal(result.x_adv[0], expected.x_adv[7])


@pytest.mark.parametrize(
    "settings",
    [
        {"penalty": "l2"},
        pytest.param({"solver": "lbfgsb"}, marks=pytest.mark.slow),
        pytest.param({"solver": "lbfgsb", "penalty": "l2"}, marks=pytest.mark.slow),
    ],
)
def test_penalties_and_solvers_agree(attacked, mlp_on_mnist, settings):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    options = AttackOptions(**settings)
    result = minimal_adversarial(network.logits, params, x, target, options)
    assert result.success.all()
    assert abs(result.distortion.mean() / expected.distortion.mean() - 1) <= 0.01


def test_target_that_is_the_current_class(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x = mnist.images[:5]
    target = np.argmax(network.logits(params, x), axis=1)
    result = minimal_adversarial(network.logits, params, x, target)
    np.testing.assert_array_equal(result.x_adv, x)
    np.testing.assert_array_equal(result.distortion, 0)
    assert result.success.all()
    assert (result.status == Status.ALREADY_TARGET).all()


def with_defects(params, x):
    """The linear classifier, but NaN where the first pixel is 0, and constant where it is 1."""
    logits = linear(params, x)
    first = x.reshape(len(x), -1)[:, :1]
    logits = jnp.where(first == 1, jnp.array([1.0, 0.0]), logits)
    return jnp.where(first == 0, jnp.nan, logits)


@pytest.mark.parametrize("solver", SOLVERS)
def test_lanes_that_fail_say_why_and_harm_no_other(solver):
    options = AttackOptions(solver=solver)
    (weights, bias), x, _ = linear_problem(12, 50, 1.0)
    weights[0] = 0  # the pixel that marks a defect is never moved
    target = 1 - np.argmax(linear((weights, bias), x), axis=1)
    healthy = minimal_adversarial(with_defects, (weights, bias), x, target, options)
    damaged = x.copy()
    damaged[3, 0], damaged[8, 0] = 0, 1
    target[8] = 1
    result = minimal_adversarial(with_defects, (weights, bias), damaged, target, options)
    assert result.status[3] == Status.NOT_FINITE
    assert result.status[8] == Status.NOT_FOUND
    assert not result.success[[3, 8]].any()
    assert np.isfinite(result.x_adv).all()
    others = np.delete(np.arange(12), [3, 8])
    np.testing.assert_array_equal(result.x_adv[others], healthy.x_adv[others])
    assert result.success[others].all()


def test_unreachable_target():
    def never(params, x):
        return jnp.stack([x.mean(axis=1), x.mean(axis=1) - 2], axis=1)

    result = minimal_adversarial(never, None, np.full((3, 9), 0.5, np.float32), np.array([1, 1, 0]))
    np.testing.assert_array_equal(result.success, [False, False, True])
    assert (result.status[:2] == Status.NOT_FOUND).all()


def test_progress_counts_every_image_once(monkeypatch):
    params, x, target = linear_problem(21, 10, 1.0)
    seen = []
    monkeypatch.setattr(queues, "MAX_ROUNDS", 1)
    options = AttackOptions(batch_size=8)
    minimal_adversarial(linear, params, x, target, options, progress=seen.append)
    assert seen == [16, 5]  # 8 lanes on each of two devices


def test_budget_too_small_for_lbfgsb():
    with pytest.raises(ValueError, match="max_evaluations must be at least 12 for lbfgsb, got 11"):
        AttackOptions(solver="lbfgsb", max_evaluations=11)


@pytest.mark.parametrize("name", ["tol", "c_steps", "smoothing_rounds"])
def test_settings_that_cannot_be_none(name):
    with pytest.raises(ValueError, match=f"{name} must not be None"):
        AttackOptions(**{name: None})


@pytest.mark.parametrize("budget", [1, 2, 7, 20])
def test_budget_of_gradients(attacked, mlp_on_mnist, budget):
    x, target, _ = attacked
    network, params = mlp_on_mnist
    options = AttackOptions(max_evaluations=budget)
    result = minimal_adversarial(network.logits, params, x, target, options)
    assert result.evaluations.max() == budget


def test_paper_options_use_its_cross_entropy(attacked, mlp_on_mnist):
    """At T = 1 the minimisers are not quite the nearest points of the decision boundary."""
    x, target, expected = attacked
    network, params = mlp_on_mnist
    options = AttackOptions.paper(max_evaluations=500)
    assert options.temperature is None and options.max_evaluations == 500
    result = minimal_adversarial(network.logits, params, x, target, options)
    assert result.success.all()
    assert 1.0 <= result.distortion.mean() / expected.distortion.mean() <= 1.05


@pytest.mark.parametrize("solver", SOLVERS)
def test_devices_do_not_communicate(mlp_on_mnist, solver):
    network, params = mlp_on_mnist
    devices = tuple(jax.local_devices())
    solve = queues._sharded_solve(network.logits, AttackOptions(solver=solver), 16, devices)
    x, target, counts = jnp.zeros((32, 28, 28, 1)), jnp.zeros(32, int), jnp.full(2, 16)
    text = solve.lower(params, x, target, counts).compile().as_text()
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all"):
        assert collective not in text


def test_float64():
    with jax.enable_x64(True):
        params, x, target = linear_problem(4, 30, 1.0)
        params, x = jax.tree.map(lambda a: a.astype(np.float64), (params, x))
        result = minimal_adversarial(
            linear, params, x, target, AttackOptions(margin=1e-9, tol=1e-6, c_steps=40)
        )
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert result.x_adv.dtype == np.float64
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-5)


def rugged(params, x):
    """Two classes, whose boundary is a plane with ripples of many directions."""
    slope, frequencies, height = params
    lead = (x - 0.5) @ slope + height * jnp.cos(x @ frequencies).sum(axis=1)
    return jnp.stack([lead, -lead], axis=1)


def rugged_problem():
    rng = np.random.default_rng(0)
    slope, frequencies = rng.normal(size=100), 10 * rng.normal(size=(100, 60))
    params = slope.astype(np.float32), frequencies.astype(np.float32), np.float32(0.015)
    x = rng.uniform(0.2, 0.8, size=(24, 100)).astype(np.float32)
    return params, x, 1 - np.argmax(rugged(params, x), axis=1)


def test_all_targets_are_those_attacked_one_by_one(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x = mnist.images[:6]
    result = all_targets(network.logits, params, x)
    assert result.x_adv.shape == (6, 10, 28, 28, 1)
    np.testing.assert_array_equal(result.target, np.tile(np.arange(10), (6, 1)))
    current = np.argmax(network.logits(params, x), axis=1)
    assert (result.distortion[np.arange(6), current] == 0).all()
    for target in (0, 7):
        single = minimal_adversarial(network.logits, params, x, np.full(6, target))
        np.testing.assert_array_equal(result.x_adv[:, target], single.x_adv)
        np.testing.assert_array_equal(result.evaluations[:, target], single.evaluations)


def test_untargeted_finds_the_nearest_class(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    x, label = mnist.images[:40], mnist.labels[:40]
    result = untargeted(network.logits, params, x, label)
    assert result.success.all()
    predicted = np.argmax(network.logits(params, result.x_adv), axis=1)
    np.testing.assert_array_equal(predicted, result.target)
    assert (predicted != label).all()
    every = all_targets(network.logits, params, x)
    is_label = np.arange(10) == label[:, None]
    nearest = np.where(is_label, np.inf, every.distortion).min(axis=1)
    assert (result.distortion >= nearest).all()
    assert result.distortion.mean() <= 1.01 * nearest.mean()


def test_untargeted_in_closed_form():
    params, x, target = linear_problem(9, 80, 1.0)
    result = untargeted(linear, params, x, 1 - target, classes=1)
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    np.testing.assert_array_equal(result.target, target)
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-3)


def test_untargeted_where_x_is_misclassified_already():
    params, x, target = linear_problem(3, 80, 1.0)
    result = untargeted(linear, params, x, target, classes=1)
    assert (result.status == Status.ALREADY_TARGET).all()
    np.testing.assert_array_equal(result.x_adv, x)


def test_untargeted_finds_x_already_wrong_among_several_classes():
    """Although the boundary to a third class, which is linear too, looks nearer than r = 0."""

    def logits(params, x):
        return jnp.stack([x[:, 0], 1 + 10 * x[:, 0], 0.95 + x[:, 1] - x[:, 1]], axis=1)

    x = np.full((1, 2), 0.1, np.float32)
    result = untargeted(logits, None, x, np.array([0]), classes=1)
    assert (result.status, result.target, result.distortion) == (Status.ALREADY_TARGET, 1, 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_classes_that_tie_at_x(solver):
    """Of them, argmax takes the first; the other one is attacked."""
    params = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    x, target = np.full((2, 3), 0.5, np.float32), np.array([0, 2])
    result = minimal_adversarial(linear, params, x, target, AttackOptions(solver=solver))
    assert result.success.all()
    np.testing.assert_array_equal(np.argmax(linear(params, result.x_adv), axis=1), target)
    assert (result.distortion < 1e-3).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_logits_of_half_precision(dtype):
    params, x, target = linear_problem(5, 30, 1.0)

    def narrow(params, x):
        return linear(params, x).astype(dtype)

    result = minimal_adversarial(narrow, params, x, target)
    assert result.success.all()
    assert result.x_adv.dtype == np.float32


def test_nan_met_while_smoothing_ends_the_smoothing():
    """NaN in a thin slab that noise reaches, and descents along the slope do not."""
    params, x, target = rugged_problem()

    def with_slab(params, x):
        inside = jnp.abs(x[:, :1] - 0.5) > 0.45
        return jnp.where(inside, jnp.nan, rugged(params, x))

    slope = params[0].copy()
    slope[0] = 0
    x[:, 0] = 0.5
    params = slope, np.concatenate([0 * params[1][:1], params[1][1:]]), params[2]
    target = 1 - np.argmax(rugged(params, x), axis=1)
    result = minimal_adversarial(with_slab, params, x, target)
    assert np.isfinite(result.x_adv).all() and np.isfinite(result.distortion).all()
    assert result.success.all()


@pytest.mark.parametrize("classes", [0, 2])
def test_untargeted_checks_the_number_of_classes(classes):
    params, x, target = linear_problem(3, 80, 1.0)
    with pytest.raises(ValueError, match=f"classes must be from 1 to 1, got {classes}"):
        untargeted(linear, params, x, target, classes=classes)


def test_progress_of_several_targets_counts_images(monkeypatch):
    params, x, _ = linear_problem(21, 10, 1.0)
    seen = []
    monkeypatch.setattr(several, "PROBLEMS", 26)
    all_targets(linear, params, x, progress=seen.append)
    assert sum(seen) == 21 and len(seen) >= 2


def test_utilisation_is_the_useful_share_of_all_gradients(attacked):
    *_, result = attacked
    assert 0 < result.utilisation <= 1
    np.testing.assert_allclose(
        result.utilisation, result.evaluations.sum() / result.cost.sum(), rtol=1e-6
    )


@pytest.mark.slow
def test_little_of_the_gradients_of_a_long_queue_is_idle(mnist, mlp_on_mnist):
    network, params = mlp_on_mnist
    target = wrong_targets(mnist.labels[:2000], 10, seed=0)
    options = AttackOptions(batch_size=24)
    result = minimal_adversarial(network.logits, params, mnist.images[:2000], target, options)
    assert result.success.all()
    assert result.utilisation >= 0.9


def test_smoothing_is_for_rugged_boundaries(attacked):
    """It finds nearer points where gradients vary, and is not spent where they do not."""
    params, x, target = rugged_problem()

    def attack(**settings):
        result = minimal_adversarial(rugged, params, x, target, AttackOptions(**settings))
        assert result.success.all()
        return result

    plain, smoothed, more = attack(smoothing_steps=0), attack(), attack(smoothing_rounds=3)
    assert smoothed.evaluations.mean() >= 150
    assert smoothed.distortion.mean() < 0.99 * plain.distortion.mean()
    assert (more.distortion <= smoothed.distortion).all()
    assert more.distortion.mean() < smoothed.distortion.mean()
    *_, of_smooth_network = attacked
    assert np.median(of_smooth_network.evaluations) <= 70


def test_quick_options_take_fewer_gradients(attacked, mlp_on_mnist):
    x, target, expected = attacked
    network, params = mlp_on_mnist
    result = minimal_adversarial(network.logits, params, x, target, AttackOptions.quick())
    assert result.success.all()
    assert result.evaluations.mean() <= 0.75 * expected.evaluations.mean()
    assert result.distortion.mean() <= 1.01 * expected.distortion.mean()


def test_only_the_solver_lbfgsb_needs_jaxopt():
    """A JAX that breaks jaxopt breaks that option alone."""
    program = """
import sys
sys.modules["jaxopt"] = None  # so that importing it raises ImportError
import numpy as np, jaxadv
def logits(params, x): return x @ np.eye(3, dtype="float32")
x = np.array([[0.9, 0.1, 0.2]], "float32")
attack = lambda **settings: jaxadv.minimal_adversarial(
    logits, None, x, np.array([1]), jaxadv.AttackOptions(**settings)
)
assert attack().success.all()
try:
    attack(solver="lbfgsb")
except ImportError as error:
    assert "jaxopt" in str(error)
else:
    raise AssertionError("it did not need jaxopt")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_lanes_follow_from_the_size_of_the_network_and_the_number_of_images():
    def heavy(params, x):
        wide = jnp.sin(x @ jnp.ones((20, 2**18)))  # 1 MB per image
        return wide @ jnp.ones((2**18, 2))

    devices = tuple(jax.local_devices())[:1]
    x, params = np.zeros((2000, 20), np.float32), linear_problem(1, 20, 1.0)[0]

    def lanes(logits_fn, images, **settings):
        options = AttackOptions(**settings)
        return queues.lanes_and_queue(logits_fn, params, options, x[:images], devices)[0]

    assert lanes(linear, 2000) == 64
    assert lanes(linear, 500) == 32
    assert lanes(linear, 1) == 8
    assert lanes(heavy, 2000) == 8
    assert lanes(linear, 2000, batch_size=100) == 104
