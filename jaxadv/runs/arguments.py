"""Settings from defaults, a TOML file and the command line."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import sys
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from jaxadv.attacks.settings import converted

Config = TypeVar("Config")


def alias(*options: str) -> Any:
    """Other spellings of a setting, for its `Annotated` type."""
    return tyro.conf.arg(aliases=options)


REQUIRED: Any = tyro.MISSING  # the default of a setting that must be given
Place = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]  # without a name


def parse(config_class: type[Config], argv: Sequence[str]) -> Config:
    """Builds the settings from defaults, then `--config FILE` (TOML), then the other options.

    Of settings that have presets, as those of the attack, `--help` says only that `--attack help`
    lists them, too.

    Raises:
      ValueError: an option or the file is not as expected.
      OSError: the file cannot be read.
    """
    default = config_class()
    for option, value in zip(argv, [*argv[1:], ""], strict=False):
        name, _, attached = option.partition("=")
        if name == "--config":
            default = from_toml(default, Path(attached or value))
    module = sys.modules[config_class.__module__]
    description = module.__doc__ or ""
    if {"-h", "--help"} & {*argv}:
        config_class, default, more = _folded(config_class, default)
        description += more
    default, argv = _with_presets(default, argv)
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(
                config_class,
                default=default,
                prog=f"python -m {module.__spec__.name}" if module.__spec__ else None,
                args=argv,
                description=description,
            )
    except SystemExit as error:
        if error.code:
            raise ValueError(_in_one_line(shown.getvalue())) from None
        raise


def _folded(config_class, default):
    """The class and its defaults without the settings that have presets, and what is said of them.

    They are many.
    """
    expected = typing.get_type_hints(config_class)
    names = [name for name, kind in expected.items() if hasattr(kind, "preset")]
    hidden = [(name, tyro.conf.Suppress[expected[name]], getattr(default, name)) for name in names]
    folded = dataclasses.make_dataclass(
        config_class.__name__, hidden, bases=(config_class,), frozen=True
    )
    more = [
        f"\n--{name} PRESET gives several settings --{name}.NAME at once; --{name} help lists both."
        for name in names
    ]
    return folded, folded(**vars(default)), "".join(more)


def _with_presets(default, argv):
    """The settings with what options such as `--attack quick` name, and the other options.

    `--attack help` is `--help`.
    """
    expected, rest, options = typing.get_type_hints(type(default)), [], iter(argv)
    for option in options:
        name, given, value = option.partition("=")
        key = name.removeprefix("--").removesuffix(".preset")
        if name.startswith("--") and hasattr(expected.get(key), "preset"):
            value = value if given else next(options, "")
            if value == "help":
                rest.append("--help")
                continue
            preset = _preset(name, value, expected[key])
            default = dataclasses.replace(default, **{key: preset})
        else:
            rest.append(option)
    return default, rest


def _preset(name, value, expected):
    try:
        return expected.preset(converted("it", value, str))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _in_one_line(box: str) -> str:
    """What tyro's box says first, and the first option that it proposes."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip(" │") for line in box.splitlines()]
    parts = itertools.groupby(lines[1:], lambda line: bool(line.strip("-─")))  # less the title
    first, *others = ([*part] for is_text, part in parts if is_text)
    proposed = [
        line.split()[0].rstrip(",")
        for heading, *rest in others
        for line in rest
        if heading.startswith("Perhaps") and line.startswith("--")
    ]
    hint = f"; did you mean {proposed[0]}?" if proposed else "; --help lists all options"
    return " ".join(first).rstrip(".") + hint


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
            new[key] = _of_table(key, getattr(default, key), value, where)
        else:
            new[key] = converted(f"{key!r} in {where}", value, expected[key])
    try:
        return dataclasses.replace(default, **new)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _of_table(key, default, value, where):
    """The settings of a table, which begin from a preset where it names or is one."""
    has_presets = hasattr(default, "preset")
    table = {"preset": value} if has_presets and isinstance(value, str) else value
    if not isinstance(table, dict):
        kinds = "a table" + (" or the name of a preset" if has_presets else "")
        raise ValueError(f"{key!r} in {where} must be {kinds}, got {value!r}")
    if has_presets and "preset" in table:
        table = dict(table)
        default = _preset(f"{key!r} in {where}", table.pop("preset"), default)
    return _replaced(default, table, f"[{key}] of {where}")
