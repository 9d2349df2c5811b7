"""Which shards are made of which images, and what is said of what goes wrong."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxadv.datasets.examples import Examples
from jaxadv.measures.generation import Generation
from jaxadv.measures.shards import generate, manifest
from jaxadv.storage import shards
from jaxadv.storage.errors import InputError
from jaxadv.zoo import LogitsOnly, Model

IMAGES = np.linspace(0, 1, 20, dtype="float32").reshape(10, 2)
MANIFEST = {
    "schema": 1,
    "count": 10,
    "shard_size": 3,
    "columns": {"index": {"dtype": "int64", "shape": []}},
}


@dataclasses.dataclass(frozen=True)
class Recorded(Generation):
    """Records what it is given in place of attacking it."""

    calls: list = dataclasses.field(default_factory=list)
    fails_at: int | None = None

    def __call__(self, batch, first, progress=None):
        if first == self.fails_at:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no\nmemory")
        self.calls.append((first, batch.images))
        return {"index": first + np.arange(len(batch.images))}


def recorded(**settings):
    return Recorded(lambda params, x: x, None, 2, **settings)


@pytest.mark.parametrize("missing", [[0, 1, 2, 3], [3], [1, 3], [0, 2]])
def test_each_shard_is_given_its_images(tmp_path, missing):
    spy = recorded()
    with shards.begin(tmp_path, MANIFEST) as run:
        generate(spy, Examples(IMAGES, "ten"), run, missing)
        assert [*run.missing()] == [shard for shard in range(4) if shard not in missing]
    assert [first for first, _ in spy.calls] == [3 * shard for shard in missing]
    for first, images in spy.calls:
        np.testing.assert_array_equal(images, IMAGES[first : first + 3])


def test_images_that_cannot_be_read_are_named_once_per_shard(tmp_path):
    images = IMAGES.copy()
    images[[4, 5, 9]] = 7
    with shards.begin(tmp_path, MANIFEST) as run, pytest.warns(UserWarning) as warned:
        generate(recorded(), Examples(images, "ten"), run, [1, 2, 3])
    assert [str(each.message) for each in warned] == [
        "image 4 cannot be attacked: it has values from 7 to 7, expected [0, 1]; nor can 1 more"
        " near it",
        "image 9 cannot be attacked: it has values from 7 to 7, expected [0, 1]",
    ]


def test_a_model_that_fails_as_it_runs(tmp_path):
    with shards.begin(tmp_path, MANIFEST) as run:
        with pytest.raises(
            InputError, match=r"images 3 to 5: JaxRuntimeError: RESOURCE.* no memory"
        ):
            generate(recorded(fails_at=3), Examples(IMAGES, "ten"), run, [0, 1, 2])
        assert run.missing() == [1, 2, 3]


def test_too_many_shards_are_refused_before_any_work():
    class Many:
        def __len__(self):
            return 10**7

        def __getitem__(self, index):
            return IMAGES[0]

    model = Model("m", LogitsOnly(lambda params, x: x, ""), None, 0.0, 0.0)
    of = recorded()
    examples = Examples(Many(), "many")
    assert manifest(of, [model], examples)["shard_size"] == 4096
    with pytest.raises(ValueError, match="shard_size must give at most 1000000 shards"):
        manifest(of, [model], examples, shard_size=1)
