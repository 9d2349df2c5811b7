"""Fingerprints, and files that are whole or absent."""

import os
import subprocess
import sys
import tracemalloc
import types
import warnings

import jax
import numpy as np
import pytest

from jaxadv.attacks.options import AttackOptions
from jaxadv.networks import mlp
from jaxadv.storage import cache
from jaxadv.storage.cache import fingerprint

ARRAY = np.arange(6, dtype="float32").reshape(2, 3)
STABLE = """fingerprint(
    mlp(5), AttackOptions(), jax.nn.sigmoid, object(), {"b": 1, "a": "text"},
    np.arange(6, dtype="float32").reshape(2, 3),
)"""


def changed(index, value):
    array = ARRAY.copy()
    array.flat[index] = value
    return array


@pytest.mark.parametrize(
    "first, second",
    [
        (ARRAY, changed(5, -1)),
        (ARRAY, ARRAY.astype("float64")),
        (ARRAY, ARRAY.view("int32")),
        (ARRAY, ARRAY.reshape(3, 2)),
        (ARRAY, ARRAY.T.copy()),
        (ARRAY, list(ARRAY)),
        ({"a": ARRAY}, {"b": ARRAY}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]),
        (1, "1"),
        (1, 1.0),
        (AttackOptions(), AttackOptions(tol=0.5)),
        (mlp(5), mlp(6)),
        (jax.nn.sigmoid, jax.nn.relu),
        (jax.random.key(0), jax.random.key(1)),
        (jax.random.key(0), jax.random.key_data(jax.random.key(0))),
        (jax.numpy.bfloat16(ARRAY), jax.numpy.bfloat16(ARRAY + 1)),
        (jax.numpy.bfloat16(ARRAY), jax.numpy.float16(ARRAY)),
    ],
)
def test_fingerprint_is_sensitive(first, second):
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(first, second) != fingerprint(second, first)


@pytest.mark.parametrize(
    "first, second",
    [
        (ARRAY, ARRAY.copy()),
        (ARRAY, jax.numpy.asarray(ARRAY)),
        (ARRAY, np.asfortranarray(ARRAY)),
        (ARRAY[:, ::2], ARRAY[:, ::2].copy()),
        (jax.random.key(5), jax.random.key(5)),
        (jax.numpy.bfloat16(ARRAY), np.asarray(jax.numpy.bfloat16(ARRAY))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (object(), object()),  # whose reprs have their addresses
        (mlp(5), mlp(5)),
    ],
)
def test_fingerprint_is_insensitive(first, second):
    assert fingerprint(first) == fingerprint(second)


def test_fingerprint_is_the_same_in_another_process():
    code = f"""
import jax, numpy as np
from jaxadv.attacks.options import AttackOptions
from jaxadv.storage.cache import fingerprint
from jaxadv.networks import mlp
print({STABLE}, end="")"""
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout == eval(STABLE)
    assert len(other.stdout) == 16 and int(other.stdout, 16)


def test_source_fingerprint_changes_with_the_source(tmp_path):
    package = types.SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "module.py").write_text("x = 1")
    first = cache.source_fingerprint(package)
    (tmp_path / "notes.txt").write_text("not source")
    assert cache.source_fingerprint(package) == first
    (tmp_path / "module.py").write_text("x = 2")
    assert cache.source_fingerprint(package) != first


def test_source_fingerprint_changes_with_the_source_of_sub_packages(tmp_path):
    package = types.SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    deep = tmp_path / "folder" / "deeper"
    deep.mkdir(parents=True)
    (deep / "module.py").write_text("x = 1")
    first = cache.source_fingerprint(package)
    (deep / "module.py").write_text("x = 2")
    assert cache.source_fingerprint(package) != first
    (deep / "module.py").write_text("x = 1")
    assert cache.source_fingerprint(package) == first
    (deep / "module.py").rename(deep / "other.py")
    renamed = cache.source_fingerprint(package)
    (deep / "other.py").rename(deep.parent / "other.py")
    assert len({first, renamed, cache.source_fingerprint(package)}) == 3


