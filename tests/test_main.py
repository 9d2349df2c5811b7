"""The package as a command."""

import importlib
import sys
from pathlib import Path

import jaxadv
from jaxadv import __main__


def test_the_package_lists_its_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxadv", "units"])
    assert __main__.main() == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith(f"{__main__.USAGE}\n")
    monkeypatch.setattr(sys, "argv", ["jaxadv", "--help"])
    assert __main__.main() == 0
    listed = capsys.readouterr().out.splitlines()[2:]
    for line in listed:
        module = importlib.import_module(f"jaxadv.{line.split()[0]}")
        assert callable(module.main) and line.endswith(f"  {module.__doc__.splitlines()[0]}")
    assert len(listed) == len([*Path(jaxadv.__file__).parent.glob("*.py")]) - 2
