"""Reading results: as NumPy indexes, and no more than is asked for."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from results_of_runs import COLUMNS, MANIFEST, arrays, files, finish

import jaxadv
from jaxadv.storage import results, shards
from jaxadv.storage.errors import InputError

WHOLE = arrays(0, 10)


def test_columns_are_as_written(written):
    found = jaxadv.read_results(written)
    assert len(found) == 10 and found.missing == []
    assert found.manifest == {"schema": 1} | MANIFEST
    for name, array in WHOLE.items():
        column = found[name]
        assert (column.dtype, column.shape, column.ndim, len(column)) == (
            *(array.dtype, array.shape, array.ndim, len(array)),
        )
        np.testing.assert_array_equal(np.asarray(column), array, strict=True)
        np.testing.assert_array_equal(list(column), list(array))
    assert {"index", "x_adv", "manifest", "verify"} <= set(dir(found))
    assert repr(found.x_adv) == "<column x_adv: float32 (10, 2, 2, 1)>"
    assert repr(found).startswith(f"<results in {written}: 10 × index, ")
    with pytest.raises(AttributeError, match="no column 'distortion'"):
        _ = found.distortion
    with pytest.raises(KeyError, match=r"no column 'distortion', but .*'index'"):
        _ = found["distortion"]


def indices(shape):
    """Indices of NumPy arrays of a shape, by one, by several, and by masks."""
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    rows = hnp.integer_array_indices(
        shape[:1], result_shape=hnp.array_shapes(max_dims=3, min_side=0)
    )
    masks = st.integers(1, len(shape)).flatmap(lambda n: hnp.arrays(bool, shape[:n]))
    several = hnp.integer_array_indices(shape)
    with_slice = st.tuples(rows.map(lambda index: index[0]), st.slices(shape[-1]))
    lists = st.lists(st.integers(-shape[0], shape[0] - 1))
    found = [basic, rows, masks, several, lists, st.integers(-12, 12)]
    return st.one_of(*found, with_slice) if len(shape) > 1 else st.one_of(*found)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_indexing_is_numpys(written, data):
    name = data.draw(st.sampled_from(["index", "success", "x_adv", "transfer/fc"]))
    index = data.draw(indices(WHOLE[name].shape))
    column = jaxadv.read_results(written)[name]
    try:
        expected = WHOLE[name][index]
    except IndexError:
        with pytest.raises(IndexError):
            _ = column[index]
        return
    found = column[index]
    np.testing.assert_array_equal(found, expected, strict=True)
    assert type(found) is type(expected)


def test_columns_are_indices_and_operands(written):
    found = jaxadv.read_results(written)
    np.testing.assert_array_equal(
        found.x_adv[found["transfer/fc"] == 1], WHOLE["x_adv"][WHOLE["transfer/fc"] == 1]
    )
    np.testing.assert_array_equal(found.x_adv[found.index, 0], WHOLE["x_adv"][:, 0])
    np.testing.assert_array_equal(found.index + found.label, WHOLE["index"] + WHOLE["label"])
    np.testing.assert_array_equal(found.success & ~found.success, np.zeros((10, 3), bool))
    assert np.mean(found.label) == WHOLE["label"].mean()
    assert np.asarray(found.label, float).dtype == float
    with pytest.raises(ValueError, match="no array without a copy"):
        np.asarray(found.label, copy=False)


CORNERS = [
    *(np.array(True), np.array(False), np.bool(True), (np.array(True), 3), True, (), (..., 0)),
    *(range(0), range(3), [], [[]], [[], []], np.array([], int), np.zeros(10, bool), np.array(3)),
    *(
        (None, 2),
        [[0, 1], [2, 3]],
        ([1, 2], None),
        (range(0), ...),
        [True] * 10,
        np.uint8(200) // 50,
    ),
]


@pytest.mark.parametrize("name", ["index", "x_adv"])
@pytest.mark.parametrize("index", CORNERS, ids=repr)
def test_corners_are_numpys(written, name, index):
    found = jaxadv.read_results(written)[name][index]
    np.testing.assert_array_equal(found, WHOLE[name][index], strict=True)


@pytest.mark.parametrize(
    "index",
    [
        10,
        -11,
        np.array([]),
        np.array(1.0),
        range(9, 11),
        [True],
        [[True], [False]],
        [0, 10],
        np.zeros(3, bool),
        1.0,
        "a",
        np.zeros(2),
        slice(None, None, 0),
    ],
)
def test_indices_that_are_none(written, index):
    with pytest.raises((IndexError, ValueError)):
        WHOLE["index"][index]
    with pytest.raises((IndexError, ValueError)):
        _ = jaxadv.read_results(written).index[index]


def test_only_the_shards_asked_for_are_read(copy):
    for shard in (0, 2):
        path = copy / f"shards/00000{shard}.safetensors"
        path.write_bytes(bytes(path.stat().st_size))
    found = jaxadv.read_results(copy)
    np.testing.assert_array_equal(found.x_adv[3:6], WHOLE["x_adv"][3:6])
    np.testing.assert_array_equal(found.label[[9, 4]], WHOLE["label"][[9, 4]])
    with pytest.raises(
        InputError, match=r"000000\.safetensors is damaged, or not of the run in man"
    ):
        _ = found.label[2]


def test_rows_of_large_shards_are_read_without_the_rest(tmp_path):
    columns = {"x_adv": {"dtype": "float32", "shape": [2**10]}}
    manifest = {"count": 2**13, "shard_size": 2**12, "columns": columns}
    array = np.arange(2**23, dtype="float32").reshape(-1, 2**10)  # 32 MiB
    with shards.begin(tmp_path, manifest) as run:
        for shard in run.missing():
            run.write(shard, {"x_adv": array[shard * 2**12 :][: 2**12]})
    found = jaxadv.read_results(tmp_path)
    tracemalloc.start()
    np.testing.assert_array_equal(found.x_adv[5::1000], array[5::1000])
    results.export_npz(found, tmp_path / "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 2**24  # a shard, and its bytes


def test_incomplete_results_are_those_of_whole_shards(tmp_path):
    finish(tmp_path, only=[0, 3])
    with pytest.warns(
        UserWarning, match="not complete: 2 of 4 shards are missing, and so 6 of 10 im"
    ):
        found = jaxadv.read_results(tmp_path)
    assert found.missing == [1, 2] and len(found) == 4
    np.testing.assert_array_equal(found.index, [0, 1, 2, 9])
    np.testing.assert_array_equal(found.x_adv[2:], WHOLE["x_adv"][[2, 9]])
    found.verify()
    finish(tmp_path, only=[])
    shutil.rmtree(tmp_path / "shards")
    with pytest.warns(UserWarning, match="4 of 4 shards are missing"):
        found = jaxadv.read_results(tmp_path)
    assert np.asarray(found.x_adv).shape == (0, 2, 2, 1) and list(found.index) == []


def test_places_without_results(tmp_path):
    with pytest.raises(InputError, match=r"holds no results: there is no manifest\.json"):
        jaxadv.read_results(tmp_path / "nothing")


def test_export(written, tmp_path):
    results.export_npz(jaxadv.read_results(written), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        assert set(file) == set(COLUMNS)
        for name, array in WHOLE.items():
            np.testing.assert_array_equal(file[name], array, strict=True)
    before = files(tmp_path)
    results.export_npz(jaxadv.read_results(written), str(tmp_path / "x.npz"))
    assert files(tmp_path) == before


def test_export_of_damaged_results_writes_nothing(copy, tmp_path):
    found = jaxadv.read_results(copy)
    (copy / "shards/000003.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"000003\.safetensors is damaged"):
        results.export_npz(found, tmp_path / "x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_export_of_incomplete_results(tmp_path):
    finish(tmp_path / "out", only=[1])
    with pytest.warns(UserWarning, match="not complete"):
        results.export_npz(jaxadv.read_results(tmp_path / "out"), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        np.testing.assert_array_equal(file["index"], [3, 4, 5])


def test_memory_as_an_object_store(tmp_path, monkeypatch):
    plain = MemoryFileSystem.cat_file
    monkeypatch.setattr(  # as s3fs has it
        MemoryFileSystem,
        "cat_file",
        lambda self, path, version_id=None, start=None, end=None: plain(self, path, start, end),
    )
    place = "memory://results-to-read"
    finish(place)
    found = jaxadv.read_results(place)
    found.verify()
    for name, array in WHOLE.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array, strict=True)
        np.testing.assert_array_equal(found[name][[7, 2, 2]], array[[7, 2, 2]], strict=True)
    results.export_npz(found, tmp_path / "x.npz")
    found._folder.write("shards/000001.safetensors", b"short")
    with pytest.raises(InputError, match=r"000001\.safetensors is damaged"):
        _ = found.label[4]


def test_reading_while_another_process_writes(tmp_path):
    with shards.begin(tmp_path, MANIFEST) as run:
        run.write(2, arrays(6, 9))
        (tmp_path / "shards/.0123456789abcdef-000001.safetensors").write_bytes(b"half")
        with pytest.warns(UserWarning, match="3 of 4 shards are missing"):
            found = jaxadv.read_results(Path(tmp_path))
        np.testing.assert_array_equal(found.index, [6, 7, 8])


def test_images_have_names(tmp_path):
    finish(tmp_path)
    assert jaxadv.read_results(tmp_path).files is None
    names = [f"{'é' if index else 'a'}/new\nline {index}.png" for index in range(10)]
    with shards.begin(tmp_path, MANIFEST) as run:
        assert run.missing() == [] and run.complete(names)
    found = jaxadv.read_results(tmp_path)
    assert found.files == names
    found.verify()
    for damaged in ("[1]", "[", "{}", str([*range(10)])):
        (tmp_path / shards.FILES).write_text(damaged)
        found = jaxadv.read_results(tmp_path)
        with pytest.raises(InputError, match=r"files\.json is damaged"):
            _ = found.files
        with pytest.raises(InputError, match=r"damaged files: files\.json$"):
            found.verify()
    (tmp_path / shards.FILES).unlink()
    with pytest.raises(InputError, match=r"damaged files: files\.json$"):
        found.verify()


def test_verify_finds_what_the_sums_find(tmp_path):
    finish(tmp_path)
    jaxadv.read_results(tmp_path).verify()
    (tmp_path / "shards" / "000001.safetensors").unlink()
    with pytest.warns(UserWarning, match="missing"):
        found = jaxadv.read_results(tmp_path)
    with pytest.raises(InputError, match="damaged files: shards/000001"):
        found.verify()
