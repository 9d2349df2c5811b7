"""Changed, cut and made-up files: InputError or an error of an image, and nothing else."""

import io
import os
import pickle
import resource
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxadv.datasets.examples import Examples, open_source
from jaxadv.storage.errors import InputError

EXIF = Image.Exif()
EXIF[274] = 3  # orientation: upside down


def saved(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), np.uint8)
ARRAYS = {"images": np.stack([PIXELS] * 3), "labels": np.arange(3)}
FILES = {
    "npy": saved(np.save, ARRAYS["images"]),
    "floats": saved(np.save, ARRAYS["images"] / 255),
    "npz": saved(np.savez, **ARRAYS),
    "compressed": saved(np.savez_compressed, **ARRAYS),
}
IMAGES = {
    "png": saved(lambda file: Image.fromarray(PIXELS).save(file, "PNG")),
    "palette": saved(lambda file: Image.fromarray(PIXELS).quantize(9).save(file, "PNG")),
    "jpeg": saved(lambda file: Image.fromarray(PIXELS).save(file, "JPEG", progressive=True)),
    "exif": saved(lambda file: Image.fromarray(PIXELS).save(file, "JPEG", exif=EXIF)),
}
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@st.composite
def changed(draw, contents):
    """Bytes of a file, cut off, with some of them changed; or any bytes."""
    data = bytearray(contents[draw(st.sampled_from(sorted(contents)))])
    places = st.integers(0, len(data) - 1) | st.integers(0, 150)  # headers, above all
    for place, byte in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=5)):
        data[place % len(data)] = byte
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


def assert_is_whole(examples):
    for index in range(len(examples)):
        example = examples[index]
        assert (example.image is None) == (example.error is not None)
        if example.image is not None:
            assert example.image.shape == examples.image_shape
            assert 0 <= example.image.min() <= example.image.max() <= 1


@FUZZ
@given(data=changed(FILES) | st.binary(max_size=200))
def test_arrays(tmp_path, data):
    path = tmp_path / "x.npz"
    path.unlink(missing_ok=True)  # not to change what is mapped into memory
    path.write_bytes(data)
    try:
        examples = open_source(str(path))
    except InputError as error:
        assert str(error).startswith(f"cannot read {path}: ")
    else:
        assert_is_whole(examples)


@FUZZ
@given(data=changed(IMAGES) | st.binary(max_size=200))
def test_images(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in commands: Pillow has some of files that are odd
        try:
            examples = Examples([IMAGES["png"], data], "two")
        except InputError as error:
            assert "example 1 has the shape" in str(error) or "example 0 has" in str(error)
        else:
            assert_is_whole(examples)


class Payload:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def header(shape, dtype="|u1"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def test_nothing_is_unpickled(tmp_path):
    made = str(tmp_path / "made")
    array = np.array([Payload(made)] * 2, object)
    (tmp_path / "x.npy").write_bytes(saved(np.save, array))
    (tmp_path / "y.npz").write_bytes(saved(np.savez, images=array))
    (tmp_path / "z.npy").write_bytes(pickle.dumps(Payload(made)))
    for name in ("x.npy", "y.npz", "z.npy"):
        with pytest.raises(InputError, match=f"cannot read .*{name}"):
            open_source(str(tmp_path / name))
    assert not os.path.exists(made)


def zipped(content, size=None, **changes):
    """A zip file of images.npy, whose directory says that it has another size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
        for info in archive.filelist:
            info.file_size = info.file_size if size is None else size
            for name, value in changes.items():
                setattr(info, name, value)
    return file.getvalue()


LARGE = 2**40
PLAIN = header((2, 3, 4)) + bytes(24)


@pytest.mark.parametrize(
    "content",
    [
        header((LARGE, 3, 4)) + bytes(24),
        header((2**63, 2**63, 2)) + bytes(24),
        header((-1, 3, -8)) + bytes(24),
        header((0, LARGE, 4)),
        header((2, 3, 4), f"|V{LARGE}") + bytes(24),
        zipped(header((LARGE, 3, 4)) + bytes(24)),
        zipped(PLAIN, size=LARGE),
        zipped(PLAIN, compress_size=LARGE),
        zipped(PLAIN, header_offset=LARGE),
        zipped(PLAIN, CRC=0),
        zipped(PLAIN, flag_bits=1),
        zipped(PLAIN + bytes(10**8), size=len(PLAIN) + 10**6),
    ],
)
def test_no_memory_for_what_a_header_says(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    with pytest.raises(InputError, match="cannot read"):
        open_source(str(tmp_path / "x.npz"))
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 20_000  # KiB


def test_zip_files_as_made_here_can_be_read(tmp_path):
    (tmp_path / "x.npz").write_bytes(zipped(PLAIN))
    assert open_source(str(tmp_path / "x.npz")).image_shape == (3, 4)
