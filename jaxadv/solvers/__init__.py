"""Box-constrained minimisers."""

from typing import TYPE_CHECKING, Any

from jaxadv.solvers.bounded import (
    BoundedLBFGS,
    BoundedResult,
    BoundedState,
    BoundedStatus,
    minimize_bounded,
)

if TYPE_CHECKING:
    from jaxadv.solvers.lbfgsb import LBFGSB

__all__ = [
    "LBFGSB",
    "BoundedLBFGS",
    "BoundedResult",
    "BoundedState",
    "BoundedStatus",
    "minimize_bounded",
]


def __getattr__(name: str) -> Any:
    """Imports jaxopt, which nothing else needs, at the first use of `LBFGSB`."""
    if name == "LBFGSB":
        from jaxadv.solvers.lbfgsb import LBFGSB

        return LBFGSB
    raise AttributeError(f"module 'jaxadv.solvers' has no attribute {name!r}")
