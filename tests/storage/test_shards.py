"""Writing results: whole or not at all, gone on with to the same bytes, never into others."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from results_of_runs import MANIFEST, arrays, files, finish, flipped

from jaxadv.storage import cache, shards
from jaxadv.storage.errors import InputError

KILLED = """
import os, random, signal, sys, time, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from results_of_runs import MANIFEST, finish
from jaxadv.storage import cache

folder, random = Path(sys.argv[2]), random.Random(0)
image = {"dtype": "float32", "shape": [2**19]}
manifest = MANIFEST | {"columns": MANIFEST["columns"] | {"x_adv": image}}
replace, unfinished, whole = os.replace, 0, [0]

def replace_late(*paths):
    time.sleep(0.05)
    replace(*paths)

def child():
    cache.os.replace = replace_late
    warnings.simplefilter("error")  # nothing is damaged
    finish(folder, manifest)
    os._exit(0)

while True:
    process = os.fork()
    if process == 0:
        child()
    time.sleep(random.uniform(0.02, 0.15 + len(whole) / 100))
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    unfinished += any(folder.glob("shards/.*"))
    whole.append(len(list(folder.glob("shards/0*"))))
    if os.WIFEXITED(status):
        break
assert whole == sorted(whole)
print(len(whole) - 2, unfinished, os.WEXITSTATUS(status))
"""


def test_files_are_safetensors_and_have_checksums_for_other_programs(tmp_path):
    assert finish(tmp_path) == ([0, 1, 2, 3], True)
    assert list(files(tmp_path)) == [
        "SHA256SUMS",
        "manifest.json",
        *(f"shards/00000{shard}.safetensors" for shard in range(4)),
    ]
    for shard, (start, stop) in enumerate([(0, 3), (3, 6), (6, 9), (9, 10)]):
        path = tmp_path / f"shards/00000{shard}.safetensors"
        found = safetensors.numpy.load_file(path)
        for name, array in arrays(start, stop).items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"schema": 1} | MANIFEST
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path):
    """One shard is lost at most, none is written twice, and nothing unfinished remains."""
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "killed")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    killed, unfinished, status = map(int, output.split())
    assert killed >= 2 and unfinished >= 1 and status == 0
    image = {"dtype": "float32", "shape": [2**19]}
    finish(tmp_path / "whole", MANIFEST | {"columns": MANIFEST["columns"] | {"x_adv": image}})
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_processes_share_the_shards_and_write_the_same_bytes(tmp_path):
    finish(tmp_path / "one")
    assert finish(tmp_path / "two", process=1, processes=2) == ([1, 3], False)
    assert finish(tmp_path / "two", process=0, processes=2) == ([0, 2], True)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert finish(tmp_path / "many", process=7, processes=8) == ([], False)
    assert finish(tmp_path / "many", only=[2]) == ([0, 1, 2, 3], False)
    assert finish(tmp_path / "many", process=0, processes=1) == ([0, 1, 3], True)
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_what_is_complete_stays_as_it_is(tmp_path):
    finish(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*")}
    assert finish(tmp_path) == ([], True)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*")}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "holds another run: seed was 0 and is 1"),
        ({"options": {"tol": 0.1, "c": [1, 2]}}, r"run: options\.tol was 0\.05 and is 0\.1;"),
        ({"options": {"tol": 0.05}}, r"options\.c was \[1, 2\] and is not there;"),
        (
            {"seed": "x" * 200, "model": "b"},
            "model was 'models:mine' and is 'b'; seed was 0 .{100}",
        ),
        ({"count": 11}, "count was 10 and is 11"),
        ({"seed": False}, "seed was 0 and is False"),
        ({"options": {"tol": 0.05, "c": [1.0, 2]}}, r"c was \[1, 2\] and is \[1\.0, 2\];"),
        ({"mode": "untargeted"}, "mode was not there and is 'untargeted'"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path, change, message):
    finish(tmp_path, only=[0])
    before = files(tmp_path)
    with pytest.raises(InputError, match=message):
        finish(tmp_path, MANIFEST | change)
    assert files(tmp_path) == before


def test_other_versions_go_on_with_a_warning(tmp_path):
    finish(tmp_path, only=[0])
    with pytest.warns(UserWarning, match=r"begun elsewhere: versions\.jax was '1' and is '2'"):
        finish(tmp_path, MANIFEST | {"versions": {"jax": "2"}})
    finish(tmp_path)


def test_order_of_a_manifest_does_not_matter(tmp_path):
    finish(tmp_path / "one")
    columns = dict(reversed(MANIFEST["columns"].items()))
    reverse = dict(reversed((MANIFEST | {"columns": columns}).items()))
    finish(tmp_path / "one", reverse)
    finish(tmp_path / "other", reverse)
    one, other = files(tmp_path / "one"), files(tmp_path / "other")
    assert one.pop("SHA256SUMS") != other.pop("SHA256SUMS")  # of the manifest
    assert one.pop("manifest.json") != other.pop("manifest.json")
    assert one == other


def test_a_second_process_is_told_who_writes(tmp_path):
    message = rf"being written by process {os.getpid()} on "
    with shards.begin(tmp_path, MANIFEST, process=1, processes=2):
        for share in ({"process": 1, "processes": 2}, {}, {"process": 1, "processes": 3}):
            with pytest.raises(InputError, match=message):
                finish(tmp_path, **share)
        finish(tmp_path, process=0, processes=2)
    assert finish(tmp_path) == ([1, 3], True)
    assert not list(tmp_path.glob("lock-*"))


def test_locks_of_killed_processes_are_free_and_removed(tmp_path):
    (tmp_path / "lock-0-of-1").write_text("process 1 on elsewhere")
    (tmp_path / "lock-2-of-8").write_text("process 2 on elsewhere")
    finish(tmp_path)
    assert not list(tmp_path.glob("lock-*"))


def test_error_in_a_run_frees_its_lock(tmp_path):
    with pytest.raises(FileNotFoundError), shards.begin(tmp_path, MANIFEST):
        raise FileNotFoundError
    finish(tmp_path)


def test_where_there_are_no_locks_it_goes_on(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert finish(tmp_path)[1]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label": np.zeros(3, "int64")}, r"'label': 'int32 \(3,\)'.*got.*'label': 'int64 \(3,\)'"),
        ({"label": np.zeros(2, "int32")}, r"got.*'label': 'int32 \(2,\)'"),
        ({"other": np.zeros(3)}, r"got.*'other': 'float64 \(3,\)'"),
    ],
)
def test_columns_that_are_not_as_the_manifest_says(tmp_path, change, message):
    with shards.begin(tmp_path, MANIFEST) as run:
        with pytest.raises(ValueError, match=message):
            run.write(0, arrays(0, 3) | change)
        assert run.missing() == [0, 1, 2, 3]


def test_arrays_of_any_order_in_memory(tmp_path):
    finish(tmp_path / "one")
    with shards.begin(tmp_path / "other", MANIFEST) as run:
        for shard in run.missing():
            columns = arrays(3 * shard, min(3 * shard + 3, 10))
            run.write(shard, {name: np.asfortranarray(array) for name, array in columns.items()})
        assert run.complete()
    assert files(tmp_path / "one") == files(tmp_path / "other")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 0}, "count must be a positive integer, got 0"),
        ({"count": True}, "count must be a positive integer, got True"),
        ({"shard_size": 1.5}, "shard_size must be a positive integer, got 1.5"),
        ({"count": 10**7, "shard_size": 9}, "at most 1000000 shards of 10000000"),
        ({"columns": {}}, "columns must be an object, got {}"),
        ({"columns": {"../x": {"dtype": "int8", "shape": []}}}, r"have the name '\.\./x'"),
        ({"columns": {"x/../y": {"dtype": "int8", "shape": []}}}, r"have the name 'x/\.\./y'"),
        ({"columns": {"x": {"dtype": "object", "shape": []}}}, "dtype of x must .* got 'object'"),
        ({"columns": {"x": {"dtype": "int8", "shape": [-1]}}}, r"shape of x must .* got \[-1\]"),
        ({"columns": {"x": 3}}, "dtype of x must .* got None"),
        ({"columns": {"x": {"dtype": "int8", "shape": [2**62]}}}, "longer than any file"),
        ({"seed": float("nan")}, "JSON"),
    ],
)
def test_manifests_that_cannot_work(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        finish(tmp_path / "out", MANIFEST | change)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', "[" * 10**5, '"\\ud800"'])
def test_damaged_manifest_is_refused_and_left(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is no manifest of results: "):
        finish(tmp_path)
    assert files(tmp_path) == {"manifest.json": text.encode()}


def test_memory_as_an_object_store():
    """Of fsspec: without locks and renaming, as object stores are."""
    place = "memory://results-of-runs"
    assert finish(place, only=[1]) == ([0, 1, 2, 3], False)
    assert finish(place) == ([0, 2, 3], True)
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        finish(place, MANIFEST | {"seed": 1})
    files = shards.Folder(place)
    with files.open("SHA256SUMS") as file:
        digest, name = file.read().decode().splitlines()[1].split("  ")
    with files.open(name) as file:
        data = file.read()
    assert digest == hashlib.sha256(data).hexdigest()
    files.write(name, flipped(data))
    with pytest.warns(UserWarning, match=r"shards/000000\.safetensors is damaged"):
        assert finish(place) == ([0], True)
    with files.open(name) as file:
        assert file.read() == data


def test_places_that_are_not_known():
    with pytest.raises(InputError, match="nothing://x cannot be opened: ValueError: Protocol not"):
        finish("nothing://x")


def test_file_urls_are_local(tmp_path):
    finish(f"file://{tmp_path}/one")
    finish(tmp_path / "other")
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_names_with_colons_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finish("a::b")
    assert (tmp_path / "a::b/manifest.json").exists()


def test_writing_goes_through_replacing(tmp_path, monkeypatch):
    """What is renamed is whole: interrupted before, the shard is as it was."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path)
    monkeypatch.undo()
    assert files(tmp_path) == {}


@pytest.mark.parametrize("process", [-1, 2])
def test_processes_that_there_are_not(tmp_path, process):
    with pytest.raises(ValueError, match=f"must be one of 2, counted from 0, got {process}"):
        finish(tmp_path, process=process, processes=2)


def test_a_run_of_which_nothing_came_may_be_another(tmp_path):
    finish(tmp_path, only=[])
    finish(tmp_path, MANIFEST | {"seed": 1})
    with pytest.raises(InputError, match="seed was 1 and is 0"):
        finish(tmp_path)
