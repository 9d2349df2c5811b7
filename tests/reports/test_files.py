"""JSON and arrays, as files."""

import json
import math

import numpy as np
import pytest

from jaxadv.reports import files
from jaxadv.storage import npz


def test_json_round_trip(tmp_path):
    content = {"name": "µ × 2", "values": [1, 2.5, None], "nested": {"a": True}}
    files.write_json(tmp_path / "new" / "file.json", content)
    text = (tmp_path / "new" / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "µ × 2" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_not_json_and_keeps_the_old_file(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": [1.0, value]})
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_arrays_in_parts_are_read_as_one(tmp_path):
    rng = np.random.default_rng(0)
    images, flags = rng.uniform(size=(7, 2, 3)).astype("float32"), np.arange(7) % 2 == 0
    path = tmp_path / "a" / "arrays.npz"
    npz.write_arrays(
        path,
        {
            "model/images": npz.Parts(
                images.shape, np.float32, (images[i : i + 3] for i in (0, 3, 6))
            ),
            "flags": npz.Parts(flags.shape, flags.dtype, [flags]),
        },
    )
    with np.load(path) as file:
        assert set(file.files) == {"model/images", "flags"}
        np.testing.assert_array_equal(file["model/images"], images, strict=True)
        np.testing.assert_array_equal(file["flags"], flags, strict=True)
