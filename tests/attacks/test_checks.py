"""Bad input is refused before any work, with what was got and what was expected."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from jaxadv import AttackOptions, all_targets, minimal_adversarial, untargeted
from jaxadv.attacks import checks, queues
from jaxadv.attacks.results import AttackResult, Status

X = np.full((4, 3), 0.5, np.float32)
TARGET = np.array([0, 1, 0, 1])


def logits_fn(params, x):
    return x @ jnp.array([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]])


def with_pixel(value):
    x = X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    "x, message",
    [
        (with_pixel(1.1), r"must lie in \[0, 1\], got values from 0\.5 to 1\.1"),
        (with_pixel(-0.1), r"must lie in \[0, 1\], got values from -0\.1"),
        (with_pixel(np.nan), r"must be finite, got NaN or infinity in images 2"),
        (with_pixel(np.inf), r"must be finite, got NaN or infinity in images 2"),
        ((255 * X).astype(np.uint8), r"must be floating-point numbers in \[0, 1\], got uint8"),
        ((65535 * X).astype(np.uint16), r"got uint16; divide 16-bit images by 65535$"),
        ("digits.png", r"must be floating-point numbers in \[0, 1\], got 'digits\.png'$"),
        (X[0], r"must have the shape \(B, …\) with B ≥ 1, got \(3,\)"),
        (X[:0], r"must have the shape \(B, …\) with B ≥ 1, got \(0, 3\)"),
        (X[:, :1], r"logits_fn cannot be applied to images of shape \(1,\)"),
        ([[0.5, 0.5], [0.5]], r"must form one array: .*inhomogeneous"),
    ],
)
def test_images(x, message):
    with pytest.raises(ValueError, match=message):
        minimal_adversarial(logits_fn, None, x, TARGET)


def rounded(params, x):
    return logits_fn(params, jnp.round(255 * x) / 255)


@pytest.mark.parametrize("attack", [minimal_adversarial, untargeted, all_targets])
def test_a_gradient_of_0_is_warned_of(attack):
    """Once, attacks failed after up to a minute without a word."""
    now = np.argmax(logits_fn(None, X), axis=1)
    classes = {minimal_adversarial: (1 - now,), untargeted: (now,), all_targets: ()}[attack]
    with pytest.warns(UserWarning, match=r"no attack moved its image: .* as after rounding"):
        result = attack(rounded, None, X, *classes)
    assert (result.success == (result.status == Status.ALREADY_TARGET)).all()
    few = AttackOptions(max_evaluations=2)  # too few to move an image
    assert not attack(logits_fn, None, X, *classes, few).distortion.any()


def test_image_without_an_axis_of_images():
    def flattened(params, x):
        return x.reshape(len(x), -1) @ np.ones((6, 2), np.float32)

    with pytest.raises(ValueError, match=r"\(3,\): .*if this is a single image, .* x\[None\]$"):
        minimal_adversarial(flattened, None, X[:2], np.array([1]))
    with pytest.raises(ValueError, match=r"of shape \(3, 1\): ((?!x\[None\]).)*$"):
        minimal_adversarial(flattened, None, X[..., None], TARGET)


def test_any_number_of_images_is_taken():
    """Once 16 images ended in JAX's own TypeError."""

    def fixed(params, x):
        return logits_fn(params, x.reshape(4, -1))

    with pytest.raises(ValueError, match=r"any number of images, .* applied to 5, only to 4; "):
        minimal_adversarial(fixed, None, X, TARGET)


@pytest.mark.parametrize("attack", [minimal_adversarial, untargeted, all_targets])
def test_progress_is_a_function(monkeypatch, attack):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    target = () if attack is all_targets else (TARGET,)
    for wrong in (3, True, dict, lambda: None):  # a class, as tqdm in place of tqdm().update
        with pytest.raises(ValueError, match=f"progress must be a function, .* got {wrong}$"):
            attack(logits_fn, None, X, *target, progress=wrong)


@pytest.mark.parametrize(
    "target, message",
    [
        (TARGET[:3], r"one class per image, shape \(4,\), got \(3,\)"),
        (TARGET[:, None], r"one class per image, shape \(4,\), got \(4, 1\)"),
        (TARGET.astype(float), r"integer classes, got float64"),
        (TARGET + 1, r"classes from 0 to 1, got values from 1 to 2"),
        (TARGET - 1, r"classes from 0 to 1, got values from -1 to 0"),
    ],
)
def test_target(target, message):
    with pytest.raises(ValueError, match=message):
        minimal_adversarial(logits_fn, None, X, target)


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda params, x: x[:, 0],
            r"must map 4 images of shape \(3,\) to \(4, k\) .* got \(4,\)",
        ),
        (lambda params, x: x[:2], r"to \(4, k\) logits with k ≥ 2 classes, got \(2, 3\)"),
        (lambda params, x: x[:, :1], r"with k ≥ 2 classes, got \(4, 1\)"),
        (lambda params, x: (logits_fn(params, x), x), r"got \(\(4, 2\), \(4, 3\)\)"),
        (lambda params, x: jnp.argsort(x), r"floating-point logits, got int32"),
        (lambda params, x: jnp.nan * x, r"returned NaN or infinity for every image"),
    ],
)
def test_logits_fn(function, message):
    with pytest.raises(ValueError, match=message):
        minimal_adversarial(function, None, X, TARGET)


