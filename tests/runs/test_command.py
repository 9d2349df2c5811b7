"""Settings from files and the command line, and what becomes of bad ones."""

import dataclasses
import os
import subprocess
import sys

import pytest

from jaxadv import datasets, transfer_table
from jaxadv.attacks.options import AttackOptions
from jaxadv.runs import command, console
from jaxadv.transfer_table import Config


@pytest.fixture(autouse=True)
def devices_as_they_are(monkeypatch):
    """JAX has started by now and gets no other devices."""
    monkeypatch.setattr(command, "use_all_cores", lambda: None)


@pytest.fixture
def no_work(monkeypatch):
    """Fails if data are loaded."""

    def fail(*args, **kwargs):
        pytest.fail("worked before it checked its settings")

    monkeypatch.setattr(datasets, "load", fail)


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
def test_bad_settings_end_before_any_work(tmp_path, monkeypatch, capsys, no_work, options, message):
    (tmp_path / "settings.toml").write_text("imges = 3", encoding="utf-8")
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


def run_python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-W", "error", *args], capture_output=True, text=True, **kwargs
    )


def test_use_all_cores_in_a_new_process():
    code = "import jax; from jaxadv.runs import command; command.use_all_cores()"
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
    with console.progress_bars() as bars:
        task = bars.add_task("working", total=3)
        bars.advance(task, 3)
        console.console.print("a result")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    assert "a result\n" in captured.out


@pytest.mark.parametrize("own", [True, False])
def test_compilations_are_kept_where_the_user_wants(tmp_path, own):
    code = """if True:
        import sys, jax, pathlib
        from jaxadv.runs import command
        command.keep_compilations(pathlib.Path(sys.argv[1]))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.jit(lambda x: x + 1)(1.0)
    """
    mine = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")} if own else {}
    run_python("-c", code, str(tmp_path / "theirs"), check=True, env=os.environ | mine)
    assert (tmp_path / "mine").exists() == own and (tmp_path / "theirs").exists() != own


def test_a_command_keeps_its_compilations(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(command, "keep_compilations", kept.append)
    assert command.main(lambda config: None, Config, ["--cache-dir", str(tmp_path)]) == 0
    assert kept == [tmp_path / "compilations"]
