"""Photographs and faces in packages: which files, and in which order."""

import io
import zipfile

import numpy as np
import pytest

from jaxadv.datasets import crops, natural
from jaxadv.storage import wheels


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """Wheels in which a photograph's content is its name."""
    faces = io.BytesIO()
    np.save(faces, np.linspace(0, 1, 200 * 25 * 25).reshape(200, 25, 25))
    for requirement, names in natural.WHEELS.items():
        with zipfile.ZipFile(tmp_path / requirement.partition("==")[0], "w") as wheel:
            for name in names:
                wheel.writestr(name, name)
            wheel.writestr(natural.FACES, faces.getvalue())
    with zipfile.ZipFile(tmp_path / "foolbox", "w") as wheel:
        for number in range(20):
            wheel.writestr(f"foolbox/data/imagenet_{number:02}_{7 * number}.jpg", str(number))
    monkeypatch.setattr(wheels, "kept", lambda requirement, _: tmp_path / requirement.split("=")[0])


def test_thirty_two_photographs_by_name(packages):
    found = natural.natural_photographs()
    assert len(found) == 32
    names = [found.name(index) for index in range(32)]
    assert names[:2] == ["imagenet_00_0.jpg", "imagenet_01_7.jpg"]
    assert names[20] == "astronaut.png" and names[-1] == "flower.jpg"
    assert found[1]["image"] == b"1" and found[20]["image"] == b"skimage/data/astronaut.png"


def test_a_hundred_faces_and_a_hundred_backgrounds(packages):
    images, labels = natural.faces()
    assert images.shape == (200, 25, 25, 1) and images.dtype == np.float32
    assert labels.tolist() == [1] * 100 + [0] * 100
    assert images[0, 0, 0] == 0 and images[-1, -1, -1] == 1


@pytest.mark.slow
def test_the_real_ones():
    found = crops.open_crops(natural.natural_photographs(), "photographs", 32, 25, 0)
    assert crops.read_crops(found, 32, 0).std() > 0.1
    images, _ = natural.faces()
    assert images.max() == 1 and abs(images[:100].mean() - images[100:].mean()) > 0.1
