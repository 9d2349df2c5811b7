"""Lower bounds: closed forms, random images, attacks, sampled Jacobians and auto_LiRPA."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxadv
from jaxadv import certify
from jaxadv.certify.crown import _concretize
from jaxadv.networks import FullyConnected, Network, lenet, mlp
from jaxadv.zoo import LogitsOnly

SHAPE, PIXELS, CLASSES = (3, 4, 1), 12, 4
NETWORKS = {"tanh, sigmoid": (nn.tanh, nn.sigmoid), "ReLU": (nn.relu, nn.relu)}
RNG = np.random.default_rng(0)
IMAGES = RNG.choice([0, 0, 1, 0.3, 0.7], size=(6, *SHAPE)).astype("float32")
LAST = FullyConnected(3)
each_network = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
def small(name):
    """(network, params) with two hidden layers, large random weights, and no favourite class."""
    rng, (first, second) = np.random.default_rng(2), NETWORKS[name]
    layers = (
        FullyConnected(9, first, name="first"),
        FullyConnected(8, second, name="second"),
        FullyConnected(CLASSES, name="last"),
    )
    params = {}
    for layer, (n, m) in zip(layers, ((PIXELS, 9), (9, 8), (8, CLASSES)), strict=True):
        limit = 3 * math.sqrt(6 / (n + m))
        kernel = rng.uniform(-limit, limit, (n, m)).astype("float32")
        params[layer.name] = {"kernel": kernel, "bias": np.zeros(m, "float32")}
    network = Network(layers, SHAPE)
    params["last"]["bias"] = -np.mean(network.logits(params, IMAGES), axis=0)
    return network, params


@functools.cache
def bounds(name):
    """All methods' (B, k) bounds on the small network, by name."""
    network = certify.affine_layers(*small(name))
    return {
        "product": certify.from_lipschitz(network, IMAGES, certify.pair_products(network)),
        "ECLipsE": certify.from_lipschitz(network, IMAGES, certify.eclipse_fast(network)),
        "ball": certify.crown(network, IMAGES, box=False),
        "box": certify.crown(network, IMAGES),
    }


@functools.cache
def linear():
    rng = np.random.default_rng(1)
    network = mlp(classes=CLASSES, input_shape=SHAPE)
    params = {
        "softmax": {
            "kernel": rng.normal(size=(PIXELS, CLASSES)).astype("float32"),
            "bias": rng.normal(size=CLASSES).astype("float32"),
        }
    }
    return network, params


def pairs(params):
    """(B,) classes, (B, k) gaps to the other logits and (B, k, n) their gradients, in float64."""
    kernel, bias = (np.float64(params["softmax"][name]) for name in ("kernel", "bias"))
    logits = IMAGES.reshape(-1, PIXELS) @ kernel + bias
    label = logits.argmax(axis=1)
    gaps = logits.max(axis=1)[:, None] - logits
    return label, gaps, kernel.T[label][:, None] - kernel.T


def test_linear_network_without_box_has_closed_form():
    label, gaps, rows = pairs(linear()[1])
    norms = np.linalg.norm(rows, axis=2)
    expected = gaps / np.where(norms, norms, 1) / math.sqrt(PIXELS)
    network = certify.affine_layers(*linear())
    ball = certify.crown(network, IMAGES, box=False)
    np.testing.assert_allclose(ball, expected, rtol=1e-6)
    product, eclipse = certify.pair_products(network), certify.eclipse_fast(network)
    np.testing.assert_allclose(product[label], norms)
    np.testing.assert_allclose(eclipse, product)
    through_any_class = certify.from_lipschitz(network, IMAGES, product)
    assert (through_any_class >= ball * (1 - 1e-6)).all()
    nearest = np.sort(ball, axis=1)[:, 1]  # after 0, for the class itself
    np.testing.assert_allclose(np.sort(through_any_class, axis=1)[:, 1], nearest, rtol=1e-6)


def test_linear_network_in_box_is_quadratic_program():
    _, gaps, rows = pairs(linear()[1])
    found = certify.crown(certify.affine_layers(*linear()), IMAGES)
    for image, gap, row, bound in zip(IMAGES.reshape(-1, PIXELS), gaps, rows, found, strict=True):
        for target in np.flatnonzero(gap):
            reachable = (
                gap[target] < np.where(row > 0, row * image, row * (image - 1))[target].sum()
            )
            if not reachable:
                assert bound[target] == pytest.approx(1)
                continue
            program = scipy.optimize.minimize(
                lambda r: r @ r,
                np.zeros(PIXELS),
                jac=lambda r: 2 * r,
                bounds=list(zip(-image, 1 - image, strict=True)),
                constraints=scipy.optimize.LinearConstraint(
                    row[target], -gap[target], -gap[target]
                ),
                method="SLSQP",
                options={"ftol": 1e-14},
            )
            assert bound[target] == pytest.approx(math.sqrt(program.fun / PIXELS), rel=1e-5)


