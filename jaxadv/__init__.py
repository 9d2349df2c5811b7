"""Minimum-distortion adversarial examples in JAX, after Szegedy et al. (2013), arXiv 1312.6199."""

from jaxadv.attacks.minimal import all_targets, minimal_adversarial, untargeted
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status

__all__ = [
    "AttackOptions",
    "AttackResult",
    "Status",
    "all_targets",
    "minimal_adversarial",
    "untargeted",
]
