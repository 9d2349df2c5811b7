"""The command `generate`: what it writes, and what it refuses."""

import functools
import json

import numpy as np
import PIL.Image
import pytest
from own_model import files, put

from jaxadv import datasets, generate, read_results
from jaxadv.zoo.imported import imported


def test_the_columns_by_name(reference, own_model, tmp_path, generated):
    with pytest.warns(UserWarning, match="image 7"):
        generated(tmp_path, "--transfer-to", "gen_mine:reversed")
    results = read_results(tmp_path)
    assert results.manifest["data"]["name"] == "gen_mine:Images"
    assert results.index[:].tolist() == [*range(20)]
    status = results.status[:]
    assert status[7] == 4 and np.isin(np.delete(status, 7), (0, 1)).all()
    import gen_mine

    expected = np.array(gen_mine.logits(gen_mine.reversed()[1], results.x_adv[:])).argmax(axis=1)
    expected[7] = -1
    np.testing.assert_array_equal(results["transfer/gen_mine:reversed"][:], expected)


def test_another_run_is_refused(tmp_path, reference, generated):
    put(tmp_path, reference)
    np.save(tmp_path / "images.npy", np.zeros((3, 4, 4), np.uint8))
    before = files(tmp_path)
    for change, difference in {
        "--seed 1": "seed was 0 and is 1",
        "--mode untargeted": "mode was 'random' and is 'untargeted'",
        "--mode class --target 3": "target was None and is 3",
        "--model gen_mine:reversed": "model was 'gen_mine:model' and is 'gen_mine:reversed'",
        "--shard-size 5": "shard_size was 4 and is 5",
        "--images 10": "count was 20 and is 10",
        f"--data {tmp_path / 'images.npy'}": "data.name was 'gen_mine:Images' and is 'images.npy'",
        "--transfer-to gen_mine:model": "columns.transfer/gen_mine:model was not there",
        "--attack.tol 0.5": "attack.tol was 0.0003 and is 0.5",
    }.items():
        assert difference in generated.refused(tmp_path, *change.split())
    assert files(tmp_path) == before


def test_changed_weights_and_data_are_refused(tmp_path, reference, generated, monkeypatch):
    import gen_mine

    put(tmp_path, reference)
    with monkeypatch.context() as patch:
        patch.setattr(gen_mine.np.random, "default_rng", lambda i: default_rng(i + 1))
        assert "data.fingerprint was " in generated.refused(tmp_path)
    generate.prepared.cache_clear()
    changed = json.loads((tmp_path / "manifest.json").read_text())
    changed["fingerprints"]["gen_mine:model"]["params"] = "0" * 16
    (tmp_path / "manifest.json").write_text(json.dumps(changed))
    message = generated.refused(tmp_path)
    assert "fingerprints.gen_mine:model.params was '0000000000000000'" in message
    assert "(other weights)" in message


@pytest.mark.parametrize("factor, same", [(1 + 1e-5, True), (1.01, False)])
def test_other_logits_of_the_same_file_and_parameters(
    tmp_path, reference, generated, monkeypatch, factor, same
):
    import gen_mine

    put(tmp_path, reference)
    logits = gen_mine.logits
    scaled = functools.wraps(logits)(lambda params, x: factor * logits(params, x))
    monkeypatch.setattr(gen_mine, "logits", scaled)
    imported.cache_clear()
    generate.prepared.cache_clear()
    if same:
        assert generated(tmp_path).startswith("5 of 5 files are there")
        assert files(tmp_path) == reference
    else:
        message = generated.refused(tmp_path)
        assert f"error: {tmp_path} holds another run: gen_mine:model has other logits" in message
        assert message.endswith(f"give another --out, or delete {tmp_path} to begin anew\n")
    imported.cache_clear()
    generate.prepared.cache_clear()


default_rng = np.random.default_rng


def test_targets_and_labels_of_an_npz_file(tmp_path, generated):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), np.uint8)
    targets = np.array([0, 1, 2, 3, 0, 1])
    np.savez(tmp_path / "mine.npz", images=images, labels=targets[::-1], targets=targets)
    data = "--data", str(tmp_path / "mine.npz")
    generated(tmp_path / "out", *data, *"--mode given --images 5 --seed 3".split())
    results = read_results(tmp_path / "out")
    assert results.target[:].tolist() == [0, 1, 2, 3, 0]
    assert results.label[:].tolist() == [1, 0, 3, 2, 1]
    np.savez(tmp_path / "mine.npz", images=images, targets=np.array([0, 1, 2, 3, 0, 4]))
    message = generated.refused(tmp_path / "new", *data, *"--mode given".split())
    assert message == "error: image 5 has the target 4, expected 0 to 3\n"
    assert not (tmp_path / "new").exists()
    assert "are in" in generated(tmp_path / "new", *data, *"--mode given --images 5".split())


