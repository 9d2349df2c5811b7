"""Single units against random directions, after Szegedy et al. (2013), section 3.

For the units of each layer, and for random directions in it, finds the held-out images that
maximise them, measures how many of these have the same label, and writes tables and pictures.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

from jaxadv import zoo
from jaxadv.datasets.npy import open_npy
from jaxadv.measures import maximisers
from jaxadv.measures.label_agreement import compare_layers
from jaxadv.reports import units as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.arguments import alias
from jaxadv.runs.console import console, progress_by_name
from jaxadv.runs.inputs import load_data, load_models
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = ("FC100-100-10", "AE400-10", "LeNet-5")
    """Networks by name, trained if need be; your own, module:function giving (Network, params)."""
    out: Path = Path("results/units")
    layers: Annotated[tuple[str, ...], alias("--layer")] = ()
    """Layers by name, of all networks that have them; by default all but the logits."""
    directions: int = 200
    """Number of directions of each kind, in each layer; there may be fewer units."""
    k: tuple[int, ...] = (4, 8, 16, 32)
    """Numbers of best images among which label agreement is measured."""
    rows: int = 8
    """Number of directions in a picture."""
    top: int = 8
    """Number of images of each."""
    images_file: Path | None = None
    """Held-out images, in place of the test set: an .npy file, (N, height, width[, channels]), with
    floating-point numbers in [0, 1] or uint8. It may be larger than the memory."""
    labels_file: Path | None = None
    """Their labels: an .npy file, (N,), with integers."""


def run(config: Config) -> None:
    """Runs the experiment, prints its table and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        splits = load_data(config)
        files = config.images_file, config.labels_file
        images, labels = held_out = open_npy(*files, config.info.image_shape) or splits["test"]
    with clock.stage("training"):
        layers = maximisers.layers(load_models(config, splits), config.layers)
    bars = progress_by_name("feeding", [layer.title for layer in layers], len(images))
    with clock.stage("activations"), bars as progress:
        count = max(config.top, *config.k) + 1  # one more than is asked for tells of ties
        draw = config.directions, count, config.seed
        results = maximisers.of_layers(layers, images, *draw, progress=progress)
    with clock.stage("statistics"), console.status("comparing"):
        statistics = compare_layers(results, labels, config.k, config.seed)
    figures = report.figures(results, statistics, labels) | record(config, clock)
    figures |= {name: figures["settings"][name] for name in ("images_file", "directions")}
    report.draw(config.out, figures, results, held_out, config.rows, config.top)
    texts = [report.table(figures), report.note(figures)]
    publish(config.out, "units", figures, texts, "Tables and pictures are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config)
    networks = {name: zoo.with_layers(name, config.info) for name in config.models}
    maximisers.check_layer_names(networks, config.layers)
    held_out = open_npy(config.images_file, config.labels_file, config.info.image_shape)
    images = len(held_out.labels) if held_out else config.info.examples["test"]
    settings.check_count("directions", config.directions, 2**16)
    settings.check_count("rows", config.rows, 100)
    settings.check_count("top", config.top, images - 1)
    settings.check_counts("k", config.k, 2, images - 1)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
