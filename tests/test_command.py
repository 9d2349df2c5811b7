"""Settings from files and the command line, and what becomes of bad ones."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxadv import training, transfer_table
from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import tfds as datasets
from jaxadv.runs import console as command
from jaxadv.transfer_table import Config


@pytest.fixture(autouse=True)
def devices_as_they_are(monkeypatch):
    """JAX has started by now and gets no other devices."""
    monkeypatch.setattr(command, "use_all_cores", lambda: None)


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
    assert command.parse(Config, []) == Config()


def test_toml_comes_before_defaults(toml):
    found = command.from_toml(Config(), Path(toml(TOML)))
    assert found == FROM_TOML
    assert [type(value) for value in (*found.noise, found.attack.tol)] == [float] * 3


def test_toml_gives_settings_that_have_no_default(toml):
    found = command.from_toml(Config(), Path(toml("data_dir = 'd'\n[attack]\nbatch_size = 8")))
    assert found == Config(data_dir=Path("d"), attack=AttackOptions(batch_size=8))


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
@pytest.mark.parametrize(
    "options, changes",
    [
        ("", {}),
        ("--images 9", {"images": 9}),
        ("--no-retrain --seed 4", {"retrain": False, "seed": 4}),
        ("--noise 0.25 --out here", {"noise": (0.25,), "out": Path("here")}),
        ("--models FC100-100-10 AE400-10", {"models": ("FC100-100-10", "AE400-10")}),
        ("--attack.tol 0.5", {"attack": AttackOptions(tol=0.5, c_steps=3)}),
        ("--attack.batch-size 8", {"attack": AttackOptions(tol=1, c_steps=3, batch_size=8)}),
    ],
)
def test_command_line_comes_before_toml(toml, form, options, changes):
    path = toml(TOML)
    file_option, options = form.format(path).split(), options.split()
    expected = dataclasses.replace(FROM_TOML, config=Path(path), **changes)
    assert command.parse(Config, [*file_option, *options]) == expected
    assert command.parse(Config, [*options, *file_option]) == expected


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
    "attack = 3": "'attack' in .*settings.toml must be a table, got 3",
    "[attack]\nc_steps = 0": "c_steps must be at least 1, got 0",
    "images = many": "settings.toml is not valid TOML: .*line 1",
}


@pytest.mark.parametrize("text, message", BAD_TOML.items())
def test_bad_toml(toml, text, message):
    with pytest.raises(ValueError, match=message):
        command.parse(Config, ["--config", toml(text)])


def test_missing_toml(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        command.parse(Config, ["--config", str(tmp_path / "none.toml")])


@pytest.fixture
def no_work(monkeypatch):
    """Fails if data are loaded or anything is trained."""

    def fail(*args, **kwargs):
        pytest.fail("worked before it checked its settings")

    monkeypatch.setattr(datasets, "load", fail)
    monkeypatch.setattr(training, "train", fail)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models FC10(1e4)", "unknown model 'FC10(1e4)'"),
        ("--models FC10(1e4)", "did you mean 'FC10(1e-4)'?"),
        ("--models", "at least one network"),
        ("--models FC10(1) FC10(1)", "each once"),
        ("--seed -1", "seed must be from 0 to 4294967295, got -1"),
        ("--images 0", "images must be from 1 to 60000, got 0"),
        ("--images -3", "images must be from 1 to 60000, got -3"),
        ("--images 60001", "images must be from 1 to 60000, got 60001"),
        ("--noise 0.1 -0.1", "noise must not be negative"),
        ("--config none.toml", "none.toml"),
        ("--config settings.toml", "did you mean 'images'?"),
        ("--out settings.toml/below", "cannot write into settings.toml/below: Not a directory"),
        ("--out settings.toml", "cannot write into settings.toml: "),
        ("--cache-dir settings.toml/x", "cannot write into settings.toml/x: Not a directory"),
    ],
)
def test_bad_settings_end_before_any_work(
    toml, tmp_path, monkeypatch, capsys, no_work, options, message
):
    toml("imges = 3")
    monkeypatch.chdir(tmp_path)
    assert transfer_table.main(["--cache-dir", "cache", *options.split()]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "options, message",
    [
        ("--dataset imagenet", "imagenet"),
        ("--images many", "many"),
        ("--imags 3", "--images"),
        ("--attack.penalty l3", "l3"),
        ("--attack.c-steps 0", "c_steps must be at least 1, got 0"),
        ("--retrain yes", "yes"),
        ("unexpected", "unexpected"),
    ],
)
def test_bad_options(capsys, no_work, options, message):
    with pytest.raises(SystemExit, match="2"):
        transfer_table.main(options.split())
    assert message in capsys.readouterr().err


def test_help_lists_every_option(capsys, no_work):
    with pytest.raises(SystemExit, match="0"):
        transfer_table.main(["--help"])
    text = capsys.readouterr().out
    assert "Tables 1 and 2 of Szegedy et al. (2013)" in text
    names = [field.name for field in dataclasses.fields(Config) if field.name != "attack"]
    names += [f"attack.{field.name}" for field in dataclasses.fields(AttackOptions)]
    missing = [
        name for name in names if f"--{name.replace('_', '-')} " not in text.replace(",", " ")
    ]
    assert not missing


@pytest.mark.parametrize("error", [ValueError("a [b] message"), FileNotFoundError("a [b] message")])
def test_main_turns_bad_input_into_a_message(capsys, error):
    def run(config):
        raise error

    assert command.main(run, Config, []) == 2
    assert capsys.readouterr().err == "error: a [b] message\n"


def test_main_returns_0_and_passes_the_settings_on():
    seen = []
    assert command.main(seen.append, Config, ["--seed", "5"]) == 0
    assert seen == [Config(seed=5)]


def test_main_does_not_hide_bugs():
    def run(config):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        command.main(run, Config, [])


def test_check_writable_makes_the_directory_and_leaves_it_empty(tmp_path):
    for _ in range(2):
        command.check_writable(tmp_path / "new" / "folder")
        assert not list((tmp_path / "new" / "folder").iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root can write anywhere")
def test_check_writable_minds_permissions(tmp_path):
    tmp_path.chmod(0o500)
    with contextlib.ExitStack() as stack:
        stack.callback(tmp_path.chmod, 0o700)
        with pytest.raises(OSError, match=r"cannot write into .*: Permission denied"):
            command.check_writable(tmp_path)


def run_python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-W", "error", *args], capture_output=True, text=True, **kwargs
    )


def test_use_all_cores_in_a_new_process():
    code = "import jax; from jaxadv.runs import console; console.use_all_cores()"
    code += "; print(len(jax.devices('cpu')))"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert run_python("-c", code, check=True).stdout == f"{cores}\n"


def test_module_is_a_command(tmp_path):
    found = run_python("-m", "jaxadv.transfer_table", "--models", "FC10", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: unknown model 'FC10', expected module:function or ")
    assert not list(tmp_path.iterdir())


def test_progress_goes_on_in_a_pipe_without_noise(capsys):
    with command.progress_bars() as bars:
        task = bars.add_task("working", total=3)
        bars.advance(task, 3)
        command.console.print("a result")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    assert "a result\n" in captured.out
