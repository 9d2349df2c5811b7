"""Minimum-distortion adversarial examples in JAX, after Szegedy et al. (2013), arXiv 1312.6199."""

import importlib
from importlib import metadata
from typing import Any

from jaxadv.runs import interruption  # noqa: F401  which is to come before all that is heavy

# isort: split
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.several_targets import all_targets, untargeted

__version__ = metadata.version("jaxadv")

__all__ = [
    "AttackOptions",
    "AttackResult",
    "Status",
    "__version__",
    "all_targets",
    "minimal_adversarial",
    "untargeted",
]

_PACKAGES = frozenset(
    {
        *("attacks", "certify", "datasets", "measures", "models", "networks", "reports", "runs"),
        *("solvers", "spectral", "storage", "training", "zoo"),
    }
)


def __getattr__(name: str) -> Any:
    """Imports a sub-package at its first use."""
    if name in _PACKAGES:
        return importlib.import_module(f"jaxadv.{name}")
    raise AttributeError(f"module 'jaxadv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES})
