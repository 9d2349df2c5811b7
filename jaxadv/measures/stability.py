"""What small changes of given images do, layer by layer: norms of Jacobians at these images.

They stand beside bounds that hold at all inputs (sec. 4.3): the norm of a Jacobian is a lower bound
of every Lipschitz constant.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.attacks.types import Progress
from jaxadv.networks import Network, Params

NOISE = 1e-3  # per pixel: without ties in the windows of max-pooling, networks are differentiable
BATCH = 2**20  # numbers in the images of a batch


def jacobian_norms(
    network: Network,
    params: Params,
    images: Float[np.ndarray, "N *image"],
    *,
    steps: int = 20,
    progress: Progress | None = None,
) -> Float[np.ndarray, "K N"]:
    """The largest singular values ‖J‖₂ of the Jacobians of layers and network, from below.

    By Lanczos bidiagonalisation (Golub and Kahan, 1965) from a random vector, which gives J as seen
    from two subspaces, and so no more than ‖J‖₂: up to rounding, each is at most the Lipschitz
    constant of its layer, or of the logits. It is ‖J‖₂ where steps are as many as J has rows.

    Args:
      network: with K − 1 layers.
      params: its parameters.
      images: to each pixel, noise of standard deviation 1e-3 is added.
      steps: each takes a Jacobian-vector product and a vector-Jacobian product.
      progress: told how many images have just been done.

    Returns:
      A row for each layer, at what the layers below make of each image, and the last for the logits
      as a function of the image.
    """
    noise = NOISE * np.random.default_rng(0).standard_normal(network.input_shape)
    batches = max(1, -(-images.size // BATCH))
    size = -(-len(images) // batches)
    found = [np.zeros((len(network.layers) + 1, 0), np.float32)]
    for first in range(0, len(images), size or 1):
        part = images[np.arange(first, first + size) % len(images)]  # filled up with the first
        found.append(_of_batch(network, params, np.float32(part + noise), steps))
        if progress:
            progress(min(size, len(images) - first))
    return np.concatenate(found, axis=1)[:, : len(images)]


def _of_batch(network, params, images, steps):
    depth, h, rows = len(network.layers), images, []
    for index in range(depth):
        h, norms = _largest(network, params, h, index, index + 1, steps)
        rows.append(norms)
    return np.stack([*rows, _largest(network, params, images, 0, depth, steps)[1]])


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def _largest(network, params, h, start, stop, steps):
    """What the layers start … stop − 1 make of h, and σ_max of the bidiagonal matrix for each.

    J is the transpose of Jᵀ, as not all layers have derivatives in forward mode. Products are of
    full precision: else J and Jᵀ would be those of two functions.
    """
    with jax.default_matmul_precision("highest"):
        out, transposed = jax.vjp(lambda h: network.between(params, h, start, stop), h)
        forward = jax.linear_transpose(lambda u: transposed(u)[0], out)

        def step(state, _):
            u, v, beta = state
            v, alpha = _unit(transposed(u)[0] - _scaled(beta, v))
            u, beta = _unit(forward(v)[0] - _scaled(alpha, u))
            return (u, v, beta), (alpha, beta)

        u = jax.random.normal(jax.random.key(0), out.shape[1:], out.dtype)
        u, norms = _unit(jnp.broadcast_to(u, out.shape))
        _, (alpha, beta) = jax.lax.scan(step, (u, jnp.zeros_like(h), 0 * norms), length=steps)
    matrix = jax.vmap(lambda a, b: jnp.diag(a) + jnp.diag(b[:-1], -1), in_axes=1)(alpha, beta)
    return out, jnp.linalg.norm(matrix, 2, (1, 2))


def _unit(u):
    """The vectors over their norms, and these."""
    norms = jnp.linalg.norm(u.reshape(len(u), -1), axis=1)
    return _scaled(1 / jnp.where(norms == 0, 1, norms), u), norms


def _scaled(factors, u):
    return factors.reshape(-1, *(1,) * (u.ndim - 1)) * u
