"""Settings from files and the command line, and what becomes of bad ones."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import warnings

import pytest

from jaxadv import datasets, transfer_table
from jaxadv.attacks.options import AttackOptions
from jaxadv.runs import command, console
from jaxadv.storage.errors import InputError
from jaxadv.transfer_table import Config


@pytest.fixture(autouse=True)
def devices_as_they_are(monkeypatch):
    """JAX has started by now and gets no other devices."""
    monkeypatch.setattr(command, "use_all_cores", lambda: None)


@pytest.fixture
def no_compilations(monkeypatch):
    """Leaves JAX's cache where it is."""
    monkeypatch.setattr(command, "keep_compilations", lambda directory: None)


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
        ("--models FC10(1e4)", "did you mean 'FC10(1e-4)'"),
        ("--models", "at least one network"),
        ("--models FC10(1) FC10(1)", "each once"),
        ("--seed -1", "seed must be from 0 to 4294967295, got -1"),
        ("--images 0", "images must be from 1 to 60000, got 0"),
        ("--images -3", "images must be from 1 to 60000, got -3"),
        ("--images 60001", "images must be from 1 to 60000, got 60001"),
        ("--noise 0.1 -0.1", "noise must not be negative"),
        ("--config none.toml", "error: none.toml: No such file or directory"),
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


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "options, message",
    [
        ("--dataset imagenet", "choice 'imagenet' for argument '--dataset'. Expected one of ("),
        ("--images many", "--images: invalid literal for int() with base 10: 'many'"),
        ("--images", "Missing value for argument '--images'"),
        ("--imags 3", "Unrecognized options: --imags, 3; did you mean --images?"),
        ("--xyz 3", "Unrecognized options: --xyz, 3; --help lists all options"),
        ("--attack.penalty l3", "l3"),
        ("--attack.c-steps 0", "c_steps must be at least 1, got 0"),
        ("--attack.margin -1", "margin must be in [0, 1), got -1.0"),
        ("--retrain yes", "yes"),
        ("unexpected", "unexpected"),
    ],
)
def test_bad_options_end_in_one_line(capsys, monkeypatch, no_work, options, message, terminal):
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    assert transfer_table.main(options.split()) == 2
    error = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().err)
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1 and error.endswith(f"{error.strip()}\n") and "─" not in error


def test_help_lists_every_option(capsys, no_work):
    own = [field.name for field in dataclasses.fields(Config) if field.name != "attack"]
    attack = [f"attack.{field.name}" for field in dataclasses.fields(AttackOptions)]
    for options, names in (["--help"], own), (["--attack", "help"], own + attack):
        with pytest.raises(SystemExit, match="0"):
            transfer_table.main(options)
        text = capsys.readouterr().out
        assert "Tables 1 and 2 of Szegedy et al. (2013)" in text
        assert ("--attack help lists both" in text) == (options == ["--help"])
        listed = re.findall(r"--([\w.-]+)", text)
        missing = {name for name in own + attack if name.replace("_", "-") not in listed}
        assert missing == {*own, *attack} - {*names}


def nothing(config):
    pass


def raises(error):
    def function(config):
        raise error

    return function


BAD_INPUT = [InputError("a [b] message"), FileNotFoundError("a [b] message")]


@pytest.mark.parametrize(
    "check, run",
    [
        *((raises(error), nothing) for error in [*BAD_INPUT, ValueError("a [b] message")]),
        *((nothing, raises(error)) for error in BAD_INPUT),
    ],
)
def test_main_turns_bad_input_into_a_message(capsys, no_compilations, check, run):
    assert command.main(check, run, Config, []) == 2
    assert capsys.readouterr().err == "error: a [b] message\n"


def test_main_shows_warnings_in_one_line(no_compilations):
    def shown():
        where = "code.py", 3, "1 + 2"
        return [warnings.formatwarning("text", kind, *where) for kind in (UserWarning, Warning)]

    found, usual = [], shown()
    assert command.main(nothing, lambda config: found.extend(shown()), Config, []) == 0
    assert found == ["warning: text\n", usual[1]]
    assert shown() == usual


def test_main_checks_and_passes_the_settings_on(no_compilations):
    seen = []
    assert command.main(seen.append, seen.append, Config, ["--seed", "5"]) == 0
    assert seen == [Config(seed=5)] * 2


