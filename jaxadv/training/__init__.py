"""Training with optax."""

from jaxadv.training.autoencoder import SparseAutoencoder
from jaxadv.training.fit import Progress, Schedule
from jaxadv.training.recipes import Controlled, Recipe, Supervised, train

__all__ = [
    "Controlled",
    "Progress",
    "Recipe",
    "Schedule",
    "SparseAutoencoder",
    "Supervised",
    "train",
]
