"""The error of what was given, as opposed to one of the program, and errors in words."""


class InputError(ValueError):
    """What was given cannot work, as the message says: a command prints it, without a traceback."""


def described(error: BaseException) -> str:
    r"""What kind of error it is and what it says, if anything, in one line.

    Example:
      >>> described(KeyError(3)), described(EOFError()), described(ValueError("one\nother"))
      ('KeyError: 3', 'EOFError', 'ValueError: one other')
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
