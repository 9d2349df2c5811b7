"""Training with optax under lax.scan."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import lipschitz
from jaxadv.networks.network import Network, Params, autoencoder

GRAM_ITERATIONS = 5  # in training: norms are at most n^(1/64) too large, mostly much less

Progress = Callable[[float], None]  # told the fraction of the work that is done


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Adam on minibatches: the learning rate rises for a tenth of the steps, then a cosine to 0."""

    epochs: int
    batch_size: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Cross-entropy on labels, with the weight decay λ/2 Σ w² over weights and biases per layer."""

    decay: tuple[float, ...]
    schedule: Schedule


@dataclasses.dataclass(frozen=True)
class Controlled:
    """As `supervised`, with the layers' operator norms ‖W‖ under control (sec. 4.3).

    Adds `strength` · Σ ‖W‖² to the loss; and after each step, layers whose ‖W‖ exceeds `limit` are
    scaled down to it (a radial projection onto the norm ball). The norms are upper bounds by Gram
    iteration.
    """

    supervised: Supervised
    strength: float = 0.0
    limit: float | None = None


@dataclasses.dataclass(frozen=True)
class SparseAutoencoder:
    """A sparse autoencoder on the images alone, then softmax on its codes, which stay as they are.

    The autoencoder minimises, per image, the cross-entropy of the pixels, plus
    `sparsity_weight` · Σ_j KL(`sparsity` ‖ mean activation of unit j over the minibatch), plus
    `decay` · Σ w². The softmax has the weight decay of `softmax`.
    """

    sparsity: float
    sparsity_weight: float
    decay: float
    schedule: Schedule
    softmax: Supervised


Recipe = Supervised | Controlled | SparseAutoencoder


def train(
    network: Network,
    dataset: Dataset,
    recipe: Recipe,
    key: jax.Array,
    progress: Progress | None = None,
) -> Params:
    """Trains the network from a random start.

    Args:
      network: for a `SparseAutoencoder`, an `autoencoder_classifier`.
      dataset: images (N, …) and labels (N,).
      recipe: how to train.
      key: everything random follows from it.
      progress: told the fraction done, after each epoch.

    Returns:
      The parameters of all layers.
    """
    if isinstance(recipe, SparseAutoencoder):
        return _train_on_features(network, dataset, recipe, key, progress)
    if isinstance(recipe, Controlled):
        return _train_classifier(network, dataset, recipe.supervised, key, progress, recipe)
    return _train_classifier(network, dataset, recipe, key, progress)


def _train_classifier(network, dataset, recipe, key, progress, control=None):
    """All layers together."""
    if len(recipe.decay) != len(network.layers):
        raise ValueError(
            f"one weight decay per layer: got {len(recipe.decay)} for {len(network.layers)} layers"
        )
    loss = functools.partial(_classifier_loss, network, recipe.decay)
    project = None
    if control and control.strength:
        loss = functools.partial(_controlled_loss, network, control.strength, loss)
    if control and control.limit is not None:
        project = functools.partial(_within_norm_balls, network, control.limit)
    params = network.init(jax.random.fold_in(key, 0))
    key = jax.random.fold_in(key, 1)
    return fit(loss, params, tuple(dataset), recipe.schedule, key, progress, project)


def _train_on_features(network, dataset, recipe, key, progress):
    """The first layer as an autoencoder's encoder, then the second on its codes."""
    features, softmax = network.layers
    full = autoencoder(features.units, network.input_shape)
    images = (np.asarray(dataset.images),)
    loss = functools.partial(_autoencoder_loss, full, recipe)
    params = full.init(jax.random.fold_in(key, 0))
    # The share of the two parts in the time: encoding and decoding costs ten times the softmax.
    first = progress and (lambda fraction: progress(0.9 * fraction))
    params = fit(loss, params, images, recipe.schedule, jax.random.fold_in(key, 1), first)
    encoder = {features.name: params[features.name]}

    codes = _encode(network, encoder, dataset.images)
    mean, scale = codes.mean(axis=0), codes.std(axis=0) + 1e-3
    standardised = Dataset((codes - mean) / scale, dataset.labels)
    readout = Network((softmax,), standardised.images.shape[1:])
    second = progress and (lambda fraction: progress(0.9 + 0.1 * fraction))
    key = jax.random.fold_in(key, 2)
    fitted = _train_classifier(readout, standardised, recipe.softmax, key, second)[softmax.name]
    # Standardisation is folded into the softmax's weights.
    kernel = fitted["kernel"] / scale[:, None]
    return encoder | {softmax.name: {"kernel": kernel, "bias": fitted["bias"] - mean @ kernel}}


def fit(
    loss: Callable[..., jax.Array],
    params: Params,
    data: tuple[np.ndarray, ...],
    schedule: Schedule,
    key: jax.Array,
    progress: Progress | None = None,
    project: Callable[[Params], Params] | None = None,
) -> Params:
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
    total = steps * schedule.epochs
    optimizer = optax.adam(
        optax.warmup_cosine_decay_schedule(
            init_value=0.1 * schedule.learning_rate,
            peak_value=schedule.learning_rate,
            warmup_steps=max(1, total // 10),
            decay_steps=total,
        )
    )

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


def error_rate(
    logits_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 250,
) -> float:
    """Fraction of the (N, …) images whose largest logit is not that of the label."""
    return float(np.mean(predictions(logits_fn, params, images, batch_size) != labels))


def predictions(
    logits_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: np.ndarray,
    batch_size: int = 250,
) -> np.ndarray:
    """(N,) classes that the (N, …) images are taken for."""
    batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
    return np.concatenate([_largest_logit(logits_fn, params, batch) for batch in batches])


@functools.partial(jax.jit, static_argnums=0)
def _largest_logit(logits_fn, params, images):
    return jnp.argmax(logits_fn(params, images), axis=1)


def _classifier_loss(network, decay, params, images, labels):
    logits = network.logits(params, images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    for layer, strength in zip(network.layers, decay, strict=True):
        loss += 0.5 * strength * optax.tree.norm(params[layer.name], squared=True)
    return loss


def _controlled_loss(network, strength, loss, params, images, labels):
    bounds = lipschitz.layer_bounds(network, params, "gram", GRAM_ITERATIONS)
    return loss(params, images, labels) + strength * sum(bound.norm**2 for bound in bounds)


def _within_norm_balls(network, limit, params):
    """Scales down the kernels of layers whose norm exceeds the limit."""
    params = dict(params)
    for bound in lipschitz.layer_bounds(network, params, "gram", GRAM_ITERATIONS):
        layer = params[bound.name]
        scale = jnp.minimum(1, limit / bound.norm)
        params[bound.name] = layer | {"kernel": layer["kernel"] * scale}
    return params


def _autoencoder_loss(network, recipe, params, images):
    codes = network.between(params, images, 0, 1)
    pixels = network.between(params, codes, 1, 2)
    target = images.reshape(pixels.shape)
    reconstruction = optax.sigmoid_binary_cross_entropy(pixels, target).sum(axis=1).mean()
    activation = codes.mean(axis=0)
    rho = recipe.sparsity
    divergence = rho * jnp.log(rho / activation) + (1 - rho) * jnp.log((1 - rho) / (1 - activation))
    weights = sum(jnp.sum(layer["kernel"] ** 2) for layer in params.values())
    return reconstruction + recipe.sparsity_weight * divergence.sum() + recipe.decay * weights


def _encode(network, params, images, batch_size=10_000):
    encode = jax.jit(lambda params, x: network.between(params, x, 0, 1))
    return jnp.concatenate(
        [encode(params, images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    )
