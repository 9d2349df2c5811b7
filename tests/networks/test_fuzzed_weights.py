"""Files of weights that nobody would write: InputError, no code, and memory of their own size."""

import io
import pickle
import tracemalloc
import zipfile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch_files import STORAGES, pickled, state, write_legacy, write_zip

from jaxadv.networks import torch_weights as weights
from jaxadv.storage.errors import InputError

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
GLOBALS = (
    *(b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage", b"collections\nOrderedDict"),
    *(
        b"torch._utils\n_rebuild_parameter",
        b"builtins\neval",
        b"os\nsystem",
        b"builtins\nbytearray",
    ),
    *(b"jaxadv.networks.torch_weights\n_Reader.read", b"numpy\nzeros", b"torch\nStorage"),
)
ATOMS = (
    *(
        b"N",
        b"\x88",
        b"K\x05",
        b"J\xff\xff\xff\x7f",
        b"M\xe8\x03",
        b"X\1\0\0\0a",
        b"U\1b",
        b"]",
        b"}",
    ),
    *(b")", b"(", b"X\7\0\0\0storage", b"X\1\0\0\0" + b"0", b"\x8a\x08" + 7 * b"\xff" + b"\x7f"),
    *(b"c" + name + b"\n" for name in GLOBALS),
)
JOINS = (
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"l",
    b"d",
    b"R",
    b"b",
    b"Q",
    b"a",
    b"e",
    b"s",
    b"u",
    b"0",
)
MEMO = (
    b"q\0",
    b"q\1",
    b"h\0",
    b"h\1",
    b"2",
    b"1",
    b"\x94",
    b"j\0\0\0\0",
    b"r\0\0\0\x02",
    b"\x80\2",
)


@pytest.fixture
def file(tmp_path):
    """Reads bytes as a .pth file; fails where anything but InputError comes of them."""

    def read(data):
        path = tmp_path / "x.pth"
        path.write_bytes(data)
        tracemalloc.start()
        try:
            weights.read(path)
        except InputError as error:
            assert str(path) in str(error) and len(str(error)) < 500 + len(str(path))
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 2e6 + 100 * len(data)

    return read


def of_zip(content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as parts:
        parts.writestr("model/data.pkl", content)
        parts.writestr("model/data/0", STORAGES["0"].tobytes())
    return archive.getvalue()


@FUZZ
@given(st.lists(st.sampled_from(ATOMS) | st.sampled_from(JOINS) | st.sampled_from(MEMO)))
@example([b"cos\nsystem\n", b"X\1\0\0\0a", b"\x85", b"R"])
@example([b"(", b"X\7\0\0\0storage", b"ctorch\nFloatStorage\n", b"U\1" + b"0", b"N", b"Q"])
def test_instructions_of_pickles(file, monkeypatch, instructions):
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("code was run"))
    file(of_zip(b"".join(instructions) + b"."))
    head = [pickle.dumps(each, protocol=2) for each in (weights.LEGACY_MAGIC, 1001, {})]
    file(b"".join([*head, *instructions, b"."]))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_changed_and_cut_files(file, tmp_path, write):
    write(tmp_path / "whole.pth", state())
    whole = (tmp_path / "whole.pth").read_bytes()
    start = max(0, whole.find(pickled(state())[:8]))
    places = st.integers(0, len(whole) - 1) | st.integers(start, start + 400)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)

    @FUZZ
    @given(changes, st.integers(0, 40), st.none() | st.integers(0, len(whole)))
    def changed(changes, inserted, end):
        data = bytearray(whole)
        for place, byte in changes:
            data[place % len(data)] = byte
        place = changes[0][0] if changes else 0
        data[place:place] = bytes(inserted)
        file(bytes(data[:end]))

    changed()
