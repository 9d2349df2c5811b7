"""Trainings on adversarial examples, and what they are compared with, by name."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxadv.networks.network import Network
from jaxadv.training.adversarial import INPUT, Adversarial, Source
from jaxadv.training.fit import Schedule
from jaxadv.training.perturbations import GradientSteps, MinimumDistortion
from jaxadv.training.recipes import Supervised
from jaxadv.training.regularised import Dropout, VirtualAdversarial

MARK = "+"  # stands between the name of a network and that of its training
COMPARED = "decay", "dropout", "input"  # what the others are set against


class Chosen(NamedTuple):
    """Settings of the trainings of one network, all of as many epochs and minibatches of 100."""

    learning_rate: float
    decay_alone: float  # λ where nothing else regularises
    decay: float  # λ of all others
    dropout: tuple[float, float]  # shares of pixels and of hidden units
    length: float  # of steps at the images, ℓ2
    hidden_length: float  # at hidden layers
    pool_weight: float  # of each pool of minimum-distortion examples
    virtual_length: float
    pgd_length: float


CHOSEN: Mapping[str, Chosen] = {
    "FC100-100-10": Chosen(0.01, 5e-5, 2e-5, (0.1, 0.1), 1.25, 0.3, 0.1, 1.25, 1.25),
    "LeNet-5": Chosen(0.002, 1e-5, 1e-5, (0.1, 0.1), 1.25, 0.3, 0.1, 1.25, 1.25),
}
EPOCHS = 30
BATCH, SLOTS, MADE = 100, 1000, 50  # of the minibatch, of a pool, and made for it per step


Way = Supervised | Adversarial | Dropout | VirtualAdversarial


def trainings(name: str, network: Network, epochs: int = EPOCHS) -> dict[str, Way]:
    """The trainings of a network of `CHOSEN`, by name: "decay", "dropout", and so on.

    Beside those, "input-pool", "input", "paper" (minimum-distortion examples, a pool per layer, in
    alternation), "layers", "vat" and "pgd", there is one named after each hidden layer.

    Args:
      name: of the network in `CHOSEN`.
      network: the network.
      epochs: of each training.
    """
    chosen = CHOSEN[name]
    schedule = Schedule(epochs, BATCH, chosen.learning_rate)
    count = len(network.layers)
    hidden = [str(layer.name) for layer in network.layers[:-1]]
    supervised = Supervised((chosen.decay,) * count, schedule)
    step = GradientSteps(chosen.length)

    def mixed(*sources: Source, **options) -> Adversarial:
        return Adversarial(supervised, sources, **options)

    def fresh(layer: str) -> Source:
        return Source(layer, GradientSteps(chosen.hidden_length))

    def pool(layer: str) -> Source:
        return Source(layer, MinimumDistortion(), chosen.pool_weight, made=MADE, slots=SLOTS)

    several = GradientSteps(chosen.pgd_length, steps=2, random_start=True)
    return {
        "decay": Supervised((chosen.decay_alone,) * count, schedule),
        "dropout": Dropout(supervised, *chosen.dropout),
        "input-pool": mixed(Source(INPUT, step, made=MADE, slots=SLOTS)),
        "input": mixed(Source(INPUT, step)),
        **{layer: mixed(fresh(layer)) for layer in hidden},
        "paper": mixed(*map(pool, [INPUT, *hidden]), alternate=True),
        "layers": mixed(Source(INPUT, step), *map(fresh, hidden)),
        "vat": VirtualAdversarial(supervised, chosen.virtual_length),
        "pgd": mixed(Source(INPUT, several), clean=0.0),
    }
