"""Columns of generated examples against the attacks on arrays, NumPy and CROWN, to the bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import all_targets, minimal_adversarial, untargeted
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.certify import affine_layers, crown
from jaxadv.datasets.examples import Examples
from jaxadv.datasets.reading import Batch
from jaxadv.measures.generation import BALLS, Generation, checked_classes
from jaxadv.networks import mlp
from jaxadv.storage.errors import InputError
from jaxadv.zoo import LogitsOnly, Model

SHAPE, CLASSES, COUNT, FIRST, BROKEN = (3, 3, 1), 4, 13, 100, np.float32(0.95)
NETWORK = mlp(12, classes=CLASSES, input_shape=SHAPE)
RNG = np.random.default_rng(0)
PARAMS = jax.tree.map(
    lambda leaf: RNG.normal(size=leaf.shape).astype("float32"),
    jax.eval_shape(NETWORK.init, jax.random.key(0)),
)
NOWHERE = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), PARAMS["softmax"])
IMAGES = RNG.uniform(size=(COUNT, *SHAPE)).astype("float32")
PARAMS["softmax"]["bias"] -= np.mean(NETWORK.logits(PARAMS, IMAGES), axis=0)  # all are likely
LABELS, GIVEN = RNG.integers(0, CLASSES, (2, COUNT)).astype("int32")
UNHARMED = np.arange(COUNT) % 3 > 0
ATTACK = AttackOptions(c_steps=3, max_iterations=20, smoothing_steps=0, restart=False)


def logits_fn(params, x):
    """NaN where the first pixel is `BROKEN`."""
    return jnp.where(x[:, :1, 0, 0] == BROKEN, jnp.nan, NETWORK.logits(params, x))


def generation(mode, **others):
    return Generation(logits_fn, PARAMS, CLASSES, mode, attack=ATTACK, seed=5, **others)


def batch(images=IMAGES, labels=LABELS, targets=GIVEN, errors=None):
    return Batch(images, labels, targets, errors or (None,) * len(images))


def predictions(images):
    return np.asarray(logits_fn(PARAMS, images)).argmax(axis=-1)


def ranked(labels):
    """Classes of each image but its label, the least likely first."""
    logits = np.asarray(logits_fn(PARAMS, IMAGES))
    pairs = zip(logits.argsort(axis=1), labels, strict=True)
    return np.array([[each for each in order if each != label] for order, label in pairs])


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, column in found.items():
        np.testing.assert_array_equal(column, expected[name], name, strict=True)


TARGETS = {
    "random": wrong_targets(LABELS, CLASSES, 5, first=FIRST),
    "least-likely": ranked(LABELS)[:, 0],
    "next-likely": ranked(LABELS)[:, -1],
    "class": np.full(COUNT, 2),
    "given": GIVEN,
}


@pytest.mark.parametrize("mode", [*TARGETS, "untargeted", "all-targets"])
def test_columns_are_what_the_attack_returns(mode):
    one = generation(mode, target=2 if mode == "class" else None)
    found = one(batch(), FIRST)
    model = logits_fn, PARAMS, IMAGES
    if mode == "untargeted":
        expected = untargeted(*model, LABELS, ATTACK)
    elif mode == "all-targets":
        expected = all_targets(*model, ATTACK)
    else:
        expected = minimal_adversarial(*model, TARGETS[mode], ATTACK)
        assert_same({"target": found["target"]}, {"target": np.int32(TARGETS[mode])})
    assert expected.success.mean() > 0.9
    for name in ("target", "x_adv", "success", "status", "distortion", "evaluations"):
        np.testing.assert_array_equal(found[name], getattr(expected, name), name)
    originals = IMAGES[:, None] if mode == "all-targets" else IMAGES
    difference = found["x_adv"].astype(float) - originals
    l2 = np.sqrt(np.square(difference).sum(axis=(-3, -2, -1)))
    np.testing.assert_allclose(found["l2"], l2, atol=1e-6)
    np.testing.assert_array_equal(found["index"], FIRST + np.arange(COUNT), strict=True)
    np.testing.assert_array_equal(found["label"], LABELS, strict=True)
    kinds = {name: (str(each.dtype), each.shape[1:]) for name, each in found.items()}
    assert kinds == one.columns(SHAPE)


def test_rows_do_not_depend_on_the_shards():
    one = generation("random")
    whole = one(batch(), FIRST)
    parts = [
        one(batch(IMAGES[part], LABELS[part], None), FIRST + part.start)
        for part in (slice(0, 5), slice(5, 10), slice(10, COUNT))
    ]
    assert_same({name: np.concatenate([part[name] for part in parts]) for name in whole}, whole)
    reseeded = dataclasses.replace(one, seed=6)(batch(), FIRST)
    assert (reseeded["target"] != whole["target"]).any()


@pytest.mark.parametrize("mode", ["random", "least-likely", "next-likely", "untargeted"])
def test_an_unknown_label_is_what_the_model_takes_the_image_for(mode):
    some = np.where(UNHARMED, predictions(IMAGES), -1).astype("int32")
    all_known = generation(mode)(batch(labels=np.int32(predictions(IMAGES))), FIRST)
    for labels in (None, some):
        found = generation(mode)(batch(labels=labels), FIRST)
        shown = {"label": np.full(COUNT, -1, "int32") if labels is None else labels}
        assert_same(found, all_known | shown)
    assert (found["target"] != predictions(IMAGES)).all()


@pytest.mark.parametrize("mode", ["next-likely", "random", "all-targets"])
def test_what_fails_harms_no_other_image(mode):
    images, labels = IMAGES.copy(), np.where(UNHARMED, LABELS, 99).astype("int32")
    images[0], images[3:, 0, 0] = np.nan, np.where(UNHARMED[3:, None], images[3:, 0, 0], BROKEN)
    labels[3::3] = LABELS[3::3]
    errors = tuple("why" if row == 0 else None for row in range(COUNT))
    done = []
    found = generation(mode)(batch(images, labels, None, errors), FIRST, done.append)
    healthy = generation(mode)(batch(), FIRST)
    kept = {name: column[UNHARMED] for name, column in found.items()}
    assert_same(kept, {name: column[UNHARMED] for name, column in healthy.items()})
    assert sum(done) == COUNT
    ways = (CLASSES,) if mode == "all-targets" else ()
    lost = {name: column[~UNHARMED] for name, column in found.items()}
    expected = np.broadcast_to(np.reshape([4, 3, 3, 3, 3], (5, *[1] * len(ways))), (5, *ways))
    np.testing.assert_array_equal(lost["status"], expected)
    np.testing.assert_array_equal(found["predicted"][UNHARMED], predictions(IMAGES)[UNHARMED])
    assert (lost["predicted"] == -1).all()
    assert not lost["success"].any() and not lost["evaluations"].any()
    assert (lost["target"] == -1).all() and np.isnan(lost["distortion"]).all()
    given = np.expand_dims(images[~UNHARMED], 1) if ways else images[~UNHARMED]
    np.testing.assert_array_equal(lost["x_adv"], np.broadcast_to(given, lost["x_adv"].shape))


def test_an_image_without_a_target_that_the_data_is_to_give():
    targets = np.where(UNHARMED, GIVEN, -1).astype("int32")
    one = generation("given")
    given = one.checked(batch(targets=targets))
    assert [error for error in given.errors if error] == ["it has no target"] * 5
    found, healthy = one(given, FIRST), one(batch(), FIRST)
    assert (found["status"][~UNHARMED] == 4).all() and (found["target"][~UNHARMED] == -1).all()
    kept = {name: column[UNHARMED] for name, column in found.items()}
    assert_same(kept, {name: column[UNHARMED] for name, column in healthy.items()})
    np.testing.assert_array_equal(found["predicted"], predictions(IMAGES))


@pytest.mark.parametrize("mode", ["given", "untargeted", "all-targets"])
def test_a_shard_without_any_image(mode):
    lost = batch(np.full_like(IMAGES, np.nan), None, None, ("why",) * COUNT)
    found = generation(mode)(lost, FIRST)
    assert (found["status"] == 4).all() and (found["label"] == -1).all()
    assert {name: each.dtype for name, each in found.items()} == {
        name: np.dtype(dtype) for name, (dtype, _) in generation(mode).columns(SHAPE).items()
    }


@pytest.mark.parametrize("wrong", [CLASSES, -2])
def test_what_is_no_class_is_refused_by_the_name_of_the_image(wrong):
    classes = np.where(np.arange(COUNT) == 7, wrong, 0).astype("int32")
    with pytest.raises(InputError, match=f"image 107 has the label {wrong}, expected 0 to 3"):
        generation("untargeted")(batch(labels=classes), FIRST)
    with pytest.raises(InputError, match=f"image 107 has the target {wrong}, expected 0 to 3"):
        generation("given")(batch(targets=classes), FIRST)
    with pytest.raises(InputError, match="image 100 has the target -1"):
        generation("given")(batch(targets=None), FIRST)


@pytest.mark.parametrize("mode", ["random", "untargeted", "all-targets"])
def test_certificates_are_those_of_crown_rounded_down(mode):
    layers = affine_layers(NETWORK, PARAMS)
    found = generation(mode, certified=layers)(batch(), FIRST)
    bounds = crown(layers, IMAGES, balls=BALLS)
    if mode == "random":
        expected = bounds[np.arange(COUNT), found["target"]]
    elif mode == "untargeted":
        pairs = zip(bounds, LABELS, strict=True)
        expected = np.array([np.delete(each, label).min() for each, label in pairs])
    else:
        expected = bounds
    certified, success = found["certified"], found["success"]
    assert certified.dtype == np.float32 and certified.max() > 0.001
    assert (certified <= expected).all()
    assert (np.nextafter(certified, np.float32(1)) > expected).all()
    assert (certified <= found["distortion"])[success].all()


def test_transfer_is_what_other_models_take_the_examples_for():
    others = {"itself": (logits_fn, PARAMS), "nowhere": (logits_fn, PARAMS | {"softmax": NOWHERE})}
    found = generation("next-likely", others=others)(batch(), FIRST)
    np.testing.assert_array_equal(found["transfer/itself"], predictions(found["x_adv"]))
    assert (found["transfer/itself"] == found["target"])[found["success"]].all()
    assert (found["transfer/nowhere"] == -1).all()
    every = generation("all-targets", others=others)(batch(), FIRST)
    expected = predictions(every["x_adv"].reshape(-1, *SHAPE)).reshape(COUNT, CLASSES)
    np.testing.assert_array_equal(every["transfer/itself"], expected)


@pytest.mark.slow
def test_columns_are_as_precise_as_the_attack():
    with jax.enable_x64(True):
        one = generation("next-likely", certified=affine_layers(NETWORK, PARAMS))
        found = one(batch(), FIRST)
        assert {str(found[name].dtype) for name in ("x_adv", "l2", "certified")} == {"float64"}
        reached = predictions(found["x_adv"]) == found["target"]
    assert found["success"].any() and reached[found["success"]].all()
    assert found["x_adv"].astype(np.float32).tolist() != found["x_adv"].tolist()


def test_models_are_checked_before_any_work():
    examples = Examples(IMAGES, "images")

    def check(*functions):
        models = [
            Model(f"m{number}", LogitsOnly(function, ""), PARAMS, 0.0, 0.0)
            for number, function in enumerate(functions)
        ]
        return checked_classes(models, examples, "random", None)

    def of_one_image(params, x):
        assert len(x) == 1, "one at a time"
        return logits_fn(params, x)

    def without_gradients(params, x):
        shape = jax.ShapeDtypeStruct((len(x), CLASSES), np.float32)
        return jax.pure_callback(lambda x: np.zeros(shape.shape, shape.dtype), shape, x)

    assert check(logits_fn, without_gradients) == CLASSES
    with pytest.raises(ValueError, match=r"m0: logits_fn cannot be applied.*one at a time"):
        check(of_one_image)
    with pytest.raises(ValueError, match="m1: logits_fn cannot be applied"):
        check(logits_fn, lambda params, x: x.reshape(len(x), 7))
    with pytest.raises(ValueError, match="m0 has no gradients: Pure callbacks do not support"):
        check(without_gradients)
