"""Single units against random directions, after Szegedy et al. (2013), section 3.

For the units of each layer, and for random and other directions in it, finds the held-out images
that maximise them, measures how many of these have the same label, and writes tables and pictures.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

from jaxadv.measures import layers, maximisers
from jaxadv.measures.label_agreement import compare_layers
from jaxadv.reports import units as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, held_out, settings
from jaxadv.runs.arguments import alias
from jaxadv.runs.console import console, progress_by_name
from jaxadv.runs.inputs import load_networks
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(held_out.Settings):
    """Settings of the experiment."""

    models: settings.Names = ("FC100-100-10", "AE400-10", "LeNet-5")
    """Networks by name, trained if need be; your own, module:function giving (Network, params)."""
    out: Path = Path("results/units")
    layers: Annotated[tuple[str, ...], alias("--layer")] = ()
    """Layers by name, of all networks that have them; by default all but the logits."""
    directions: int = 200
    """Number of directions of each kind, in each layer; there may be fewer units."""
    k: tuple[int, ...] = (4, 8, 16, 32)
    """Numbers of best images among which label agreement is measured, those that there are."""
    rows: int = 8
    """Number of directions in a picture."""
    top: int = 8
    """Number of images of each, at most."""


def run(config: Config) -> None:
    """Runs the experiment, prints its table and writes its files."""
    clock = Clock()
    with clock.stage("data"):
        found = held_out.load(config)
    with clock.stage("training"):
        models = [*load_networks(config).values()]
    chosen = layers.layers(models, config.layers)
    titles, before = [layer.title for layer in chosen], "components of"
    bars = progress_by_name("feeding", titles, len(found.labels), before=before)
    with clock.stage("activations"), bars as progress:
        ks, top = _ks(config, len(found.labels)), min(config.top, len(found.labels) - 1)
        count = max(top, *ks) + 1  # one more than is asked for tells of ties
        draw = config.directions, count, config.seed
        results = maximisers.of_layers(chosen, found.images, found.others, *draw, progress=progress)
    with clock.stage("statistics"), console.status("comparing"):
        statistics = compare_layers(results, found.labels, ks, config.seed)
    figures = record(config, clock) | report.figures(results, statistics, found)
    figures["directions"] = config.directions
    report.draw(config.out, figures, results, found, config.rows, top)
    publish(config.out, "units", figures, report.texts(figures), "Tables and pictures are")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    networks, images = held_out.check(config)
    layers.check_layer_names(networks, config.layers)
    settings.check_count("directions", config.directions, 2**16)
    settings.check_count("rows", config.rows, 100)
    if images < 3:
        raise ValueError(f"directions are compared on at least 3 images, got {images}")
    settings.check_count("top", config.top, 100)
    settings.check_counts("k", _ks(config, images) or config.k, 2, images - 1)


def _ks(config, images):
    return [k for k in config.k if k < images]


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
