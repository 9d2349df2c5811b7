"""Wheels from pip: what is kept, what is refused, and when pip is given up."""

import hashlib
import subprocess

import pytest

from jaxadv.storage import wheels

WHEEL = b"a wheel"
SHA256 = hashlib.sha256(WHEEL).hexdigest()
REQUIREMENT = f"some-thing==1.2 --hash=sha256:{SHA256}"


@pytest.fixture
def downloads(monkeypatch):
    """What was asked of pip, which has the wheel."""
    asked = []

    def download(requirement, folder):
        asked.append(requirement)
        path = folder / "some_thing-1.2-py3-none-any.whl"
        path.write_bytes(WHEEL)
        return path

    monkeypatch.setattr(wheels, "download", download)
    return asked


def test_wheels_are_kept(tmp_path, downloads):
    for _ in range(2):
        path = wheels.kept(REQUIREMENT, tmp_path)
        assert path == tmp_path / "wheels" / "some-thing-1.2.whl"
        assert path.read_bytes() == WHEEL
    assert downloads == [REQUIREMENT]


def test_wheels_may_be_put_by_hand(tmp_path, downloads):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "some-thing-1.2.whl").write_bytes(WHEEL)
    wheels.kept(REQUIREMENT, tmp_path)
    assert not downloads


def test_damaged_wheels_are_set_aside(tmp_path, downloads):
    path = wheels.kept(REQUIREMENT, tmp_path)
    path.write_bytes(WHEEL[:-1])
    with pytest.warns(UserWarning, match=rf"1\.2\.whl is damaged .*, not {SHA256}"):
        assert wheels.kept(REQUIREMENT, tmp_path).read_bytes() == WHEEL
    assert len(downloads) == 2


def test_without_an_index_the_message_says_which_file_to_put_where(tmp_path, monkeypatch):
    for variable, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1"}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        FileNotFoundError, match=r"pip does not have some-thing==1\.2: .*No match"
    ) as e:
        wheels.kept(REQUIREMENT, tmp_path)
    path = tmp_path / "wheels" / "some-thing-1.2.whl"
    assert f"Put its wheel (SHA-256 {SHA256}) to {path}" in str(e.value)
    assert not list(path.parent.iterdir())


def test_pip_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(wheels, "LONGEST", 0.01)
    with pytest.raises(wheels.UnavailableError, match=r"not there after 0\.01 seconds"):
        wheels.download("none==1 --hash=sha256:0", tmp_path)


def test_wheels_that_are_too_long_are_refused(monkeypatch, tmp_path):
    def run(command, **kwargs):
        (tmp_path / "long.whl").write_bytes(bytes(101))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(wheels, "LARGEST", 100)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match="long==1 is no wheel of data: more than 100 bytes"):
        wheels.download("long==1", tmp_path)
