"""A user's own networks, by module:function."""

import functools
import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.attacks.types import LogitsFn
from jaxadv.networks.network import Network
from jaxadv.storage import cache
from jaxadv.storage.errors import InputError
from jaxadv.storage.imports import called


class LogitsOnly(NamedTuple):
    """A user's own network, whose layers are not known."""

    logits: LogitsFn
    source: str  # fingerprint of the file it is in: what was kept for other code is not used


@functools.cache
def imported(name: str) -> tuple[Network | LogitsOnly, Any]:
    """Imports a user's own network, and its parameters.

    Args:
      name: module:function; the function takes no arguments and returns (logits_fn, params), or a
        `Network` in place of logits_fn, for what looks into layers.

    Raises:
      ValueError: there is no such function, or it returns something else.
    """
    try:
        pair, module = called(name)
    except InputError as error:
        raise InputError(f"cannot load model {name!r}: {error}") from error
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ValueError(f"{name} must return (logits_fn, params), got {type(pair).__name__}")
    network, params = pair
    if not isinstance(network, Network):
        file = getattr(module, "__file__", None)
        if file is None:
            raise ValueError(f"cannot load model {name!r}: {module.__name__} is in no file")
        network = LogitsOnly(network, cache.fingerprint(Path(file).read_bytes()))
    return network, params


def layers_source(network: Network | LogitsOnly) -> str:
    """Fingerprint of the files in which the layers, and functions they hold, are written."""
    parts = [
        part
        for layer in getattr(network, "layers", ())
        for part in (type(layer), *vars(layer).values())
        if inspect.isclass(part) or inspect.isfunction(part)
    ]
    modules = (sys.modules.get(part.__module__) for part in parts)
    paths = {Path(getattr(module, "__file__", None) or "") for module in modules}  # not of a REPL
    return cache.fingerprint([path.read_bytes() for path in sorted(paths) if path.is_file()])


def layered(name: str, network: Network | LogitsOnly) -> Network:
    """The network, or ValueError if only its logits are known."""
    if isinstance(network, LogitsOnly):
        raise ValueError(f"{name} must return (Network, params), got no layers but logits_fn")
    return network
