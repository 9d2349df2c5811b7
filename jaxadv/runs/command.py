"""The frame of a command: settings in, JAX started, bad input turned into one message."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jaxadv.runs import arguments
from jaxadv.runs.settings import check_writable


def main(run: Callable[[Any], None], config_class: type, argv: Sequence[str] | None = None) -> int:
    """Runs a command: parses its settings, starts JAX, and turns bad input into one message.

    Args:
      run: does the work.
      config_class: a dataclass of settings, such as `jaxadv.runs.settings.Settings`.
      argv: options; by default those of the process.

    Returns:
      The exit status: 0, or 2 after bad input.
    """
    try:
        config: Any = arguments.parse(config_class, sys.argv[1:] if argv is None else argv)
        use_all_cores()
        check_writable(config.cache_dir)
        keep_compilations(config.cache_dir / "compilations")
        run(config)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    return 0


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
