"""Products that are coarse on accelerators, where JAX's default is not full precision."""

import jax

from jaxadv.networks import FullyConnected


class CoarselyConnected(FullyConnected):
    """Its products are of bfloat16, as TPUs' are by default, unless full precision is asked for."""

    def __call__(self, h):
        """Applies the layer."""
        if jax.config.jax_default_matmul_precision != "highest":
            h = jax.lax.reduce_precision(h, exponent_bits=8, mantissa_bits=7)
        return super().__call__(h)


def products(function, *args):
    """Those of a function's program, of full precision and of the default one, as lines of text."""
    program = jax.jit(function).lower(*args).as_text().splitlines()
    lines = [line for line in program if "stablehlo.dot_general" in line]
    full = [line for line in lines if "HIGHEST" in line]
    return full, [line for line in lines if line not in full]
