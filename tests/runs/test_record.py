"""What a run leaves behind about itself."""

import json
import subprocess

import jax

import jaxadv
from jaxadv.runs import record
from jaxadv.runs.record import source


def test_environment_names_source_versions_and_device():
    found = record.environment()
    assert found["versions"]["jax"] == jax.__version__
    assert {"jaxadv", "jaxopt", "flax", "numpy"} <= set(found["versions"])
    assert found["device"].startswith(f"{len(jax.local_devices())} × ")
    assert found["source"]


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_source_is_the_commit_and_tells_of_changes(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert source(package) == head and len(head) == 40
    (tmp_path / "README.md").write_text("outside the package")
    assert source(package) == head
    (package / "a.py").write_text("2")
    assert source(package) == f"{head}+"


def test_source_is_no_commit_of_a_repository_that_the_package_merely_lies_in(tmp_path, monkeypatch):
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "of another project")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text("package/")
    assert source(package) == jaxadv.__version__
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as within hooks
    assert source(tmp_path / "elsewhere") == jaxadv.__version__


def test_source_of_an_installed_package_is_its_commit_or_version(tmp_path, monkeypatch):
    class Distribution:
        def __init__(self, text):
            self.text = text

        def read_text(self, name):
            assert name == "direct_url.json"
            return self.text

    from_git = json.dumps({"vcs_info": {"vcs": "git", "commit_id": "abc"}})
    for text, expected in (
        (None, jaxadv.__version__),
        ("{}", jaxadv.__version__),
        (from_git, "abc"),
    ):
        found = Distribution(text)
        monkeypatch.setattr(record.metadata, "distribution", lambda name, found=found: found)
        assert source(tmp_path / "package") == expected


def test_clock_adds_up():
    clock = record.Clock()
    for _ in range(2):
        with clock.stage("a"):
            pass
    with clock.stage("b"):
        pass
    assert list(clock.seconds) == ["a", "b"] and min(clock.seconds.values()) >= 0
