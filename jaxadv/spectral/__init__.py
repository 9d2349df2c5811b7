"""Operator norms of linear layers."""

from jaxadv.spectral.operators import (
    conv_operator_bound,
    conv_operator_norm,
    dense_operator_norm,
)

__all__ = ["conv_operator_bound", "conv_operator_norm", "dense_operator_norm"]
