"""What is read of arrays and of a user's own functions, and what is refused."""

import sys
import zipfile

import numpy as np
import pytest

from jaxadv.datasets.examples import Examples, open_source
from jaxadv.storage.errors import InputError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (5, 4, 3, 2), np.uint8)
LABELS, TARGETS = np.array([3, 1, 4, 1, -1]), np.array([2, 7, 1, 8, 2], np.uint8)
UNIT = RNG.uniform(size=(5, 4, 3))


def images_of(examples):
    return np.stack([example.image for example in map(examples.__getitem__, range(len(examples)))])


@pytest.mark.parametrize(
    "array, expected",
    [
        (BYTES, BYTES / 255),
        (BYTES[..., 0], BYTES[..., 0] / 255),
        (BYTES[:, 0, 0], BYTES[:, 0, 0] / 255),
        (np.asfortranarray(BYTES), BYTES / 255),
        ((BYTES * 257.0).astype("uint16"), BYTES / 255),
        ((BYTES * 257.0).astype(">u2"), BYTES / 255),
        (UNIT, UNIT),
        (UNIT.astype(">f4"), UNIT),
        (UNIT.astype("float16"), UNIT.astype("float16")),
    ],
)
def test_npy(tmp_path, array, expected):
    np.save(tmp_path / "x.npy", array)
    examples = open_source(str(tmp_path / "x.npy"))
    found = images_of(examples)
    np.testing.assert_allclose(found, expected, rtol=2e-7)
    assert found.dtype == np.float32 and found.dtype.isnative
    assert (examples.name, len(examples), examples.classes) == ("x.npy", len(array), None)
    assert not examples.labelled and not examples.targeted
    assert examples.image_shape == array.shape[1:]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "x.npz", images=BYTES, labels=LABELS, targets=TARGETS, other=np.zeros(2))
    examples = open_source(str(tmp_path / "x.npz"))
    np.testing.assert_allclose(images_of(examples), BYTES / 255, rtol=2e-7)
    assert [examples[i].label for i in range(5)] == [3, 1, 4, 1, None]
    assert [examples[i].target for i in range(5)] == TARGETS.tolist()
    assert examples.labelled and examples.targeted
    assert examples[-1].target == 2
    with pytest.raises(IndexError):
        examples[5]


def test_what_is_not_compressed_is_not_read(tmp_path):
    """A sparse file of 1 TB."""
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((4, 2, 2), "uint8"))
    np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.uint8, (2**20, 2**10, 2**10))
    assert len(open_source(str(path))) == 4
    assert len(open_source(str(tmp_path / "y.npy"))) == 2**20


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"images": np.arange(40).reshape(5, 8)}, "example 0: it is of int64, expected uint8, uin"),
        ({"images": UNIT > 0.5}, "it is of bool"),
        ({"images": UNIT * 255}, r"it has values from [\d.]+ to 2[\d.]+, expected \[0, 1\]$"),
        ({"images": UNIT * np.nan}, "it has values from nan to nan"),
        ({"images": UNIT[0, 0]}, r"expected images \(N, …\).* got \{'images': \(3,\)\}"),
        ({"images": UNIT[:0]}, "there are no examples"),
        ({"images": UNIT[:, :0]}, r"its shape is \(0, 3\)"),
        ({"images": UNIT, "labels": LABELS[:4]}, r"'labels': \(4,\)"),
        ({"images": UNIT, "labels": LABELS / 2}, r"its label is float64 \(\), expected an integer"),
        ({"images": UNIT, "labels": LABELS[:, None]}, r"its label is int64 \(1,\)"),
        ({"images": UNIT, "targets": LABELS + 2**32}, "its target is 4294967299, expected -1 to"),
        ({"x": UNIT, "y": LABELS}, "expected arrays called images, labels, targets, got x, y"),
    ],
)
def test_refused_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=rf"^cannot read .*x\.npz: .*{message}"):
        open_source(str(tmp_path / "x.npz"))


def test_errors_of_some_images():
    images = UNIT.copy()
    images[1, 0, 0], images[3, 0, 0] = np.nan, 1.01
    examples = Examples([*zip(images, LABELS, strict=True)], "mine")
    assert [examples[i].image is None for i in range(5)] == [False, True, False, True, False]
    assert examples[1].error == "it has values from nan to nan, expected [0, 1]"
    assert "to 1.01, expected [0, 1]" in examples[3].error
    assert (examples[1].label, examples[0].error) == (1, None)
    np.testing.assert_array_equal(examples[2].image, UNIT[2].astype("float32"))


