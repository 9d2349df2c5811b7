"""Benchmarks are commands as others are: bad settings end in one line, before any work."""

import importlib
import sys
from pathlib import Path

import pytest

from jaxadv import datasets
from jaxadv.runs import command

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["attack", "bounded", "scaling", "spectral"])
@pytest.mark.parametrize(
    "options, message",
    [
        ("--cores 4096", "cores must be among"),
        ("--cores 0 --out pyproject.toml", "cannot write into pyproject.toml"),
    ],
)
def test_bad_settings_end_before_any_work(monkeypatch, capsys, name, options, message):
    monkeypatch.chdir(BENCHMARKS.parent)
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    monkeypatch.setattr(command, "keep_compilations", lambda directory: None)
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("worked before it checked"))
    module = importlib.import_module(name)
    assert module.main(options.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
