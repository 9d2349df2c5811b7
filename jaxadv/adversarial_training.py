"""Training on adversarial examples of every layer's output (Szegedy et al., 2013, sec. 4.2).

Trains a network in many ways, each from several seeds: with weight decay alone, with dropout, on
adversarial examples of the images, of each hidden layer's output, of all of them in the paper's
way, and in the ways of others. Measures test errors, distances to other classes, and transfer.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.measures import adversarial_training as measure
from jaxadv.measures.certificates import found_distortions
from jaxadv.measures.transfer import transfer
from jaxadv.reports import adversarial_training as report
from jaxadv.reports import paper
from jaxadv.reports import transfer as transfer_report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings, trainings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import load_data
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(trainings.Settings):
    """Settings of the experiment."""

    out: Path = Path("results/adversarial_training")
    images: int = 100
    """Number of test images, from the first on, to attack and certify."""
    distortions: tuple[float, ...] = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
    """Distortions at which the share of images is counted that have no example so near."""
    attack: AttackOptions = AttackOptions.quick()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    config, clock = trainings.shortened(config), Clock()
    with clock.stage("data"):
        splits = trainings.tested(config, load_data(config))
    with clock.stage("training"):
        models = trainings.load(config, splits)
    test = splits["test"].part(slice(config.images))
    targets = wrong_targets(test.labels, config.info.classes, config.seed)
    names, total = [*trainings.recipes(config)], config.seeds * config.images
    options = {"options": config.attack, "cache_dir": config.cache_dir}
    with clock.stage("attack"), progress_by_name("attacking", names, total) as progress:
        found = [found_distortions(m, test.images, **options, progress=progress) for m in models]
    with clock.stage("certificates"), progress_by_name("certifying", names, total) as progress:
        pairs = zip(models, found, strict=True)
        bounds = [measure.bounds(m, test.images, f, config.balls, progress) for m, f in pairs]
    bars = progress_by_name("transferring from", names, config.images)
    with clock.stage("transfer"), bars as progress:
        noise = {"noise_stddevs": (), "seed": config.seed, "progress": progress}
        moved = transfer(models[0], test, targets, **options, **noise)
    trained = measure.trainings(bounds, splits["test"], targets, config.distortions)
    costs = trainings.gradients(config, len(splits["train"].labels))
    figures = report.figures(trained, costs, trainings.seeds(config), config.distortions)
    figures["transfer"] = transfer_report.figures(moved, paper.TABLES_1_AND_2, config.seed)
    figures |= {"images": config.images, "left_out": trainings.left_out(config)}
    figures |= record(config, clock)
    report.draw(config.out / "adversarial_training.png", figures)
    tables = report.table, report.difference_table, report.transfer_table, report.note
    texts = [each(figures) for each in tables]
    publish(config.out, "adversarial_training", figures, texts, "Tables and picture are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    trainings.check(config)
    settings.check_count("images", config.images, config.info.examples["test"])
    settings.check_sizes(distortions=config.distortions)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
