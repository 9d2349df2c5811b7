"""Folders of PNG and JPEG images against the arrays they were made of; evenly spaced numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxadv.datasets.examples import Examples, open_source, spaced
from jaxadv.datasets.images import decoded, fitted
from jaxadv.storage.errors import InputError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 8, 3), np.uint8)
GREY = RNG.integers(0, 256, (6, 8), np.uint8)


def encoded(image, kind="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else encoded(content))
    return str(folder)


def test_classes(tmp_path):
    folder = put(
        tmp_path / "photos",
        {
            "dog/b.png": COLOUR,
            "dog/a.PNG": COLOUR[::-1],
            "dog/more/c.png": COLOUR[:, ::-1],
            "cat/z.png": GREY,
            "cat/notes.txt": b"",
            "cat/.hidden.png": b"",
            "empty/notes.txt": b"",
            ".git/x.png": COLOUR,
        },
    )
    with pytest.warns(UserWarning, match="without images count as classes: empty$"):
        examples = open_source(folder)
    assert (examples.name, examples.classes) == ("photos", ("cat", "dog", "empty"))
    assert (examples.labelled, examples.targeted) == (True, False)
    assert [examples[i].label for i in range(len(examples))] == [0, 1, 1, 1]
    expected = [np.repeat(GREY[..., None], 3, -1), COLOUR[::-1], COLOUR, COLOUR[:, ::-1]]
    for index, image in enumerate(expected):
        np.testing.assert_allclose(examples[index].image, image / 255, rtol=2e-7)


def test_no_classes(tmp_path):
    examples = open_source(put(tmp_path, {"b.png": GREY, "a.png": GREY[::-1]}))
    assert not examples.labelled and examples.classes is None
    assert examples.image_shape == (6, 8, 1)
    np.testing.assert_allclose(examples[0].image[..., 0], GREY[::-1] / 255, rtol=2e-7)


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.txt": b""}, "PNG and JPEG images are neither in nor beside sub-folders"),
        ({"a/b.png": GREY, "c.png": GREY}, "images are both beside and in sub-folders"),
        ({"a/a.png": GREY, "b/b.png": GREY[1:]}, r"example 0 has .*\(6, 8, 1\)|example 1 has"),
        ({"a/a.png": b"text"}, "example 0: a/a.png: it is no PNG or JPEG image"),
        ({"a.array_record-00000-of-00001": b""}, "neither in nor beside"),
    ],
)
def test_refused_folders(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        open_source(put(tmp_path, files))


def test_broken_images_harm_no_other(tmp_path):
    data = encoded(COLOUR)
    files = {"a/0.png": COLOUR, "a/1.png": data[:-30], "a/2\n.jpg": b"", "b/3.png": COLOUR}
    examples = open_source(put(tmp_path, files))
    assert examples.files(3) == [*files][:3]
    assert str(examples[2].error).startswith(r"a/2\n.jpg: ")
    assert [examples[i].error is None for i in range(4)] == [True, False, False, True]
    assert [examples[i].label for i in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "data, expected",
    [
        (encoded(Image.fromarray(COLOUR).convert("RGBA")), COLOUR),
        (encoded(Image.fromarray(GREY).convert("LA")), GREY[..., None]),
        (encoded(GREY > 99), (GREY[..., None] > 99) * 255),
        (
            encoded(Image.fromarray(COLOUR[:2]).quantize(16), transparency=bytes(16)),
            np.asarray(Image.fromarray(COLOUR[:2]).quantize(16).convert("RGB")),
        ),
    ],
)
def test_modes_of_png(data, expected):
    np.testing.assert_array_equal(decoded(data), expected)


def test_jpeg():
    ramp = np.add.outer(np.arange(32), 2 * np.arange(40))
    image = np.stack([ramp, 200 - ramp, ramp + 30], -1).astype("uint8")
    for given in (image, image[..., 0]):
        found = decoded(encoded(given, "JPEG", quality=95)).astype(int)
        assert abs(found - given.reshape(found.shape)).max() <= 4


def test_images_are_turned_upright():
    exif = Image.Exif()
    exif[274] = 6  # orientation: the camera was turned
    np.testing.assert_array_equal(decoded(encoded(COLOUR, exif=exif)), np.rot90(COLOUR, -1))


@pytest.mark.parametrize(
    "data, message",
    [
        (encoded(GREY.astype("uint16")), "its mode is I;16, expected 8 bits per channel"),
        (encoded(COLOUR, "BMP"), "it is no PNG or JPEG image"),
        (encoded(COLOUR, "GIF"), "it is no PNG or JPEG image"),
    ],
)
def test_refused_images(data, message):
    with pytest.raises(InputError, match=message):
        decoded(data)


@pytest.mark.parametrize("side", [13_000, 9_000, 2**31 - 1])
def test_headers_that_ask_for_memory(side):
    head = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    examples = Examples([encoded(COLOUR), data], "bomb")
    assert examples[1].error.startswith(
        (f"it has {len(data)} bytes for {side} × {side}", "Decompression")
    )


def test_blank_images_are_no_bombs():
    assert decoded(encoded(np.zeros((2000, 2000, 3), np.uint8))).shape == (2000, 2000, 3)
    assert decoded(encoded(np.zeros((2000, 2000, 3), np.uint8), "JPEG")).shape == (2000, 2000, 3)


def test_fitted_ramps():
    """The triangle filter keeps what is linear, a few pixels from the border."""
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8), (60, 240))
    found = fitted(np.stack([ramp, ramp.copy(), 255 - ramp], -1), 20)
    expected = 90 + 3 * np.arange(20) + 1  # of the centre, 90 ≤ x < 150, three pixels in one
    assert abs(found[:, 2:-2, 0].astype(int) - expected[2:-2]).max() <= 1
    np.testing.assert_array_equal(found[..., 2], 255 - found[..., 0])
    assert fitted(ramp, 20).shape == fitted(ramp[..., None], 20).shape == (20, 20, 1)


def test_size_of_a_folder(tmp_path):
    flat = np.full((30, 50, 3), (10, 20, 30), np.uint8)
    files = {"a/0.png": flat, "a/1.png": flat[:7, :5], "b/2.png": flat[:, :20]}
    examples = open_source(put(tmp_path, files), size=8)
    for index in range(3):
        expected = np.full((8, 8, 3), np.array([10, 20, 30]) / 255)
        np.testing.assert_allclose(examples[index].image, expected, rtol=2e-7)


@pytest.mark.parametrize("count, most", [(10, 3), (3, 10), (1, 1), (1000, 999), (0, 5)])
def test_spaced_numbers(count, most):
    chosen = spaced(count, most)
    assert len(chosen) == min(count, most) == len(set(chosen))
    if count:
        assert chosen[0] == 0 and (most == 1 or chosen[-1] == count - 1)
        assert len(chosen) < 2 or np.ptp(np.diff(chosen)) <= 1
