"""The optimiser's loop: Adam under lax.scan."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Shaped

from jaxadv.storage.checkpoints import Checkpoints

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


class Of(NamedTuple):
    """A function of a network and more, of this one: equal to others of the same two."""

    function: Callable[..., Any]
    network: Any

    def __call__(self, *args):
        """Calls the function."""
        return self.function(self.network, *args)


def fit(
    loss: Callable[..., jax.Array],
    params: Any,
    data: tuple[Shaped[jax.Array | np.ndarray, "N ..."], ...],
    schedule: Schedule,
    key: jax.Array,
    progress: Progress | None = None,
    project: Callable[[Any], Any] | None = None,
    *,
    prepare: Callable[..., tuple[tuple, Any]] | None = None,
    state: Any = (),
    checkpoint: Path | None = None,
) -> Any:
    """Minimises loss(params, *minibatch) over shuffled minibatches of `data`.

    Equal functions, as are two `Of` the same, are compiled once for any number of calls.

    Args:
      loss: pure function of the parameters and one minibatch of each array of `data`.
      params: where to start.
      data: arrays with the same leading axis N.
      schedule: Adam's.
      key: the epochs' permutations are drawn from it, folded by the epoch's index.
      progress: called with the fraction done: after each epoch, and where it goes on.
      project: applied to the parameters after each step.
      prepare: pure function (params, state, key, *minibatch) -> (what the loss takes in place of
        the minibatch, state). The gradient does not see how it was made. By default the minibatch.
      state: of `prepare`, at the start.
      checkpoint: folder that holds, during the training, how far it is: what was killed goes on
        from there, to the same bits.
    """
    size = len(data[0])
    run_epoch, optimizer = _epoch(loss, project, prepare, schedule, size)
    data = jax.device_put(data)
    carry = params, optimizer.init(params), state
    with Checkpoints(checkpoint) as checkpoints:
        first, carry = checkpoints.restored(carry)
        if progress and first:
            progress(first / schedule.epochs)
        for epoch in range(first, schedule.epochs):
            epoch_key = jax.random.fold_in(key, epoch)
            batches = _batches(epoch_key, size, min(schedule.batch_size, size))
            carry = jax.block_until_ready(run_epoch(carry, epoch_key, batches, data))
            checkpoints.keep(epoch + 1, carry)
            if progress:
                progress((epoch + 1) / schedule.epochs)
    return carry[0]


@functools.lru_cache(maxsize=8)
def _epoch(loss, project, prepare, schedule, size):
    """One epoch on so many images, compiled, and the optimiser."""
    steps = size // min(schedule.batch_size, size)
    optimizer = schedule.optimizer(steps * schedule.epochs)

    @jax.jit
    def run_epoch(carry, key, batches, data):
        def step(carry, index_and_indices):
            index, indices = index_and_indices
            params, optimizer_state, state = carry
            minibatch = tuple(array[indices] for array in data)
            if prepare:
                step_key = jax.random.fold_in(key, index)
                minibatch, state = prepare(params, state, step_key, *minibatch)
            grads = jax.grad(loss)(params, *minibatch)
            updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
            params = optax.apply_updates(params, updates)
            return (project(params) if project else params, optimizer_state, state), None

        return jax.lax.scan(step, carry, (jnp.arange(steps), batches))[0]

    return run_epoch, optimizer


@functools.partial(jax.jit, static_argnums=(1, 2))
def _batches(key, size, batch_size):
    """(steps, batch_size) indices in random order: one program for all losses."""
    used = size - size % batch_size
    return jax.random.permutation(key, size)[:used].reshape(-1, batch_size)
