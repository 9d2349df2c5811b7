"""The settings of the minimum-distortion attack."""

import dataclasses
from typing import Literal

Penalty = Literal["l2_squared", "l2"]


@dataclasses.dataclass(frozen=True)
class AttackOptions:
    """Settings of `minimal_adversarial`, hashable, so that jit can treat them as static.

    The defaults are the paper's attack: c|r| + cross-entropy, minimised by box-constrained L-BFGS.
    """

    penalty: Penalty = "l2_squared"
    """|r| in the objective: l2_squared is the sum of squares, l2 its root (smoothed at r = 0)."""
    c_steps: int = 8
    """Values of c tried per image: first to bracket the largest that succeeds, then to bisect."""
    growth: float = 3.0
    """Factor by which c grows after a success, and shrinks after a failure, until bracketed."""
    max_iterations: int = 100
    """L-BFGS iterations per value of c, at most."""
    max_line_search: int = 8
    """Gradients per line search, at most."""
    history_size: int = 5
    """Pairs that L-BFGS keeps."""
    tol: float = 0.01
    """A descent ends when no component of its projected gradient is larger, relative to the largest
    component of the gradient, at x, of the current class's logit less the target's."""
    margin: float = 1e-4
    """By how much the target's logit must lead, relative to the largest magnitude of any logit."""
    batch_size: int | None = None
    """Images solved side by side on each device; by default 16 on CPU, 1,024 elsewhere. The result
    does not depend on it."""

    def __post_init__(self):
        if self.penalty not in ("l2_squared", "l2"):
            raise ValueError(f"penalty must be 'l2_squared' or 'l2', got {self.penalty!r}")
        for name in ("c_steps", "max_iterations", "max_line_search", "history_size", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.growth > 1:
            raise ValueError(f"growth must be larger than 1, got {self.growth}")
        if not self.tol > 0:
            raise ValueError(f"tol must be positive, got {self.tol}")
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be in [0, 1), got {self.margin}")
