"""The one restricted unpickler: a pickle can call whatever it can name."""

import pickle
from collections.abc import Mapping
from typing import Any


class RestrictedUnpickler(pickle.Unpickler):
    """Loads what is admitted and nothing else.

    Args:
      file: an open binary file that holds a pickle.
      admitted: by (module, name) in the pickle, what stands for it.
      encoding: of the strings of Python 2, as for `pickle.load`.

    Raises:
      pickle.UnpicklingError: on `load`, where the pickle names anything else.
    """

    def __init__(
        self, file: Any, admitted: Mapping[tuple[str, str], Any], *, encoding: str = "ASCII"
    ):
        super().__init__(file, encoding=encoding)
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name, if it is admitted."""
        if (module, name) not in self._admitted:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return self._admitted[module, name]
