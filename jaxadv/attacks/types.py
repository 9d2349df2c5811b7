"""Types of what attacks are given, whichever attack it is."""

from collections.abc import Callable
from typing import Any

import jax

LogitsFn = Callable[[Any, jax.Array], jax.Array]  # pure: (params, (B, …) images) -> (B, k) logits
Progress = Callable[[int], None]  # told the number of images just completed
