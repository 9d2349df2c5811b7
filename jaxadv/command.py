"""What all commands share: settings from a file and the command line, progress, errors."""

import contextlib
import dataclasses
import difflib
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import rich.progress
import tyro
from rich.console import Console

Config = TypeVar("Config")
console = Console()


def main(run: Callable[[Any], None], config_class: type, argv: Sequence[str] | None = None) -> int:
    """Runs a command: parses its settings, uses all cores, and turns bad input into one message.

    Returns:
      The exit status: 0, or 2 after bad input.
    """
    try:
        config = parse(config_class, sys.argv[1:] if argv is None else argv)
        use_all_cores()
        run(config)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    return 0


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
    return tyro.cli(
        config_class,
        default=default,
        args=argv,
        description=sys.modules[config_class.__module__].__doc__,
    )


def from_toml(default: Config, path: Path) -> Config:
    """Returns the settings with those of the TOML file in place of the defaults.

    Raises:
      ValueError: the file is not TOML, or has an unknown key or a value of the wrong type.
      OSError: the file cannot be read.
    """
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    return _replaced(default, values, str(path))


def _replaced(default, values, where):
    fields = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    new = {}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"unknown key {key!r} in {where}, expected one of {list(fields)}{hint}"
            )
        old = fields[key]
        if dataclasses.is_dataclass(old):
            if not isinstance(value, dict):
                raise ValueError(f"{key!r} in {where} must be a table, got {value!r}")
            new[key] = _replaced(old, value, f"[{key}] of {where}")
        else:
            new[key] = _converted(key, value, old, where)
    return dataclasses.replace(default, **new)


def _converted(key, value, old, where):
    """The TOML value in the type of the default; int passes for float, and list for tuple."""
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(_converted(key, item, old[0], where) if old else item for item in value)
    if isinstance(old, Path) and isinstance(value, str):
        return Path(value)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if old is not None and type(value) is not type(old):
        raise ValueError(f"{key!r} in {where} must be of type {type(old).__name__}, got {value!r}")
    return value


def use_all_cores() -> None:
    """Makes each CPU core a JAX device, as attacks run one loop per device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices are what they are
        jax.config.update("jax_num_cpu_devices", cores)


def check_writable(directory: Path) -> None:
    """Creates the directory if need be; raises OSError unless files can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(f"cannot write into {directory}: {error.strerror}") from error


@contextlib.contextmanager
def progress_bars() -> Iterator[rich.progress.Progress]:
    """Bars on the terminal; in a file or pipe, nothing but what is printed."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console) as progress:
        yield progress
