"""Writing results where shards are damaged or the disk is full: made anew, nothing half-written."""

import errno
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from results_of_runs import MANIFEST, files, finish, flipped


def cut(data):
    return data[:-1]


def zeros(data):
    return bytes(len(data))


@pytest.mark.parametrize(
    "damage",
    [cut, zeros, flipped, lambda data: b"", lambda data: data + b"\0", lambda data: data[:4]],
)
def test_damaged_shards_are_set_aside_and_made_anew(tmp_path, damage):
    finish(tmp_path)
    before = files(tmp_path)
    path = tmp_path / "shards/000002.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(
        UserWarning, match=r"000002\.safetensors is damaged \(it is not what was wri"
    ):
        assert finish(tmp_path) == ([2], True)
    path.with_name("000002.safetensors.damaged").unlink()
    assert files(tmp_path) == before


def test_swapped_and_foreign_shards_are_set_aside(tmp_path):
    finish(tmp_path / "foreign", MANIFEST | {"seed": 1})
    finish(tmp_path / "here")
    before = files(tmp_path / "here")
    shard = [tmp_path / f"here/shards/00000{number}.safetensors" for number in range(4)]
    shutil.copy(shard[1], shard[0])
    shutil.copy(tmp_path / "foreign/shards/000002.safetensors", shard[2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert finish(tmp_path / "here") == ([0, 2], True)
    assert len(caught) == 2
    for number in (0, 2):
        shard[number].with_name(f"00000{number}.safetensors.damaged").unlink()
    assert files(tmp_path / "here") == before


def test_damage_by_another_process_makes_a_run_incomplete(tmp_path):
    finish(tmp_path, process=0, processes=2)
    path = tmp_path / "shards/000000.safetensors"
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"000000\.safetensors is damaged"):
        assert finish(tmp_path, process=1, processes=2) == ([1, 3], False)
    assert not (tmp_path / "SHA256SUMS").exists()


def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    finish(tmp_path, only=[0])
    before = files(tmp_path)
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def writelines(self, parts):
            self.file.write(parts[0])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(path, mode="r", **options):
        file = real(path, mode, **options)
        return Full(file) if mode == "wb" else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=r"No space left .*: '.*/shards/000001\.safetensors'$"):
        finish(tmp_path)
    monkeypatch.undo()
    assert files(tmp_path) == before
    assert finish(tmp_path) == ([1, 2, 3], True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB, which only root can make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_that_is_full(tmp_path, small_disk):
    image = {"dtype": "float32", "shape": [2**11]}  # 24 KiB in each shard
    manifest = MANIFEST | {"columns": MANIFEST["columns"] | {"x_adv": image}}
    with pytest.raises(OSError, match=r"No space left .*: '.*/shards/000002\.safetensors'$"):
        finish(small_disk / "out", manifest)
    left = sorted(path.name for path in (small_disk / "out/shards").iterdir())
    assert left == ["000000.safetensors", "000001.safetensors"]
    shutil.copytree(small_disk / "out", tmp_path / "out")
    assert finish(tmp_path / "out", manifest) == ([2, 3], True)
