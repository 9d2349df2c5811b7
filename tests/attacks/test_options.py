"""Settings that cannot work are refused, with what was got and what was expected."""

import jaxtyping
import numpy as np
import pytest

from jaxadv import AttackOptions, all_targets, minimal_adversarial, untargeted


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Lets the settings' own checks answer, instead of those of types."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"penalty": "l1"}, r"penalty must be one of \('l2_squared', 'l2'\), got 'l1'"),
        ({"solver": "adam"}, r"solver must be one of \('lockstep', 'lbfgsb'\), got 'adam'"),
        ({"temperature": 0.0}, r"temperature must be positive and finite, got 0\.0"),
        ({"temperature": np.inf}, r"temperature must be positive and finite, got inf"),
        (
            {"max_evaluations": 0},
            r"max_evaluations must be at least 1, got 0",
        ),
        ({"c_steps": 0}, r"c_steps must be at least 1, got 0"),
        ({"smoothing_steps": 2**31}, r"smoothing_steps .* less than 2\*\*31, got 2147483648"),
        ({"max_evaluations": 2**31}, r"max_evaluations .* less than 2\*\*31, got 2147483648"),
        ({"max_iterations": 0}, r"max_iterations must be at least 1"),
        ({"batch_size": 0}, r"batch_size must be at least 1"),
        ({"growth": 1.0}, r"growth must be larger than 1 and finite, got 1\.0"),
        ({"bracket": np.inf}, r"bracket must be larger than 1 and finite, got inf"),
        ({"tol": np.nan}, r"tol must be positive and finite, got nan"),
        ({"temperature": 1e308}, r"temperature must be positive and finite, got 1e\+308"),
        ({"margin": 1.0}, r"margin must be in \[0, 1\), got 1\.0"),
        ({"smoothing_steps": -1}, r"smoothing_steps must not be negative, got -1"),
        ({"solver": "lbfgsb", "max_evaluations": 11}, r"must be at least 12 for lbfgsb, got 11"),
        ({"solver": "lbfgsb", "rounds": 2}, "rounds must be 1 for lbfgsb, and where .*, got 2"),
        ({"temperature": None, "rounds": 5}, "rounds must be 1 .* temperature is None, got 5"),
    ],
)
def test_options(setting, message):
    with pytest.raises(ValueError, match=message):
        AttackOptions(**setting)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"c_steps": 2.5}, "c_steps must be of type int, got 2.5"),
        ({"c_steps": 2.0}, "c_steps must be of type int, got 2.0"),
        ({"history_size": "3"}, "history_size must be of type int, got '3'"),
        ({"max_iterations": True}, "max_iterations must be of type int, got True"),
        ({"max_iterations": np.bool_(True)}, "max_iterations must be of type int, got .*True"),
        ({"batch_size": 8.0}, "batch_size must be of type int, got 8.0"),
        ({"tol": "0.1"}, "tol must be of type float, got '0.1'"),
        ({"temperature": False}, "temperature must be of type float, got False"),
        ({"growth": np.ones(2)}, "growth must be of type float, got array"),
        ({"restart": 1}, "restart must be of type bool, got 1"),
        ({"penalty": np.zeros(2)}, "penalty must be one of .*, got array"),
        ({"tol": None}, "tol must be of type float, got None"),
        ({"rounds": None}, "rounds must be of type int, got None"),
    ],
)
def test_settings_of_the_wrong_type(setting, message):
    with pytest.raises(ValueError, match=message):
        AttackOptions(**setting)


def test_numbers_of_numpy_are_those_of_python():
    plain = AttackOptions(c_steps=3, tol=0.25, growth=4.0, restart=False, batch_size=8)
    numpy = AttackOptions(
        c_steps=np.int64(3),
        tol=np.float32(0.25),
        growth=np.int32(4),
        restart=np.bool_(False),
        batch_size=np.uint8(8),
    )
    assert repr(numpy) == repr(plain) and hash(numpy) == hash(plain)


@pytest.mark.parametrize("attack", [minimal_adversarial, untargeted, all_targets])
@pytest.mark.parametrize(
    "options, message",
    [
        (AttackOptions.quick, r"got <bound method .*; call it: AttackOptions.quick\(\)"),
        (AttackOptions, r"got <class .*; call it: AttackOptions\(\)"),
        ({"c_steps": 3}, r"must be an AttackOptions, got {'c_steps': 3}$"),
        ({}, "must be an AttackOptions, got {}$"),
        ("quick", "must be an AttackOptions, got 'quick'$"),
    ],
)
def test_options_that_are_none(attack, options, message):
    target = () if attack is all_targets else ([0],)
    with pytest.raises(ValueError, match=message):
        attack(lambda params, x: x, None, np.ones((1, 2)), *target, options)
