"""Adversarial examples for all images of a data set, in resumable shards.

The model is module:function, which returns (logits_fn, params) or (Network, params) and is run, or
one by name: FC100-100-10 and others for MNIST, EfficientNet-Lite0, 1 or 2 for photographs. The data
is an .npy or .npz file, a folder of images with a sub-folder per class, tfds:NAME/SPLIT, a folder
of TFDS's array_record files, or module:function. The same command again goes on from what is there.
`jaxadv.read_results` reads the results, report.html shows them.
"""

import dataclasses
import functools
from typing import Any

from jaxadv.attacks.options import AttackOptions
from jaxadv.certify import affine_layers
from jaxadv.measures.generation import Generation, Mode, checked_classes
from jaxadv.measures.shards import generate, manifest
from jaxadv.reports import generation as report
from jaxadv.runs import arguments, command, inputs, processes, record, settings, source
from jaxadv.runs.console import progress_with_rate
from jaxadv.storage import shards


@dataclasses.dataclass(frozen=True)
class Config(processes.Settings, source.Settings):
    """Settings of the generation."""

    model: str = arguments.REQUIRED
    """Network to attack."""
    out: str = arguments.REQUIRED
    """Folder of the results, or a place in an object store."""
    mode: Mode = "random"
    """Class to reach: a random one, the least likely, the most likely but the present one, the
    class --target, the one that the data gives, any other, or each."""
    target: int | None = None
    """The class, for --mode class."""
    seed: int = 0
    """Seed of random targets, and of the training of a network for MNIST."""
    certify: bool = False
    """Prove lower bounds, too: of a Network of fully connected layers."""
    transfer_to: tuple[str, ...] = ()
    """Networks that are fed the adversarial examples, too."""
    attack: AttackOptions = AttackOptions()
    """Settings of the attack; --attack quick, thorough, paper or default are presets."""


@functools.cache
def prepared(config: Config) -> tuple[Any, Any, dict[str, Any]]:
    """The images, what is done to them, and the manifest."""
    examples = config.opened()
    places = examples.image_shape, config.seed, config.cache_dir, config.data_dir
    models = [inputs.load_model(each, *places) for each in (config.model, *config.transfer_to)]
    model, *others = models
    generation = Generation(
        *(model.network.logits, model.params),
        classes=checked_classes(models, examples, config.mode, config.target, config.images),
        **{key: getattr(config, key) for key in ("mode", "target", "seed", "attack")},
        certified=affine_layers(model.network, model.params) if config.certify else None,
        others={other.name: (other.network.logits, other.params) for other in others},
    )
    sizes = {key: getattr(config, key) for key in ("size", "images", "shard_size")}
    place = {"data_source": config.place()}
    return examples, generation, manifest(generation, models, examples, **sizes) | place


def run(config: Config) -> None:
    """Generates what is missing, and shows what is there."""
    examples, generation, described = prepared(config)
    with shards.begin(config.out, described | record.environment(), **config.share()) as work:
        missing = work.missing()
        report.begun(config.out, work, missing)
        with progress_with_rate("attacking", sum(map(work.layout.rows, missing))) as progress:
            generate(*(generation, examples, work, missing), config.workers, progress)
        complete = work.complete(examples.files(work.layout.count))
        report.ended(config.out, examples, complete, config.export)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    processes.check(config)
    config.check_source(config.out)
    settings.check_seed(config.seed)
    settings.check_once("transfer_to", config.transfer_to)
    prepared(config)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
