"""How often adversarial examples appear: random perturbations that change the class of an image.

Attacks test images that each network classifies correctly, then counts how many random
perturbations change the class, against their norm in units of the distance D of the nearest
adversarial example: isotropic ones around the image, ones around the adversarial example, and ones
in the span of a few adversarial directions. Szegedy et al. (2013) leave the question open (sec. 5).
"""

import dataclasses
import functools
import math
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.measures.density import MAX_SAMPLES, count_all_changed
from jaxadv.measures.nearest import correctly_classified, nearest_examples
from jaxadv.reports import density as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import load_data, load_models
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = ("FC10(1e-4)", "FC100-100-10", "LeNet-5")
    out: Path = Path("results/density")
    images: int = 100
    """Number of test images, the first that the network classifies correctly."""
    norms: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0, 1.2, 1.5, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0)
    """Norms of the perturbations, in units of the distance D of the image's nearest adversarial
    example."""
    samples: int = 500
    """Perturbations per image, norm and region."""
    directions: int = 3
    """Targets, nearest first, whose adversarial directions span the space of the third region."""
    clip: bool = False
    """Clip perturbed images to [0, 1], which makes the perturbations smaller than their norm."""
    attack: AttackOptions = AttackOptions.quick()
    """Settings of the attack; by default the quick ones, as D may well be 1 % too large here.
    --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        splits = load_data(config)
    with clock.stage("training"):
        models = load_models(config, splits)
    chosen = [correctly_classified(model, splits["test"], config.images) for model in models]
    bars = progress_by_name("attacking", config.models, config.images)
    with clock.stage("attack"), bars as progress:
        kept = {"cache_dir": config.cache_dir, "progress": progress}
        options = {"directions": config.directions, "options": config.attack, **kept}
        examples = nearest_examples(models, chosen, **options)
    bars = progress_by_name("sampling", config.models, config.images)
    with clock.stage("sampling"), bars as progress:
        options = {"norms": config.norms, "samples": config.samples, "seed": config.seed}
        options |= {"clip": config.clip, "progress": progress}
        counts = count_all_changed(models, chosen, examples, **options)
    shape, sampled = config.info.image_shape, (config.norms, config.samples, config.directions)
    figures = report.figures(counts, *sampled, image_shape=shape, seed=config.seed)
    figures |= record(config, clock)
    figures |= {name: figures["settings"][name] for name in report.SETTINGS}
    report.draw(config.out / "density.png", figures)
    texts = [report.models_table(figures), *report.fraction_tables(figures), report.note(figures)]
    publish(config.out, "density", figures, texts, "Tables and picture are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    settings.check_count("images", config.images, config.info.examples["test"])
    settings.check_count("samples", config.samples, MAX_SAMPLES)
    settings.check_count("directions", config.directions, config.info.classes - 1)
    ascending = zip((0.0, *config.norms), config.norms, strict=False)
    if not config.norms or not all(low < high < math.inf for low, high in ascending):
        raise ValueError(f"norms must be positive, finite and ascending, got {config.norms}")


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
