"""The restricted unpickler, against pickles that call what they should not."""

import collections
import io
import pickle
from pathlib import Path

import pytest

from jaxadv.storage.unpickler import RestrictedUnpickler

ADMITTED = {("collections", "OrderedDict"): collections.OrderedDict, ("mine", "Pair"): complex}


def load(data, **settings):
    return RestrictedUnpickler(io.BytesIO(data), ADMITTED, **settings).load()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_admitted(protocol):
    value = collections.OrderedDict(a=[1, 2.5, "text", None], b=(True, {"c": b"bytes"}))
    if protocol < 3:  # where bytes are made by calling _codecs.encode
        value["b"] = True
    assert load(pickle.dumps(value, protocol)) == value


def test_a_name_stands_for_what_the_table_has():
    assert load(b"cmine\nPair\n(I1\nI2\ntR.") == 1 + 2j


def test_encoding_of_old_strings():
    data = b"U\x01\xe9."  # a str of Python 2
    assert load(data, encoding="latin1") == "é"
    with pytest.raises(UnicodeDecodeError):
        load(data)


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'exit 1'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x06exit 1\x85R.",
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",  # an attribute of one
        b"ccollections\nCounter\n.",  # a neighbour
        pickle.dumps(Path("x")),
    ],
)
def test_what_is_refused(data):
    with pytest.raises(pickle.UnpicklingError, match=r".+\..+ is not admitted"):
        load(data)
