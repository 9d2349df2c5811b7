"""Weights that are trained once and kept."""

import contextlib
import json
import os
import struct

import jax
import numpy as np
import pytest

from jaxadv import networks, spectral, training, zoo
from jaxadv.datasets import Dataset
from jaxadv.networks import FullyConnected, Network, Standardise, mlp
from jaxadv.storage import cache
from jaxadv.training import Schedule, Supervised
from jaxadv.zoo import kept

RECIPE = Supervised((1e-4, 0.0), Schedule(2, 50, 0.01))
NETWORK = mlp(8, input_shape=(4, 4, 1))


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(700, *NETWORK.input_shape)).astype("float32")
    labels = np.int32(np.argmax(images[:, 1:3].reshape(700, -1), axis=1))
    return {
        "train": Dataset(images[:500], labels[:500]),
        "test": Dataset(images[500:], labels[500:]),
    }


@pytest.fixture
def trainings(monkeypatch):
    """Grows by one with each training."""
    calls, train = [], training.train
    monkeypatch.setattr(training, "train", lambda *args: (calls.append(args), train(*args))[1])
    return calls


@pytest.fixture
def untrained(monkeypatch):
    """Replaces training by a mere start, where the weights do not matter."""
    monkeypatch.setattr(training, "train", lambda network, *_: network.init(jax.random.key(0)))


def trained(tmp_path, splits, seed=0, network=NETWORK, recipe=RECIPE, name="tiny", **options):
    return zoo.trained(name, network, recipe, splits, seed, cache_dir=tmp_path, **options)


def weights_files(directory):
    return sorted(path.name for path in (directory / "weights").iterdir())


def test_weights_are_used_again(tmp_path, splits, trainings):
    first, second = (trained(tmp_path, splits) for _ in range(2))
    assert len(trainings) == 1
    assert first.network is second.network is NETWORK
    assert list(second.params) == ["hidden1", "softmax"]
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b, strict=True), first.params, second.params
    )
    assert first._replace(params=None) == second._replace(params=None)

    third = trained(tmp_path, splits, retrain=True)
    assert len(trainings) == 2
    jax.tree.map(np.testing.assert_array_equal, first.params, third.params)
    assert len(weights_files(tmp_path)) == 1


def test_seconds_of_a_training_that_was_interrupted_are_not_known(tmp_path, splits, untrained):
    assert trained(tmp_path, splits).seconds is not None
    (name,) = weights_files(tmp_path)
    (tmp_path / "weights" / name).with_suffix(".partial").mkdir()
    assert trained(tmp_path, splits, retrain=True).seconds is None


def test_errors_are_those_of_the_splits(tmp_path, splits):
    model = trained(tmp_path, splits)
    errors = model.train_error, model.test_error
    for error, (images, labels) in zip(errors, splits.values(), strict=True):
        h = images.reshape(len(images), -1) @ model.params["hidden1"]["kernel"]
        h = 1 / (1 + np.exp(-h - model.params["hidden1"]["bias"]))
        logits = h @ model.params["softmax"]["kernel"] + model.params["softmax"]["bias"]
        assert error == np.mean(np.argmax(logits, axis=1) != labels)
    assert 0 < model.train_error < 0.9


def changed(dataset):
    return Dataset(dataset.images, 9 - dataset.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"network": mlp(9, input_shape=(4, 4, 1))},
        {"recipe": Supervised((1e-4, 1e-9), RECIPE.schedule)},
        {"name": "other"},
        {"split": ("train", lambda dataset: Dataset(1 - dataset.images, dataset.labels))},
        {"split": ("train", changed)},
        {"split": ("test", changed)},  # the errors are kept, too
    ],
    ids=["seed", "network", "recipe", "name", "images", "labels", "test split"],
)
def test_another_run_has_another_file(tmp_path, splits, untrained, change):
    trained(tmp_path, splits)
    if "split" in change:
        split, other = change["split"]
        trained(tmp_path, splits | {split: other(splits[split])})
    else:
        trained(tmp_path, splits, **change)
    assert len(weights_files(tmp_path)) == 2


