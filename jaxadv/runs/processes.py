"""Several processes that share the work of a command."""

import dataclasses
import re
from pathlib import Path

import jax

from jaxadv.runs.settings import check_positive, check_writable

WEEK = 7 * 24 * 3600  # seconds that a process which has finished waits for the others
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a command whose work several processes may share."""

    config: Path | None = None
    """TOML file with any of the settings; options on the command line come before it."""
    shard_size: int | None = None
    """Images per file; by default 4096, of large images fewer."""
    export: Path | None = None
    """File .npz for all columns, too, once all are there."""
    workers: int = 0
    """Processes that read and decode images; 0 for a thread of this one."""
    process: int | None = None
    """Number of this process, from 0, of those that share the files among them."""
    processes: int | None = None
    """How many processes share the files; none needs the others."""
    coordinator: str | None = None
    """HOST:PORT of process 0, or auto under SLURM, Open MPI and on TPUs: joins the processes to one
    JAX program, all of which must stay."""

    def share(self) -> dict[str, int]:
        """The number of this process, and of how many, once `check` has joined them."""
        if self.coordinator:
            return {"process": jax.process_index(), "processes": jax.process_count()}
        return {"process": self.process or 0, "processes": self.processes or 1}


def check(settings: Settings) -> None:
    """Checks the settings, and joins the processes if asked for; before JAX computes anything.

    Raises:
      OSError: what is to be exported cannot be written.
      ValueError: there is no such process, or JAX refuses the coordinator. Where it cannot be
        reached for five minutes, JAX ends the process, and says so.
    """
    process, processes = settings.process, settings.processes
    if settings.workers < 0:
        raise ValueError(f"workers must not be negative, got {settings.workers}")
    if settings.export is not None:
        if settings.export.suffix != ".npz":
            raise ValueError(f"export must be a file .npz, got {settings.export}")
        check_writable(settings.export.parent)
    if (process is None) != (processes is None):
        raise ValueError("process and processes must be given together")
    check_positive(processes=processes)
    if process is not None and processes is not None and not 0 <= process < processes:
        raise ValueError(f"process must be from 0 to {processes - 1}, got {process}")
    if settings.coordinator:
        if not re.fullmatch(rf"{AUTO}|\S+:\d+", settings.coordinator):
            raise ValueError(f"coordinator must be HOST:PORT or auto, got {settings.coordinator}")
        address = None if settings.coordinator == AUTO else settings.coordinator
        try:
            jax.distributed.initialize(address, processes, process, shutdown_timeout_seconds=WEEK)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"cannot join by {settings.coordinator}: {error}") from error
