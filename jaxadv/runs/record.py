"""What the figures of a run were made from and on, and how long it took."""

import contextlib
import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import jaxadv
from jaxadv.runs import features, photographs
from jaxadv.runs.settings import Settings

PACKAGES = ("jaxadv", "jax", "jaxlib", "jaxopt", "flax", "optax", "numpy")
PLACES = ("config", "out", "data_dir", "cache_dir", "retrain")  # settings no figure depends on


class Clock:
    """Seconds that each stage of a run took."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def record(
    settings: Settings | photographs.Settings | features.Settings, clock: Clock
) -> dict[str, Any]:
    """Settings, seconds by stage, and `environment`, for JSON."""
    seconds = clock.seconds | {"total": sum(clock.seconds.values())}
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
        if name not in PLACES
    }
    return {
        "settings": values,
        "dataset": settings.dataset,
        "seed": settings.seed,
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
    } | environment()


def environment() -> dict[str, Any]:
    """What a figure may depend on: the source, the versions of packages, and the device."""
    return {
        "source": source(Path(jaxadv.__file__).parent),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "device": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
    }


def source(package: Path) -> str:
    """The commit of the checkout that the package runs from, or the version installed.

    "+" follows the commit where files of the package differ from it.
    """
    if (package.parent / ".git").exists():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _git(package, "ls-files", "--error-unmatch", "__init__.py")  # else another's checkout
            changed = _git(package, "status", "--porcelain", "--", ".")
            return _git(package, "rev-parse", "HEAD") + ("+" if changed else "")
    direct_url = metadata.distribution("jaxadv").read_text("direct_url.json") or "{}"
    vcs = json.loads(direct_url).get("vcs_info", {})  # installed by pip from a repository
    return vcs.get("commit_id", jaxadv.__version__)


def _git(folder, *arguments):
    command = ["git", "-C", str(folder), *arguments]
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    options = {"capture_output": True, "check": True, "env": elsewhere}
    return subprocess.run(command, encoding="utf-8", errors="replace", **options).stdout.strip()
