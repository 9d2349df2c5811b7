"""Trainings that were killed go on to the same bits."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxadv.networks import mlp
from jaxadv.storage import checkpoints
from jaxadv.storage.devices import called_on
from jaxadv.storage.errors import InputError
from jaxadv.training import Adversarial, GradientSteps, Schedule, Source, Supervised, train

NETWORK = mlp(8, classes=3, input_shape=(2, 3, 1))
RECIPE = Adversarial(
    Supervised((1e-5,) * 2, Schedule(6, 4, 0.01)),
    (Source("hidden1", GradientSteps(0.5), made=2, slots=7, drawn=3),),
)
KEY = jax.random.key(0)


@pytest.fixture
def at_each_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)


def test_an_interrupted_training_goes_on_to_the_same_bits(three_levels, tmp_path, at_each_epoch):
    """Also on another device."""
    whole = train(NETWORK, three_levels, RECIPE, KEY)
    folder, told = tmp_path / "partial", []

    def stop(fraction):
        if fraction == 0.5:
            raise KeyboardInterrupt

    here, other = jax.local_devices()
    with pytest.raises(KeyboardInterrupt), jax.default_device(other):
        train(NETWORK, three_levels, RECIPE, KEY, stop, folder)
    assert folder.is_dir()
    resumed = train(NETWORK, three_levels, RECIPE, KEY, told.append, folder)
    assert {leaf.device for leaf in jax.tree.leaves(resumed)} == {here}
    assert not any(leaf.committed for leaf in jax.tree.leaves(resumed))  # as those of `whole`
    assert told == pytest.approx([3 / 6, 4 / 6, 5 / 6, 1]) and not folder.exists()
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)


def test_a_damaged_checkpoint_is_set_aside(three_levels, tmp_path, at_each_epoch):
    folder = tmp_path / "partial"

    def stop(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(NETWORK, three_levels, RECIPE, KEY, stop, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"?")
    told = []
    with pytest.warns(UserWarning, match="is set aside as partial.damaged"):
        train(NETWORK, three_levels, RECIPE, KEY, told.append, folder)
    assert told[0] == pytest.approx(1 / 6) and (tmp_path / "partial.damaged").is_dir()


def test_a_checkpoint_that_cannot_be_written(three_levels, tmp_path, at_each_epoch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write into .*partial: Not a directory"):
        train(NETWORK, three_levels, RECIPE, KEY, None, tmp_path / "file" / "partial")


PROGRAM = """
import os, signal, sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
from test_checkpoints import trained_from_two_seeds
from jaxadv.datasets import Dataset
from jaxadv.storage import checkpoints
checkpoints.INTERVAL = 0.0
with np.load(sys.argv[2]) as file:
    data = Dataset(file["images"], file["labels"])
from pathlib import Path
stop = lambda fraction: fraction > 0.6 and os.kill(os.getpid(), signal.SIGKILL)
trained_from_two_seeds(data, stop, Path(sys.argv[3]))
"""


def trained_from_two_seeds(data, progress=None, folder=None):
    """Each on a device of its own."""
    return called_on(
        jax.local_devices(),
        [
            lambda seed=seed: train(
                *(NETWORK, data, RECIPE, jax.random.key(seed)),
                progress,
                folder and folder / str(seed),
            )
            for seed in range(2)
        ],
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_killed_trainings_go_on_to_the_same_bits(three_levels, tmp_path, at_each_epoch):
    np.savez(tmp_path / "data.npz", images=three_levels.images, labels=three_levels.labels)
    here, folder = os.path.dirname(__file__), tmp_path / "partial"
    arguments = [here, str(tmp_path / "data.npz"), str(folder)]
    devices = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    found = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=devices, check=False)
    assert found.returncode == -signal.SIGKILL
    told = []
    resumed = trained_from_two_seeds(three_levels, told.append, folder)
    assert told.count(1.0) == 2 and len(told) < 10  # of 12 epochs
    whole = [train(NETWORK, three_levels, RECIPE, jax.random.key(seed)) for seed in range(2)]
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
