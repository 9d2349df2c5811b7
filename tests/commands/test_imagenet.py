"""Adversarial photographs as a command, on small networks that see them at two sizes."""

import sys

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from jaxadv import imagenet
from jaxadv.datasets import photographs as data
from jaxadv.measures import photographs as measure
from jaxadv.networks import alexnet, predictions, torch_weights
from jaxadv.reports import photographs as report
from jaxadv.runs import photographs
from jaxadv.zoo.imported import imported

COMMAND = imagenet
OPTIONS = [
    *("--models", "photo_mine:first", "photo_mine:second", "--side", "12", "--target", "3"),
    *("--seed", "4"),  # of random classes that are within reach
]
MODULE = """
import jax, numpy as np
from jaxadv.networks import Convolution, FullyConnected, GlobalAverage, Network

def network(side, classes=7):
    layers = Convolution(16, jax.nn.relu, 3, name="conv"), GlobalAverage(name="pool")
    network = Network((*layers, FullyConnected(classes, name="fc")), (side, side, 3))
    params = network.init(jax.random.key(3))
    kernel = np.random.default_rng(0).normal(size=(16, classes)).astype("float32")
    return network, params | {"fc": {"kernel": 20 * kernel, "bias": np.zeros(classes, "float32")}}

FIRST, SECOND = network(16), network(12)

def first():
    return FIRST

def second():
    return SECOND[0].logits, SECOND[1]

def of_eight():
    return network(16, 8)

def rectangles():
    other, params = network(16)
    return Network(other.layers, (16, 12, 3)), params
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs, and their classes, but for the second; networks recognise most."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    (folder / "photos").mkdir()
    (folder / "photo_mine.py").write_text(MODULE)
    for number in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((45, 33)).save(folder / "photos" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        network, params = imported("photo_mine:first")
        (folder / "labels.txt").write_text("0\n" * 6)
        found = data.of_folder(folder / "photos", folder / "labels.txt")
        classes = predictions(network.logits, params, found.at(16).images)
        classes[1] = (classes[1] + 1) % 7
        (folder / "labels.txt").write_text(
            "".join(f"{number}.png {c}\n" for number, c in enumerate(classes))
        )
        yield folder
    sys.modules.pop("photo_mine", None)
    imported.cache_clear()


@pytest.fixture(scope="module")
def options(photos):
    return (
        "--images",
        str(photos / "photos"),
        "--labels",
        str(photos / "labels.txt"),
        "--count",
        "3",
    )


@pytest.fixture(scope="module")
def figures(run, options):
    return run(*options)


@pytest.fixture(scope="module")
def networks(figures, photos):
    """Both, and what each sees of the photographs attacked."""
    found = data.of_folder(photos / "photos", photos / "labels.txt")
    module = sys.modules["photo_mine"]
    names = [each["photograph"] for each in figures["problems"][: len(figures["problems"]) // 2]]
    numbers = np.array([found.names.index(name) for name in names])
    return {
        f"photo_mine:{name}": (network, params, found.at(side, numbers).images)
        for name, (network, params), side in (
            ("first", module.FIRST, 16),
            ("second", module.SECOND, 12),
        )
    }


@pytest.fixture(scope="module")
def arrays(run, figures):
    with np.load(run.folder / "out" / "adversarial.npz") as file:
        return dict(file)


def test_accuracy(figures):
    first, second = figures["accuracy"]
    assert (first["side"], second["side"]) == (16, 12)
    assert first["photographs"] == 6 and first["top_1"] == pytest.approx(5 / 6)
    assert first["misclassified"] == ["1.png"]
    assert 0.5 <= second["top_1"] <= second["top_5"] <= 1
    assert figures["images"] == 3 and "1.png" not in {
        each["photograph"] for each in figures["problems"]
    }


def test_distortions_are_those_of_the_images(figures, networks, arrays):
    assert arrays["photographs"].tolist()[:3] == arrays["photographs"].tolist()[3:]
    for name, (network, params, x) in networks.items():
        x_adv, success = arrays[f"{name}/images"], arrays[f"{name}/success"]
        assert x_adv.dtype == np.float32 and x_adv.min() >= 0 and x_adv.max() <= 1
        assert success.all()
        np.testing.assert_array_equal(predictions(network.logits, params, x_adv), arrays["targets"])
        rms = np.sqrt(np.mean((x_adv - x) ** 2, axis=(1, 2, 3), dtype=float))
        rows = [row for row in figures["distortions"] if row["name"] == name]
        assert [row["targets"] for row in rows] == ["random", "3"]
        for row, chosen in zip(rows, (slice(3), slice(3, None)), strict=True):
            assert row["distortion"] == pytest.approx(rms[chosen].mean(), rel=1e-4)
            assert row["l2"] == pytest.approx(rms[chosen].mean() * x[0].size ** 0.5, rel=1e-4)
            assert row["steps"] == pytest.approx(255 * rms[chosen].mean(), rel=1e-4)
            assert row["success_rate"] == 1
    assert (arrays["targets"][3:] == 3).all() and (arrays["targets"] != arrays["labels"]).all()


def test_rounding(figures, networks, arrays):
    for name, (network, params, x) in networks.items():
        r = arrays[f"{name}/images"] - x
        rows = [row for row in figures["distortions"] if row["name"] == name]
        found = np.mean([row["taken_for_target"] for row in rows], axis=0)
        assert found[0, 0] == 1
        for factor, fractions in zip((1, 1.25, 2), found, strict=True):
            changed = np.clip(x + np.float32(factor) * r, 0, 1)
            whole = np.uint8(np.rint(255 * changed)) / np.float32(255)
            classes = predictions(network.logits, params, whole)
            assert fractions[1] == pytest.approx(np.mean(classes == arrays["targets"]))


def test_transfer(figures, networks, arrays):
    rows = {row["name"]: row for row in figures["transfer"]["rows"]}
    first, second = networks
    assert list(rows) == [first, second, *(f"{n} to 0.0065" for n in networks), "noise 0.0065"]
    for at, (name, (network, params, x)) in enumerate(networks.items()):
        assert rows[name]["wrong"][at] == rows[name]["target"][at] == 1
        r = arrays[f"{name}/images"] - x
        rms = np.sqrt(np.mean(r**2, axis=(1, 2, 3), keepdims=True))
        assert rows[name]["distortion"] == pytest.approx(rms.mean(), rel=1e-4)
        classes = predictions(network.logits, params, x + 0.0065 * r / rms)
        moved = rows[f"{name} to 0.0065"]
        assert moved["target"][at] == pytest.approx(np.mean(classes == arrays["targets"]))
        assert moved["wrong"][at] == pytest.approx(np.mean(classes != arrays["labels"]))
        assert moved["distortion"] == pytest.approx(0.0065)
    assert rows["noise 0.0065"]["target"] == [None, None]


def test_what_is_written(run, figures):
    text = (run.folder / "out" / "imagenet.md").read_text("utf-8")
    rms = figures["distortions"][0]["distortion"]
    assert f"| photo_mine:first | random | {rms:.5f} |" in text
    assert "AlexNet" not in text  # which has other classes
    assert "photo_mine:first misclassifies 1.png." in text
    table = report.distortion_table({"distortions": [], "target": "ostrich"}).markdown()
    assert "| AlexNet, the paper's | ostrich | 0.00651 | – | 1.66 |" in table
    assert "| photo_mine:second | " in text and " | 100.0 / 100.0 | " in text
    assert "3 of photos, which all networks recognise" in text and "towards class 3." in text
    page = (run.folder / "out" / "report.html").read_text("utf-8")
    assert "Photographs, differences magnified" in page


def test_attacks_are_not_made_twice(run, options, figures, monkeypatch):
    from jaxadv.attacks import stored

    monkeypatch.setattr(stored, "minimal_adversarial", lambda *a, **k: pytest.fail("attacked"))
    again = run(*options, out="again")
    assert again["distortions"] == figures["distortions"]


def test_alexnet_of_a_file_is_one_network_more(photos, tmp_path, monkeypatch):
    shapes = {"classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (7, 4096)}
    sizes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    shapes |= {f"features.{at}": (*size, size[-1]) for at, size in sizes.items()}
    arrays = {f"{name}.weight": np.zeros(shape, "float32") for name, shape in shapes.items()}
    arrays |= {f"{name}.bias": np.zeros(shape[0], "float32") for name, shape in shapes.items()}
    monkeypatch.setattr(torch_weights, "read", lambda path: arrays)
    settings = photographs.Settings(
        models=("photo_mine:first",),
        weights=tmp_path / "alexnet.pth",
        images=photos / "photos",
        labels=photos / "labels.txt",
    )
    networks, classes, _ = photographs.prepared(settings)
    assert [(each.model.name, each.side) for each in networks] == [
        ("photo_mine:first", 16),
        ("AlexNet", 224),
    ]
    assert networks[1].model.network == alexnet.torchvision_alexnet(7) and len(classes) == 7


@pytest.fixture
def files(photos, tmp_path):
    """Bad input of every kind."""
    for name, content in {
        "broken": b"",
        "cut": (photos / "photos" / "0.png").read_bytes()[:-50],
    }.items():
        (tmp_path / name / "5").mkdir(parents=True)
        (tmp_path / name / "5" / "x.png").write_bytes(content)
    safetensors.numpy.save_file(
        {"fc.weight": np.zeros((7, 4), "float32")}, tmp_path / "other.safetensors"
    )
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "few.txt").write_text("1\n2\n")
    (tmp_path / "far.txt").write_text("".join(f"{n}.png {6 + (n == 4)}\n" for n in range(6)))


IMAGES = "--models photo_mine:first --images PHOTOS --labels LABELS"


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models", "models must name at least one network, unless there are weights"),
        ("--models CNN", "CNN takes images of (28, 28, 1), expected squares of three colours"),
        ("--models photo_mine:rectangles", "(16, 12, 3), expected squares of three colours"),
        ("--model EfficientNet-Lite9", "did you mean 'EfficientNet-Lite"),
        (f"{IMAGES} --models photo_mine:first photo_mine:of_eight", "networks must have as many"),
        ("--weights none.pth", "there is no file none.pth"),
        (f"{IMAGES} --weights text.pth", "text.pth is not a file of torch tensors"),
        (
            f"{IMAGES} --weights other.safetensors",
            "other.safetensors: no array 'features.0.weight'",
        ),
        ("--labels few.txt", "labels are for the images of a folder, which is not given"),
        ("--models photo_mine:first --images none", "none is not a folder"),
        ("--models photo_mine:first --images PHOTOS", "has no sub-folders named by class"),
        (f"{IMAGES} --labels few.txt", "few.txt has 2 classes for 6 photographs"),
        (
            f"{IMAGES} --labels far.txt",
            "4.png has the class 7, expected 0 to 6, as photo_mine:first",
        ),
        ("--models photo_mine:first --images broken", "5/x.png: it is no PNG or JPEG image"),
        ("--models photo_mine:first --images cut", "5/x.png: "),
        (f"{IMAGES} --count 0", "count must be at least 1, got 0"),
        (f"{IMAGES} --target 7", "target must be from 0 to 6, got 7"),
        (f"{IMAGES} --distortion nan", "distortion must not be negative, infinite or NaN"),
        (f"{IMAGES} --side 0", "side must be from 1 to 4096, got 0"),
    ],
)
def test_bad_input_ends_before_any_work(refused, files, photos, monkeypatch, options, message):
    monkeypatch.setattr(measure, "ranks", lambda *args: pytest.fail("worked"))
    options = options.replace("PHOTOS", str(photos / "photos"))
    assert message in refused("--target 3 " + options.replace("LABELS", str(photos / "labels.txt")))


def test_nothing_is_recognised(run, options, photos, tmp_path, capsys):
    right = (photos / "labels.txt").read_text().split("\n")[:6]
    wrong = [f"{line[:-1]}{(int(line[-1]) + 2) % 7}\n" for line in right]
    (tmp_path / "wrong.txt").write_text("".join(wrong))
    assert run.command(*options, "--labels", str(tmp_path / "wrong.txt"), out="none") == 2
    assert "no photograph of photos is recognised by all networks" in capsys.readouterr().err