def test_main_starts_jax_only_where_there_is_a_cache(monkeypatch):
    for name in ("use_all_cores", "check_writable", "keep_compilations"):
        monkeypatch.setattr(command, name, pytest.fail)
    light = dataclasses.make_dataclass("Light", [("seed", int, 0)])
    light.__module__ = __name__
    seen = []
    assert command.main(nothing, seen.append, light, ["--seed", "3"]) == 0
    assert seen == [light(3)]


def test_main_does_not_work_with_bad_settings(no_compilations):
    assert command.main(raises(ValueError("refused")), pytest.fail, Config, []) == 2


@pytest.mark.parametrize("error", [KeyError, ValueError, UnicodeError])
def test_main_does_not_hide_bugs(no_compilations, error):
    with pytest.raises(error, match="a bug"):
        command.main(nothing, raises(error("a bug")), Config, [])


def run_python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-W", "error", *args], capture_output=True, text=True, **kwargs
    )


INTERRUPTED = """if True:
    import signal, sys, jax
    from jaxadv.runs import command
    from jaxadv.transfer_table import Config

    def run(config):
        # JAX computes for long, and does not wait.
        jax.jit(lambda x: jax.lax.fori_loop(0, 10**5, lambda i, x: x @ x, x))(jax.numpy.eye(500))
        signal.raise_signal(signal.SIGINT)

    command.leave(command.main(lambda config: None, run, Config, sys.argv[1:]))
"""


@pytest.fixture
def interruptible():
    """Programs started here do not inherit an ignored SIGINT, as what a shell runs with & has."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_in_one_line(tmp_path):
    found = run_python("-c", INTERRUPTED, "--cache-dir", str(tmp_path), timeout=120)
    assert (found.returncode, found.stdout) == (130, "")
    assert found.stderr == "interrupted; run the same command again to go on from what is kept\n"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("module", ["jax", "tyro"])
def test_an_interruption_during_imports_ends_in_one_line(tmp_path, module):
    """Of the package, and of the command."""
    (tmp_path / f"{module}.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    found = run_python("-m", "jaxadv.transfer_table", cwd=tmp_path, timeout=120)
    assert (found.returncode, found.stdout) == (130, "")
    assert found.stderr == "interrupted; run the same command again to go on from what is kept\n"


@pytest.mark.usefixtures("interruptible")
def test_interruptions_of_other_programs_are_theirs(tmp_path):
    (tmp_path / "other.py").write_text("import jaxadv, signal; signal.raise_signal(signal.SIGINT)")
    found = run_python("-m", "other", cwd=tmp_path, timeout=120)
    assert found.returncode != 130 and found.stderr.endswith("\nKeyboardInterrupt\n")


POSIX = """if True:
    import sys
    from jaxadv.reports.publish import publish
    from jaxadv.runs import command
    from jaxadv.transfer_table import Config

    def run(config):
        figures = {"seed": config.seed, "text": "‖r‖ ≤ 1 – √n", "path": str(config.data_dir)}
        publish(config.out, "name", figures, ["‖r‖ ≤ 1 – √n"], "Text is")

    sys.exit(command.main(lambda config: None, run, Config, sys.argv[1:]))
"""


def test_files_are_utf8_and_nothing_crashes_whatever_the_locale(tmp_path):
    (tmp_path / "é.toml").write_text("seed = 3  # é", encoding="utf-8")
    (tmp_path / "posix.py").write_text(POSIX, encoding="utf-8")
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = "posix.py --config é.toml --data-dir é --out out --cache-dir cache".split()
    environment = os.environ | posix | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = run_python(*options, cwd=tmp_path, env=environment)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[0] == "?r? ? 1 ? ?n"
    figures = json.loads((tmp_path / "out" / "name.json").read_text(encoding="utf-8"))
    assert figures == {"seed": 3, "text": "‖r‖ ≤ 1 – √n", "path": "??"}  # as argv has two bytes
    assert "‖r‖ ≤ 1 – √n" in (tmp_path / "out" / "name.md").read_text(encoding="utf-8")


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
    assert command.main(nothing, nothing, Config, ["--cache-dir", str(tmp_path)]) == 0
    assert kept == [tmp_path / "compilations"]
