"""Checks of settings that commands share."""

import contextlib
import os
import typing

import pytest

from jaxadv.datasets import sources
from jaxadv.runs import settings


def test_check_writable_makes_the_directory_and_leaves_it_empty(tmp_path):
    for _ in range(2):
        settings.check_writable(tmp_path / "new" / "folder")
        assert not list((tmp_path / "new" / "folder").iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root can write anywhere")
def test_check_writable_minds_permissions(tmp_path):
    tmp_path.chmod(0o500)
    with contextlib.ExitStack() as stack:
        stack.callback(tmp_path.chmod, 0o700)
        with pytest.raises(OSError, match=r"cannot write into .*: Permission denied"):
            settings.check_writable(tmp_path)


def test_the_data_sets_to_choose_from_are_those_there_are():
    choices = typing.get_args(typing.get_type_hints(settings.Settings)["dataset"])
    assert set(choices) == set(sources.SOURCES)
