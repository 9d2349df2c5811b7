"""Weights that are trained once, and whether the zoo's networks are the paper's."""

import json
import struct
import sys

import jax
import numpy as np
import pytest
import safetensors

from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks.network import mlp
from jaxadv.reports import paper
from jaxadv.storage import cache
from jaxadv.training import fit as training
from jaxadv.training.fit import Schedule, Supervised
from jaxadv.zoo import recipes as zoo

SHAPE = (4, 4, 1)
RECIPE = Supervised((1e-4, 0.0), Schedule(2, 50, 0.01))
ENTRY = zoo.Entry(mlp(8, input_shape=SHAPE), RECIPE)


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(700, *SHAPE)).astype("float32")
    labels = np.int32(np.argmax(images[:, 1:3].reshape(700, -1), axis=1))
    return {
        "train": Dataset(images[:500], labels[:500]),
        "test": Dataset(images[500:], labels[500:]),
    }


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(zoo.ZOO, "tiny", ENTRY)


@pytest.fixture
def trained(monkeypatch):
    """Grows by one with each training."""
    calls, train = [], training.train
    monkeypatch.setattr(training, "train", lambda *args: (calls.append(args), train(*args))[1])
    return calls


@pytest.fixture
def untrained(monkeypatch):
    """Replaces training by a mere start, where the weights do not matter."""
    monkeypatch.setattr(training, "train", lambda network, *_: network.init(jax.random.key(0)))


def weights_files(directory):
    return sorted(path.name for path in (directory / "weights").iterdir())


@pytest.mark.parametrize(
    "name, hint",
    [
        ("FC10(1e4)", r"; did you mean 'FC10\(1e-4\)'\?$"),
        ("fc100-100-10", r"; did you mean 'FC100-100-10'\?$"),
        ("AE400", r"; did you mean 'AE400-10'\?$"),
        ("xyz", r"'AE400-10', 'LeNet-5', 'CNN', 'tiny'\]$"),
    ],
)
def test_unknown_name(tmp_path, splits, trained, name, hint):
    with pytest.raises(
        ValueError, match=rf"^unknown model '.*', expected module:function or one of .*{hint}"
    ):
        zoo.load(name, splits, 0, cache_dir=tmp_path)
    assert not trained and not list(tmp_path.iterdir())


OWN_MODELS = """
import numpy as np
from jaxadv.networks.network import mlp

def logits_fn(params, x):
    return x.reshape(len(x), -1)[:, :10] * params

def good():
    return logits_fn, np.float32(2.0)

def network():
    network = mlp(12)
    import jax
    return network, network.init(jax.random.key(0))

def not_a_pair():
    return logits_fn

def classes():
    return (lambda params, x: x.reshape(len(x), -1)[:, :7]), {}

def fails():
    raise RuntimeError("boom")

def needs(argument):
    return logits_fn, {}

def other_shape():
    return mlp(input_shape=(8, 8, 1)), {}

def shape():
    return (lambda params, x: x @ params), np.zeros((3, 3))
"""


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """Makes the module own_models importable."""
    (tmp_path / "own_models.py").write_text(OWN_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "own_models.py"
    sys.modules.pop("own_models", None)
    zoo.imported.cache_clear()


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(50, 28, 28, 1)).astype("float32")
    dataset = Dataset(images, np.int32(np.argmax(images.reshape(50, -1)[:, :10], axis=1)))
    return {"train": dataset, "test": Dataset(images, (dataset.labels + 1) % 10)}


def test_own_logits(own_models, images, trained):
    model = zoo.load("own_models:good", images, 0)
    assert not trained
    np.testing.assert_array_equal(
        model.network.logits(model.params, images["test"].images),
        2 * images["test"].images.reshape(50, -1)[:, :10],
    )
    assert (model.name, model.train_error, model.test_error) == ("own_models:good", 0.0, 1.0)


def test_own_network_has_its_layers(own_models, images):
    model = zoo.load("own_models:network", images, 0)
    assert model.network == mlp(12)


def test_own_code_that_changed_is_another_network(own_models, images):
    first = zoo.load("own_models:good", images, 0)
    own_models.write_text(OWN_MODELS + "# changed\n")
    zoo.imported.cache_clear()
    sys.modules.pop("own_models")
    second = zoo.load("own_models:good", images, 0)
    prints = [cache.fingerprint(repr(model.network)) for model in (first, second, second)]
    assert prints[0] != prints[1] == prints[2]


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_module:good", "cannot import model .*No module named 'no_such_module'"),
        ("own_models:bad", "cannot import model .*no attribute 'bad'"),
        (":good", "cannot import model ':good'"),
        ("own_models:fails", "cannot import model .*RuntimeError: boom"),
        ("own_models:needs", "cannot import model .*missing 1 required positional argument"),
        ("own_models:other_shape", r"takes images of \(8, 8, 1\), expected \(28, 28, 1\)"),
        ("own_models:not_a_pair", r"must return \(logits_fn, params\), got function"),
        ("own_models:classes", "own_models:classes has 7 classes, expected 10"),
        ("own_models:shape", "logits_fn cannot be applied to images of shape"),
    ],
)
def test_bad_own_models(own_models, name, message):
    with pytest.raises(ValueError, match=message):
        zoo.check_names([name])