@pytest.mark.parametrize("package", [networks, spectral, training])
def test_other_code_has_another_file(tmp_path, splits, untrained, monkeypatch, package):
    trained(tmp_path, splits)
    (tmp_path / "__init__.py").write_text("# other code")
    monkeypatch.setattr(package, "__file__", str(tmp_path / "__init__.py"))
    trained(tmp_path, splits)
    assert len(weights_files(tmp_path)) == 2


def test_file_is_safetensors_and_says_what_it_holds(tmp_path, splits):
    model = trained(tmp_path, splits, 7)
    [name] = weights_files(tmp_path)
    assert name.startswith("tiny-") and name.endswith(".safetensors")
    content = (tmp_path / "weights" / name).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]

    metadata = header.pop("__metadata__")
    assert {
        key: metadata[key] for key in ("model", "seed", "data", "network", "recipe", "code")
    } == {
        "model": "tiny",
        "seed": "7",
        "data": cache.fingerprint(splits["train"], splits["test"]),
        "code": cache.source_fingerprint(networks, spectral, training),
        "network": repr(NETWORK),
        "recipe": repr(RECIPE),
    }
    assert "units = 8" in metadata["network"] and "0x" not in metadata["network"]
    assert set(json.loads(metadata["versions"])) == {"jaxadv", "jax", "flax"}
    assert json.loads(metadata["results"]) == {
        "train_error": model.train_error,
        "test_error": model.test_error,
        "seconds": model.seconds,
    }
    assert len(header) == 4
    for key, entry in header.items():
        layer, parameter = key.split("/")
        array = np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        np.testing.assert_array_equal(array, model.params[layer][parameter])


def test_no_file_of_a_training_that_was_cut_off(tmp_path, splits, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt("stop")

    monkeypatch.setattr(kept.safetensors.numpy, "save", interrupt)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        trained(tmp_path, splits)
    assert weights_files(tmp_path) == []


def test_layers_without_parameters_are_read_back(tmp_path, mnist):
    few = mnist.part(slice(20))
    layers = (Standardise((0.1,), (0.3,), name="standardise"), FullyConnected(10, name="softmax"))
    network = Network(layers, (28, 28, 1))
    recipe = Supervised((0.0, 0.0), Schedule(1, 10, 0.01))
    splits = {"train": few, "test": few}
    for _ in range(2):  # trained, then read
        model = zoo.trained("mine", network, recipe, splits, 0, cache_dir=tmp_path)
        assert network.logits(model.params, few.images).shape == (20, 10)


@pytest.mark.parametrize("damage", ["weights", "results", "header", "end", "all"])
def test_damaged_weights_are_trained_anew(tmp_path, splits, untrained, damage):
    first = trained(tmp_path, splits)
    [name] = weights_files(tmp_path)
    path = tmp_path / "weights" / name
    data = path.read_bytes()
    bad = {
        "weights": data[:-400] + bytes(400),
        "results": data.replace(b'test_error\\": 0.', b'test_error\\": 1.'),
        "header": b"\xff" * 20 + data[20:],
        "end": data[:-9],
        "all": b"",
    }[damage]
    assert bad != data
    path.write_bytes(bad)
    with pytest.warns(UserWarning, match=f"{name} is damaged"):
        again = trained(tmp_path, splits)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert first.test_error == again.test_error
    assert path.with_name(f"{name}.damaged").read_bytes() == bad
    trained(tmp_path, splits)  # without a warning


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, splits, untrained, monkeypatch):
    @contextlib.contextmanager
    def on_a_full_disk(path):
        with replacing(path) as temporary:
            temporary.symlink_to("/dev/full")
            yield temporary

    replacing = cache.replacing
    monkeypatch.setattr(cache, "replacing", on_a_full_disk)
    with pytest.raises(OSError, match=r"No space left .*: '.*/tiny-[^/]*\.safetensors'$"):
        trained(tmp_path, splits)
    assert weights_files(tmp_path) == []
