"""Models by name: the zoo's, a user's own, and whether they fit the data."""

import re
import sys
import types

import numpy as np
import pytest

from jaxadv import datasets, training, zoo
from jaxadv.datasets import Dataset, DatasetInfo
from jaxadv.networks import mlp
from jaxadv.storage import cache
from jaxadv.training import Schedule, Supervised
from jaxadv.zoo.imported import imported

MNIST = datasets.info("mnist")
SMALL = DatasetInfo("small", (6, 5, 2), 3, {"train": 60, "test": 20})

OWN_MODELS = """
import equinox as eqx
import jax
import numpy as np
from jaxadv.networks import FullyConnected, Network, mlp

def first_pixels(classes):
    return lambda params, x: x.reshape(len(x), -1)[:, :classes] * params

def good():
    return first_pixels(10), np.float32(2.0)

def small():
    return first_pixels(3), np.float32(2.0)

def small_network():
    network = mlp(4, classes=3, input_shape=(6, 5, 2))
    return network, network.init(jax.random.key(0))

def own_function():
    layer = FullyConnected(3, lambda x: x + 0, name="softmax")
    network = Network((layer,), (6, 5, 2))
    return network, network.init(jax.random.key(0))

class Module(eqx.Module):
    weight: np.ndarray
    factor: float
    shift: int

    def __call__(self, x):
        return x.reshape(-1)[:10] * self.weight * self.factor + self.shift

def module():
    return lambda params, x: jax.vmap(params)(x), Module(np.ones(10, "float32"), 2.0, 0)

def network():
    network = mlp(12)
    return network, network.init(jax.random.key(0))

def not_a_pair():
    return first_pixels

def classes():
    return first_pixels(7), np.float32(1.0)

def fails():
    raise RuntimeError("boom")

def needs(argument):
    return first_pixels(10), {}

def other_shape():
    return mlp(input_shape=(8, 8, 1)), {}

def shape():
    return (lambda params, x: x @ params), np.zeros((3, 3))
"""