@pytest.mark.parametrize("attack", [minimal_adversarial, untargeted, all_targets])
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
@pytest.mark.parametrize("traced", ["x", "params"])
def test_tracers(monkeypatch, attack, transform, traced):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    target = () if attack is all_targets else (TARGET,)

    def distortion(value):
        arguments = (0.0, value) if traced == "x" else (value, X)
        return attack(logits_fn, *arguments, *target).distortion.sum()

    value = X if traced == "x" else np.ones(4, np.float32)
    with pytest.raises(ValueError, match=f"attacks are not traceable.* tracer in {traced}"):
        transform(distortion)(value[0] if transform is jax.grad and traced == "params" else value)


@pytest.mark.parametrize("attack", [minimal_adversarial, untargeted, all_targets])
def test_params_that_are_no_arrays(attack):
    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    target = () if attack is all_targets else (TARGET,)
    with pytest.raises(ValueError, match=r"as params\.activation; .*eqx.partition"):
        attack(lambda model, x: jax.vmap(model)(x), model, X, *target)
    with pytest.raises(ValueError, match=r"arrays, got str as params\['name'\]"):
        attack(logits_fn, {"name": "linear"}, X, *target)


class Repeated(eqx.Module):
    """Has no leaves but an array and a number, which is traced."""

    weight: jax.Array
    times: int

    def __call__(self, x):
        return x @ self.weight * self.times

    def loops(self, x):
        return sum(x @ self.weight for _ in range(self.times))


def test_modules_of_arrays_and_numbers():
    model = Repeated(jnp.ones((3, 2)), 2)
    arrays, static = eqx.partition(model, eqx.is_array)
    assert checks.number_of_classes(lambda model, x: model(x), model, X) == 2
    assert checks.number_of_classes(lambda a, x: eqx.combine(a, static).loops(x), arrays, X) == 2
    with pytest.raises(ValueError, match=r"(?s)traced.*model\.times.*; of an Equinox module"):
        checks.number_of_classes(lambda model, x: model.loops(x), model, X)


@pytest.mark.parametrize("params", [None, 2, 0.5, [np.ones(3), np.float32(1)], jax.random.key(0)])
def test_params_that_are_arrays(params):
    assert checks.number_of_classes(logits_fn, params, X) == 2


def test_probabilities_warn(monkeypatch):
    def probabilities(params, x):
        return jax.nn.softmax(10 * logits_fn(params, x))

    nothing = AttackResult(*9 * [np.zeros(4)])
    monkeypatch.setattr(queues, "attack", lambda *args: nothing)  # would follow the checks
    with pytest.warns(UserWarning, match="look like probabilities"):
        minimal_adversarial(probabilities, None, X, TARGET)


def in_training(params, x):
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)


def normalised_without_a_constant(params, x):
    return (x - x.mean(axis=0)) / x.std(axis=0) + jnp.log(x[:, :1] > 0)


def with_dropout(params, x):
    return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), 2 * x, 0.0)


def masked_by(value):
    return lambda logits: logits.at[:, 1].set(value)


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("mask", [None, -100.0, -1e9, np.finfo("float32").min, -np.inf])
@pytest.mark.parametrize("function", [in_training, with_dropout])
def test_logits_that_depend_on_place_and_company_warn(function, mask, count):
    x = np.random.default_rng(0).uniform(size=(count, 30)).astype("float32")
    changed = (lambda logits: logits) if mask is None else masked_by(mask)
    with pytest.warns(UserWarning, match="depend on its place or on the images beside it"):
        checks.validated(lambda p, x: changed(function(p, x)), None, x, np.zeros(count, int))


def test_logits_that_are_finite_in_some_company_warn():
    x = np.random.default_rng(0).integers(1, 5, size=(16, 3)).astype("float32") / 4
    x[0] = 0  # the first image's logits are not
    with pytest.warns(UserWarning, match="depend on its place or on the images beside it"):
        checks.validated(normalised_without_a_constant, None, x, np.zeros(16, int))


def in_half_precision(params, x):
    return (x.astype(jnp.bfloat16) @ jnp.ones((x.shape[1], 3), jnp.bfloat16)) * jnp.arange(3)


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    "sound",
    [
        in_half_precision,
        lambda params, x: 1 + 1e-7 * x,
        lambda params, x: 0 * x,
        lambda params, x: x - 1e9 * (jnp.arange(x.shape[1]) > 2),
        lambda params, x: jnp.where(jnp.arange(x.shape[1]) > 2, jnp.finfo("float32").min, x),
        lambda params, x: jnp.where(x > 0.5, -jnp.inf, x),
        lambda params, x: jnp.where(x[:, :1] > 0.5, jnp.nan, x),
    ],
)
def test_logits_that_depend_on_their_image_alone_do_not_warn(sound, count):
    x = np.random.default_rng(0).uniform(size=(count, 300)).astype("float32")
    x[0, 0] = 0.25
    checks.validated(sound, None, x, np.zeros(count, int))


def test_a_module_of_nnx_in_training_mode_is_refused():
    class Model(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(x)

    graph, params = nnx.split(Model())
    with pytest.raises(ValueError, match=r"must be in evaluation mode, by model\.eval\(\)"):
        checks.number_of_classes(lambda params, x: nnx.merge(graph, params)(x), params, X)
    model = Model()
    model.eval()
    graph, params = nnx.split(model)
    assert checks.number_of_classes(lambda p, x: nnx.merge(graph, p)(x), params, X) == 3


def test_images_in_half_precision():
    assert checks.checked_images(jnp.ones((2, 3), jnp.bfloat16)).dtype == np.float32
