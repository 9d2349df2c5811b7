"""Functions of a user's own modules, by module:function: code that is run."""

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import jaxadv
from jaxadv.storage.errors import InputError, described


def called(name: str) -> tuple[Any, Any]:
    """Imports a function and calls it without arguments.

    Args:
      name: module:function.

    Returns:
      What the function returns, and its module.

    Raises:
      InputError: there is no such function, or it raises; the message does not repeat the name.

    Example:
      >>> called("platform:python_implementation")[0]
      'CPython'
      >>> called("platform:nothing()")
      Traceback (most recent call last):
      jaxadv.storage.errors.InputError: AttributeError: module 'platform' has no attribute \
'nothing()'; write it as platform:nothing
    """
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, function_name)(), module
    except (Exception, SystemExit) as error:  # the user's code may raise any
        raise InputError(f"{described(error)}{_place(error)}{_hint(name)}") from error


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
