"""Settings from defaults, a TOML file and the command line."""

import dataclasses
import difflib
import sys
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from jaxadv.attacks.settings import converted

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
            new[key] = converted(f"{key!r} in {where}", value, expected[key])
    try:
        return dataclasses.replace(default, **new)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
