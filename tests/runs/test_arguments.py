"""Settings from files and the command line."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from jaxadv.attacks.options import AttackOptions
from jaxadv.runs import arguments
from jaxadv.transfer_table import Config


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


TOML = """
images = 7
noise = [1, 0.5]
out = "somewhere/else"
models = ["FC10(1)"]
retrain = true

[attack]
tol = 1
c_steps = 3
"""
FROM_TOML = Config(
    images=7,
    noise=(1.0, 0.5),
    out=Path("somewhere/else"),
    models=("FC10(1)",),
    retrain=True,
    attack=AttackOptions(tol=1.0, c_steps=3),
)


def test_defaults_without_options():
    assert arguments.parse(Config, []) == Config()


def test_toml_comes_before_defaults(toml):
    found = arguments.from_toml(Config(), Path(toml(TOML)))
    assert found == FROM_TOML
    assert [type(value) for value in (*found.noise, found.attack.tol)] == [float] * 3


def test_toml_gives_settings_that_have_no_default(toml):
    found = arguments.from_toml(Config(), Path(toml("data_dir = 'd'\n[attack]\nbatch_size = 8")))
    assert found == Config(data_dir=Path("d"), attack=AttackOptions(batch_size=8))


@pytest.mark.parametrize("content", ["attack = 'quick'", "[attack]\ntol = 3e-4\npreset = 'quick'"])
def test_toml_names_presets(toml, content):
    default = Config(attack=AttackOptions(c_steps=3))
    assert arguments.from_toml(default, Path(toml(content))).attack == AttackOptions.quick()


PRESETS = "expected one of default, paper, quick, thorough, got "


@pytest.mark.parametrize(
    "options, message",
    {
        "--attack fast": f"attack: {PRESETS}'fast'",
        "--seed 1 --attack": f"attack: {PRESETS}''",
        "--images quick --attack 3": "attack: " + PRESETS,
    }.items(),
)
def test_presets_that_there_are_not(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        arguments.parse(Config, options.split())


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
@pytest.mark.parametrize(
    "options, changes",
    [
        ("", {}),
        ("--images 9", {"images": 9}),
        ("--no-retrain --seed 4", {"retrain": False, "seed": 4}),
        ("--noise 0.25 --out here", {"noise": (0.25,), "out": Path("here")}),
        ("--models FC100-100-10 AE400-10", {"models": ("FC100-100-10", "AE400-10")}),
        ("--attack.preset quick", {"attack": AttackOptions.quick()}),
        ("--attack.tol 0.5", {"attack": AttackOptions(tol=0.5, c_steps=3)}),
        ("--attack quick", {"attack": AttackOptions.quick()}),
        ("--attack.tol 0.5 --attack=thorough", {"attack": AttackOptions.thorough(tol=0.5)}),
        ("--attack.batch-size 8", {"attack": AttackOptions(tol=1, c_steps=3, batch_size=8)}),
    ],
)
def test_command_line_comes_before_toml(toml, form, options, changes):
    path = toml(TOML)
    file_option, options = form.format(path).split(), options.split()
    expected = dataclasses.replace(FROM_TOML, config=Path(path), **changes)
    assert arguments.parse(Config, [*file_option, *options]) == expected
    assert arguments.parse(Config, [*options, *file_option]) == expected


BAD_TOML = {
    "imges = 3": "unknown key 'imges' in .*settings.toml, .*; did you mean 'images'?",
    "xyz = 3": r"unknown key 'xyz' in .*'attack'\]$",
    "[attack]\ntoll = 1.0": r"unknown key 'toll' in \[attack\] of .*; did you mean 'tol'?",
    "images = 'many'": "'images' in .*settings.toml must be of type int, got 'many'",
    "images = 2.5": "'images' in .* must be of type int, got 2.5",
    "images = true": "'images' in .* must be of type int, got True",
    "retrain = 1": "'retrain' in .* must be of type bool, got 1",
    "models = 'FC10(1)'": r"'models' in .* must be .*, got 'FC10\(1\)'",
    "noise = ['loud']": "'noise' in .* must be of type float, got 'loud'",
    "out = 3": "'out' in .* must be .*, got 3",
    "data_dir = 3": "'data_dir' in .* must be of type Path, got 3",
    "dataset = 'imagenet'": r"'dataset' in .* must be one of \('mnist', .*\), got 'imagenet'",
    "[attack]\nbatch_size = 'large'": "'batch_size' in .* must be of type int, got 'large'",
    "[attack]\ntemperature = true": "'temperature' in .* must be of type float, got True",
    "attack = 'fast'": f"'attack' in .*settings.toml: {PRESETS}'fast'",
    "attack.preset = [1]": r"'attack' in .*settings.toml: it must be of type str, got \[1\]",
    "attack = 3": "'attack' in .*settings.toml must be a table or the name of a preset, got 3",
    "[attack]\nc_steps = 0": "c_steps must be at least 1, got 0",
    "[attack]\nc_steps = -1": r"\[attack\] of .*settings.toml: c_steps must be",
    f"images = 0x{5000 * 'f'}": "'images' in .*settings.toml must have at most 64 bits",
    f"noise = [1{400 * '0'}]": "'noise' in .*settings.toml must have at most 64 bits",
    f"images = {5000 * '9'}": "settings.toml is not valid TOML",
    f"noise = {5000 * '['}": "settings.toml is not valid TOML",
    "images = many": "settings.toml is not valid TOML: .*line 1",
}


@pytest.mark.parametrize("text, message", BAD_TOML.items())
def test_bad_toml(toml, text, message):
    with pytest.raises(ValueError, match=message):
        arguments.parse(Config, ["--config", toml(text)])


def test_missing_toml(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        arguments.parse(Config, ["--config", str(tmp_path / "none.toml")])


def test_toml_that_is_not_text(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"images = '\xff'")
    with pytest.raises(ValueError, match=r"settings\.toml is not valid TOML: 'utf-8'"):
        arguments.from_toml(Config(), path)


def test_changed_bytes_of_toml(tmp_path):
    path, rng = tmp_path / "settings.toml", np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(TOML.encode())
        for place in rng.integers(len(changed), size=rng.integers(1, 4)):
            changed[place] = rng.choice([*b"[{\"'=.#\\9e\n", rng.integers(256)])
        path.write_bytes(changed)
        try:
            arguments.from_toml(Config(), path)
        except ValueError as error:
            assert "settings.toml" in str(error)
