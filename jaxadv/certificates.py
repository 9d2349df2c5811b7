"""Proven lower bounds on the minimum distortion of Szegedy et al. (2013), beside those found.

For test images and all wrong targets, attacks fully connected networks, which bounds D(x, l) from
above, and bounds it from below by three methods: the product of the layers' norms (sec. 4.3), with
the last norm for pairs of classes, ECLipsE-Fast and CROWN. Writes tables and a picture.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv import certify, zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.measures import certificates as measure
from jaxadv.reports import certificates as report
from jaxadv.reports import paper
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import load_data, load_models
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = tuple(paper.TABLE_1)
    """Fully connected networks by name, trained where need be; or your own, as module:function that
    returns (Network, params)."""
    out: Path = Path("results/certificates")
    images: int = 200
    """Number of test images, from the first on."""
    radii: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03)
    """Distortions for which images are counted that have no adversarial example so near."""
    balls: int = 20
    """Balls around an image in which CROWN bounds the network; more give larger lower bounds."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        splits = load_data(config)
    with clock.stage("training"):
        models = load_models(config, splits)
    dataset = splits["test"].part(slice(config.images))
    bars = progress_by_name("attacking", config.models, config.images)
    with clock.stage("attack"), bars as progress:
        options = {"options": config.attack, "cache_dir": config.cache_dir, "progress": progress}
        found = measure.found_distortions(models, dataset.images, **options)
    bars = progress_by_name("certifying", config.models, len(measure.METHODS) * config.images)
    with clock.stage("certificates"), bars as progress:
        bounds = measure.certify(models, dataset.images, found, config.balls, progress=progress)
    nearest = [measure.nearest(each, dataset) for each in bounds]
    figures = report.figures(bounds, nearest, config.radii, config.seed)
    figures |= {"images": config.images} | record(config, clock)
    report.draw(config.out / "certificates.png", bounds, nearest)
    tables = report.ratio_table(figures), report.certified_table(figures)
    texts = [*tables, report.note(figures)]
    publish(config.out, "certificates", figures, texts, "Tables and picture are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    settings.check_count("images", config.images, config.info.examples["test"])
    settings.check_sizes(radii=config.radii)
    if not config.radii:
        raise ValueError("radii must not be empty")
    certify.check_balls(config.balls)
    for name in config.models:
        try:
            certify.check(zoo.with_layers(name, config.info))
        except ValueError as error:
            raise ValueError(f"cannot certify {name}: {error}") from error


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
