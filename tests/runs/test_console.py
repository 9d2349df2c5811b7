"""What reaches the terminal."""

import dataclasses
import warnings

import pytest

from jaxadv.runs import command
from jaxadv.runs.console import progress_by_name, progress_with_rate, say
from jaxadv.storage.errors import InputError

HOSTILE, ESCAPED = "a\x1b[31m\x07[b]\u202e.png", r"a\x1b[31m\x07[b]\u202e.png"


@pytest.mark.parametrize(
    "done, action, count", [(0, "compiling", " 0/9 "), (3.29, "attacking", " 3.2/9 ")]
)
def test_progress_says_what_takes_the_time(capsys, done, action, count):
    with progress_with_rate("attacking", 9) as progress:
        if done:
            progress(done)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{action} ") and count in shown


def test_progress_by_name_says_what_each_is_at(capsys):
    with progress_by_name("attacking", ["first", "second", "third"], 200) as progress:
        progress("first", 199.75)
        progress("first", 0.25)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("attacking first ") and "200/200" in first
    assert second.startswith("compiling second ") and "0/200" in second
    assert third.startswith("attacking third ")  # not yet begun


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def test_nothing_steers_the_terminal(capsys):
    say(HOSTILE)
    assert capsys.readouterr().out == f"{ESCAPED}\n"
    shown = []

    def check(_):
        shown.append(warnings.formatwarning(HOSTILE, UserWarning, "code.py", 3))
        raise InputError(HOSTILE)

    assert command.main(check, check, Config, []) == 2
    assert shown == [f"warning: {ESCAPED}\n"]
    assert capsys.readouterr().err == f"error: {ESCAPED}\n"
