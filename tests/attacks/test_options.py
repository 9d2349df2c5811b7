"""Settings that cannot work are refused, with what was got and what was expected."""

import jaxtyping
import pytest

from jaxadv import AttackOptions


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Lets the settings' own checks answer, instead of those of types."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"penalty": "l1"}, r"penalty must be one of \('l2_squared', 'l2'\), got 'l1'"),
        ({"solver": "adam"}, r"solver must be one of \('lockstep', 'lbfgsb'\), got 'adam'"),
        ({"temperature": 0.0}, r"temperature must be positive, got 0\.0"),
        ({"max_evaluations": 0}, r"max_evaluations must be at least 1, got 0"),
        ({"c_steps": 0}, r"c_steps must be at least 1, got 0"),
        ({"max_iterations": 0}, r"max_iterations must be at least 1"),
        ({"batch_size": 0}, r"batch_size must be at least 1"),
        ({"growth": 1.0}, r"growth must be larger than 1, got 1\.0"),
        ({"tol": 0.0}, r"tol must be positive, got 0\.0"),
        ({"margin": 1.0}, r"margin must be in \[0, 1\), got 1\.0"),
        ({"smoothing_steps": -1}, r"smoothing_steps must not be negative, got -1"),
        ({"solver": "lbfgsb", "max_evaluations": 11}, r"must be at least 12 for lbfgsb, got 11"),
    ],
)
def test_options(setting, message):
    with pytest.raises(ValueError, match=message):
        AttackOptions(**setting)


@pytest.mark.parametrize("name", ["tol", "c_steps", "smoothing_rounds"])
def test_settings_that_cannot_be_none(name):
    with pytest.raises(ValueError, match=f"{name} must not be None"):
        AttackOptions(**{name: None})
