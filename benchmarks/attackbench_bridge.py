"""AttackBench's library, and ours as an attack of it.

What is peculiar to the library stays here:

- it imports torchvision and wandb, for data sets and downloads that nothing here uses: where they
  are missing, empty modules take their place.
- its names for attacks include those that maximise a loss within a distance; these find no minimum.
- a query is charged to the image of the batch that is nearest to what was asked. So images that
  are none, which fill up a batch of ours, must not reach the model.
"""

import functools
import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers
import torch

from jaxadv import AttackOptions, untargeted

STUBS = "torchvision", "torchvision.datasets", "torchvision.transforms", "wandb"
FAMILIES = frozenset("alma bb cw ddn deepfool fab fmn pdgd pdpgd superdeepfool tr".split())
PART = 8  # images at a time: where many are handed to a callback on one core, JAX waits for ever
ONE_LANE = AttackOptions(batch_size=1)  # no lane is idle, so that all queries are an image's own


class _Stub(types.ModuleType):
    """A module of which any name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def library() -> Any:
    """The module `attackbench`; ImportError where it is missing."""
    for name in (*STUBS, *peers.STUBS):
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Stub(name)
    if not hasattr(sys.modules.get("attackbench"), "run_attack"):
        sys.modules.pop("attackbench", None)  # the benchmark of the same name
    here, path = Path(__file__).parent, sys.path
    sys.path = [folder for folder in path if Path(folder).resolve() != here]
    try:
        return importlib.import_module("attackbench")
    finally:
        sys.path = path


def minimum_norm_attacks() -> dict[str, Callable]:
    """The ℓ2 attacks of the library that look for a minimum and can be imported, by name."""
    attackbench = library()
    found = {
        f"{source} {name}": attackbench.get_attack(lib=source, attack=name, threat_model="l2")
        for source, name in attackbench.list_attacks(threat_model="l2")
        if name.split("_")[0] in FAMILIES and not name.endswith("_minimal")
    }
    return dict(sorted(found.items()))


def ours(options: AttackOptions = ONE_LANE) -> Callable:
    """Our untargeted attack as one of AttackBench's: (model, inputs, labels) -> adversarial."""

    def attack(model, inputs, labels):
        x, classes = inputs.cpu().numpy(), labels.cpu().numpy()
        parts = [slice(start, start + PART) for start in range(0, len(x), PART)]
        logits_fn = _logits_fn(model)
        found = [untargeted(logits_fn, (), x[part], classes[part], options) for part in parts]
        return torch.tensor(np.concatenate([part.x_adv for part in found]), device=inputs.device)

    return attack


@functools.lru_cache(maxsize=1)  # so that all batches of a network use the same compilation
def _logits_fn(model):
    """(params, (B, …) images) -> (B, k) logits, by calls of the torch module, with gradients.

    The images stay as torch has them, channels first.
    """

    def forward(x):
        rows, real = _rows(model, x)
        logits = np.zeros((len(real), model.num_classes), np.float32)
        if real.any():
            with torch.no_grad():
                logits[real] = model(rows).cpu().numpy()
        return logits.reshape(*x.shape[: -model.inputs.ndim + 1], -1)

    def backward(x, cotangent):
        """The backward pass is counted. What it needs of the forward pass is not: that one was."""
        x, cotangent = (np.asarray(array) for array in (x, cotangent))
        rows, real = _rows(model, x)
        gradient = np.zeros((len(real), *rows.shape[1:]), np.float32)
        if real.any():
            rows.requires_grad_()
            weights = torch.tensor(cotangent.reshape(len(real), -1)[real], device=rows.device)
            model.match_input(rows.detach())
            with torch.enable_grad():
                logits = model.model(rows)
                (found,) = torch.autograd.grad(logits, rows, weights)
            gradient[real] = found.cpu().numpy()
        return gradient.reshape(x.shape)

    def called(function, *arrays, shape):
        shape = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.pure_callback(function, shape, *arrays, vmap_method="broadcast_all")

    @jax.custom_vjp
    def logits(x):
        return called(forward, x, shape=(len(x), model.num_classes))

    logits.defvjp(
        lambda x: (logits(x), x),
        lambda x, cotangent: (called(backward, x, cotangent, shape=x.shape),),
    )
    return lambda _params, x: logits(x)


def _rows(model, x):
    """Images of the batch as a tensor, and which of the rows are images: padding is of zeros."""
    rows = np.asarray(x).reshape(-1, *model.inputs.shape[1:])
    real = np.any(rows.reshape(len(rows), -1), axis=1)
    return torch.tensor(rows[real], device=model.inputs.device), real
