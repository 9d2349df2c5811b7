"""The one restricted unpickler: a pickle can call whatever it can name."""

import pickle
from collections.abc import Mapping
from typing import Any

from jaxadv.storage.errors import described

# Not in pickles of named arrays: other ways to call, to copy, and to allocate.
_REFUSED = (
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ, pickle.NEWOBJ),
    *(pickle.NEWOBJ_EX, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.DUP),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
_PythonUnpickler: Any = pickle._Unpickler  # pyright: ignore[reportAttributeAccessIssue]


class _Instructions(dict):
    """Of pickles, by byte."""

    def __missing__(self, byte):
        raise pickle.UnpicklingError(f"byte {byte} is no instruction of a pickle")


class RestrictedUnpickler(_PythonUnpickler):
    """Loads what is admitted and nothing else, in memory that is linear in the pickle's length.

    It is Python's, as the one in C makes room for as many objects as a pickle of 9 bytes says.

    Args:
      file: an `io.BytesIO` that holds a pickle; other files make room for what is not there.
      admitted: by (module, name) in the pickle, what stands for it.
      encoding: of the strings of Python 2, as for `pickle.load`.

    Raises:
      pickle.UnpicklingError: on `load`, where the pickle names anything else, or is broken.
    """

    dispatch = _Instructions(_PythonUnpickler.dispatch)

    def __init__(
        self, file: Any, admitted: Mapping[tuple[str, str], Any], *, encoding: str = "ASCII"
    ):
        super().__init__(file, encoding=encoding)
        self._admitted = admitted

    def load(self) -> Any:
        """The object in the pickle."""
        try:
            return super().load()
        except pickle.UnpicklingError:
            raise
        except EOFError as error:
            raise pickle.UnpicklingError("the pickle has no end") from error
        except Exception as error:  # a broken pickle raises any
            raise pickle.UnpicklingError(f"the pickle is broken, {described(error)}") from error

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name, if it is admitted."""
        if (module, name) not in self._admitted:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return self._admitted[module, name]

    def _load_build(self):
        # As Python's, less setting attributes: of what is admitted, they could change the code.
        state = self.stack.pop()
        if hasattr(self.stack[-1], "__setstate__"):
            self.stack[-1].__setstate__(state)

    def _load_reduce(self):
        if not isinstance(self.stack[-1], tuple):  # an array may have more items than bytes
            raise pickle.UnpicklingError("arguments of a call must be a tuple")
        super().load_reduce()

    def _load_setitem(self):
        self._set(self.stack[-3], self.stack[-2:])
        del self.stack[-2:]

    def _load_setitems(self):
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    def _set(self, mapping, items):
        if not isinstance(mapping, dict):  # an array would count nested lists
            raise pickle.UnpicklingError("items are not admitted but in dicts")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, tuple):  # whose hash, nested, takes time exponential in its depth
                raise pickle.UnpicklingError("a tuple is not admitted as a key")
            mapping[key] = value

    def _refuse(self):
        raise pickle.UnpicklingError("sets, buffers and classes are not admitted")

    dispatch |= dict.fromkeys((code[0] for code in _REFUSED), _refuse) | {
        pickle.BUILD[0]: _load_build,
        pickle.REDUCE[0]: _load_reduce,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
    }
