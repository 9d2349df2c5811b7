"""The attack: minimum-distortion adversarial examples for whole arrays of images."""

from typing import Any

from numpy.typing import ArrayLike

from jaxadv.attacks import checks, queues
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.attacks.types import LogitsFn, Progress


def minimal_adversarial(
    logits_fn: LogitsFn,
    params: Any,
    x: ArrayLike,
    target: ArrayLike,
    options: AttackOptions | None = None,
    *,
    progress: Progress | None = None,
) -> AttackResult:
    """Approximates D(x, l): the smallest r with f(x + r) = l and x + r in [0, 1].

    Szegedy et al. (2013), sec. 4.1. The images are given in queues to all local devices. Success is
    judged by a forward pass of its own on the images returned, in full float32 precision (on
    accelerators with faster, less precise matrix products, jax.default_matmul_precision "highest").

    Args:
      logits_fn: pure function (params, (B, …) images) -> (B, k) logits. Keep it: a new function, as
        a lambda in each call, is compiled anew, for seconds, even where its code is the same.
      params: pytree of arrays; of an Equinox module, those of `eqx.partition`.
      x: (B, …) floating-point images in [0, 1].
      target: (B,) integer classes in [0, k).
      options: settings of the attack; by default `AttackOptions()`.
      progress: called about once per second with how many images have been done since: a part of
        one that is in work, by its gradients. All add up to B, exactly.

    Returns:
      An `AttackResult` of NumPy arrays with leading axis B.

    Raises:
      ValueError: an argument is not as above, or a tracer, as under jit, vmap and grad; or none of
        the first 256 images has finite logits.

    Example:
      >>> import numpy as np
      >>> x, target = np.array([[0.7, 0.1, 0.0]], "float32"), np.array([1])
      >>> result = minimal_adversarial(lambda params, x: x, None, x, target)
      >>> np.round(result.x_adv.astype(float), 2).tolist(), result.success.tolist()
      ([[0.4, 0.4, 0.0]], [True])
    """
    checks.check_progress(progress)
    options = checks.checked_options(options)
    x, target, _ = checks.validated(logits_fn, params, x, target)
    return checks.checked_result(queues.attack(logits_fn, params, x, target, options, progress))
