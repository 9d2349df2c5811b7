"""What the benchmarks share: settings, cores, trained networks, and how figures are published."""

import contextlib
import dataclasses
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jaxadv import datasets, zoo
from jaxadv.datasets import Dataset, DatasetInfo
from jaxadv.reports import files
from jaxadv.reports.tables import Table
from jaxadv.runs.console import console, progress_bars
from jaxadv.runs.record import environment
from jaxadv.storage import cache

PEERS = ("torch", "adv-lib", "foolbox", "scipy")


@dataclasses.dataclass(frozen=True)
class Common:
    """Settings that the benchmarks share."""

    cores: tuple[int, ...] | None = (0,)
    """CPU cores to run on; None for the devices that JAX and torch choose, as on an accelerator."""
    seed: int = 0
    """Seed of the weights and the targets."""
    out: Path = Path("results/benchmark")
    """Directory for the tables and the picture."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of trained weights."""

    @property
    def info(self) -> DatasetInfo:
        """Shape, classes and sizes of MNIST."""
        return datasets.info("mnist")


def check(config: Common) -> None:
    """Raises ValueError for cores that cannot be used."""
    available = os.sched_getaffinity(0)
    if config.cores is not None and not (config.cores and set(config.cores) <= available):
        raise ValueError(f"cores must be among {sorted(available)}, got {config.cores}")


def pin(cores: tuple[int, ...] | None) -> None:
    """Keeps the process to the cores: begins it anew, so that no thread started before them."""
    if cores is None:
        return
    if os.sched_getaffinity(0) != set(cores):
        os.sched_setaffinity(0, cores)
        os.execv(sys.executable, sys.orig_argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", len(set(cores)))


def load_data(config: Common) -> dict[str, Dataset]:
    """The splits of MNIST, by name."""
    names = config.info.examples
    return {split: datasets.load("mnist", split, config.data_dir) for split in names}


def load_model(name: str, splits: dict[str, Dataset], config: Common) -> zoo.Model:
    """Reads the network's weights, or trains it."""
    with progress_bars() as bars:
        task = bars.add_task(f"training {name}", total=100)
        model = zoo.load(
            *(name, splits, config.seed, config.info),
            cache_dir=config.cache_dir,
            progress=lambda done: bars.update(task, completed=100 * done),
        )
        bars.update(task, completed=100)
    console.print(f"{name}: {100 * model.test_error:.2f} % test error")
    return model


def publish(
    config: Common,
    name: str,
    figures: Mapping[str, Any],
    tables: Sequence[Table],
    width: int,
    legend: str = "",
) -> None:
    """Writes <name>.json and <name>.md, and prints the tables, at least so many characters wide."""
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }
    made_on = environment()
    made_on["versions"] |= installed(PEERS)
    made_on["machine"] = machine(config.cores)
    files.write_json(config.out / f"{name}.json", {**figures, "settings": settings, **made_on})
    versions = ", ".join(f"{key} {value}" for key, value in made_on["versions"].items() if value)
    note = f"Made on {made_on['machine']}, by {versions}."
    body = "\n".join(table.markdown() for table in tables)
    below = f"\n```\n{legend}\n```\n" if legend else ""
    files.write_text(config.out / f"{name}.md", f"{body}{below}\n{note}\n")
    wide = Console(width=max(width, console.width))
    wide.print(*tables, legend, note, sep="\n", highlight=False)
    wide.print(f"Results are in {config.out}/.")


def installed(names: Sequence[str]) -> dict[str, str | None]:
    """Versions of packages, by name; None of those that are not installed."""
    versions = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return {name: versions.get(name) for name in names}


def machine(cores: tuple[int, ...] | None) -> str:
    """The model of the CPU and the cores of it, or the accelerators."""
    if cores is None:
        return f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}"
    names = ", ".join(map(str, sorted(set(cores))))
    return f"{cpu_model()} with {os.cpu_count()} cores, pinned to {names}"


def cpu_model() -> str:
    """As Linux says, elsewhere Python."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
