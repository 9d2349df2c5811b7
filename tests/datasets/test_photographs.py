"""Photographs against the arrays they were made of, what is refused, and what networks see."""

import io
import struct
import zipfile
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from jaxadv.datasets import imagenet, images, photographs
from jaxadv.networks import pretrained_efficientnet_lite
from jaxadv.storage import wheels
from jaxadv.storage.errors import InputError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = COLOUR[..., 0]
SYNSETS = "n01440764", "n01443537"


def encoded(image, kind="PNG", mode=None, **options):
    image = Image.fromarray(image)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def folder_of(path, **files):
    for name, content in files.items():
        place = path / name.replace("__", "/")
        place = place.with_suffix(".jpg" if content.startswith(b"\xff\xd8") else ".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return path


@pytest.fixture
def two_classes(monkeypatch, tmp_path):
    """The package of names, with two of them."""
    monkeypatch.setattr(wheels, "kept", lambda *args: tmp_path / "timm.whl")
    with zipfile.ZipFile(tmp_path / "timm.whl", "w") as wheel:
        wheel.writestr(imagenet.SYNSETS, "\n".join(SYNSETS))
        lines = "n00000001\tno class\n", "n01443537\tgoldfish, gold\n", "n01440764\ttench, Tinca\n"
        wheel.writestr(imagenet.LEMMAS, "".join(lines))
    imagenet.classes.cache_clear()
    yield
    imagenet.classes.cache_clear()


def test_names_of_classes(two_classes, tmp_path):
    assert imagenet.classes(tmp_path) == (SYNSETS, ("tench", "goldfish"))


def test_photographs_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(wheels, "kept", lambda *args: tmp_path / "foolbox.whl")
    with zipfile.ZipFile(tmp_path / "foolbox.whl", "w") as wheel:
        for name, image in {"01_7": COLOUR[::-1], "00_243": COLOUR}.items():
            wheel.writestr(f"foolbox/data/imagenet_{name}.jpg", encoded(image))
        wheel.writestr("foolbox/data/cifar10_00_3.jpg", b"")
    found = photographs.load(8, tmp_path)
    assert found.labels.tolist() == [243, 7] and found.labels.dtype == np.int32
    resized = np.asarray(Image.fromarray(COLOUR).resize((8, 8), Image.Resampling.BICUBIC))
    assert found.images.dtype == np.float32
    np.testing.assert_allclose(found.images[0], resized / 255, rtol=1e-6)


def test_folders_named_by_class(two_classes, tmp_path):
    files = {"7__b": encoded(COLOUR), "0012__a": encoded(GREY), "n01443537__c": encoded(COLOUR)}
    found = photographs.of_folder(folder_of(tmp_path / "photos", **files))
    assert found.names == ("0012/a.png", "7/b.png", "n01443537/c.png")
    assert found.labels.tolist() == [12, 7, 1]
    unknown = photographs.without_classes(tmp_path / "photos")
    assert unknown.names == found.names and unknown.labels.tolist() == [-1] * 3
    images, labels = found.at(4, slice(1, 3))
    assert images.shape == (2, 4, 4, 3) and labels.tolist() == [7, 1]
    np.testing.assert_array_equal(images[0], images[1])


@pytest.mark.parametrize(
    "lines",
    [
        *("3\n5\n\n", "b c.png 5\na.png 3\nelsewhere.png 9\n", "a.png\t3\r\nb c.png  5"),
        *("\ufeffa.png 3\nb c.png 5", "\ufeff3\n5"),  # as editors on Windows begin files
    ],
)
def test_file_of_labels(tmp_path, lines):
    files = {"b c": encoded(COLOUR), "a": encoded(GREY)}
    (tmp_path / "labels.txt").write_text(lines, "utf-8")
    folder = folder_of(tmp_path / "photos", **files)
    found = photographs.of_folder(folder, tmp_path / "labels.txt")
    assert found.names == ("a.png", "b c.png") and found.labels.tolist() == [3, 5]


@pytest.mark.parametrize(
    "lines, message",
    [
        ("3\n5\n7", "labels.txt has 3 classes for 2 photographs"),
        ("", "labels.txt has 0 classes for 2 photographs"),
        ("a.png 3\nc.png 4", "labels.txt has no class for b.png$"),
        (
            "a.png 3\nb.png -4",
            "line 2 of .*labels.txt ends in '-4', expected a space and a class's number",
        ),
        ("a.png 3\nb.png dog", "line 2 of .*labels.txt ends in 'dog'"),
        (f"{'9' * 5000}\n1", "line 1 of .*labels.txt ends in '999"),
        (b"\xff\xfe\x00", "labels.txt is no text in UTF-8"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, lines, message):
    folder = folder_of(tmp_path / "photos", a=encoded(GREY), b=encoded(COLOUR))
    path = tmp_path / "labels.txt"
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(InputError, match=message):
        photographs.of_folder(folder, path)


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "photos: PNG and JPEG images are neither in nor beside sub-folders"),
        ({"a": encoded(GREY)}, "no sub-folders named by class, and no file of labels"),
        ({"dog__a": encoded(GREY)}, "dog is not named by a class, as 9 or n01518878 are"),
        ({"n09999999__a": encoded(GREY)}, "n09999999 is named by none of the 2 classes"),
    ],
)
def test_folders_without_classes_are_refused(two_classes, tmp_path, files, message):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=message):
        photographs.of_folder(folder_of(tmp_path / "photos", **files))


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        photographs.of_folder(tmp_path / "nowhere")


