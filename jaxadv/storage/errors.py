"""The error of what was given, as opposed to one of the program, and errors in words."""


class InputError(ValueError):
    """What was given cannot work, as the message says: a command prints it, without a traceback."""


def described(error: BaseException) -> str:
    """What kind of error it is and what it says, if anything.

    Example:
      >>> described(KeyError(3)), described(EOFError())
      ('KeyError: 3', 'EOFError')
    """
    return f"{type(error).__name__}: {error}".removesuffix(": ")
