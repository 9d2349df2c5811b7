"""Attacks: images that a network misclassifies.

`untargeted`, whose module has the same name, is `jaxadv.untargeted`.
"""

from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.sampling import gaussian_noise, wrong_targets
from jaxadv.attacks.stored import stored_all_targets, stored_attack
from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.attacks.untargeted import all_targets

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
    "wrong_targets",
]
