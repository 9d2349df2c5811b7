"""Shares of processes, and what is refused before any joins."""

import jax
import pytest

from jaxadv.runs import processes
from jaxadv.runs.processes import Settings


@pytest.fixture(autouse=True)
def joined(monkeypatch):
    """What JAX is asked to join, in place of joining it."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **more: calls.append(args))
    return calls


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"process": 0}, "process and processes must be given together"),
        ({"processes": 2}, "process and processes must be given together"),
        ({"process": 0, "processes": 0}, "processes must be at least 1, got 0"),
        ({"process": 2, "processes": 2}, "process must be from 0 to 1, got 2"),
        ({"process": -1, "processes": 2}, "process must be from 0 to 1, got -1"),
        ({"coordinator": "here"}, "coordinator must be HOST:PORT or auto, got here"),
        ({"coordinator": "here:"}, "coordinator must be HOST:PORT or auto, got here:"),
    ],
)
def test_bad_settings(settings, message, joined):
    with pytest.raises(ValueError, match=message):
        processes.check(Settings(**settings))
    assert not joined


def test_shares(joined):
    assert Settings().share() == {"process": 0, "processes": 1}
    settings = Settings(process=3, processes=8)
    processes.check(settings)
    assert settings.share() == {"process": 3, "processes": 8} and not joined


def test_joining(joined, monkeypatch):
    processes.check(Settings(coordinator="here:1", process=3, processes=8))
    processes.check(Settings(coordinator="auto"))
    assert joined == [("here:1", 8, 3), (None, None, None)]
    monkeypatch.setattr(jax, "process_index", lambda: 5)
    monkeypatch.setattr(jax, "process_count", lambda: 7)
    assert Settings(coordinator="auto").share() == {"process": 5, "processes": 7}


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_cannot_be_joined(kind, monkeypatch):
    def fail(*args, **more):
        raise kind("no such host")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ValueError, match="cannot join by here:1: no such host"):
        processes.check(Settings(coordinator="here:1", process=0, processes=1))
