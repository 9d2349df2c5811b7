"""The error of what was given, as opposed to one of the program."""


class InputError(ValueError):
    """What was given cannot work, as the message says: a command prints it, without a traceback."""
