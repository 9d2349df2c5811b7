"""Functions of a user's own modules, by module:function: code that is run."""

import importlib
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxadv
from jaxadv.storage.errors import InputError, described


def called(name: str, kind: str) -> tuple[Any, ModuleType]:
    """Imports a function and calls it without arguments.

    Args:
      name: module:function.
      kind: of what the function returns, for the message.

    Returns:
      What the function returns, and its module.

    Raises:
      InputError: there is no such function, or it raises.

    Example:
      >>> called("platform:python_implementation", "name")[0]
      'CPython'
      >>> called("platform.py:machine()", "name")
      Traceback (most recent call last):
      jaxadv.storage.errors.InputError: cannot import name 'platform.py:machine()': \
ModuleNotFoundError: No module named 'platform.py'; 'platform' is not a package; \
write it as platform:machine
    """
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, function_name)(), module
    except (Exception, SystemExit) as error:  # the user's code may raise any
        reason = f"{described(error)}{_place(error)}{_hint(name)}"
        raise InputError(f"cannot import {kind} {name!r}: {reason}") from error


def _place(error: BaseException) -> str:
    """Where the user's code raised an error: the last line that is not of a library."""
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    libraries = {Path(jaxadv.__file__).parent, *map(Path, installed)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        frozen = frame.filename.startswith("<")
        if not frozen and libraries.isdisjoint(Path(frame.filename).parents):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def _hint(name: str) -> str:
    module, _, function = name.partition(":")
    dotted = module.removesuffix(".py").replace("/", ".").strip(".")
    right = f"{dotted}:{function.removesuffix('()')}"
    return "" if right == name else f"; write it as {right}"
