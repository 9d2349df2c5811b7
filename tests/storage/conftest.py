"""Results that tests read, and change copies of."""

import shutil

import pytest
from results_of_runs import finish


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the results of `MANIFEST`, not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    finish(folder)
    return folder


@pytest.fixture
def copy(written, tmp_path):
    """A copy of them."""
    return shutil.copytree(written, tmp_path / "copy")
