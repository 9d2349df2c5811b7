"""The terminal: what is printed, and the bars that show progress."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import rich.progress
from rich.console import Console
from rich.text import Text

from jaxadv.storage.errors import printable

FEW = 100  # images, of which bars show tenths, too

console = Console()


def say(text: str) -> None:
    """Prints a line as it is, but for what would steer the terminal."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bars(*more: rich.progress.ProgressColumn) -> Iterator[rich.progress.Progress]:
    """Bars on the terminal, with more columns; in a file or pipe, their last state."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        _Done(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        *more,
    )
    # Ten times a second, by default, takes a hundredth of a core.
    with rich.progress.Progress(*columns, console=console, refresh_per_second=2) as progress:
        yield progress


class _Done(rich.progress.MofNCompleteColumn):
    """How many are done; of few, with the tenths of those in work."""

    def render(self, task: rich.progress.Task) -> Text:
        if task.total is None or task.total >= FEW:
            return super().render(task)
        total = f"{task.total:g}"
        done = f"{math.floor(10 * task.completed) / 10:g}".rjust(len(total) + len(".1"))
        return Text(f"{done}/{total}", style="progress.download")


@contextlib.contextmanager
def progress_with_rate(action: str, total: int) -> Iterator[Callable[[float], None]]:
    """Yields what is told numbers of images done; draws a bar, with images per second.

    It says that the attack is compiled until there are any.
    """
    with progress_bars(_Rate()) as bars:
        task = bars.add_task("compiling", total=total, visible=total > 0)

        def progress(count):
            bars.update(task, description=action, advance=count)

        yield progress


class _Rate(rich.progress.ProgressColumn):
    """Images per second, so far."""

    def render(self, task: rich.progress.Task) -> str:
        return f"{task.completed / task.elapsed:.3g} images/s" if task.elapsed else ""


@contextlib.contextmanager
def progress_by_name(
    action: str, names: Sequence[str], total: int, *, before: str = "compiling"
) -> Iterator[Callable[[str, float], None]]:
    """Yields what is told a name and a number of images done; draws a bar per name.

    The clock of each starts where that of the one before stops. Until any of its images are done,
    it says what is done `before`.
    """
    with progress_bars() as bars:
        tasks = {
            name: bars.add_task(f"{action} {name}", total=total, start=False) for name in names
        }

        def progress(name, count):
            bars.update(tasks[name], description=f"{action} {name}", advance=count)
            start_next()

        def start_next():
            waiting = [name for name, task in tasks.items() if not bars.tasks[task].finished]
            if waiting and not bars.tasks[task := tasks[waiting[0]]].started:
                bars.update(task, description=f"{before} {waiting[0]}")
                bars.start_task(task)

        start_next()
        yield progress
