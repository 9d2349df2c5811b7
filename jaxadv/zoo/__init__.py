"""Networks by name: the zoo's own, trained once and kept, and a user's."""

from jaxadv.zoo.imported import LogitsOnly
from jaxadv.zoo.kept import Model, trained
from jaxadv.zoo.models import check_names, load, with_layers
from jaxadv.zoo.registry import ZOO, Entry

__all__ = [
    "ZOO",
    "Entry",
    "LogitsOnly",
    "Model",
    "check_names",
    "load",
    "trained",
    "with_layers",
]