def test_source_fingerprint_does_not_depend_on_where_a_package_is(tmp_path):
    found = set()
    for folder in (tmp_path / "here", tmp_path / "there"):
        (folder / "sub").mkdir(parents=True)
        for name in ("b.py", "a.py", "sub/c.py"):
            (folder / name).write_text(name)
        package = types.SimpleNamespace(__file__=str(folder / "__init__.py"))
        found.add(cache.source_fingerprint(package))
    assert len(found) == 1


def test_replacing_shows_the_file_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with cache.replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "half"
    with cache.replacing(path) as temporary:
        temporary.write_text("whole")
        assert path.read_text() == "half"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_on_two_hosts_whose_processes_have_the_same_number(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "file.txt"
    with cache.replacing(path) as first, cache.replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("old", [[], ["old"]])
def test_replacing_leaves_nothing_behind_after_an_exception(tmp_path, old):
    path = tmp_path / "file.txt"
    for text in old:
        path.write_text(text)
    with pytest.raises(KeyboardInterrupt, match="stop"), cache.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt("stop")
    assert [file.read_text() for file in tmp_path.iterdir()] == old


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
def test_replacing_names_the_file_that_a_full_disk_does_not_take(tmp_path):
    with pytest.raises(OSError, match=r"No space left .*: '.*/file.txt'$") as caught:
        with cache.replacing(tmp_path / "file.txt") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("text")
    assert caught.value.filename == str(tmp_path / "file.txt")
    assert list(tmp_path.iterdir()) == []


def test_stored_makes_once(tmp_path):
    path, made = tmp_path / "folder" / "arrays.npz", []

    def make():
        made.append({"a": ARRAY, "b/c": np.array([True, False])})
        return made[0]

    for _ in range(3):
        arrays = cache.stored(path, make)
        assert list(arrays) == ["a", "b/c"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, made[0][name], strict=True)
    assert len(made) == 1


def test_stored_keeps_nothing_that_could_not_be_made(tmp_path):
    def fail():
        raise RuntimeError("cannot be made")

    with pytest.raises(RuntimeError, match="cannot be made"):
        cache.stored(tmp_path / "arrays.npz", fail)
    assert list(tmp_path.iterdir()) == []


def test_stored_makes_anew_what_is_damaged(tmp_path):
    arrays = {"a": ARRAY, "b": np.arange(3)}
    path, rng = tmp_path / "arrays.npz", np.random.default_rng(0)
    cache.stored(path, lambda: arrays)
    data = path.read_bytes()
    for trial in range(60):
        changed = bytearray(data if trial % 3 else data[: rng.integers(len(data))])
        for place in rng.integers(len(changed), size=4) if changed else []:
            changed[place] ^= rng.integers(1, 256)
        path.write_bytes(changed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = cache.stored(path, lambda: arrays)
        for name in arrays:
            np.testing.assert_array_equal(found[name], arrays[name], strict=True)
        if caught:
            assert f"{path} is damaged" in str(caught[-1].message)
            assert path.with_name("arrays.npz.damaged").read_bytes() == changed
        assert not caught or path.read_bytes() != changed


def test_stored_reads_nothing_longer_than_the_file(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    tracemalloc.start()
    with pytest.warns(UserWarning, match=r"x\.npz is damaged .*longer than the file"):
        cache.stored(tmp_path / "x.npz", lambda: {"a": np.ones(3)})
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_stored_notices_other_arrays(tmp_path):
    path = tmp_path / "arrays.npz"
    cache.stored(path, lambda: {"a": ARRAY})
    with np.load(path) as file:
        np.savez(path, **dict(file) | {"a": changed(0, 7)})
    with pytest.warns(UserWarning, match=r"arrays\.npz is damaged .*its content has the digest"):
        found = cache.stored(path, lambda: {"a": ARRAY})
    np.testing.assert_array_equal(found["a"], ARRAY)
