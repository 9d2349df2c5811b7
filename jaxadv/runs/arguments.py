"""Settings from defaults, a TOML file and the command line."""

import dataclasses
import difflib
import sys
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

Config = TypeVar("Config")


def alias(*options: str) -> Any:
    """Other spellings of a setting, for its `Annotated` type."""
    return tyro.conf.arg(aliases=options)


def parse(config_class: type[Config], argv: Sequence[str]) -> Config:
    """Builds the settings from defaults, then `--config FILE` (TOML), then the other options."""
    default = config_class()
    for option, value in zip(argv, [*argv[1:], ""], strict=False):
        name, _, attached = option.partition("=")
        if name == "--config":
            default = from_toml(default, Path(attached or value))
    module = sys.modules[config_class.__module__]
    return tyro.cli(
        config_class,
        default=default,
        prog=f"python -m {module.__spec__.name}" if module.__spec__ else None,
        args=argv,
        description=module.__doc__,
    )


def from_toml(default: Config, path: Path) -> Config:
    """Returns the settings with those of the TOML file in place of the defaults.

    Raises:
      ValueError: the file is not TOML, or has an unknown key or a value of the wrong type.
      OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also not UTF-8, too many digits, too deep
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    return _replaced(default, values, str(path))


def _replaced(default, values, where):
    expected = typing.get_type_hints(type(default))
    new = {}
    for key, value in values.items():
        if key not in expected:
            close = difflib.get_close_matches(key, expected, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"unknown key {key!r} in {where}, expected one of {list(expected)}{hint}"
            )
        if dataclasses.is_dataclass(expected[key]):
            if not isinstance(value, dict):
                raise ValueError(f"{key!r} in {where} must be a table, got {value!r}")
            new[key] = _replaced(getattr(default, key), value, f"[{key}] of {where}")
        else:
            new[key] = _converted(key, value, expected[key], where)
    try:
        return dataclasses.replace(default, **new)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _converted(key, value, expected, where):
    """The value in the type expected; int passes for float, str for Path, and list for tuple."""
    origin, arguments = typing.get_origin(expected) or expected, typing.get_args(expected)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"{key!r} in {where} must have at most 64 bits")
    if origin is types.UnionType:  # with None, which TOML does not have
        return _converted(key, value, arguments[0], where)
    if origin is typing.Literal and value not in arguments:
        raise ValueError(f"{key!r} in {where} must be one of {arguments}, got {value!r}")
    if origin is typing.Literal:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_converted(key, item, arguments[0], where) for item in value)
    if origin is Path and isinstance(value, str):
        return Path(value)
    if origin is float and type(value) is int:
        return float(value)
    if type(value) is not origin:
        raise ValueError(f"{key!r} in {where} must be of type {origin.__name__}, got {value!r}")
    return value
