"""A small QuocNet, and minimum-distortion examples for a classifier on its features (Figure 6).

Learns filters of local receptive fields, without labels, from crops of photographs; trains linear
classifiers of faces and backgrounds on its frozen features, on those of random filters, and on the
pixels; and makes minimum-distortion adversarial examples for them.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import crops, natural
from jaxadv.measures import quocnet as measure
from jaxadv.reports import quocnet as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, features, settings
from jaxadv.runs.console import console, progress_by_name
from jaxadv.runs.record import Clock, record

SAMPLE = 1000  # crops on which sparsity is measured


@dataclasses.dataclass(frozen=True)
class Config(features.Settings):
    """Settings of the experiment."""

    out: Path = Path("results/quocnet")
    count: int = 40
    """Number of held-out images of faces and backgrounds to attack."""
    attack: AttackOptions = AttackOptions.quick()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    config, clock, seed = features.shortened(config), Clock(), config.seed
    with clock.stage("photographs"), console.status("reading photographs"):
        photographs = features.opened(config)
        patches = crops.read_crops(photographs, config.crops, seed)
        splits = measure.in_halves(natural.faces(config.cache_dir))
    with clock.stage("training"):
        encoders = features.load(config, patches)
    with clock.stage("classifiers"), console.status("training classifiers"):
        classified = measure.classify(encoders, splits, seed)
    attacked = {each.model.name: each for each in measure.ends(classified)}
    bars = progress_by_name("attacking", [*attacked], config.count)
    with clock.stage("attack"), bars as progress:
        options = splits["test"], config.count, config.attack, config.cache_dir, progress
        attacks = {name: measure.attack_some(each, *options) for name, each in attacked.items()}
    with clock.stage("pictures"), console.status("looking for the best stimuli"):
        sparsity = {each.name: measure.sparsity(each, patches[:SAMPLE]) for each in encoders}
        best = measure.stimuli(encoders[0], patches, seed)
        report.draw(config.out, encoders, best, patches, [*attacks.values()][-1])
    figures = report.figures(classified, attacks, sparsity, config.network, seed)
    figures |= {"photographs": len(photographs), "left_out": features.left_out(config)}
    figures |= record(config, clock)
    texts = [report.table(figures), report.cost_table(figures), report.note(figures)]
    publish(config.out, "quocnet", figures, texts, "Tables and pictures are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    features.check(config)
    settings.check_positive(count=config.count)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