def deep(image):
    """A PNG of 16 bits per channel, which Pillow does not write."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


EXIF = Image.Exif()
EXIF[274] = 6  # orientation: the camera was turned
SQUARE = COLOUR[:6, :6]


@pytest.mark.parametrize(
    "content, expected",
    [
        (encoded(SQUARE), SQUARE),
        (encoded(SQUARE[..., 0]), np.repeat(SQUARE[..., :1], 3, -1)),
        (encoded(SQUARE, exif=EXIF), np.rot90(SQUARE, -1)),
        (encoded(np.dstack([SQUARE, 0 * SQUARE[..., 0]])), SQUARE),  # transparent
        (deep(257 * SQUARE.astype(int)), SQUARE),
        (encoded(SQUARE[:1, :1]), np.broadcast_to(SQUARE[0, 0], (6, 6, 3))),  # tiny
    ],
    ids=["colour", "grey", "turned", "transparent", "16 bits", "tiny"],
)
def test_photographs_of_every_kind(tmp_path, content, expected):
    found = photographs.of_folder(folder_of(tmp_path, **{"1__x": content})).at(6).images[0]
    np.testing.assert_allclose(found, expected / 255, rtol=1e-6)


def test_colours_for_print(tmp_path):
    even = np.broadcast_to(np.uint8([200, 60, 90]), (16, 16, 3))
    content = encoded(even, "JPEG", "CMYK", quality=100)
    [found] = photographs.of_folder(folder_of(tmp_path, **{"1__x": content})).at(6).images
    np.testing.assert_allclose(found, even[:6, :6] / 255, atol=0.02)


@pytest.mark.parametrize(
    "content, message",
    [
        (encoded(COLOUR)[:-30], "1/x.png: "),
        (b"no image", "1/x.png: it is no PNG or JPEG image"),
        (encoded(GREY.astype("uint16")), "1/x.png: its mode is I;16, expected 8 bits per channel"),
        (encoded(COLOUR, "JPEG")[:200], "1/x.jpg: "),
    ],
    ids=["cut", "text", "16-bit", "cut JPEG"],
)
def test_broken_photographs_are_refused(tmp_path, content, message):
    found = photographs.of_folder(folder_of(tmp_path, **{"1__x": content}))
    with pytest.raises(InputError, match=message):
        found.at(6)


def test_huge_photographs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGEST", 47)
    found = photographs.of_folder(folder_of(tmp_path, **{"1__x": encoded(COLOUR)}))
    with pytest.raises(InputError, match=r"1/x\.png: it has 8 × 6 pixels, expected at most 47"):
        found.at(6)


@pytest.mark.slow
@pytest.mark.parametrize("variant, right", [(0, 17), (1, 19), (2, 18)])
def test_photographs_are_recognised(variant, right):
    """As many as in torch, with the same weights and images."""
    network, params = pretrained_efficientnet_lite(variant)
    images, labels = photographs.load(network.input_shape[0])
    assert images.shape == (20, *network.input_shape)
    assert images.min() >= 0 and images.max() <= 1
    best = np.argsort(jax.jit(network.logits)(params, images), axis=1)[:, ::-1]
    assert (best[:, 0] == labels).sum() == right
    assert (best[:, :5] == labels[:, None]).any(axis=1).all()
