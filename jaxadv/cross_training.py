"""Tables 3 and 4 of Szegedy et al. (2013): transfer across disjoint training sets.

Trains networks on either half of the training set, makes adversarial examples of test images for
each of them, feeds these to all, also amplified to a given distortion, and writes tables, pictures
and the examples.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.measures.halves import errors_on_halves, in_halves
from jaxadv.measures.transfer import transfer
from jaxadv.reports import paper
from jaxadv.reports import transfer as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import PRIME, load_data, load_models_on_halves, trained_on
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = (*paper.TABLE_3, "LeNet-5", "LeNet-5'")
    """Networks by name, trained on P1, the first half of the training set; with a prime, as in
    FC100-100-10', from another start on P2, the second half. Or your own, as module:function that
    returns (logits_fn, params) or (Network, params)."""
    out: Path = Path("results/cross_training")
    images: int = 10_000
    """Number of test images to attack, from the first on."""
    noise: tuple[float, ...] = (0.06, 0.1)
    """Standard deviations of the Gaussian noise that serves as control."""
    amplify_to: float = 0.1
    """Distortion that adversarial examples are amplified to."""
    attack: AttackOptions = AttackOptions.quick()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        splits = load_data(config)
    with clock.stage("training"):
        halves = in_halves(splits["train"])
        models = load_models_on_halves(config, halves, splits["test"])
    attacked = splits["test"].part(slice(config.images))
    targets = wrong_targets(attacked.labels, config.info.classes, config.seed)
    bars = progress_by_name("attacking", config.models, config.images)
    with clock.stage("attack"), bars as progress:
        result = transfer(
            *(models, attacked, targets),
            options=config.attack,
            noise_stddevs=config.noise,
            amplifications=[(config.amplify_to, clip) for clip in (False, True)],
            seed=config.seed,
            cache_dir=config.cache_dir,
            progress=progress,
        )
    published = paper.for_dataset(config.dataset, paper.TABLES_3_AND_4)
    figures = report.figures(result, published, config.seed)
    for model, row in zip(models, figures["models"], strict=True):
        row |= {"trained_on": trained_on(model.name), **errors_on_halves(model, halves)}
    figures |= {"images": config.images} | record(config, clock)
    report.write_examples(config.out, result, attacked)
    report.draw(config.out, "cross_training", figures)
    texts = [report.table_3(figures), report.table_4(figures), report.note(figures, "test")]
    publish(config.out, "cross_training", figures, texts, "Tables, pictures and examples are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config, [name.removesuffix(PRIME) for name in config.models])
    settings.check_count("images", config.images, config.info.examples["test"])
    settings.check_sizes(noise=config.noise, amplify_to=[config.amplify_to])


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
