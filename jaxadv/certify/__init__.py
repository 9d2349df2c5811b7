"""Proven lower bounds on the minimum distortion D(x, l), for fully connected networks.

D(x, l) is the smallest ‖r‖ with f(x + r) = l and x + r in [0, 1]; an attack bounds it from above.
The class l is not reached while any other logit exceeds that of l. All is computed in float64, and
what rounding may have gained there is subtracted: the bounds hold for the network in exact
arithmetic.
"""

from jaxadv.certify.crown import check_balls, crown
from jaxadv.certify.margins import eclipse_fast, from_lipschitz, pair_products
from jaxadv.certify.mlp import Mlp, affine_layers, check

__all__ = [
    "Mlp",
    "affine_layers",
    "check",
    "check_balls",
    "crown",
    "eclipse_fast",
    "from_lipschitz",
    "pair_products",
]
