"""Attacks that are kept, resumed and not done twice."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import stored
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, concatenated
from jaxadv.attacks.several_targets import all_targets

SHAPE, CLASSES, COUNT = (4, 4, 1), 3, 20
OPTIONS = AttackOptions(c_steps=3, max_iterations=20, smoothing_steps=0)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(COUNT, *SHAPE)).astype("float32")
LABELS = RNG.integers(0, CLASSES, COUNT).astype("int32")
TARGETS = np.int32((LABELS + 1) % CLASSES)


class Network(NamedTuple):
    """What tells a network, as the functions take it."""

    name: str
    logits_fn: Any
    params: Any
    identity: str


def sigmoid_logits(params, x):
    hidden = 1 / (1 + jnp.exp(-x.reshape(len(x), -1) @ params["hidden"]))
    return hidden @ params["out"] - params["bias"]


def sigmoid_params():
    """Random weights, with biases by which all classes are likely."""
    hidden, out = (RNG.normal(size=size).astype("float32") for size in ((16, 12), (12, CLASSES)))
    params = {"hidden": hidden, "out": out, "bias": np.float32(0)}
    return params | {"bias": np.asarray(sigmoid_logits(params, IMAGES)).mean(axis=0)}


SIGMOID = Network("sigmoid", sigmoid_logits, sigmoid_params(), "sigmoid_logits")
LINEAR = Network(
    "linear",
    lambda params, x: x.reshape(len(x), -1)[:, :3] + params["bias"],
    {"bias": np.float32([0.5, 0.25, 0])},
    "linear",
)


def instant_attack(logits_fn, params, x, target, options, progress):
    """Stands in for `minimal_adversarial` and depends on all that it depends on."""
    moved = x * np.float32(options.tol) + params["bias"][0] + target[:, None, None, None]
    if progress:
        progress(len(x))
    zeros = np.zeros((3, len(x)), "float32")
    success = np.argmax(logits_fn(params, moved), axis=1) == target
    return AttackResult(moved, success, *zeros, np.int8(target), target, zeros[0], zeros.T)


@pytest.fixture
def attacked(monkeypatch):
    """Chunks of 8 images; grows by the number of images of each chunk that is computed."""
    sizes = []

    def record(logits_fn, params, x, *args, **kwargs):
        sizes.append(len(x))
        return instant_attack(logits_fn, params, x, *args, **kwargs)

    monkeypatch.setattr(stored, "CHUNK", 8)
    monkeypatch.setattr(stored, "minimal_adversarial", record)
    return sizes


def attack(cache_dir, network=LINEAR, images=IMAGES, targets=TARGETS, options=OPTIONS, **kwargs):
    found = stored.stored_attack(*network, images, targets, options, cache_dir, **kwargs)
    return concatenated(result for _, result in found)


def assert_same(first, second):
    for name, values in first._replace(cost=second.cost)._asdict().items():
        np.testing.assert_array_equal(values, getattr(second, name), err_msg=name, strict=True)


def test_attack_in_chunks_is_minimal_adversarial(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "CHUNK", 8)
    expected = minimal_adversarial(SIGMOID.logits_fn, SIGMOID.params, IMAGES, TARGETS, OPTIONS)
    assert expected.success.mean() > 0.5
    for _ in range(2):  # computed, then read
        assert_same(attack(tmp_path, SIGMOID), expected)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_attack_is_resumed(tmp_path, attacked, monkeypatch, done):
    compute = stored.minimal_adversarial

    def interrupted(*args, **kwargs):
        if len(attacked) == done:
            raise KeyboardInterrupt("stop")
        return compute(*args, **kwargs)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt, match="stop"):
        context.setattr(stored, "minimal_adversarial", interrupted)
        attack(tmp_path / "interrupted")
    assert attacked == [8, 8, 4][:done]
    resumed = attack(tmp_path / "interrupted")
    assert attacked == [8, 8, 4]
    assert_same(resumed, attack(tmp_path / "at once"))


@pytest.mark.parametrize(
    "changes, computed",
    [
        ({}, []),
        ({"options": dataclasses.replace(OPTIONS, batch_size=16)}, [8, 8, 4]),
        ({"images": IMAGES[:18], "targets": TARGETS[:18]}, [2]),
        ({"options": dataclasses.replace(OPTIONS, tol=0.1)}, [8, 8, 4]),
        ({"options": dataclasses.replace(OPTIONS, penalty="l2")}, [8, 8, 4]),
        (
            {"network": LINEAR._replace(params={"bias": np.ones(3, np.float32)})},
            [8, 8, 4],
        ),
        ({"network": LINEAR._replace(identity="other")}, [8, 8, 4]),
        ({"targets": np.int32((LABELS + 2) % CLASSES)}, [8, 8, 4]),
        ({"images": 1 - IMAGES}, [8, 8, 4]),
    ],
)
def test_what_is_served_from_the_cache(tmp_path, attacked, changes, computed):
    attack(tmp_path)
    attacked.clear()
    found = attack(tmp_path, **changes)
    assert attacked == computed
    assert_same(found, attack(tmp_path / "fresh", **changes))


def test_other_code_is_not_served_from_the_cache(tmp_path, attacked, monkeypatch):
    attack(tmp_path)
    monkeypatch.setattr(stored.cache, "source_fingerprint", lambda *packages: "other")
    attack(tmp_path)
    assert attacked == [8, 8, 4, 8, 8, 4]


def test_examples_of_another_precision_are_made_anew(tmp_path, attacked):
    attack(tmp_path)
    with jax.enable_x64(True):
        attack(tmp_path)
    assert attacked == [8, 8, 4] * 2


def test_examples_of_a_model_that_has_changed_are_made_anew(tmp_path, attacked):
    """What a function depends on, besides its arguments, no key can tell."""
    bias = np.float32([0, 0, 0])
    network = LINEAR._replace(logits_fn=lambda params, x: LINEAR.logits_fn(params, x) + bias)
    first = attack(tmp_path, network)
    attack(tmp_path, network)
    assert attacked == [8, 8, 4]
    bias[:] = 0, 9, 0  # loaded anew, say
    network = LINEAR._replace(logits_fn=lambda params, x: LINEAR.logits_fn(params, x) + bias)
    with pytest.warns(UserWarning, match="linear-.*npz is of a model with other logits"):
        second = attack(tmp_path, network)
    assert attacked == [8, 8, 4] * 2
    assert (first.success != second.success).any()
    assert_same(attack(tmp_path, network), second)
    assert attacked == [8, 8, 4] * 2


@pytest.mark.parametrize("lead, belongs", [(1e-7, True), (-1e-7, True), (-1e-4, False)])
def test_examples_next_to_a_tie_are_used_again(lead, belongs):
    """Another program may round the logits of a success the other way."""
    x = np.float32([[1 + lead, 1, -1]])
    kept = {"x_adv": x, "success": np.array([True]), "target": np.array([0]), "logits": x}
    assert stored._belongs(kept, (lambda params, x: x, {})) == belongs


def test_the_key_covers_all_code_that_attacks_run_on():
    """Each module that attacking a network of the zoo loads, but for the data sets.

    And but for what the package loads about Ctrl-C.
    """
    program = "import jaxadv.attacks.stored, jaxadv.attacks.lbfgsb, jaxadv.networks, sys;"
    program += "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('jaxadv.')))"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    outside = [
        path for path in loaded if not any(Path(path).is_relative_to(f) for f in stored.CODE)
    ]
    assert {Path(path).parent.name for path in outside} <= {"datasets", "runs", "spectral"}
    runs = {Path(path).name for path in outside if Path(path).parent.name == "runs"}
    assert runs <= {"__init__.py", "interruption.py"}


def test_progress_counts_all_images(tmp_path, attacked):
    for _ in range(2):  # computed, then read
        told = []
        attack(tmp_path, progress=told.append)
        assert told == [8, 8, 4]


def test_progress_counts_images_of_a_damaged_file_once(tmp_path, attacked):
    attack(tmp_path)
    first, *_ = sorted(tmp_path.glob("attacks/*"))
    first.write_bytes(first.read_bytes()[:-50])
    told = []
    with pytest.warns(UserWarning, match="is damaged"):
        attack(tmp_path, progress=told.append)
    assert told == [8, 8, 4]


def test_names_that_file_names_cannot_hold(tmp_path, attacked):
    network = LINEAR._replace(name="mine:network")
    paths = [path for path, _ in stored.stored_attack(*network, IMAGES, TARGETS, OPTIONS, tmp_path)]
    assert all(path.name.startswith("mine.network-") and path.exists() for path in paths)
    assert sorted(paths) == paths == sorted(tmp_path.glob("attacks/*"))


# Every image towards all classes


def attack_all(cache_dir, options=OPTIONS, images=IMAGES, **kwargs):
    return stored.stored_all_targets(*SIGMOID, images, options, cache_dir, **kwargs)


@pytest.fixture(scope="module")
def towards_all(tmp_path_factory):
    """(what `all_targets` finds, the folder with what `stored_all_targets` keeps)."""
    folder = tmp_path_factory.mktemp("cache")
    expected = all_targets(SIGMOID.logits_fn, SIGMOID.params, IMAGES, OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "CHUNK", 3 * 8 + 2)  # so that no file would end between two images
        told = []
        assert_same(attack_all(folder, progress=told.append), expected)
    assert sum(told) == COUNT
    return expected, folder


def test_all_targets_are_kept_by_whole_images(towards_all, monkeypatch):
    expected, folder = towards_all
    assert expected.x_adv.shape == (COUNT, CLASSES, *SHAPE)
    assert expected.success.mean() > 0.8
    sizes = []
    for path in sorted(folder.glob("attacks/*")):
        with np.load(path) as file:
            sizes.append(file["target"].shape)
    assert sizes == [(8, CLASSES), (8, CLASSES), (4, CLASSES)]


def test_all_targets_are_not_attacked_twice(towards_all, monkeypatch):
    expected, folder = towards_all
    monkeypatch.setattr(stored, "CHUNK", 3 * 8 + 2)
    monkeypatch.setattr(stored, "all_targets", lambda *args, **kwargs: pytest.fail("attacked"))
    told = []
    assert_same(attack_all(folder, progress=told.append), expected)
    assert told == [8, 8, 4]


def test_all_targets_of_other_images_are_attacked(towards_all, monkeypatch):
    _, folder = towards_all
    monkeypatch.setattr(stored, "all_targets", lambda *args, **kwargs: pytest.fail("attacked"))
    for settings in ({"images": 1 - IMAGES}, {"options": dataclasses.replace(OPTIONS, tol=0.1)}):
        with pytest.raises(pytest.fail.Exception, match="attacked"):
            attack_all(folder, **settings)


def test_all_targets_in_one_file_are_the_same_bits_and_costs(tmp_path, towards_all):
    found, (expected, _) = attack_all(tmp_path), towards_all
    for name, values in found._asdict().items():
        np.testing.assert_array_equal(values, getattr(expected, name), err_msg=name, strict=True)
