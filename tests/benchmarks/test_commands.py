"""Benchmarks are commands as others are: bad settings end in one line, before any work."""

import importlib
import os

import pytest

from jaxadv import datasets
from jaxadv.runs import command

CORES = "--cores 4096", "cores must be among"
CORE = min(os.sched_getaffinity(0))
OUT = f"--cores {CORE} --out pyproject.toml", "cannot write into pyproject.toml"
NAMES = (
    "attack",
    "attackbench",
    "bounded",
    "generation",
    "processes",
    "scaling",
    "sensitivity",
    "spectral",
)


@pytest.mark.parametrize(
    "name, options, message",
    [
        *((name, *bad) for name in NAMES for bad in (CORES, OUT)),
        ("attack", "--networks CNN LeNet", "networks must be among"),
        ("attack", "--networks CNN CNN", "each once"),
        ("attackbench", "--models AlexNet", "models must be among"),
        ("attackbench", "--budget 1", "budget must be at least 2, got 1"),
        ("generation", "--images.CNN 0", "images must be from 1 to"),
        ("attack", "--photographs 21", "photographs must be from 1 to 17, got 21"),
    ],
)
def test_bad_settings_end_before_any_work(benchmarks, monkeypatch, capsys, name, options, message):
    monkeypatch.chdir(benchmarks.parent)
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    monkeypatch.setattr(command, "keep_compilations", lambda directory: None)
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("worked before it checked"))
    module = importlib.import_module(name)
    assert module.main(options.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
