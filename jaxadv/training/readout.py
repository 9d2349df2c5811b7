"""Training of a network's last layer alone, on what the layers below make of the images."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.datasets.dataset import Dataset
from jaxadv.networks.evaluate import output
from jaxadv.networks.network import Network, Params
from jaxadv.training.fit import Progress
from jaxadv.training.recipes import Supervised

SMALLEST = 1e-3  # standard deviation that is added to each code's


def train_readout(
    network: Network,
    params: Params,
    dataset: Dataset,
    recipe: Supervised,
    key: jax.Array,
    progress: Progress | None = None,
) -> Params:
    """Trains the last layer on standardised codes, which are the output of those below.

    Args:
      network: whose last layer has a kernel and a bias.
      params: of the layers below, which stay as they are.
      dataset: images and labels.
      recipe: of the last layer alone.
      key: everything random follows from it.
      progress: told the fraction done, after each epoch.

    Returns:
      The parameters of all layers. The standardisation is part of the last layer's.
    """
    *_, last = network.layers
    codes = outputs(network, params, dataset.images, len(network.layers) - 1)
    codes = codes.reshape(len(codes), -1)
    mean, scale = codes.mean(axis=0), codes.std(axis=0) + SMALLEST
    standardised = Dataset(np.asarray((codes - mean) / scale), dataset.labels)
    readout = Network((last,), standardised.images.shape[1:])
    fitted = recipe.train(readout, standardised, key, progress)[last.name]
    kernel = fitted["kernel"] / scale[:, None]
    bias = fitted["bias"] - jnp.matmul(mean, kernel, precision="highest")
    return params | {last.name: {"kernel": kernel, "bias": bias}}


def outputs(
    network: Network,
    params: Params,
    images: Float[jax.Array | np.ndarray, "N *image"],
    depth: int,
    batch_size: int = 10_000,
) -> Float[jax.Array, "N *shape"]:
    """The output of the network's first `depth` layers, for so many images at a time."""
    parts = range(0, len(images), batch_size)
    return jnp.concatenate(
        [output(network, depth, params, images[i : i + batch_size]) for i in parts]
    )
