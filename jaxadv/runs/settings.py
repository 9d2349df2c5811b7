"""What all experiments share: settings, trained models, progress, and the record of a run."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxadv import zoo
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import tfds as datasets
from jaxadv.measures import transfer
from jaxadv.reports import paper
from jaxadv.reports import tables as report
from jaxadv.runs import console as command
from jaxadv.storage import cache

Names = Annotated[tuple[str, ...], command.alias("--model")]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that every experiment has; each has its own defaults for `models` and `out`."""

    config: Path | None = None
    """TOML file with any of the settings below; options on the command line come before it."""
    dataset: Literal["mnist", "fashion_mnist"] = "mnist"
    """Data set."""
    models: Names = tuple(paper.TABLE_1)
    """Networks by name, trained where need be; or your own, as module:function that returns
    (logits_fn, params) or (Network, params)."""
    seed: int = 0
    """Seed of all that is random."""
    out: Path = Path("results")
    """Directory for tables and pictures."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of trained weights and adversarial examples, for later runs."""
    retrain: bool = False
    """Train again, even if there are weights of an earlier run."""


def check(settings: Settings, architectures: Sequence[str] | None = None) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work.

    `architectures` are the models' names in the zoo, where they are not `settings.models`.
    """
    names = settings.models
    info = datasets.info(settings.dataset)
    zoo.check_names(names if architectures is None else architectures, info)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must name at least one network, each once, got {names}")
    if not 0 <= settings.seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}, got {settings.seed}")
    command.check_writable(settings.out)
    command.check_writable(settings.cache_dir)


def check_count(name: str, value: int, largest: int) -> None:
    """Raises ValueError unless the value is from 1 to the largest."""
    if not 1 <= value <= largest:
        raise ValueError(f"{name} must be from 1 to {largest}, got {value}")


def check_sizes(name: str, values: Sequence[float]) -> None:
    """Raises ValueError unless all values are finite, and none is negative."""
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"{name} must not be negative, infinite or NaN, got {tuple(values)}")


def load_data(settings: Settings) -> dict[str, datasets.Dataset]:
    """The splits of the data set."""
    with command.console.status(f"loading {settings.dataset}"):
        return datasets.load(settings.dataset, data_dir=settings.data_dir)


def load_models(
    settings: Settings, splits: dict[str, datasets.Dataset], names: Sequence[str] | None = None
) -> list[zoo.Model]:
    """Trains the networks, or reads their weights: those of the settings, or `names`."""
    info = datasets.info(settings.dataset)
    options = {"cache_dir": settings.cache_dir, "retrain": settings.retrain}
    return train_each(
        {
            name: functools.partial(zoo.load, name, splits, settings.seed, info, **options)
            for name in (settings.models if names is None else names)
        }
    )


def train_each(trainings: Mapping[str, Callable[..., zoo.Model]]) -> list[zoo.Model]:
    """Calls trainings, by name, each with a function `progress` that draws its bar."""
    models = []
    with command.progress_bars() as bars:
        for name, train in trainings.items():
            task = bars.add_task(f"training {name}", total=100)
            progress = functools.partial(_update, bars, task)
            models.append(train(progress=progress))
            progress(1.0)
    return models


def _update(bars, task, fraction):
    bars.update(task, completed=100 * fraction)


def measure_transfer(
    settings: Settings, models: Sequence[zoo.Model], dataset: datasets.Dataset, **options: Any
) -> transfer.TransferResult:
    """`transfer.transfer` on random wrong targets, with bars; the options are of that."""
    names = [model.name for model in models]
    with progress_by_name("attacking", names, len(dataset.images)) as progress:
        return transfer.transfer(
            models,
            *dataset,
            wrong_targets(dataset.labels, datasets.CLASSES, settings.seed),
            seed=settings.seed,
            cache_dir=settings.cache_dir,
            progress=progress,
            **options,
        )


@contextlib.contextmanager
def progress_by_name(
    action: str, names: Sequence[str], total: int
) -> Iterator[Callable[[str, int], None]]:
    """Yields what is told a name and a number of images done; draws a bar per name."""
    with command.progress_bars() as bars:
        tasks = {
            name: bars.add_task(f"{action} {name}", total=total, start=False) for name in names
        }

        def progress(name, count):
            bars.start_task(tasks[name])
            bars.advance(tasks[name], count)

        yield progress


class Clock:
    """Seconds that each stage of a run took."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def record(settings: Settings, clock: Clock) -> dict[str, Any]:
    """What the figures were made from and on, and how long it took, for JSON."""
    seconds = clock.seconds | {"total": sum(clock.seconds.values())}
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
        if name not in ("config", "out", "data_dir", "cache_dir", "retrain")
    }
    return {
        "settings": values,
        "dataset": settings.dataset,
        "seed": settings.seed,
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
    } | report.environment()


def on_what(figures: dict[str, Any]) -> str:
    """The end of the note below tables: seed, device and seconds of a run."""
    total = figures["seconds"]["total"]
    return f"seed {figures['seed']}; {figures['device']}, {total:.0f} s."
