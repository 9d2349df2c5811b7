"""What controlling the layers' operator norms buys (Szegedy et al., 2013, sec. 4.3).

Trains fully connected networks several times with a penalty on their layers' norms, or with these
kept within a limit, and measures test error, Lipschitz bound, the distortion that attacks find, and
that below which none can be found.
"""

import dataclasses
import functools
import math
from pathlib import Path

from jaxadv import certify, zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.measures import certificates, control
from jaxadv.reports import control as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import load_data, load_models_with_control, supervised_recipe
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = ("FC100-100-10",)
    """Fully connected networks, by name, to train anew with control."""
    out: Path = Path("results/control")
    strengths: tuple[float, ...] = (0.0, 3e-4, 1e-3, 2e-3, 3e-3)
    """Weights of the penalty, the sum of the squares of the layers' norms; 0 is no control."""
    limits: tuple[float, ...] = ()
    """Limits that the layers' norms are kept within, each in a training of its own."""
    seeds: int = 5
    """Number of trainings of each, with the seeds seed, seed + 1, …, that intervals are over."""
    images: int = 200
    """Number of test images, from the first on, to attack and certify."""
    balls: int = 20
    """Balls around an image in which CROWN bounds the network; more give larger lower bounds."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its table and writes its files."""
    clock, seeds = Clock(), range(config.seed, config.seed + config.seeds)
    with clock.stage("data"):
        splits = load_data(config)
    with clock.stage("training"):
        controls = config.strengths, config.limits
        models = load_models_with_control(config, splits, *controls, seeds)
    images = splits["test"].images[: config.images]
    names, total = [model.name for model in models[0]], len(seeds) * config.images
    with clock.stage("attack"), progress_by_name("attacking", names, total) as progress:
        options = {"options": config.attack, "cache_dir": config.cache_dir, "progress": progress}
        found = [certificates.found_distortions(each, images, **options) for each in models]
    with clock.stage("certificates"), progress_by_name("certifying", names, total) as progress:
        options = {"methods": [certificates.TIGHTEST], "progress": progress}
        pairs = zip(models, found, strict=True)
        bounds = [certificates.certify(m, images, f, config.balls, **options) for m, f in pairs]
    figures = report.figures(control.trainings(bounds, splits["test"]), seeds)
    figures |= {"images": config.images} | record(config, clock)
    report.draw(config.out / "control.png", figures)
    texts = [*report.tables(figures), report.note(figures)]
    publish(config.out, "control", figures, texts, "Tables and picture are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    settings.check_count("seeds", config.seeds, 2**32 - config.seed)
    settings.check_count("images", config.images, config.info.examples["test"])
    settings.check_sizes(strengths=config.strengths)
    if not all(0 < limit < math.inf for limit in config.limits):
        raise ValueError(f"limits must be positive and finite, got {config.limits}")
    if not config.strengths and not config.limits:
        raise ValueError("strengths and limits must not both be empty")
    settings.check_once("strengths", config.strengths)
    settings.check_once("limits", config.limits)
    certify.check_balls(config.balls)
    for name in config.models:
        certify.check(zoo.with_layers(name, config.info))
        supervised_recipe(name)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
