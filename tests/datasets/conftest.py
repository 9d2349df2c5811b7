"""Data sets are tiny here, and off the network."""

import pytest
from tiny_sources import GZ_FILES, IDX_FILES, NOWHERE, SPLITS, put_files, sums

from jaxadv.datasets import sources


@pytest.fixture(autouse=True)
def change_source(monkeypatch):
    """Makes the data sets tiny and keeps them off the network; returns a function to go on."""

    def change(name, **changes):
        source = sources.SOURCES[name]._replace(**changes)
        monkeypatch.setitem(sources.SOURCES, name, source)

    change("mnist", splits=SPLITS, url=NOWHERE, wheel=None, sha256=sums(GZ_FILES | IDX_FILES))
    change("fashion_mnist", splits=SPLITS, url=NOWHERE, wheel=None, sha256=sums(GZ_FILES))
    return change


@pytest.fixture
def data_dir(tmp_path):
    """A directory that has the raw files of the tiny MNIST."""
    put_files(tmp_path, GZ_FILES)
    return tmp_path
