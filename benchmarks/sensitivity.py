"""What each number in the `Tuning` of the lockstep attack is worth: each is halved and doubled.

    python benchmarks/sensitivity.py

On networks that no other benchmark attacks: FC123-456-10, and LeNet-5 of another seed, whose
boundary is not smooth. The evidence in `jaxadv/attacks/lockstep/tuning.py` is from here.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import common
import jax
import numpy as np
from attack_report import ratio_interval

from jaxadv import minimal_adversarial, zoo
from jaxadv.attacks.lockstep import averaging, loop, search, sqp, stages, state
from jaxadv.attacks.lockstep.tuning import TUNING, Tuning
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import progress_bars
from jaxadv.runs.settings import check_count

FACTORS = 0.5, 2.0
MODULES: tuple[Any, ...] = averaging, loop, search, sqp, stages, state


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    seed: int = 1
    """Seed of the weights and the targets."""
    out: Path = Path("results/sensitivity")
    """Directory for the tables."""
    numbers: tuple[str, ...] = Tuning._fields
    """Which numbers."""
    fc_images: int = 400
    """Test images to attack FC123-456-10 on."""
    lenet_images: int = 32
    """Test images to attack LeNet-5 on."""


class Attacked(NamedTuple):
    """Of N problems."""

    distortion: np.ndarray  # infinite where none was found
    gradients: float


def run(config: Config) -> None:
    """Attacks with each number changed, prints the tables and writes the files."""
    common.pin(config.cores)
    splits = common.load_data(config)
    tables, figures = [], {}
    for name, count in (("FC123-456-10", config.fc_images), ("LeNet-5", config.lenet_images)):
        model = common.load_model(name, splits, config)
        x, labels = splits["test"].part(slice(count))
        problems = x, wrong_targets(labels, config.info.classes, config.seed)
        variants = list(changed(config.numbers))
        with progress_bars() as bars:
            task = bars.add_task(f"attacking {name}", total=1 + len(variants))
            usual = attacked(model, problems, TUNING)
            bars.advance(task)
            rows = []
            for number, factor, tuning in variants:
                rows.append((number, factor, attacked(model, problems, tuning)))
                bars.advance(task)
        figures[name] = [compared(usual, *row) for row in rows]
        tables.append(
            as_table(f"{name}, {count} images, {usual.gradients:.1f} gradients", figures[name])
        )
    common.publish(config, "sensitivity", {"sensitivity": figures}, tables, 100)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    unknown = set(config.numbers) - set(Tuning._fields)
    if unknown or not config.numbers:
        raise ValueError(f"numbers must be among {Tuning._fields}, got {config.numbers}")
    for name in ("fc_images", "lenet_images"):
        check_count(name, getattr(config, name), config.info.examples["test"])
    common.check(config)


def changed(numbers: tuple[str, ...]) -> Iterator[tuple[str, float, Tuning]]:
    """Each number, each factor, and the tuning with the one times the other."""
    for number in numbers:
        for factor in FACTORS:
            new = scaled(getattr(TUNING, number), factor)
            yield number, factor, TUNING._replace(**{number: new})


def scaled(value: Any, factor: float) -> Any:
    """A number, or each of a pair, times a factor; integers remain integers, and at least 1."""
    if isinstance(value, tuple):
        return tuple(scaled(each, factor) for each in value)
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


@contextlib.contextmanager
def tuned(tuning: Tuning) -> Iterator[None]:
    """Makes attacks use other numbers; they are traced and compiled anew."""
    for module in MODULES:
        module.TUNING = tuning
    jax.clear_caches()
    try:
        yield
    finally:
        for module in MODULES:
            module.TUNING = TUNING
        jax.clear_caches()


def attacked(model: zoo.Model, problems: tuple[np.ndarray, np.ndarray], tuning: Tuning) -> Attacked:
    """The attack at default options, but for the tuning."""
    with tuned(tuning):
        result = minimal_adversarial(model.network.logits, model.params, *problems)
    distortion = np.where(result.success, result.distortion, np.inf)
    return Attacked(distortion, float(result.evaluations.mean()))


def compared(usual: Attacked, number: str, factor: float, other: Attacked) -> dict[str, Any]:
    """How much larger the mean distortion is, in percent, and how many more the gradients."""
    both = np.isfinite(usual.distortion) & np.isfinite(other.distortion)
    pair = other.distortion[both].astype(float), usual.distortion[both].astype(float)
    low, high = ratio_interval(*pair) or (1.0, 1.0)
    return {
        "number": number,
        "factor": factor,
        "value": scaled(getattr(TUNING, number), factor),
        "distortion": 100 * (pair[0].mean() / pair[1].mean() - 1),
        "interval": [100 * (low - 1), 100 * (high - 1)],
        "gradients": 100 * (other.gradients / usual.gradients - 1),
        "failures": int((~np.isfinite(other.distortion)).sum()),
    }


def as_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """One line per number and factor; changes in percent."""
    header = ["number", "value", "mean ‖r‖ % (95 %)", "gradients %", "failures"]
    lines = []
    for row in rows:
        change = "{:+.2f} ({:+.2f} to {:+.2f})".format(row["distortion"], *row["interval"])
        cells = change, f"{row['gradients']:+.1f}", str(row["failures"])
        lines.append([row["number"], shown(row["value"]), *cells])
    return Table(title, header, lines)


def shown(value: Any) -> str:
    """A number, or a pair."""
    return ", ".join(map(shown, value)) if isinstance(value, tuple) else f"{value:g}"


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
