"""The settings of the minimum-distortion attack."""

import dataclasses
import typing
from typing import Any, Literal

import jax
import numpy as np

from jaxadv.attacks.settings import converted

SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class AttackOptions:
    """Settings of `minimal_adversarial`.

    A pytree whose leaves are the numbers: another one needs no compilation, but for `STATIC`, and
    for None in place of a number.
    """

    solver: Literal["lockstep", "lbfgsb"] = "lockstep"
    """lockstep: no image waits for another's line search or descent; lbfgsb: jaxopt's L-BFGS-B,
    mended and vmapped."""
    penalty: Literal["l2_squared", "l2"] = "l2_squared"
    """|r| in the objective: l2_squared is the sum of squares, l2 its root (smoothed at r = 0)."""
    temperature: float | None = 0.01
    """T of the loss T·CE(logits/T), relative to the gap at x between the logits of the current
    class and the target; a small T follows the decision boundary more closely, whatever the scale
    of the logits. Lockstep takes three times as much where the boundary is not smooth, and where it
    is, for descents alone. None is the paper's cross-entropy, T = 1, by descents alone."""
    smoothing_steps: int = 175
    """Gradients averaged over noise, per image whose boundary is not smooth, as those of networks
    with ReLU and max-pooling, or where descents fail; 0 for none. More find smaller distortions.
    Lockstep only."""
    rounds: int = 1
    """Attacks on each image, as far as `max_evaluations` allows, and until ten in a row have found
    nothing nearer, from other points: with other noise and half the steps, where gradients are
    averaged. The smallest distortion counts. Lockstep only, not where the temperature is None."""
    restart: bool = True
    """Attack an image that took long once more, from a much softer loss, unless averaging found
    something, and, if `rounds` is 1, one with a smooth boundary whose r is large (a root mean
    square of 0.08) and took long to find twice more, from other points, until that leads back to
    what is known. Lockstep only."""
    tol: float = 3e-6
    """A descent ends when a step lowers the objective by less, relative to c‖r‖², or by less than
    1e-4 where gradients are averaged. Where the boundary is smooth, the square of the last step
    is to be less than 0.017 tol^0.4 of ‖r‖², after many steps ten times that. Lockstep only."""
    history_size: int = 4
    """Pairs that L-BFGS keeps."""
    c_steps: int = 8
    """Values of c tried, at most: lbfgsb per image; lockstep per descent, and three times as many
    while none has succeeded."""
    growth: float = 3.0
    """Factor by which c grows after a success, and shrinks after a failure, until bracketed. Where
    the temperature is not None, lockstep predicts c, and changes it by growth² at most."""
    bracket: float = 1.02
    """c is found when the smallest that failed and the largest that succeeded are so close.
    Lockstep only."""
    max_iterations: int = 60
    """Gradients (lbfgsb: iterations) per value of c, at most."""
    max_evaluations: int = 1000
    """Gradients per image and target, at most."""
    margin: float = 1e-5
    """By how much the target's logit must lead, relative to the gap at x between the logits of the
    current class and the target; at least by some units in the last place of the larger one, and
    of what they are summed from, so that success hardly ever depends on rounding: how large that
    is, is estimated from logits of x, of a darker image, and with perturbed parameters. None is
    asked for where x itself is classified as the target."""
    batch_size: int | None = None
    """Images that each device works on side by side, rounded up to a multiple of 8 if more than 4,
    and 3 down to 2; by default as many as suit it and the network. Another number may change the
    last bits of matrix products."""

    def __post_init__(self):
        for name, expected in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, converted(name, getattr(self, name), expected))
        for name in (
            *("c_steps", "max_iterations", "max_evaluations"),
            *("history_size", "batch_size", "rounds"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
            if value is not None and value >= 2**31:
                raise ValueError(f"{name} must be less than 2**31, got {value}")
        if self.solver == "lbfgsb" and self.max_evaluations < 12:
            raise ValueError(
                f"max_evaluations must be at least 12 for lbfgsb, got {self.max_evaluations}"
            )
        if self.rounds > 1 and (self.solver == "lbfgsb" or self.temperature is None):
            raise ValueError(
                f"rounds must be 1 for lbfgsb, and where temperature is None, got {self.rounds}"
            )
        if self.smoothing_steps < 0:
            raise ValueError(f"smoothing_steps must not be negative, got {self.smoothing_steps}")
        if self.smoothing_steps >= 2**31:
            raise ValueError(f"smoothing_steps must be less than 2**31, got {self.smoothing_steps}")
        for name, least in {"growth": 1, "bracket": 1, "tol": 0, "temperature": 0}.items():
            value = getattr(self, name)
            if value is not None and not max(least, SMALLEST) < value < LARGEST:
                expected = f"larger than {least}" if least else "positive"
                raise ValueError(f"{name} must be {expected} and finite, got {value}")
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be in [0, 1), got {self.margin}")

    @classmethod
    def paper(cls, **settings: Any) -> "AttackOptions":
        """The paper's objective, c|r| + cross-entropy; other settings as given."""
        given: dict[str, Any] = {"temperature": None} | settings
        return cls(**given)

    @classmethod
    def quick(cls, **settings: Any) -> "AttackOptions":
        """A quarter to 0.7 of the gradients, distortions 0.1 to 1.6 % larger; settings as given.

        On photographs they are larger by more, and on small networks of which few pixels reach the
        target, it fails more often.
        """
        few = {"smoothing_steps": 30, "restart": False, "tol": 3e-4, "max_iterations": 20}
        given: dict[str, Any] = few | settings
        return cls(**given)

    @classmethod
    def thorough(cls, **settings: Any) -> "AttackOptions":
        """Up to 32 attacks on each image, within 2,000 gradients; other settings as given."""
        given: dict[str, Any] = {"rounds": 32, "max_evaluations": 2000} | settings
        return cls(**given)

    @classmethod
    def preset(cls, name: str) -> "AttackOptions":
        """The settings above by their name, or those by default by the name "default".

        Raises:
          ValueError: there are none of the name.
        """
        presets = {"default": cls, "paper": cls.paper, "quick": cls.quick, "thorough": cls.thorough}
        if name not in presets:
            raise ValueError(f"expected one of {', '.join(presets)}, got {name!r}")
        return presets[name]()


STATIC = "solver", "penalty", "history_size", "batch_size"
NUMBERS = tuple(
    field.name for field in dataclasses.fields(AttackOptions) if field.name not in STATIC
)


def _flattened(options):
    numbers, static = ([getattr(options, name) for name in names] for names in (NUMBERS, STATIC))
    return numbers, tuple(static)


def _unflattened(static, numbers):
    options = object.__new__(AttackOptions)  # unchecked, as numbers may be tracers
    for name, value in zip((*NUMBERS, *STATIC), (*numbers, *static), strict=True):
        object.__setattr__(options, name, value)
    return options


jax.tree_util.register_pytree_node(AttackOptions, _flattened, _unflattened)
