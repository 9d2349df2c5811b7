"""Single units against random directions, after Szegedy et al. (2013), section 3.

For the units of each layer, and for random directions in it, finds the held-out images that
maximise them, measures how many of these have the same label, and writes tables and pictures.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from jaxadv import zoo
from jaxadv.datasets import tfds as datasets
from jaxadv.measures import units as activations
from jaxadv.reports import tables as report
from jaxadv.reports import units as units_report
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = ("FC100-100-10", "AE400-10", "LeNet-5")
    """Networks by name, trained where need be; or your own, as module:function that returns
    (Network, params)."""
    out: Path = Path("results/units")
    layers: Annotated[tuple[str, ...], command.alias("--layer")] = ()
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
    """Held-out images, in place of the test set: an .npy file, (N, 28, 28[, 1]), with
    floating-point numbers in [0, 1] or uint8. It may be larger than the memory."""
    labels_file: Path | None = None
    """Their labels: an .npy file, (N,), with integers."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs the experiment, prints its table and writes its files."""
    check(config)
    clock = experiment.Clock()
    with clock.stage("data"):
        splits = experiment.load_data(config)
        held_out = opened(config) or splits["test"]
    with clock.stage("training"):
        models = experiment.load_models(config, splits)
    with clock.stage("activations"):
        results = measure(config, models, held_out)
    with clock.stage("statistics"), command.console.status("comparing"):
        figures = units_report.figures(results, held_out.labels, config.k, config.seed)
    figures |= {"images_file": config.images_file and str(config.images_file)}
    figures |= {"directions": config.directions} | experiment.record(config, clock)
    texts = [units_report.table(figures), units_report.note(figures)]
    units_report.write(config.out, figures, texts, results, held_out, config.rows, config.top)
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables and pictures are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    _check_layers(config)
    held_out = opened(config)
    if held_out:
        _check_files(held_out)
    images = len(held_out.labels) if held_out else datasets.SPLITS["test"].num_examples
    experiment.check_count("directions", config.directions, 2**16)
    experiment.check_count("rows", config.rows, 100)
    experiment.check_count("top", config.top, images - 1)
    if not config.k or not all(2 <= k < images for k in config.k):
        raise ValueError(f"k must be from 2 to {images - 1}, got {config.k}")
    if len(set(config.k)) < len(config.k):
        raise ValueError(f"each k must be there once, got {config.k}")


def _check_layers(config):
    """That the networks have layers, and each name is that of a layer of one of them."""
    known = []
    for name in config.models:
        network = zoo.with_layers(name, datasets.info(config.dataset))
        if not config.layers and not activations.layer_names(network):
            raise ValueError(
                f"{name} has no layers but the logits: name them, --layer {network.layers[0].name}"
            )
        known += [layer.name for layer in network.layers]
    unknown = sorted(set(config.layers) - set(known))
    if unknown:
        raise ValueError(f"no network has layers {unknown}, expected some of {sorted(set(known))}")


def opened(config: Config) -> datasets.Dataset | None:
    """The user's images and labels, memory-mapped; None where there are no such files.

    Raises:
      ValueError: one of the files is missing, or is not an .npy file.
      OSError: a file cannot be read.
    """
    files = {"images_file": config.images_file, "labels_file": config.labels_file}
    if not any(files.values()):
        return None
    arrays = []
    for name, path in files.items():
        if not path:
            raise ValueError(f"images_file and labels_file go together, got no {name}")
        try:
            arrays.append(np.lib.format.open_memmap(path, mode="r"))
        except ValueError as error:
            raise ValueError(f"{name} must be an .npy file, got {path}: {error}") from error
    return datasets.Dataset(*arrays)


def _check_files(held_out):
    images, labels = held_out
    shape = datasets.IMAGE_SHAPE
    if images.shape[1:] not in (shape, shape[:2]):
        raise ValueError(f"images_file must have the shape (N, 28, 28[, 1]), got {images.shape}")
    if len(images) < 3:
        raise ValueError(f"images_file must hold at least 3 images, got {len(images)}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels_file must hold a label per image, shape {images.shape[:1]}, got {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels_file must hold integers, got {labels.dtype}")
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"images_file must hold uint8 or floating-point numbers in [0, 1], got {images.dtype}"
        )
    smallest, largest = images.min(), images.max()  # NaN where there is one
    if not (smallest >= 0 and largest <= 1):
        raise ValueError(
            f"images_file must lie in [0, 1], got values from {smallest:g} to {largest:g}"
        )


def measure(
    config: Config, models: list[zoo.Model], held_out: datasets.Dataset
) -> list[activations.Maximisers]:
    """Finds the images that maximise the directions of each layer."""
    layers = activations.layers(models, config.layers)
    images = held_out.images
    titles = [layer.title for layer in layers]
    results = []
    with experiment.progress_by_name("feeding", titles, len(images)) as progress:
        for layer in layers:
            key = jax.random.fold_in(jax.random.key(config.seed), layer.depth)
            results.append(
                activations.maximisers(
                    layer,
                    activations.draw(key, layer.size, config.directions),
                    images,
                    # One more than is asked for, which tells of ties.
                    max(config.top, *config.k) + 1,
                    progress=lambda count, title=layer.title: progress(title, count),
                )
            )
    return results


if __name__ == "__main__":
    sys.exit(main())