@pytest.mark.parametrize("wrong", [4, -2, 2**40])
def test_labels_of_other_classes_are_refused_before_any_work(tmp_path, generated, wrong):
    labels = np.array([0, -1, 3, wrong])
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 4, 4), np.uint8), labels=labels)
    message = generated.refused(tmp_path / "new", "--data", str(tmp_path / "mine.npz"))
    assert message == f"error: image 3 has the label {wrong}, expected 0 to 3\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_folder_of_pictures_read_by_other_processes(tmp_path, generated):
    for index in range(9):
        pixels = default_rng(index).integers(0, 256, (4, 4), np.uint8)
        (tmp_path / "images" / f"class {index % 2}").mkdir(parents=True, exist_ok=True)
        picture = tmp_path / "images" / f"class {index % 2}" / f"{index}.png"
        PIL.Image.fromarray(pixels).save(picture)
    picture.write_bytes(b"not a picture")
    found = {}
    for workers in (0, 2):
        out, data = tmp_path / f"by {workers}", ("--data", str(tmp_path / "images"))
        with pytest.warns(UserWarning, match="image 4 cannot be attacked: "):
            generated(out, *data, "--workers", str(workers))
        found[workers] = files(out)
    assert found[0] == found[2]
    results = read_results(out)
    assert results.manifest["classes"] == ["class 0", "class 1"]
    assert results.status[:].tolist().count(4) == 1
    names = [f"class {part}/{index}.png" for part in (0, 1) for index in range(part, 9, 2)]
    assert results.files == names and "files.json" in (out / "SHA256SUMS").read_text()
    results.verify()


BAD = {
    "--seed -1": "seed must be from 0 to 4294967295, got -1",
    "--images 0": "images must be at least 1, got 0",
    "--shard-size 0": "shard_size must be a positive integer, got 0",
    f"--shard-size {10**20}": f"shard_size must be a positive integer, got {10**20}",
    "--mode class": "mode class needs a target, got none",
    "--target 1": "target is for mode class alone, got mode random",
    "--mode class --target 4": "target must be from 0 to 3, got 4",
    "--mode given": "mode given needs data with targets, got none in gen_mine:Images",
    "--certify": "lower bounds need FullyConnected layers, got a function",
    "--model gen_mine:of_five": "logits_fn cannot be applied to images of shape (4, 4)",
    "--transfer-to gen_mine:of_five": "gen_mine:of_five: logits_fn cannot be applied to images",
    "--transfer-to gen_mine:with_five_classes": "has 5 classes, expected 4, those of gen_mine:",
    "--transfer-to gen_mine:model gen_mine:model": "transfer_to must be there once each",
    "--model gen_mine:none": "cannot load model 'gen_mine:none'",
    "--model none": "unknown model 'none'",
    "--export all.zip": "export must be a file .npz, got all.zip",
    "--data nowhere": "cannot read nowhere: it does not exist",
    "--process 1": "process and processes must be given together",
    "--workers -1": "workers must not be negative, got -1",
}


@pytest.mark.parametrize("more", BAD)
def test_bad_settings_end_in_one_line_before_any_work(tmp_path, monkeypatch, generated, more):
    monkeypatch.setattr(datasets, "load", pytest.fail)
    assert BAD[more] in generated.refused(tmp_path / "out", *more.split())
    assert not (tmp_path / "out").exists()


def test_places_that_are_none(tmp_path, generated):
    (tmp_path / "file").touch()
    assert generated.refused(tmp_path / "file") == f"error: {tmp_path}/file: File exists\n"
    assert "Protocol not known: nowhere" in generated.refused("nowhere://out")


def test_a_model_that_raises_as_it_runs(tmp_path, generated):
    message = generated.refused(tmp_path / "out", "--model", "gen_mine:failing")
    assert message.startswith("error: gen_mine:failing: ") and "a bug of theirs" in message
    assert not (tmp_path / "out").exists()