def test_weights_are_used_again(tmp_path, splits, trained):
    first, second = (zoo.load("tiny", splits, 0, cache_dir=tmp_path) for _ in range(2))
    assert len(trained) == 1
    assert first.network is second.network is ENTRY.network
    assert list(second.params) == ["hidden1", "softmax"]
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b, strict=True), first.params, second.params
    )
    assert first._replace(params=None) == second._replace(params=None)

    third = zoo.load("tiny", splits, 0, cache_dir=tmp_path, retrain=True)
    assert len(trained) == 2
    jax.tree.map(np.testing.assert_array_equal, first.params, third.params)
    assert len(weights_files(tmp_path)) == 1


def test_errors_are_those_of_the_splits(tmp_path, splits):
    model = zoo.load("tiny", splits, 0, cache_dir=tmp_path)
    for error, (images, labels) in zip(model[-2:], splits.values(), strict=True):
        h = images.reshape(len(images), -1) @ model.params["hidden1"]["kernel"]
        h = 1 / (1 + np.exp(-h - model.params["hidden1"]["bias"]))
        logits = h @ model.params["softmax"]["kernel"] + model.params["softmax"]["bias"]
        assert error == np.mean(np.argmax(logits, axis=1) != labels)
    assert 0 < model.train_error < 0.9


@pytest.mark.parametrize("what", ["seed", "images", "labels", "network", "recipe", "name"])
def test_another_run_has_another_file(tmp_path, splits, monkeypatch, untrained, what):
    zoo.load("tiny", splits, 0, cache_dir=tmp_path)
    images, labels = splits["train"]
    name, seed, entry = "tiny", 0, ENTRY
    if what == "seed":
        seed = 1
    elif what == "images":
        splits["train"] = Dataset(1 - images, labels)
    elif what == "labels":
        splits["train"] = Dataset(images, 9 - labels)
    elif what == "network":
        entry = ENTRY._replace(network=mlp(9, input_shape=SHAPE))
    elif what == "recipe":
        entry = ENTRY._replace(recipe=Supervised((1e-4, 1e-9), RECIPE.schedule))
    else:
        name = "other"
    monkeypatch.setitem(zoo.ZOO, name, entry)
    zoo.load(name, splits, seed, cache_dir=tmp_path)
    assert len(weights_files(tmp_path)) == 2


def test_file_is_safetensors_and_says_what_it_holds(tmp_path, splits):
    model = zoo.load("tiny", splits, 7, cache_dir=tmp_path)
    [name] = weights_files(tmp_path)
    assert name.startswith("tiny-") and name.endswith(".safetensors")
    content = (tmp_path / "weights" / name).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]

    metadata = header.pop("__metadata__")
    assert {key: metadata[key] for key in ("model", "seed", "data", "network", "recipe")} == {
        "model": "tiny",
        "seed": "7",
        "data": cache.fingerprint(splits["train"]),
        "network": repr(ENTRY.network),
        "recipe": repr(RECIPE),
    }
    assert "units = 8" in metadata["network"] and "0x" not in metadata["network"]
    assert set(json.loads(metadata["versions"])) == {"jaxadv", "jax", "flax"}
    assert json.loads(metadata["results"]) == {
        "train_error": model.train_error,
        "test_error": model.test_error,
    }
    assert len(header) == 4
    for key, entry in header.items():
        layer, parameter = key.split("/")
        array = np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        np.testing.assert_array_equal(array, model.params[layer][parameter])


def test_no_file_of_a_training_that_was_cut_off(tmp_path, splits, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt("stop")

    monkeypatch.setattr(safetensors.numpy, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        zoo.load("tiny", splits, 0, cache_dir=tmp_path)
    assert weights_files(tmp_path) == []


@pytest.fixture(scope="module")
def mnist_splits():
    return datasets.load("mnist")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(paper.TABLE_1))
def test_networks_have_the_errors_of_the_paper(tmp_path, mnist_splits, name):
    model = zoo.load(name, mnist_splits, 0, cache_dir=tmp_path)
    published = paper.TABLE_1[name]
    if name == "FC10(1e-4)":
        assert model.test_error == pytest.approx(0.074, abs=0.005)
    elif name.startswith("FC10("):
        assert model.train_error == pytest.approx(published.train_error, abs=0.01)
        assert model.test_error == pytest.approx(published.test_error, abs=0.01)
    elif name == "AE400-10":
        assert model.test_error <= 0.024
    else:
        assert model.train_error == 0
        assert model.test_error <= 0.021


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LeNet-5", "CNN"])
def test_convolutional_networks_are_good_ones(tmp_path, mnist_splits, name):
    assert zoo.load(name, mnist_splits, 0, cache_dir=tmp_path).test_error <= 0.013


def test_the_zoo_has_the_networks_of_the_paper_and_two_cnns():
    assert set(zoo.ZOO) - {"tiny"} == {*paper.TABLE_1, "FC123-456-10", "LeNet-5", "CNN"}
