"""Networks by name: the zoo's own, trained once and kept, those of others, and a user's."""

from jaxadv.zoo.imported import LogitsOnly
from jaxadv.zoo.kept import Model, trained
from jaxadv.zoo.models import check_names, load, ready, untrained, with_layers
from jaxadv.zoo.registry import PRETRAINED, ZOO, Entry

__all__ = [
    "PRETRAINED",
    "ZOO",
    "Entry",
    "LogitsOnly",
    "Model",
    "check_names",
    "load",
    "ready",
    "trained",
    "untrained",
    "with_layers",
]
