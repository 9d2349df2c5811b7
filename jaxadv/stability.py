"""Lipschitz bounds of networks, layer by layer, beside Table 5 of Szegedy et al. (2013).

For each layer the operator norm and the constants of activation, normalisation and pooling, and the
product over all layers: an upper bound of ‖f(x) − f(x')‖ / ‖x − x'‖ for the logits f.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxadv import zoo
from jaxadv.datasets import tfds as datasets
from jaxadv.networks import alexnet, lipschitz
from jaxadv.networks import torch_weights as weights
from jaxadv.networks.network import Network, Params
from jaxadv.reports import paper
from jaxadv.reports import tables as report
from jaxadv.runs import console as command
from jaxadv.runs import settings as experiment

HOW_TO = (
    "For AlexNet, give torchvision's weights with --weights FILE (alexnet-owt-7be5be79.pth, or as"
    " .safetensors), or --random for its original layers from a random start."
)
FACTORS = ("norm", "activation", "normalisation", "pooling")

Figures = Mapping[str, Any]  # what stability.json holds


@dataclasses.dataclass(frozen=True)
class Config(experiment.Settings):
    """Settings of the experiment."""

    models: experiment.Names = ("FC100-100-10", "FC200-200-10", "AE400-10", "LeNet-5")
    """Networks by name, trained where need be; or your own, as module:function that returns
    (Network, params)."""
    out: Path = Path("results/stability")
    weights: Path | None = None
    """AlexNet's weights as torchvision publishes them, .pth or .safetensors, in place of models."""
    random: bool = False
    """AlexNet's original layers, from a random start, in place of models."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    check(config)
    clock = experiment.Clock()
    with clock.stage("networks"):
        networks = load(config)
    models = []
    with clock.stage("norms"), command.progress_bars() as bars:
        task = bars.add_task("operator norms", total=len(networks))
        for name, (network, params) in networks.items():
            models.append({"name": name, "layers": layer_figures(network, params)})
            bars.advance(task)
    figures = {"models": models} | experiment.record(config, clock)
    texts = [*map(table, models), note(config, figures)]
    report.write_json(config.out / "stability.json", figures)
    report.write_text(config.out / "stability.md", report.markdown(texts))
    command.console.print(*map(report.for_terminal, texts), sep="\n")
    command.console.print(f"Tables are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    experiment.check(config)
    for name in config.models:
        network = zoo.with_layers(name, datasets.info(config.dataset))
        params = jax.eval_shape(network.init, jax.random.key(0))
        jax.eval_shape(functools.partial(lipschitz.lipschitz_bound, network), params)
    if config.weights and config.random:
        raise ValueError("weights and random exclude each other")
    if config.weights and not config.weights.is_file():
        raise FileNotFoundError(f"there is no file {config.weights}")


def load(config: Config) -> dict[str, tuple[Network, Params]]:
    """The networks and their parameters, by name."""
    if config.weights:
        params = alexnet.from_torchvision(weights.read(config.weights))
        classes = len(params["fc3"]["bias"])
        return {"AlexNet (torchvision)": (alexnet.torchvision_alexnet(classes), params)}
    if config.random:
        network = alexnet.alexnet()
        return {"AlexNet, random": (network, network.init(jax.random.key(config.seed)))}
    splits = experiment.load_data(config)
    models = experiment.load_models(config, splits)
    return {model.name: (model.network, model.params) for model in models}


def layer_figures(network: Network, params: Params) -> list[dict[str, Any]]:
    """The constants of each layer."""
    return [
        {
            "name": bound.name,
            "shape": list(getattr(params[bound.name].get("kernel"), "shape", ())),
            **{factor: float(getattr(bound, factor)) for factor in FACTORS},
            "product": float(bound.product),
        }
        for bound in lipschitz.layer_bounds(network, params)
    ]


def table(model: Figures) -> report.Table:
    """The constants of a network's layers; of AlexNet's, the norms beside the paper's."""
    rows = [
        [
            layer["name"],
            "×".join(map(str, layer["shape"])),
            report.beside(f"{layer['norm']:.4g}", _papers(model, layer)),
            *(f"{layer[factor]:.4g}" for factor in (*FACTORS[1:], "product")),
        ]
        for layer in model["layers"]
    ]
    total = math.prod(layer["product"] for layer in model["layers"])
    title = f"{model['name']}: Lipschitz constants, product L = {total:.4g}"
    return report.Table(title, ["layer", "kernel", *FACTORS, "product"], rows)


def _papers(model, layer):
    figure = paper.TABLE_5.get(layer["name"]) if model["name"].startswith("AlexNet") else None
    return None if figure is None else f"{figure:g}"


def note(config: Config, figures: Figures) -> str:
    """How to read the tables, and what they were made from."""
    given = config.weights or config.random
    return (
        "Norms of convolutions are upper bounds for the layer's input size and zero padding. "
        + ("In brackets: the paper's Table 5." if given else HOW_TO)
        + f" Run with {experiment.on_what(figures)}"
    )


if __name__ == "__main__":
    sys.exit(main())
