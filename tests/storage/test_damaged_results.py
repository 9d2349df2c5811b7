"""Reading results that are damaged, foreign, or made to do harm: our error, and nothing else."""

import json
import shutil
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_of_runs import COLUMNS, MANIFEST, arrays, finish

import jaxadv
from jaxadv.storage import shards
from jaxadv.storage.errors import InputError
from jaxadv.storage.folder import Folder


def replaced(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_verify_finds_any_changed_byte(copy):
    jaxadv.read_results(copy).verify()
    path = copy / "shards/000003.safetensors"
    data = path.read_bytes()
    for at in range(0, len(data), 5):
        path.write_bytes(replaced(data, at))
        with pytest.raises(InputError, match=r"damaged files: shards/000003\.safetensors$"):
            jaxadv.read_results(copy).verify()
    path.write_bytes(data)
    jaxadv.read_results(copy).verify()


def test_verify_finds_another_computation_of_the_same_run(copy):
    """A shard that is whole and of this manifest, but not the one the run was completed with."""
    with shards.begin(copy, MANIFEST) as run:
        run.write(0, arrays(0, 3) | {"label": np.zeros(3, "int32")})
    with pytest.raises(InputError, match=r"damaged files: shards/000000\.safetensors$"):
        jaxadv.read_results(copy).verify()


def test_headers_that_say_anything_else_are_refused(copy):
    path = copy / "shards/000000.safetensors"
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    digests = data.index(b'"sha256":"') + 10
    for at in {*range(length)} - {*range(digests, digests + 64)}:
        path.write_bytes(replaced(data, at))
        with pytest.raises(InputError, match=r"000000\.safetensors is damaged"):
            _ = jaxadv.read_results(copy).index[0]


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"0", lambda data: b""]
)
def test_shards_of_another_length_are_refused_at_once(copy, change):
    path = copy / "shards/000001.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=r"000001\.safetensors is damaged"):
        jaxadv.read_results(copy)


def test_shards_cut_or_removed_after_opening(copy):
    found = jaxadv.read_results(copy)
    path = copy / "shards/000001.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"000001\.safetensors is damaged"):
        _ = found.success[3:6]
    path.unlink()
    with pytest.raises(InputError, match=r"000001\.safetensors is damaged"):
        _ = found.success[3:6]


def test_swapped_and_foreign_shards_are_refused(copy, tmp_path):
    finish(tmp_path / "foreign", MANIFEST | {"seed": 1})
    shutil.copy(copy / "shards/000001.safetensors", copy / "shards/000000.safetensors")
    shutil.copy(tmp_path / "foreign/shards/000002.safetensors", copy / "shards/000002.safetensors")
    found = jaxadv.read_results(copy)
    for row in (0, 8):
        with pytest.raises(InputError, match="is damaged, or not of the run"):
            _ = found.index[row]
    with pytest.raises(
        InputError, match=r"shards/000000\.safetensors, shards/000002\.safetensors$"
    ):
        found.verify()
    shutil.copy(copy / "shards/000003.safetensors", copy / "shards/000004.safetensors")
    with pytest.raises(InputError, match=r"000004\.safetensors is damaged, or not of the run"):
        jaxadv.read_results(copy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
KEYS = st.sampled_from([*MANIFEST, "schema"])


def read_all(folder):
    """Reads everything there is in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = jaxadv.read_results(folder)
    for name in found.layout.columns:
        np.asarray(found[name])
    found.verify()


def check_only_input_errors(folder, size=2**22):
    tracemalloc.start()
    try:
        read_all(folder)
    except InputError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < size


@settings(max_examples=40, deadline=None)
@given(
    change=st.dictionaries(KEYS, JSON, min_size=1, max_size=2),
    column=JSON | st.just("int8"),
    shape=st.lists(st.integers(-1, 2**62)),
)
def test_any_manifest_gives_results_or_our_error(copy_of, change, column, shape):
    columns = COLUMNS | {"x_adv": {"dtype": column, "shape": shape}}
    for manifest in (MANIFEST | change, MANIFEST | {"columns": columns}):
        (copy_of / "manifest.json").write_text(json.dumps({"schema": 1} | manifest))
        check_only_input_errors(copy_of)


@settings(max_examples=40, deadline=None)
@given(
    text=st.binary(max_size=50) | st.text(max_size=50).map(str.encode),
    cut=st.integers(0, 500),
    at=st.integers(0, 500),
)
def test_any_bytes_as_manifest_give_our_error(copy_of, text, cut, at):
    whole = json.dumps({"schema": 1} | MANIFEST).encode()
    for data in (text, whole[:cut], whole[:at] + text + whole[at:]):
        (copy_of / "manifest.json").write_bytes(data)
        check_only_input_errors(copy_of)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bytes_as_shard_give_our_error(copy_of, written, data):
    whole = (written / "shards/000000.safetensors").read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    shard = whole[:start] + data.draw(st.binary(max_size=20)) + whole[start:]
    huge = (2**62).to_bytes(8, "little") + whole[8:]  # a header longer than the file
    shutil.copy(written / "manifest.json", copy_of)
    for each in (shard, shard[: len(whole)], huge):
        (copy_of / "shards/000000.safetensors").write_bytes(each)
        check_only_input_errors(copy_of)


@pytest.fixture(scope="module")
def copy_of(written, tmp_path_factory):
    """A copy of the results that is changed again and again."""
    return shutil.copytree(written, tmp_path_factory.mktemp("changed") / "copy")


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "NaN", "-1", "9" * 400])
def test_numbers_no_manifest_has(copy, number):
    text = json.dumps({"schema": 1} | MANIFEST).replace('"count": 10', f'"count": {number}')
    (copy / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is no manifest of results: "):
        jaxadv.read_results(copy)


def test_names_in_a_manifest_cannot_leave_the_folder(copy, monkeypatch):
    """No name in a manifest is one of a file: those that are opened follow from numbers."""
    opened = []
    monkeypatch.setattr(
        Folder, "path", lambda self, name: opened.append(name) or f"{self._root}/{name}"
    )
    finish(copy)
    read_all(copy)
    names = {
        "manifest.json",
        "shards",
        "SHA256SUMS",
        *(f"shards/00000{n}.safetensors" for n in range(4)),
    }
    assert set(opened) <= names
    columns = {"a/../../../x": {"dtype": "int8", "shape": []}}
    text = json.dumps({"schema": 1} | MANIFEST | {"columns": columns})
    (copy / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="a column cannot have the name"):
        jaxadv.read_results(copy)
