"""TOML files that nobody would write: ValueError that names the file, and nothing else."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxadv import generate, report, transfer_table
from jaxadv.attacks.options import AttackOptions
from jaxadv.runs import arguments

CONFIGS = [command.Config() for command in (generate, report, transfer_table)]
FILES = [*(Path(__file__).parents[2] / "configs").glob("*.toml")]
FUZZ = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def names(config):
    return [field.name for field in dataclasses.fields(config)]


NUMBERS = st.integers() | st.sampled_from([0, -1, 2**31, 2**63, -(10**30)]) | st.floats()
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    ["quick", "0", ""]
)
WORDS = st.sampled_from(["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "{}", "[[]]", "0x_1"])
SCALARS = NUMBERS | st.booleans() | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
ATTACK = st.dictionaries(st.sampled_from(["preset", *names(AttackOptions)]), VALUES, max_size=4)


def text(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {text(each)}' for name, each in value.items())}}}"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


@pytest.fixture
def settings_of(tmp_path):
    """Reads bytes as settings; fails where anything but a ValueError comes of them."""

    def read(config, content):
        path = tmp_path / "settings.toml"
        path.write_bytes(content)
        try:
            found = arguments.from_toml(config, path)
        except ValueError as error:
            assert str(path) in str(error)
            return
        assert type(found) is type(config)
        for field in dataclasses.fields(getattr(found, "attack", AttackOptions())):
            kind = type(getattr(getattr(found, "attack", AttackOptions()), field.name))
            assert kind in (bool, int, float, str, type(None))

    return read


@FUZZ
@given(st.sampled_from(CONFIGS), st.data())
def test_values_of_any_type(settings_of, config, data):
    given_names = st.sampled_from([*names(config), "nothing"])
    values = data.draw(st.dictionaries(given_names, VALUES | ATTACK, max_size=3))
    lines = [f"{name} = {text(value)}" for name, value in values.items()]
    lines += [
        f"{name} = {data.draw(WORDS)}" for name in data.draw(st.lists(given_names, max_size=1))
    ]
    settings_of(config, "\n".join(lines).encode())


@FUZZ
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=4))))
def test_changed_files(settings_of, path, changes):
    content = bytearray(path.read_bytes())
    for place, piece in changes:
        place %= len(content)
        content[place : place + len(piece)] = piece
    for config in CONFIGS:
        settings_of(config, bytes(content))
