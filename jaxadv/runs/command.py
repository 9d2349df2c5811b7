"""The frame of a command: settings in, JAX started, bad input turned into one message."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from rich.console import Console

from jaxadv.runs import arguments, interruption
from jaxadv.runs.settings import check_writable
from jaxadv.storage.errors import InputError, printable


def main(
    check: Callable[[Any], None],
    run: Callable[[Any], None],
    config_class: type,
    argv: Sequence[str] | None = None,
) -> int:
    """Runs a command: parses its settings, starts JAX, checks the settings, and works.

    Bad input ends in one line: a ValueError from before the work, an InputError or OSError at any
    time. Other errors are bugs, and not caught. Warnings are lines, too.

    Args:
      check: raises ValueError or OSError for settings that cannot work.
      run: does the work.
      config_class: a dataclass of settings, such as `jaxadv.runs.settings.Settings`; one without
        `cache_dir` is of a command that does not compute.
      argv: options; by default those of the process.

    Returns:
      The exit status: 0, 2 after bad input, or 130 after an interruption.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale may not have our characters
    try:
        interruption.raise_from_now_on()
        with _warnings_in_one_line():
            run(_checked(check, config_class, sys.argv[1:] if argv is None else argv))
    except (InputError, OSError) as error:
        _print_error(f"error: {_reason(error)}")
        return 2
    except KeyboardInterrupt:
        _print_error(interruption.MESSAGE)
        return interruption.STATUS
    return 0


def leave(status: int) -> NoReturn:
    """Ends the process; once interrupted, at once, as JAX's threads still compute and may crash."""
    if status == interruption.STATUS:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _checked(check, config_class, argv):
    """The settings, with JAX ready to start where there is a folder for what it compiles."""
    try:
        config = arguments.parse(config_class, argv)
        computes = hasattr(config, "cache_dir")
        if computes:
            use_all_cores()
            check_writable(config.cache_dir)
            keep_compilations(config.cache_dir / "compilations")
        check(config)
        if computes and isinstance(config.out, Path):  # a store's address is no path
            check_writable(config.out)  # last, as it creates the folder
    except ValueError as error:
        raise InputError(str(error)) from error
    return config


def _reason(error):
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"  # less Python's number of the error
    return error


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Shows warnings to users without the line of code, which those to developers have."""
    usual = warnings.formatwarning

    def formatted(message, category, *where, **kwargs):
        if issubclass(category, UserWarning):
            return f"warning: {printable(str(message))}\n"
        return usual(message, category, *where, **kwargs)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _print_error(message):
    Console(stderr=True).print(printable(str(message)), style="red", markup=False, soft_wrap=True)


def use_all_cores() -> None:
    """Makes each CPU core a JAX device, as attacks run one loop per device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices are what they are
        jax.config.update("jax_num_cpu_devices", cores)


def keep_compilations(directory: Path) -> None:
    """Keeps what XLA compiles for later runs, unless the user has already chosen where to.

    An attack that takes 10 seconds to compile is read back in one.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(directory))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
