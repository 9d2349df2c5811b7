"""Operator norms of linear layers, and Lipschitz constants of what comes after these."""

from jaxadv.spectral.lipschitz import contrast_constant, local_response_constant, pooling_constant
from jaxadv.spectral.operators import (
    conv_operator_bound,
    conv_operator_norm,
    dense_operator_norm,
)

__all__ = [
    "contrast_constant",
    "conv_operator_bound",
    "conv_operator_norm",
    "dense_operator_norm",
    "local_response_constant",
    "pooling_constant",
]
