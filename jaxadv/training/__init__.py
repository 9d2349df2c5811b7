"""Training with optax."""

from jaxadv.training.adversarial import INPUT, Adversarial, Source
from jaxadv.training.autoencoder import SparseAutoencoder
from jaxadv.training.fit import Progress, Schedule
from jaxadv.training.perturbations import GradientSteps, MinimumDistortion
from jaxadv.training.recipes import Controlled, Recipe, Supervised, train
from jaxadv.training.regularised import Dropout, VirtualAdversarial

__all__ = [
    "INPUT",
    "Adversarial",
    "Controlled",
    "Dropout",
    "GradientSteps",
    "MinimumDistortion",
    "Progress",
    "Recipe",
    "Schedule",
    "Source",
    "SparseAutoencoder",
    "Supervised",
    "VirtualAdversarial",
    "train",
]
