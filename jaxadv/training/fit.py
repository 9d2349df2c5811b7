"""The optimiser's loop: Adam under lax.scan."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Shaped

Progress = Callable[[float], Any]  # told the fraction of the work that is done


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Adam on minibatches: the learning rate rises for a tenth of the steps, then a cosine to 0."""

    epochs: int
    batch_size: int
    learning_rate: float

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam, with the learning rates of so many steps."""
        return optax.adam(
            optax.warmup_cosine_decay_schedule(
                init_value=0.1 * self.learning_rate,
                peak_value=self.learning_rate,
                warmup_steps=max(1, steps // 10),
                decay_steps=steps,
            )
        )


def fit(
    loss: Callable[..., jax.Array],
    params: Any,
    data: tuple[Shaped[jax.Array | np.ndarray, "N ..."], ...],
    schedule: Schedule,
    key: jax.Array,
    progress: Progress | None = None,
    project: Callable[[Any], Any] | None = None,
) -> Any:
    """Minimises loss(params, *minibatch) over shuffled minibatches of `data`.

    Args:
      loss: pure function of the parameters and one minibatch of each array of `data`.
      params: where to start.
      data: arrays with the same leading axis N.
      schedule: Adam's.
      key: the epochs' permutations are drawn from it, folded by the epoch's index.
      progress: called after each epoch with the fraction done.
      project: applied to the parameters after each step.
    """
    size = len(data[0])
    batch_size = min(schedule.batch_size, size)
    steps = size // batch_size
    optimizer = schedule.optimizer(steps * schedule.epochs)

    @jax.jit
    def run_epoch(carry, key, data):
        batches = jax.random.permutation(key, size)[: steps * batch_size].reshape(steps, batch_size)

        def step(carry, indices):
            params, state = carry
            grads = jax.grad(loss)(params, *(array[indices] for array in data))
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (project(params) if project else params, state), None

        return jax.lax.scan(step, carry, batches)[0]

    data = jax.tree.map(jnp.asarray, data)
    carry = params, optimizer.init(params)
    for epoch in range(schedule.epochs):
        carry = jax.block_until_ready(run_epoch(carry, jax.random.fold_in(key, epoch), data))
        if progress:
            progress((epoch + 1) / schedule.epochs)
    return carry[0]
