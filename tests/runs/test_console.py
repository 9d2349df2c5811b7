"""What reaches the terminal."""

import dataclasses
import warnings

import pytest

from jaxadv.runs import command
from jaxadv.runs.console import progress_with_rate, say
from jaxadv.storage.errors import InputError

HOSTILE, ESCAPED = "a\x1b[31m\x07[b]\u202e.png", r"a\x1b[31m\x07[b]\u202e.png"


@pytest.mark.parametrize("done, action", [(0, "compiling"), (3, "attacking")])
def test_progress_says_what_takes_the_time(capsys, done, action):
    with progress_with_rate("attacking", 9) as progress:
        if done:
            progress(done)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{action} ") and f"{done}/9" in shown


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
