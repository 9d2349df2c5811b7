"""The error of what was given, as opposed to one of the program, and errors in words."""


class InputError(ValueError):
    """What was given cannot work, as the message says: a command prints it, without a traceback."""


def printable(text: str) -> str:
    r"""The text with characters that would steer a terminal, or are none, as escapes.

    Example:
      >>> printable("a\x1b[31m.png\n"), printable("\ud800 é")
      ('a\\x1b[31m.png\n', '\\ud800 é')
    """
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def described(error: BaseException) -> str:
    r"""What kind of error it is and what it says, if anything, in one line.

    Example:
      >>> described(KeyError(3)), described(EOFError()), described(ValueError("one\nother"))
      ('KeyError: 3', 'EOFError', 'ValueError: one other')
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def reason(error: BaseException) -> str:
    """What an `InputError` says, or any other error `described`.

    Example:
      >>> reason(InputError("it is empty")), reason(KeyError(3))
      ('it is empty', 'KeyError: 3')
    """
    return str(error) if isinstance(error, InputError) else described(error)