@pytest.mark.parametrize(
    "spec, options, message",
    [
        ("nothing.npy", {}, "it does not exist; expected an .npy or .npz file, a folder of images"),
        ("nothing/there", {}, "does not exist"),
        ("x.txt", {}, "ValueError"),
        ("nothing:here", {}, "ModuleNotFoundError: No module named 'nothing'"),
        ("x.txt", {"size": 0}, "size must be at least 1, got 0"),
        ("x.npz", {"size": 2}, "example 0"),
    ],
)
def test_refused_sources(tmp_path, monkeypatch, spec, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("some text")
    np.savez(tmp_path / "x.npz", images=UNIT)
    with pytest.raises(InputError, match=message):
        open_source(spec, **options)


def test_size_of_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.broadcast_to(BYTES[:, :1, :1, :1], (5, 6, 9, 1)))
    examples = open_source(str(tmp_path / "x.npy"), size=4)
    expected = np.broadcast_to(BYTES[:, :1, :1, :1], (5, 4, 4, 1)) / 255
    np.testing.assert_allclose(images_of(examples), expected, rtol=2e-7)


OWN_DATA = """
import numpy as np

class Records:
    def __init__(self, items):
        self.items = items
    def __len__(self):
        return len(self.items)
    def __getitem__(self, index):
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item

image = np.arange(6, dtype="uint8").reshape(2, 3)

def good():
    lists = (image / 255).tolist()
    return Records([
        image, (lists, 3), (image, np.int64(2), np.array(7)), {"image": image, "target": 5},
        OSError("no disk"), {"picture": image}, (image, 2.5), image[:1], image.astype("int8"),
        *[image] * 200,  # of which the first and some others are looked at beforehand
    ])

def no_length():
    return iter([image])

def fails():
    raise RuntimeError("boom")

def shapes():
    return Records([image, image[:1]])

def unreadable():
    return Records([KeyError("a"), image[:0]])
"""


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(OWN_DATA)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_data", None)


def test_records_of_a_function(own_data):
    examples = open_source("own_data:good")
    expected = np.arange(6).reshape(2, 3) / 255
    for index, label, target in [(0, None, None), (1, 3, None), (2, 2, 7), (3, None, 5)]:
        example = examples[index]
        np.testing.assert_allclose(example.image, expected, rtol=2e-7)
        assert example[1:] == (label, target, None)
    for index, message in [
        (4, "OSError: no disk"),
        (5, "it has ['picture'], expected image, label and target"),
        (6, "its label is float64 (), expected an integer"),
        (7, "its shape is (1, 3), expected (2, 3)"),
        (8, "it is of int8, expected uint8, uint16 or floating-point numbers in [0, 1]"),
    ]:
        assert examples[index].image is None and examples[index].error == message


@pytest.mark.parametrize(
    "function, message",
    [
        ("no_length", "TypeError: object of type 'list_iterator' has no len"),
        ("fails", r"RuntimeError: boom \(.*own_data\.py, line \d+\)"),
        ("nothing", "AttributeError: module 'own_data' has no attribute 'nothing'"),
        ("shapes", r"example 1 has the shape \(1, 3\), another \(2, 3\); with a size"),
        ("unreadable", "example 0: KeyError: 'a'"),
    ],
)
def test_refused_functions(own_data, function, message):
    with pytest.raises(InputError, match=rf"^cannot read own_data:{function}: {message}"):
        open_source(f"own_data:{function}")


def test_fingerprint(tmp_path):
    def fingerprint(images, folder="a", name="x.npz", **arrays):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / name
        np.savez(path, images=images, **arrays)
        return open_source(str(path)).fingerprint()

    changed = BYTES.copy()
    changed[4, 3, 2, 1] ^= 1
    found = fingerprint(BYTES)
    assert found == fingerprint(BYTES, folder="b")
    others = [
        fingerprint(BYTES, name="y.npz"),
        fingerprint(changed),
        fingerprint(BYTES[:4]),
        fingerprint(BYTES, labels=LABELS),
        fingerprint(BYTES, labels=LABELS + 1),
        fingerprint(BYTES, targets=LABELS),
    ]
    assert len({found, *others}) == 7


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", kind) as file:
        file.writestr("images.npy", bytes(1000))
    with pytest.raises(InputError, match=r"images\.npy is not compressed by deflate"):
        open_source(str(tmp_path / "x.npz"))


def test_arrays_with_almost_the_right_names_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 3, 3), "uint8"), label=np.arange(2), ids=np.arange(2))
    with pytest.raises(InputError, match="it has an array called label: is it labels"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["labels", "targets"])
@pytest.mark.parametrize("shape", [(4,), (6,), (), (5, 2)])
def test_classes_that_do_not_fit_the_images(tmp_path, name, shape):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((5, 2, 2), np.uint8), **{name: np.zeros(shape, int)})
    message = r"expected images \(N, …\), labels \(N,\)|expected an integer"
    with pytest.raises(InputError, match=message):
        open_source(str(path))


def test_the_one_target_of_an_array_is_known(tmp_path):
    targets = np.where(np.arange(40) == 1, 3, -1)
    np.savez(tmp_path / "mine.npz", images=np.zeros((40, 2, 2), np.uint8), targets=targets)
    examples = open_source(str(tmp_path / "mine.npz"))
    assert examples.targeted and not examples.labelled
