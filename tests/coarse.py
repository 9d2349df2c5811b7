"""A layer as accelerators compute it."""

import jax

from jaxadv.networks import FullyConnected


class CoarselyConnected(FullyConnected):
    """Its products are of bfloat16, as TPUs' are by default, unless full precision is asked for."""

    def __call__(self, h):
        """Applies the layer."""
        if jax.config.jax_default_matmul_precision != "highest":
            h = jax.lax.reduce_precision(h, exponent_bits=8, mantissa_bits=7)
        return super().__call__(h)
