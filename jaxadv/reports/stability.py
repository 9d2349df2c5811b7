"""Lipschitz bounds, layer by layer: figures and tables."""

import math
from collections.abc import Sequence
from typing import Any

from jaxadv.networks import Params
from jaxadv.reports import paper
from jaxadv.reports.tables import Figures, Table, beside, run_of
from jaxadv.spectral.lipschitz import LayerBound

FACTORS = ("norm", "activation", "normalisation", "pooling")
HOW_TO = (
    "For AlexNet, give torchvision's weights with --weights FILE (alexnet-owt-7be5be79.pth, or as"
    " .safetensors), or --random for its original layers from a random start."
)


def model_figures(name: str, params: Params, bounds: Sequence[LayerBound]) -> dict[str, Any]:
    """The constants of each layer of a network."""
    layers = [
        {
            "name": bound.name,
            "shape": list(getattr(params[bound.name].get("kernel"), "shape", ())),
            **{factor: float(getattr(bound, factor)) for factor in FACTORS},
            "product": float(bound.product),
        }
        for bound in bounds
    ]
    return {"name": name, "layers": layers}


def table(model: Figures) -> Table:
    """The constants of a network's layers; of AlexNet's, the norms beside the paper's."""
    rows = [
        [
            layer["name"],
            "×".join(map(str, layer["shape"])),
            beside(f"{layer['norm']:.4g}", _papers(model, layer)),
            *(f"{layer[factor]:.4g}" for factor in (*FACTORS[1:], "product")),
        ]
        for layer in model["layers"]
    ]
    total = math.prod(layer["product"] for layer in model["layers"])
    title = f"{model['name']}: Lipschitz constants, product L = {total:.4g}"
    return Table(title, ["layer", "kernel", *FACTORS, "product"], rows)


def _papers(model, layer):
    figure = paper.TABLE_5.get(layer["name"]) if model["name"].startswith("AlexNet") else None
    return None if figure is None else f"{figure:g}"


def note(figures: Figures) -> str:
    """How to read the tables, and what they were made from."""
    compared = any(model["name"].startswith("AlexNet") for model in figures["models"])
    return (
        "Norms of convolutions are upper bounds for the layer's input size and zero padding. "
        + ("In brackets: the paper's Table 5." if compared else HOW_TO)
        + f" Run with {run_of(figures)}"
    )
