"""array_record files as TFDS writes them, and data sets by name."""

import io
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_sources import TEST_IMAGES, TEST_LABELS

from jaxadv.datasets import tfds
from jaxadv.datasets.examples import open_source
from jaxadv.storage.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set that TFDS has written, of PNG images; one of them is in greys, one broken."""
    import tensorflow_datasets

    class Builder(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tensorflow_datasets.core.Version("1.2.3")
        name = "tiny"

        def _info(self):
            features = {
                "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
                "label": tensorflow_datasets.features.ClassLabel(names=["cat", "dog"]),
                "file": tensorflow_datasets.features.Text(),
            }
            features = tensorflow_datasets.features.FeaturesDict(features)
            info = tensorflow_datasets.core.DatasetInfo(
                builder=self, features=features, disable_shuffling=True
            )
            info.initialize_from_bucket = lambda: None
            return info

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(slice(4)),
                "test": self._generate_examples(slice(4, 7)),
            }

        def _generate_examples(self, part):
            for index, image in enumerate(IMAGES[part]):
                file = io.BytesIO()
                Image.fromarray(image[..., 0] if index == 1 else image).save(file, "PNG")
                content = io.BytesIO(b"broken" if index == 2 else file.getvalue())
                yield index, {"image": content, "label": index % 2, "file": "x"}

    root = tmp_path_factory.mktemp("tfds")
    Builder(data_dir=root, file_format="array_record").download_and_prepare()
    return root / "tiny" / "1.2.3"


def assert_is_train(examples):
    assert (examples.name, examples.classes) == ("tiny/1.2.3/train", ("cat", "dog"))
    assert [examples[i].label for i in range(len(examples))] == [0, 1, 0, 1]
    for index in (0, 3):
        np.testing.assert_allclose(examples[index].image, IMAGES[index] / 255, rtol=2e-7)
    grey = np.repeat(IMAGES[1][..., :1], 3, -1)
    np.testing.assert_allclose(examples[1].image, grey / 255, rtol=2e-7)
    assert examples[2].error == "it is no PNG or JPEG image"


def test_folder(folder):
    examples = open_source(f"{folder}/train")
    assert_is_train(examples)
    assert_is_train(pickle.loads(pickle.dumps(examples)))


def test_parts_of_splits(folder):
    examples = open_source(f"{folder}/train[3:]+test[:1]")
    np.testing.assert_allclose(examples[1].image, IMAGES[4] / 255, rtol=2e-7)
    assert (len(examples), open_source(f"{folder}/test", size=3).image_shape) == (2, (3, 3, 3))


def test_name(folder):
    assert_is_train(open_source("tfds:tiny/train", data_dir=folder.parents[1]))
    assert_is_train(open_source("tfds:tiny:1.2.3/train", data_dir=folder.parents[1]))
    (folder.parent / "1.10.0").mkdir()
    (folder.parent / "1.10.0" / "features.json").write_text("{}")
    with pytest.raises(InputError, match=r"tiny/1\.10\.0"):
        open_source("tfds:tiny/train", data_dir=folder.parents[1])
    shutil.rmtree(folder.parent / "1.10.0")


def test_known_name(data_dir):
    examples = open_source("tfds:mnist/test", data_dir=data_dir)
    for index in range(10):
        expected = (TEST_IMAGES[index] / 255)[..., None]
        np.testing.assert_allclose(examples[index].image, expected, rtol=2e-7)
    assert [examples[i].label for i in range(10)] == TEST_LABELS.tolist()
    assert (examples.name, examples.classes) == ("mnist/test", None)
    assert len(tfds.load("mnist", "test", data_dir).images) == len(examples) == 10


@pytest.mark.parametrize(
    "spec, message",
    [
        ("tfds:tiny/dev", r"Bad split 'dev'; the splits are \['train', 'test'\]"),
        ("tfds:tiny", "TFDS has prepared no '' in /"),
        ("tfds:absent/test", "TFDS has prepared no 'absent' in /"),
        ("FOLDER", r"Bad split ''; the splits are \['train', 'test'\]"),
        ("FOLDER/dev", r"Bad split 'dev'; the splits are"),
    ],
)
def test_refused(folder, spec, message):
    with pytest.raises(InputError, match=f"^cannot read .*{message}"):
        open_source(spec.replace("FOLDER", str(folder)), data_dir=folder.parents[1])


def test_missing_file(folder, tmp_path):
    copy = tmp_path / "tiny" / "1.2.3"
    shutil.copytree(folder, copy)
    for path in copy.glob("*train*"):
        path.unlink()
    with pytest.raises(InputError, match=r"^cannot read .*1\.2\.3/train"):
        open_source(f"{copy}/train")


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_no_module_is_imported(folder, tmp_path, monkeypatch, key):
    copy = tmp_path / "tiny" / "1.2.3"
    shutil.copytree(folder, copy)
    (tmp_path / "hostile.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    described = (copy / "features.json").read_text()
    described = described.replace("pythonClassName", f"\\u00{ord(key[0]):x}{key[1:]}")
    name = "tensorflow_datasets.core.features.text_feature.Text"
    (copy / "features.json").write_text(described.replace(name, "hostile.Text"))
    with pytest.raises(InputError, match=r"names 'hostile\.Text', which is not of tensorflow_dat"):
        open_source(f"{copy}/train")
