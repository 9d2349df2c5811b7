"""The files in configs/ hold the defaults of the commands, all but where things are kept."""

import dataclasses
import importlib
import tomllib
from pathlib import Path

import pytest

from jaxadv import AttackOptions
from jaxadv.runs import arguments

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
UNWRITTEN = {"cache_dir", "retrain"}  # besides what has no default but None


def test_every_command_has_a_file():
    package = Path(importlib.import_module("jaxadv").__file__).parent
    commands = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    assert {path.stem for path in CONFIGS} == commands


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_defaults_are_written_out(path):
    config = importlib.import_module(f"jaxadv.{path.stem}").Config()
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    assert arguments.from_toml(config, path) == config
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    absent = {n for n, value in defaults.items() if value in (None, arguments.REQUIRED)}
    assert set(written) == defaults.keys() - UNWRITTEN - absent
    if "attack" in written:
        names = {field.name for field in dataclasses.fields(AttackOptions)}
        assert set(written["attack"]) == names - {"batch_size"}
