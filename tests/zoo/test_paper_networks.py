"""Whether the zoo's networks are the paper's."""

import jax
import pytest

from jaxadv import datasets, zoo
from jaxadv.networks import error_rate
from jaxadv.reports import paper
from jaxadv.training import train

IMAGES = {"FC200-200-10": 20_000, "AE400-10": 20_000}  # of which 3 % of the test set follow


@pytest.fixture(scope="module")
def mnist_splits():
    return datasets.load("mnist")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(paper.TABLE_1))
def test_networks_have_the_errors_of_the_paper(tmp_path, mnist_splits, name):
    part = mnist_splits["train"].part(slice(IMAGES.get(name)))
    splits = mnist_splits | {"train": part}
    model = zoo.load(name, splits, 0, datasets.info("mnist"), cache_dir=tmp_path)
    published = paper.TABLE_1[name]
    if name.startswith("FC10("):
        assert model.train_error == pytest.approx(published.train_error, abs=0.002)
        assert model.test_error == pytest.approx(published.test_error, abs=0.003)
    elif name == "AE400-10":
        assert model.train_error <= 0.01 and model.test_error <= 0.032
    elif name == "FC200-200-10":
        assert model.train_error == 0 and model.test_error <= 0.032
    else:
        assert model.train_error == 0 and model.test_error <= 0.021


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LeNet-5", "CNN"])
def test_convolutional_networks_are_good_ones(mnist_splits, name):
    """On a tenth of the images, where FC100-100-10 has 4.6 % errors, and these 3 %."""
    network, recipe = zoo.ZOO[name]
    params = train(network, mnist_splits["train"].part(slice(6000)), recipe, jax.random.key(0))
    test = mnist_splits["test"].part(slice(5000, 7500))
    assert error_rate(network.logits, params, *test) <= 0.038


def test_the_zoo_has_the_networks_of_the_paper_and_two_cnns():
    assert set(zoo.ZOO) == {*paper.TABLE_1, "FC123-456-10", "LeNet-5", "CNN"}