@each_network
def test_no_image_in_the_ball_reaches_the_target(name):
    rng = np.random.default_rng(0)
    network, params = small(name)
    logits = jax.jit(network.logits)
    for method, bound in bounds(name).items():
        for x, radii in zip(IMAGES, bound * math.sqrt(PIXELS), strict=True):
            for target in np.flatnonzero(radii):
                r = rng.normal(size=(2000, PIXELS))
                r *= radii[target] / np.linalg.norm(r, axis=1, keepdims=True)
                moved = np.float32(x + r.reshape(-1, *SHAPE))
                if method == "box":
                    moved = moved.clip(0, 1)
                classes = np.argmax(logits(params, moved), axis=1)
                assert (classes != target).all(), method


@each_network
def test_no_attack_finds_less(name):
    network, params = small(name)
    options = jaxadv.AttackOptions(smoothing_steps=0, restart=False)  # compiles faster
    found = jaxadv.all_targets(network.logits, params, IMAGES, options)
    assert found.success.mean() > 0.7
    upper = np.where(found.success, found.distortion, np.inf)
    for bound in bounds(name).values():
        assert (bound <= upper * (1 + 1e-6)).all()
        assert (bound[np.arange(len(bound)), found.distortion.argmin(axis=1)] == 0).all()
    tightest = bounds(name)["box"][upper < np.inf] / upper[upper < np.inf].clip(1e-9)
    assert np.median(tightest) > 0.2


@each_network
def test_methods_are_ordered(name):
    each = bounds(name)
    others = each["box"] > 0
    product, eclipse, ball, box = (bound[others] for bound in each.values())
    assert (product <= eclipse * (1 + 1e-6)).all()
    # Not by any theorem: of narrower bounds, the slopes chosen may be the worse ones.
    assert (eclipse < ball).all()
    assert np.median(ball / box) < 0.95


@each_network
def test_lipschitz_constants_are_above_sampled_jacobians(name):
    rng = np.random.default_rng(0)
    network, params = small(name)
    images = rng.normal(0.5, 1, size=(300, *SHAPE)).astype("float32")
    jacobian_at = jax.jacobian(lambda x: network.logits(params, x[None])[0])
    jacobian = jax.jit(jax.vmap(jacobian_at))(images)
    rows = np.asarray(jacobian).reshape(len(images), CLASSES, PIXELS)
    sampled = np.linalg.norm(rows[:, :, None] - rows[:, None], axis=3).max(axis=0)
    mlp_ = certify.affine_layers(network, params)
    product, eclipse = certify.pair_products(mlp_), certify.eclipse_fast(mlp_)
    assert (sampled <= eclipse * (1 + 1e-5)).all()
    assert (eclipse <= product * (1 + 1e-9)).all()
    assert eclipse.max() < 0.95 * product.max()


def test_smallest_value_in_ball_and_box():
    rng = np.random.default_rng(0)
    rows, x = rng.normal(size=(5, PIXELS)), np.float64(IMAGES[0]).ravel()
    r = rng.normal(size=(20000, PIXELS))
    r *= rng.uniform(0.5, 1, (len(r), 1)) / np.linalg.norm(r, axis=1, keepdims=True)
    r = np.clip(x + r, 0, 1) - x
    with jax.enable_x64(True):
        bound = np.asarray(_concretize(rows, (x, 1 - x), 1.0, 0.0))
        free = (np.full(PIXELS, np.inf),) * 2
        ball = np.asarray(_concretize(rows, free, 1.0, 0.0))
    np.testing.assert_allclose(ball, -np.linalg.norm(rows, axis=1))
    assert (ball <= bound).all() and (bound <= (rows @ r.T).min(axis=1)).all()
    assert np.median(bound / ball) < 0.9


def test_more_balls_prove_more():
    network = certify.affine_layers(*small("ReLU"))
    few, many = (certify.crown(network, IMAGES, balls=balls) for balls in (3, 80))
    assert few.mean() < bounds("ReLU")["box"].mean() < many.mean()
    assert (many >= bounds("ReLU")["box"] * 0.999).all()


def test_bounds_do_not_depend_on_the_company():
    network = certify.affine_layers(*small("ReLU"))
    many = np.concatenate([IMAGES] * 4)
    np.testing.assert_array_equal(
        certify.crown(network, many), np.concatenate([bounds("ReLU")["box"]] * 4)
    )


