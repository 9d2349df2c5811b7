"""Attacks: images that a network misclassifies."""

from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.sampling import gaussian_noise, wrong_targets
from jaxadv.attacks.several_targets import all_targets, untargeted
from jaxadv.attacks.stored import stored_all_targets, stored_attack
from jaxadv.attacks.types import LogitsFn, Progress

__all__ = [
    "AttackOptions",
    "AttackResult",
    "LogitsFn",
    "Progress",
    "Status",
    "all_targets",
    "gaussian_noise",
    "minimal_adversarial",
    "stored_all_targets",
    "stored_attack",
    "untargeted",
    "wrong_targets",
]
