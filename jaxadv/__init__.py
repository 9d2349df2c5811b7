"""Minimum-distortion adversarial examples in JAX, after Szegedy et al. (2013), arXiv 1312.6199."""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from jaxadv.runs import interruption  # noqa: F401  which is to come before all that is heavy

# isort: split
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.several_targets import all_targets, untargeted

if TYPE_CHECKING:
    from jaxadv.storage.results import read_results

__version__ = metadata.version("jaxadv")

__all__ = [
    "AttackOptions",
    "AttackResult",
    "Status",
    "__version__",
    "all_targets",
    "minimal_adversarial",
    "read_results",
    "untargeted",
]

_PACKAGES = frozenset(
    {
        *("attacks", "certify", "datasets", "measures", "models", "networks", "reports", "runs"),
        *("solvers", "spectral", "storage", "training", "zoo"),
    }
)


def __getattr__(name: str) -> Any:
    """Imports a sub-package, or what few use, at its first use."""
    if name in _PACKAGES:
        return importlib.import_module(f"jaxadv.{name}")
    if name == "read_results":
        return importlib.import_module("jaxadv.storage.results").read_results
    raise AttributeError(f"module 'jaxadv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *__all__})