def test_float64_is_left_off():
    bounds("ReLU")
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.parametrize(
    "network, message",
    [
        (lenet(), "lower bounds need FullyConnected layers, got Convolution"),
        (LogitsOnly(lambda params, x: x, "source"), "FullyConnected layers, got a function"),
        (
            Network((FullyConnected(3, nn.gelu), FullyConnected(3)), SHAPE),
            "need sigmoid, tanh or ReLU",
        ),
        (Network((FullyConnected(3, nn.sigmoid),), SHAPE), "nothing after the last"),
    ],
)
def test_other_networks_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        certify.affine_layers(network, {})


def test_parameters_of_another_network_are_refused():
    network, params = small("ReLU")
    first = next(iter(params))
    short = params | {first: params[first] | {"bias": np.zeros(99)}}
    for wrong in ({}, {first: params[first]}, short):
        with pytest.raises(ValueError, match="params must have the shapes"):
            certify.affine_layers(network, wrong)
    for factor, message in ((np.nan, "finite, got NaN or infinity"), (1j, "real, got complex")):
        wrong = params | {first: {"kernel": factor * params[first]["kernel"], "bias": np.zeros(9)}}
        with pytest.raises(ValueError, match=f"kernel of {first} must be {message}"):
            certify.affine_layers(network, wrong)
    assert certify.affine_layers(network, params | {"more": {}})


@each_network
def test_as_tight_as_auto_lirpa(name):
    """On ReLU, their slopes are ours; on the others, ours are those of closer tangents."""
    lirpa = pytest.importorskip("auto_LiRPA", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    network, params = small(name)
    modules = []
    for layer in network.layers:
        weights, bias = (np.float64(params[layer.name][name]) for name in ("kernel", "bias"))
        modules.append(torch.nn.Linear(*weights.shape).double())
        modules[-1].load_state_dict({"weight": torch.tensor(weights.T), "bias": torch.tensor(bias)})
        theirs = {nn.relu: torch.nn.ReLU, nn.tanh: torch.nn.Tanh, nn.sigmoid: torch.nn.Sigmoid}
        modules.append(theirs.get(layer.activation, torch.nn.Identity)())
    x = torch.tensor(np.float64(IMAGES).reshape(-1, PIXELS))
    bounded = lirpa.BoundedModule(torch.nn.Sequential(*modules[:-1]), x[:1])

    def certified(image, rows, radius):
        ball = lirpa.PerturbationLpNorm(norm=2, eps=radius)
        inputs = (lirpa.BoundedTensor(image[None], ball),)
        bound, _ = bounded.compute_bounds(x=inputs, C=rows, method="backward", bound_upper=False)
        return bound.item() > 0

    labels = np.asarray(network.logits(params, IMAGES)).argmax(axis=1)
    ours = certify.crown(certify.affine_layers(network, params), IMAGES, box=False, balls=60)
    larger, smaller = [], []
    for image, label, bound in zip(x, labels, ours * math.sqrt(PIXELS), strict=True):
        for target in np.flatnonzero(bound):
            rows = torch.zeros(1, 1, CLASSES).double()
            rows[0, 0, label], rows[0, 0, target] = 1, -1
            larger.append(certified(image, rows, 1.01 * bound[target]))
            smaller.append(certified(image, rows, 0.99 * bound[target]))
    assert np.mean(larger) < 0.1  # not 0: slopes that suit a ball may suit a larger one better
    if name == "ReLU":
        assert np.all(smaller)


@pytest.mark.parametrize(
    "x, balls, message",
    [
        (IMAGES, 1, "balls must be at least 2, got 1"),
        (3 * IMAGES, 2, r"lie in \[0, 1\], got"),
        (IMAGES[0], 2, r"12 pixels each, got .* \(3, 4, 1\); a single image needs .* x\[None\]$"),
        (IMAGES[:, 1:], 2, r"12 pixels each, got an array of shape \(6, 2, 4, 1\)$"),
    ],
)
def test_crown_refuses_what_it_cannot_bound(x, balls, message):
    network = mlp(classes=CLASSES, input_shape=SHAPE)
    affine = certify.affine_layers(network, network.init(jax.random.key(0)))
    with pytest.raises(ValueError, match=message):
        certify.crown(affine, x, balls=balls)
    if balls > 1:
        with pytest.raises(ValueError, match=message):
            certify.from_lipschitz(affine, x, np.ones((CLASSES, CLASSES)))


@pytest.mark.parametrize("constants", [np.ones((3, 3)), -np.ones((4, 4)), np.full((4, 4), np.nan)])
def test_lipschitz_constants_are_checked(constants):
    """Once bounds from negative ones were 1, and those of another shape broadcast."""
    affine = certify.affine_layers(*small("ReLU"))
    with pytest.raises(ValueError, match=r"constants must be \(4, 4\) numbers .* not negative"):
        certify.from_lipschitz(affine, IMAGES, constants)
