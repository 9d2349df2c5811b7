"""All commands on colour images of 6 × 5 pixels, three classes, and networks of a user's own."""

import json
import sys
import types

import jax
import numpy as np
import pytest

from jaxadv import (
    certificates,
    cross_training,
    datasets,
    density,
    stability,
    transfer_table,
    units,
)
from jaxadv.datasets import Dataset, DatasetInfo
from jaxadv.networks import mlp
from jaxadv.runs import command

SHAPE, CLASSES = (6, 5, 2), 3
ATTACK = "--attack.c-steps 3 --attack.smoothing-steps 0 --attack.no-restart --attack.tol 3e-4"
ATTACK = [*ATTACK.split(), "--images", "12"]
COMMANDS = {
    transfer_table: ["--models", "mine:network", "mine:function", *ATTACK],
    cross_training: ["--models", "mine:network", "mine:function", *ATTACK],
    density: ["--models", "mine:network", "mine:function", "--directions", "2", *ATTACK],
    certificates: ["--models", "mine:network", *ATTACK],
    units: "--models mine:network --k 3 --directions 20 --rows 2 --top 3".split(),
    stability: ["--models", "mine:network"],
}


def centres():
    return np.random.default_rng(0).uniform(0.2, 0.8, (CLASSES, *SHAPE))


def split(count, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = centres()[labels] + rng.normal(0, 0.1, (count, *SHAPE))
    return Dataset(np.float32(images.clip(0, 1)), np.int32(labels))


@pytest.fixture(scope="module", autouse=True)
def other_data():
    """A data set of other shapes, and two networks: one with layers, one of logits alone."""
    network = mlp(8, classes=CLASSES, input_shape=SHAPE)
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    # The hidden layer is nearly linear; the last one tells the nearest centre.
    kernel = params["hidden1"]["kernel"] = 0.2 * params["hidden1"]["kernel"]
    hidden = 1 / (1 + np.exp(-centres().reshape(CLASSES, -1) @ kernel))
    scaled = np.float32(2e3 * (hidden - hidden.mean(axis=0)))
    bias = -np.sum((hidden - hidden.mean(axis=0)) * (hidden + hidden.mean(axis=0)), axis=1)
    params["softmax"] = {"kernel": scaled.T, "bias": np.float32(1e3 * bias)}

    def logits_fn(params, x):
        return network.logits(params, x)

    mine = types.SimpleNamespace(
        __file__=__file__, network=lambda: (network, params), function=lambda: (logits_fn, params)
    )
    splits = {"train": split(60, 1), "test": split(40, 2)}
    info = DatasetInfo("mnist", SHAPE, CLASSES, {"train": 60, "test": 40})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine", mine)
        patch.setattr(datasets, "info", lambda name: info)
        patch.setattr(datasets, "load", lambda name, split, data_dir: splits[split])
        patch.setattr(command, "use_all_cores", lambda: None)
        yield


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_runs(module, tmp_path, capsys):
    name = module.__name__.removeprefix("jaxadv.")
    directories = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    assert module.main([*COMMANDS[module], *directories]) == 0
    output = capsys.readouterr().out
    assert "loading mine:network " in output and "training mine:" not in output
    figures = json.loads((tmp_path / "out" / f"{name}.json").read_text(encoding="utf-8"))
    for model in figures.get("models", []):
        if "test_error" in model:
            assert model["test_error"] < 0.2 and model.get("success_rate", 1) == 1
    if module is units:
        assert [layer["size"] for layer in figures["layers"]] == [6 * 5 * 2, 8]
    if module is certificates:
        assert figures["models"][0]["pairs"] == 12 * (CLASSES - 1)


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_a_network_of_another_shape_is_refused(module, tmp_path, capsys):
    directories = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    assert module.main(["--models", "FC10(1)", *directories]) == 2
    message = capsys.readouterr().err
    assert "(28, 28, 1)" in message and "(6, 5, 2)" in message
