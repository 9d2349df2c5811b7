"""The restricted unpickler, against pickles that call what they should not."""

import collections
import contextlib
import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
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
    with pytest.raises(pickle.UnpicklingError, match="UnicodeDecodeError"):
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


NESTED = b"(" + b"tq\0h\0h\0\x86q\0" + 60 * b"h\0h\0\x86q\0"  # a tuple with 2 ** 60 leaves


@pytest.mark.parametrize(
    "data",
    [
        b"N" + pickle.LONG_BINPUT + b"\0\0\0\2.",  # index 2 ** 25
        b"Np33554432\n.",
        pickle.BYTEARRAY8 + (2**26).to_bytes(8, "little") + b".",
        pickle.BINBYTES8 + (2**26).to_bytes(8, "little") + b".",
        pickle.FRAME + (2**26).to_bytes(8, "little") + b".",
    ],
)
def test_memory_is_that_of_the_pickle(data):
    tracemalloc.start()
    try:
        with contextlib.suppress(pickle.UnpicklingError):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        NESTED + b"}h\0Ns.",  # hashing it would never end
        b"}(" + NESTED + b"Nu.",
        b"\x8f(" + NESTED + b"\x90.",
        b"(" + NESTED + b"\x91.",
        b"(imine\nPair\n.",
        b"cmine\nPair\n)\x81.",
        b"N2.",
    ],
)
def test_other_ways_to_call_and_to_hash(data):
    with pytest.raises(pickle.UnpicklingError, match="not admitted"):
        load(data)


def test_arguments_are_tuples():
    """An array of shape (2**40, 0) would do, and be unpacked."""
    with pytest.raises(pickle.UnpicklingError, match="must be a tuple"):
        load(b"cmine\nPair\n(I1\nI2\nlR.")


def test_items_of_arrays_are_not_set():
    table = {("numpy", "zeros"): np.zeros}
    for code in (b"I0\nI1\ns.", b"(I0\nI1\nu."):
        file = io.BytesIO(b"cnumpy\nzeros\n(I3\ntR" + code)
        with pytest.raises(pickle.UnpicklingError, match="but in dicts"):
            RestrictedUnpickler(file, table).load()


def test_attributes_are_not_set():
    def function():
        return 1

    data = b"cmine\nfunction\nN}U\x0c__defaults__)s\x86b)R."  # that of slots
    table = {("mine", "function"): function}
    assert RestrictedUnpickler(io.BytesIO(data), table).load() == 1
    assert function.__defaults__ is None


def test_broken_pickles():
    data = pickle.dumps({"a": [1, 2.5, "text", None], "b": (True, {"c": b"bytes"})})
    rng = np.random.default_rng(0)
    for _ in range(2000):
        broken = bytearray(data[: rng.integers(1, 2 * len(data))])
        broken[rng.integers(len(broken))] = rng.integers(256)
        with contextlib.suppress(pickle.UnpicklingError):
            load(broken)
