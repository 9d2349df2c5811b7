"""Trainings side by side: their bars, and what stops them."""

import threading
from concurrent.futures import CancelledError

import pytest

from jaxadv.runs.inputs import train_each


def test_trainings_of_one_name_share_a_bar(capsys):
    def train(number, progress):
        for step in range(3):
            progress((step + 1) / 3)
        return number

    calls = [lambda progress, number=number: train(number, progress) for number in range(4)]
    found = train_each([*zip("aaab", calls, strict=True)])
    assert found == [0, 1, 2, 3]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["a", "b"]
    assert "300/300" in lines[0] and "100/100" in lines[1]


def test_where_one_fails_the_others_stop():
    failed, stopped = threading.Event(), threading.Event()

    def fail(progress):
        raise OSError("disk full")

    def go_on(progress):
        failed.wait(60)
        with pytest.raises(CancelledError):
            progress(0.5)
        stopped.set()

    with pytest.raises(OSError, match="disk full"):
        train_each([("a", go_on), ("b", fail)])
    failed.set()
    assert stopped.wait(60)
