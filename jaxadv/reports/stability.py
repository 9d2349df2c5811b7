"""Lipschitz bounds, layer by layer: figures and tables."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxadv.networks import Params
from jaxadv.reports import paper
from jaxadv.reports.tables import Figures, Table, beside, run_of
from jaxadv.spectral.lipschitz import LayerBound

FACTORS = ("norm", "activation", "normalisation", "pooling")
HOW_TO = (
    "For AlexNet, give torchvision's weights with --weights FILE (alexnet-owt-7be5be79.pth, or as"
    " .safetensors), or --random for its original layers from a random start."
)


def model_figures(
    name: str,
    params: Params,
    bounds: Sequence[LayerBound],
    norms: Float[np.ndarray, "K N"],
) -> dict[str, Any]:
    """The constants of each layer of a network, and norms of Jacobians.

    Args:
      name: of the network.
      params: its parameters.
      bounds: of the K − 1 layers.
      norms: at N images, of the layers, then of the network; see `measures.stability`.
    """
    layers = [
        {
            "name": bound.name,
            "shape": list(getattr(params[bound.name].get("kernel"), "shape", ())),
            **{factor: float(getattr(bound, factor)) for factor in FACTORS},
            "product": float(bound.product),
        }
        for bound in bounds
    ]
    whole = {"product": math.prod(layer["product"] for layer in layers)}
    if norms.size:
        for row, figures in zip(norms, [*layers, whole], strict=True):
            figures |= {"jacobian_mean": float(row.mean()), "jacobian_max": float(row.max())}
        whole["images"] = norms.shape[1]
    return {"name": name, "layers": layers, "network": whole}


def texts(figures: Figures) -> list[Table | str]:
    """A table for each network, and a note."""
    return [*map(_table, figures["models"]), _note(figures)]


def _table(model):
    """The constants of a network's layers; of AlexNet's, the norms beside the paper's.

    Factors that are 1 in all layers are left out.
    """
    layers, whole = model["layers"], model["network"]
    factors = [name for name in FACTORS[1:] if any(layer[name] != 1 for layer in layers)]
    rows = [
        [
            layer["name"],
            "×".join(map(str, layer["shape"])),
            beside(f"{layer['norm']:.4g}", _papers(model, layer)),
            *(f"{layer[factor]:.4g}" for factor in (*factors, "product")),
            *_jacobians(layer),
        ]
        for layer in layers
    ]
    blank = [""] * (2 + len(factors))
    rows.append(["all", *blank, f"{whole['product']:.4g}", *_jacobians(whole)])
    title = f"{model['name']}: Lipschitz constants, product L = {whole['product']:.4g}"
    header = ["layer", "kernel", "norm", *factors, "product"]
    if "images" in whole:
        title += f"; norms of Jacobians at {whole['images']} images"
        header += ["mean ‖J‖", "largest ‖J‖"]
    return Table(title, header, rows)


def _jacobians(figures):
    names = "jacobian_mean", "jacobian_max"
    return [f"{figures[name]:.4g}" for name in names if name in figures]


def _papers(model, layer):
    figure = paper.TABLE_5.get(layer["name"]) if model["name"].startswith("AlexNet") else None
    return None if figure is None else f"{figure:g}"


def _note(figures):
    """How to read the tables, and what they were made from."""
    compared = any(model["name"].startswith("AlexNet") for model in figures["models"])
    return (
        "Norms of convolutions are upper bounds for the layer's input size and zero padding. ‖J‖ is"
        " the largest singular value of a layer's Jacobian at what the layers below make of an"
        " image, in the last row of that of the logits, by 20 Lanczos steps: a lower bound of"
        " any Lipschitz constant. "
        + ("In brackets: the paper's Table 5." if compared else HOW_TO)
        + f" Run with {run_of(figures)}"
    )
