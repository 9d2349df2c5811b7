"""AttackBench's figures, and our attack as one of its own. Needs its library and torch."""

import importlib.util
import json

import numpy as np
import pytest

pytest.importorskip("torch")


@pytest.fixture
def bridge():
    import attackbench_bridge

    try:
        attackbench_bridge.library()
    except ImportError as error:
        pytest.skip(str(error))
    return attackbench_bridge


def linear():
    """A torch module of the logits (x₀, 1/2, −9) of images of two pixels."""
    import torch

    layer = torch.nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    layer.bias.data = torch.tensor([0.0, 0.5, -9.0])
    return torch.nn.Sequential(torch.nn.Flatten(), layer)


def attacked(bridge, x):
    import torch

    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 1, 2)
    labels = torch.zeros(len(x), dtype=torch.long)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), len(x))
    return bridge.library().run_attack(
        *(linear(), loader, bridge.ours(), "l2"), device=torch.device("cpu"), debug=True
    )


def test_distances_to_a_plane_are_found_and_all_queries_are_charged(bridge, monkeypatch):
    """No more than the attack says it made: nothing for idle lanes or padding."""
    made, attack = [], bridge.untargeted

    def recorded(*args):
        made.append(attack(*args))
        return made[-1]

    monkeypatch.setattr(bridge, "untargeted", recorded)
    result = attacked(bridge, [[0.9, 0.3], [0.6, 0.7]])
    np.testing.assert_allclose(result["distances"]["l2"], [0.4, 0.1], rtol=1e-3)
    assert 0 < sum(result["num_backwards"]) <= made[0].evaluations.sum()


def test_files_hold_what_another_attack_is_scored_with(bridge, tmp_path):
    library = bridge.library()
    path = bridge.__file__.replace("_bridge", "")  # the library has the same name
    spec = importlib.util.spec_from_file_location("script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    result = attacked(bridge, [[0.9, 0.3], [0.6, 0.7]]) | {
        "inputs": np.zeros((2, 1)),
        "adv_inputs": np.ones((2, 1)),
    }
    failed = result | {"distances": {"l2": [0.8, float("inf")]}, "adv_success": [True, False]}
    rows = script.figures({"failed": failed, "ours": result})
    assert list(rows) == ["ours", "failed"] and rows["ours"]["optimality"] == 1
    assert rows["failed"]["found"] == 0.5 and script.as_table("plane", rows).rows[0][0] == "ours"
    script.write(tmp_path, "plane", {"failed": failed, "ours": result})
    kept = json.loads((tmp_path / "plane.json").read_text())["attacks"]
    assert kept["failed"]["distances"]["l2"] == [0.8, None]
    assert library.compute_local_optimality(kept["ours"], [kept["ours"]], use_wandb=False)
