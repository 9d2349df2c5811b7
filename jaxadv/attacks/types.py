"""Types of what attacks are given, whichever attack it is."""

from collections.abc import Callable
from typing import Any

import jax

LogitsFn = Callable[[Any, jax.Array], jax.Array]  # pure: (params, (B, …) images) -> (B, k) logits
Progress = Callable[[float], None]  # told how many images have just been done, or parts of them
SHARES = 1024  # parts of an image that attacks tell of: sums of them are exact
