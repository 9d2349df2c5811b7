"""Attacks on networks of the zoo, kept in files."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.attacks.stored import stored_all_targets, stored_attack
from jaxadv.zoo import Model

NamedProgress = Callable[[str, float], None]  # told a network's name and a number of images


def attack(
    model: Model,
    images: Float[np.ndarray, "N *image"],
    targets: Integer[np.ndarray, " N"],
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> Iterator[tuple[Path, AttackResult]]:
    """`jaxadv.attacks.stored.stored_attack` on a network: each file, and the result in it."""
    named = progress and functools.partial(progress, model.name)
    return stored_attack(*_network(model), images, targets, options, cache_dir, named)


def attack_all_targets(
    model: Model,
    images: Float[np.ndarray, "N *image"],
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> AttackResult:
    """`jaxadv.attacks.stored.stored_all_targets` on a network: arrays of shape (N, k, …)."""
    named = progress and functools.partial(progress, model.name)
    return stored_all_targets(*_network(model), images, options, cache_dir, named)


def _network(model):
    params, identity = model.identity
    return model.name, model.network.logits, params, identity
