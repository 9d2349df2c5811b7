"""Tables 1 and 2 of Szegedy et al. (2013): minimum distortions, and how they transfer.

Trains the networks (or reads the weights of an earlier run), makes adversarial examples of training
images for each of them, feeds them to all, changes them by noise and rounding, and writes tables,
pictures and the examples.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.measures.robustness import robustness_of_all
from jaxadv.measures.transfer import transfer
from jaxadv.reports import paper, robustness
from jaxadv.reports import transfer as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_by_name
from jaxadv.runs.inputs import load_data, load_models
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = (*paper.TABLE_1, "LeNet-5")
    out: Path = Path("results/transfer_table")
    images: int = 2000
    """Number of training images to attack, from the first on."""
    noise: tuple[float, ...] = (0.1, 0.3)
    """Standard deviations of the Gaussian noise that serves as control."""
    amplification: float = 1.25
    """Factor on r, for the robustness of examples beyond the decision boundary."""
    robustness_noise: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3)
    """Standard deviations of the noise that is added to adversarial examples."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        splits = load_data(config)
    with clock.stage("training"):
        models = load_models(config, splits)
    attacked = splits["train"].part(slice(config.images))
    targets = wrong_targets(attacked.labels, config.info.classes, config.seed)
    bars = progress_by_name("attacking", config.models, config.images)
    with clock.stage("attack"), bars as progress:
        result = transfer(
            *(models, attacked, targets),
            options=config.attack,
            noise_stddevs=config.noise,
            seed=config.seed,
            cache_dir=config.cache_dir,
            progress=progress,
        )
    with clock.stage("robustness"):
        noise = {"amplification": config.amplification, "noise_stddevs": config.robustness_noise}
        robust = robustness_of_all(result, attacked, seed=config.seed, **noise)
    published = paper.for_dataset(config.dataset, paper.TABLES_1_AND_2)
    figures = report.figures(result, published, config.seed)
    figures |= {"images": config.images, "robustness": robustness.figures(robust, **noise)}
    figures |= record(config, clock)
    report.write_examples(config.out, result, attacked)
    report.draw(config.out, "transfer_table", figures)
    robustness.draw(config.out / "robustness.png", figures)
    tables = report.table_1(figures), report.table_2(figures), robustness.table(figures)
    texts = [*tables, report.note(figures, "training")]
    publish(config.out, "transfer_table", figures, texts, "Tables, pictures and examples are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    settings.check_count("images", config.images, config.info.examples["train"])
    settings.check_sizes(noise=config.noise, robustness_noise=config.robustness_noise)
    settings.check_sizes(amplification=[config.amplification])


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
