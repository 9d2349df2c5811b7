"""Which stages are kept, and when they are trained again."""

from typing import ClassVar

import jax
import numpy as np
import pytest

from jaxadv.networks.quocnet import Stage, quocnet
from jaxadv.training.features import PooledSparsity
from jaxadv.zoo.features import learned

NETWORK = quocnet(6, 1, (Stage(2, 3, pool=2, contrast=3), Stage(3, 2, pool=1, contrast=3)))
IMAGES = np.random.default_rng(0).uniform(size=(5, 6, 6, 1)).astype("float32")


class Counted(PooledSparsity):
    """Takes random parameters, and counts."""

    trained: ClassVar[list[str]] = []

    def train(self, stage, images, key, progress=None, checkpoint=None):
        self.trained.append(stage.layers[0].name)
        assert checkpoint.suffix == ".partial"
        if self.trained == ["local1", "local2"] and self.kept == 0.5:
            raise KeyboardInterrupt
        return stage.init(key)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Returns the parameters, and the stages that were trained."""

    def load(kept=0.4, seed=0, images=IMAGES, **options):
        monkeypatch.setattr(Counted, "trained", [])
        told = []
        recipe = Counted(None, kept)
        options |= {"cache_dir": tmp_path, "progress": told.append}
        encoder = learned("learned", recipe, NETWORK, images, seed, **options)
        assert told == [0.5, 1] and encoder.network == NETWORK
        return encoder.params, Counted.trained

    return load


def test_stages_are_kept(load):
    params, trained = load()
    assert trained == ["local1", "local2"] and list(params) == [
        each.name for each in NETWORK.layers
    ]
    again, trained = load()
    assert trained == []
    jax.tree.map(np.testing.assert_array_equal, again, params)
    for change in ({"seed": 1}, {"kept": 0.3}, {"images": IMAGES[:4]}, {"retrain": True}):
        assert load(**change)[1] == ["local1", "local2"]


def test_after_an_interruption_the_stages_before_are_there(load):
    with pytest.raises(KeyboardInterrupt):
        load(kept=0.5)
    assert load(kept=0.5)[1] == ["local2"]


def test_a_damaged_stage_is_set_aside(load, tmp_path):
    load()
    [path] = (tmp_path / "weights").glob("QuocNet-learned-stage2-*.npz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"stage2-.*\.npz is damaged"):
        assert load()[1] == ["local2"]
