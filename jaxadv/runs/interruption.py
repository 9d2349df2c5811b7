"""Ctrl-C in commands: one line and exit status 130, from the first imports on.

Imported first of all by the package, as imports take seconds; so it imports nothing heavy.
"""

import os
import signal
import sys

STATUS = 128 + signal.SIGINT  # as shells have it
MESSAGE = "interrupted; run the same command again to go on from what is kept"


def _leave(*_):
    os.write(2, f"{MESSAGE}\n".encode())
    os._exit(STATUS)


def raise_from_now_on() -> None:
    """Ctrl-C raises KeyboardInterrupt again, once there is a frame that catches it."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _starts_command():
    """Whether this is `python -m jaxadv.<command>`, before Python has found the command."""
    if sys.argv[0] != "-m":  # nor a worker process, whose argv is its parent's
        return False
    return sys.orig_argv[-len(sys.argv)].removeprefix("-m").startswith("jaxadv.")


if _starts_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
