"""The command `generate` again: whatever ended it, the bytes come out the same."""

import os
import resource
import signal
import socket
import subprocess
import sys

import fsspec
import jax
import numpy as np
import pytest
from own_model import files, put

from jaxadv import generate
from jaxadv.reports.page import charts
from jaxadv.storage.folder import Folder


@pytest.fixture(autouse=True)
def not_drawn(monkeypatch):
    """Charts take a third of the time of a run, and are those of `reference`, which writes them."""
    monkeypatch.setattr(charts, "_svg", lambda figure: b"<svg/>")


@pytest.fixture
def start(own_model, generated):
    """Starts another process, which compiles as this one does and keeps it where this one does.

    It is killed before it renames its second shard, where that is asked for.
    """

    def start(out, *more, devices=2, killed=False):
        same = {
            "PYTHONPATH": os.pathsep.join([str(generated.folder), *sys.path]),
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.values["jax_compilation_cache_dir"]),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        program = own_model / "program.py", str(devices), str(2 * killed)
        return subprocess.Popen(
            [sys.executable, *program, *generated.options(out, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | same,
        )

    return start


def status(process):
    process.communicate(timeout=300)
    return process.returncode


def test_what_is_complete_is_not_done_again(tmp_path, reference, generated):
    put(tmp_path, reference)
    export = tmp_path.parent / "all.npz"
    printed = generated(tmp_path, "--export", str(export))
    assert printed.startswith(f"5 of 5 files are there in {tmp_path}\n")
    assert printed.endswith(f"shows them, and all columns are in {export}.\n")
    assert "0/0" not in printed
    assert files(tmp_path) == reference and (tmp_path / "report.html").exists()
    columns = np.load(export)
    assert columns["index"].tolist() == [*range(20)] and columns["x_adv"].shape == (20, 4, 4)


def test_what_is_missing_is_done(tmp_path, reference, generated):
    put(tmp_path, reference)
    for name in ("SHA256SUMS", "shards/000001.safetensors", "shards/000004.safetensors"):
        (tmp_path / name).unlink()
    with pytest.warns(UserWarning, match="image 7"):
        assert generated(tmp_path).startswith(f"3 of 5 files are there in {tmp_path}\n")
    assert files(tmp_path) == reference


def test_two_processes_one_after_the_other(tmp_path, reference, generated):
    with pytest.warns(UserWarning, match="image 7"):
        printed = generated(tmp_path, *"--process 1 --processes 2".split())
    assert printed.endswith(f"has done its part in {tmp_path}; files of others are missing\n")
    assert len(files(tmp_path)) == 1 + 2
    generated(tmp_path, *"--process 0 --processes 2".split())
    assert files(tmp_path) == reference


def test_a_second_run_at_the_same_time_is_told(tmp_path, generated):
    with Folder(tmp_path).lock(0, 1):
        for share in ("", "--process 0 --processes 2"):
            message = generated.refused(tmp_path, *share.split())
            assert message.startswith(
                f"error: {tmp_path} is being written by process {os.getpid()}"
            )


def test_a_full_disk(tmp_path, reference, generated, capsys):
    """As which a limit on files' sizes looks to a program."""
    put(tmp_path, reference)
    for name in ("SHA256SUMS", "shards/000000.safetensors"):
        (tmp_path / name).unlink()
    assert len(reference["shards/000000.safetensors"]) > 1000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert generate.main(generated.options(tmp_path)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capsys.readouterr().err
    assert message == f"error: {tmp_path}/shards/000000.safetensors: File too large\n"
    assert len(files(tmp_path)) == len(reference) - 2
    assert generate.main(generated.options(tmp_path)) == 0
    assert files(tmp_path) == reference


def test_an_object_store(reference, generated, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    store = fsspec.filesystem("memory")
    with pytest.warns(UserWarning, match="image 7"):
        assert generated("memory://generated").endswith("The results are in memory://generated.\n")
    found = {path.removeprefix("/generated/"): store.cat(path) for path in store.find("/generated")}
    assert found == reference
    assert generated("memory://generated").startswith("5 of 5 files are there in memory://")
    store.rm("/generated", recursive=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.filterwarnings("ignore:image 7 cannot be attacked")
def test_ctrl_c_ends_in_one_line(tmp_path, reference, generated, capsys):
    import gen_mine

    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    gen_mine.INTERRUPTED.append(signal.SIGINT)
    assert generate.main(generated.options(tmp_path)) == 130
    signal.signal(signal.SIGINT, inherited)
    message = "interrupted; run the same command again to go on from what is kept\n"
    assert capsys.readouterr().err == message
    generated(tmp_path)
    assert files(tmp_path) == reference


@pytest.mark.slow
def test_killed_on_eight_devices_and_gone_on_with_on_two(tmp_path, reference, start, generated):
    killed = start(tmp_path, devices=8, killed=True)
    assert status(killed) == -signal.SIGKILL
    assert len([*tmp_path.glob("shards/0*")]) == len([*tmp_path.glob("shards/.*-0*")]) == 1
    with pytest.warns(UserWarning) as warned:
        assert generated(tmp_path).startswith("1 of 5 files are there")
    found, (elsewhere, _) = files(tmp_path), (str(each.message) for each in warned)
    assert "was begun elsewhere: device was '8 × cpu' and is '2 × cpu'" in elsewhere
    different = {
        name for name in found.keys() | reference.keys() if found.get(name) != reference.get(name)
    }
    assert different == {"manifest.json", "SHA256SUMS"}  # which has the sum of the manifest


@pytest.mark.slow
def test_four_processes_of_which_one_is_killed_and_restarted(tmp_path, reference, start, generated):
    share = [f"--process {process} --processes 4".split() for process in range(4)]
    killed = start(tmp_path, *share[0], killed=True)
    with pytest.warns(UserWarning, match="image 7"):
        printed = [generated(tmp_path, *each) for each in share[1:]]
    assert all("files of others are missing" in each for each in printed)
    assert status(killed) == -signal.SIGKILL
    assert len([*tmp_path.glob("shards/0*")]) == 4 and not (tmp_path / "SHA256SUMS").exists()
    generated(tmp_path, *share[0])
    assert files(tmp_path) == reference


@pytest.mark.slow
def test_two_processes_of_one_jax_program(tmp_path, reference, start):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    share = "--coordinator", address, "--processes", "2", "--process"
    processes = [start(tmp_path, *share, str(number)) for number in range(2)]
    assert [status(process) for process in processes] == [0, 0]
    assert files(tmp_path) == reference
