"""Photographs that networks for ImageNet take for anything: Figure 5 of Szegedy et al. (2013).

Makes minimum-distortion examples of photographs, towards random classes and towards one for all, as
the paper's ostrich, rounds them to 8 bits, feeds them to the other networks, and writes tables, a
picture and the examples. By default it attacks EfficientNet-Lite, with weights trained on ImageNet.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from jaxadv.attacks.options import AttackOptions
from jaxadv.measures import photographs as measure
from jaxadv.reports import photographs as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, photographs, settings
from jaxadv.runs.console import console, progress_by_name
from jaxadv.runs.record import Clock, record
from jaxadv.storage.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config(photographs.Settings):
    """Settings of the experiment."""

    out: Path = Path("results/imagenet")
    count: int = 6
    """Number of photographs to attack, at most: the first that all networks recognise."""
    target: int = 9
    """Class for all, besides a random one for each; 9 is the ostrich."""
    amplifications: tuple[float, ...] = (1.0, 1.25, 2.0)
    """Factors on r, for the robustness to rounding."""
    distortion: float = 0.0065
    """Root mean square to which examples are brought; by default the paper's for AlexNet."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock, (networks, classes, given) = Clock(), photographs.prepared(config)
    with clock.stage("accuracy"), console.status("looking at all photographs"):
        ranks = {m.name: measure.ranks(m, given, side) for m, side in networks}
    chosen = np.flatnonzero(np.max([*ranks.values()], axis=0) == 0)[: config.count]
    if not len(chosen):
        raise InputError(f"no photograph of {config.dataset} is recognised by all networks")
    problems = measure.problems(given.labels[chosen], len(classes), config.seed, config.target)
    bars = progress_by_name("attacking", [*ranks], len(problems.target))
    with clock.stage("attack"), bars as progress:
        results = [
            measure.attacked(
                *(model, given.at(side, chosen).images, problems),
                *(config.attack, config.cache_dir, progress),
            )
            for model, side in networks
        ]
    with clock.stage("rounding and transfer"), console.status("feeding"):
        survived = [measure.after_rounding(r, problems, config.amplifications) for r in results]
        moved = dict(measure.transfer(results, problems, config.distortion, config.seed))
    names, target = [given.names[at] for at in chosen], classes[config.target]
    figures = {"images": len(chosen), "target": target, "transfer": report.fed(moved, [*ranks])}
    figures["accuracy"] = report.accuracies(ranks, [side for _, side in networks], given.names)
    figures["distortions"] = report.distortions(results, problems, survived, target, config.seed)
    figures["problems"] = report.each(results, problems, names)
    figures |= record(config, clock)
    report.write_examples(config.out, results, problems, names, classes)
    texts = report.texts(figures)
    publish(config.out, "imagenet", figures, texts, "Tables, picture and examples are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check_sizes(amplifications=config.amplifications, distortion=[config.distortion])
    photographs.check(config)
    settings.check_positive(count=config.count)
    _, classes, _ = photographs.prepared(config)
    if not 0 <= config.target < len(classes):
        raise ValueError(f"target must be from 0 to {len(classes) - 1}, got {config.target}")


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