def splits_of(info):
    """Labels are the brightest of the first pixels; wrong ones in the test split."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(50, *info.image_shape)).astype("float32")
    labels = np.int32(np.argmax(images.reshape(50, -1)[:, : info.classes], axis=1))
    return {"train": Dataset(images, labels), "test": Dataset(images, (labels + 1) % info.classes)}


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained"))


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """Makes the module own_models importable."""
    (tmp_path / "own_models.py").write_text(OWN_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "own_models.py"
    sys.modules.pop("own_models", None)
    imported.cache_clear()


def loads(name, info, tmp_path):
    return zoo.load(name, splits_of(info), 0, info, cache_dir=tmp_path)


def test_networks_for_imagenet_do_not_fit_mnist(tmp_path, no_training):
    expected = (
        "EfficientNet-Lite1 takes images of (240, 240, 3), expected (28, 28, 1), those of mnist"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        loads("EfficientNet-Lite1", MNIST, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_needs_no_training(tmp_path, own_models, monkeypatch):
    network = mlp(4)
    pretrained = zoo.registry.Pretrained(lambda: network, lambda path: (network, {"kept in": path}))
    monkeypatch.setitem(zoo.PRETRAINED, "theirs", pretrained)
    model = zoo.ready("theirs", tmp_path)
    assert (model.name, model.network, model.params) == ("theirs", network, {"kept in": tmp_path})
    assert np.isnan(model.train_error) and np.isnan(model.test_error)
    assert zoo.ready("own_models:good").params == 2
    with pytest.raises(ValueError, match=r"unknown model 'thiers', .*; did you mean 'theirs'\?$"):
        zoo.ready("thiers")
    with pytest.raises(ValueError, match="unknown model 'CNN', expected module:function or a name"):
        zoo.ready("CNN")


@pytest.mark.parametrize(
    "name, hint",
    [
        ("FC10(1e4)", r"; did you mean 'FC10\(1e-4\)' or 'FC10\(1\)' or 'FC10\(1e-2\)'\?"),
        ("fc100-100-10", r"; did you mean 'FC100-100-10' or .*\?"),
        ("AE400", r"; did you mean 'AE400-10'\?"),
        ("cnn", r"; did you mean 'CNN'\?"),
        ("xyz", ""),
    ],
)
def test_unknown_name(tmp_path, no_training, name, hint):
    with pytest.raises(
        ValueError, match=rf"^unknown model '.*', expected .* jaxadv\.zoo\.PRETRAINED{hint}$"
    ):
        loads(name, MNIST, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "network, message",
    [
        (mlp(classes=3), r"takes images of \(28, 28, 1\), expected \(6, 5, 2\), those of small"),
        (mlp(classes=3, input_shape=(6, 5, 1)), r"images of \(6, 5, 1\), expected \(6, 5, 2\)"),
        (mlp(4, input_shape=(6, 5, 2)), "tiny has 10 classes, expected 3, those of small"),
    ],
)
def test_networks_of_the_zoo_that_do_not_fit(tmp_path, monkeypatch, no_training, network, message):
    recipe = Supervised((0.0,), Schedule(1, 10, 0.1))
    monkeypatch.setitem(zoo.ZOO, "tiny", zoo.Entry(network, recipe))
    for call in (
        lambda: zoo.check_names(["tiny"], SMALL),
        lambda: zoo.with_layers("tiny", SMALL),
        lambda: loads("tiny", SMALL, tmp_path),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not list(tmp_path.iterdir())


def test_a_network_for_other_images_and_classes(tmp_path, monkeypatch):
    network = mlp(classes=3, input_shape=SMALL.image_shape)
    recipe = Supervised((0.0,), Schedule(100, 10, 0.1))
    monkeypatch.setitem(zoo.ZOO, "tiny", zoo.Entry(network, recipe))
    assert zoo.with_layers("tiny", SMALL) == network
    model = loads("tiny", SMALL, tmp_path)
    assert model.params["softmax"]["kernel"].shape == (60, 3)
    assert model.train_error == 0 and model.test_error == 1


@pytest.mark.parametrize("name, info", [("good", MNIST), ("small", SMALL), ("module", MNIST)])
def test_own_logits(tmp_path, own_models, no_training, name, info):
    model = loads(f"own_models:{name}", info, tmp_path)
    images = splits_of(info)["test"].images
    np.testing.assert_array_equal(
        model.network.logits(model.params, images),
        2 * images.reshape(50, -1)[:, : info.classes],
    )
    assert (model.name, model.train_error, model.test_error) == (f"own_models:{name}", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"must return \(Network, params\), got no layers"):
        zoo.with_layers(f"own_models:{name}", info)


def test_own_network_has_its_layers(tmp_path, own_models):
    assert loads("own_models:network", MNIST, tmp_path).network == mlp(12)
    assert zoo.with_layers("own_models:small_network", SMALL).input_shape == (6, 5, 2)


@pytest.mark.parametrize("name", ["small", "own_function"])
def test_own_code_that_changed_is_another_network(tmp_path, own_models, name):
    """Of a network, the code of its layers and of the functions they hold."""
    first = loads(f"own_models:{name}", SMALL, tmp_path)
    own_models.write_text(OWN_MODELS.replace("x + 0", "x + 1") + "# changed\n")
    imported.cache_clear()
    sys.modules.pop("own_models")
    second = loads(f"own_models:{name}", SMALL, tmp_path)
    prints = [cache.fingerprint(model.identity) for model in (first, second, second)]
    assert prints[0] != prints[1] == prints[2]


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_module:good", "cannot load model .*No module named 'no_such_module'"),
        ("own_models:bad", "cannot load model .*no attribute 'bad'"),
        (":good", "cannot load model ':good'"),
        ("time:localtime", r"time:localtime must return \(logits_fn, params\)"),
        ("own_models:fails", "cannot load model .*RuntimeError: boom"),
        ("own_models:needs", "cannot load model .*missing 1 required positional argument"),
        ("own_models:other_shape", r"takes images of \(8, 8, 1\), expected \(28, 28, 1\)"),
        ("own_models:small_network", r"takes images of \(6, 5, 2\), expected \(28, 28, 1\)"),
        ("own_models:not_a_pair", r"must return \(logits_fn, params\), got function"),
        ("own_models:classes", "own_models:classes has 7 classes, expected 10, those of mnist"),
        ("own_models:small", "own_models:small has 3 classes, expected 10"),
        ("own_models:shape", "logits_fn cannot be applied to "),
    ],
)
def test_bad_own_models(own_models, name, message):
    with pytest.raises(ValueError, match=message):
        zoo.check_names([name], MNIST)


OWN_ERRORS = """import json
def divides():
    return 1 / 0
def parses():
    return json.loads("no")
def leaves():
    raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "name, message",
    [
        ("own_models:divides", r"ZeroDivisionError: .* \(.*/own_models\.py, line 3\)$"),
        ("own_models:parses", r"JSONDecodeError: .* \(.*/own_models\.py, line 5\)$"),
        ("own_models:leaves", r"SystemExit: 3 \(.*/own_models\.py, line 7\)$"),
        ("own_models:none", "no attribute 'none'$"),
        ("own_models.py:divides", "; write it as own_models:divides$"),
        ("./own_models.py:divides", "; write it as own_models:divides$"),
        ("own_models:divides()", "; write it as own_models:divides$"),
    ],
)
def test_errors_of_own_code_tell_where(own_models, name, message):
    own_models.write_text(OWN_ERRORS)
    with pytest.raises(ValueError, match=f"^cannot load model '.*': .*{message}"):
        zoo.check_names([name], MNIST)


@pytest.mark.parametrize(
    "code, message",
    [
        ("def broken(:", r"SyntaxError: .* \(own_models\.py, line 1\)$"),
        ("x = 1\nimport sys\nsys.exit()", r"SystemExit \(.*own_models\.py, line 3\)$"),
    ],
)
def test_errors_of_own_modules_tell_where(own_models, code, message):
    own_models.write_text(code)
    with pytest.raises(ValueError, match=f"cannot load model .*{message}"):
        zoo.check_names(["own_models:good"], MNIST)


def test_own_logits_whose_code_is_in_no_file(monkeypatch):
    module = types.ModuleType("no_file")
    module.good = lambda: (lambda params, x: x.reshape(len(x), -1)[:, :10], {})
    monkeypatch.setitem(sys.modules, "no_file", module)
    with pytest.raises(ValueError, match="no_file is in no file"):
        zoo.check_names(["no_file:good"], MNIST)
