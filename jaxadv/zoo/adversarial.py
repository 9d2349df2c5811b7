"""Trainings on adversarial examples, and what they are compared with, by name."""

from collections.abc import Mapping, Sequence
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
    """Settings of one way of training, as far as it has them."""

    learning_rate: float
    decay: float  # λ
    length: float = 1.0  # of steps at the images, ℓ2
    hidden_length: float = 0.3  # at hidden layers
    weight: float = 1.0  # of the images' examples in the loss
    hidden_weight: float = 1.0  # of those of each hidden layer
    factor: float = 1.0  # by which minimum distortions are lengthened
    dropout: tuple[float, float] = (0.1, 0.1)  # shares of pixels and of hidden units


USUAL = "usual"  # what goes for ways that are not named
CHOSEN: Mapping[str, Mapping[str, Chosen]] = {
    "FC100-100-10": {
        USUAL: Chosen(0.02, 2e-5),
        "decay": Chosen(0.005, 5e-5),
        "dropout": Chosen(0.01, 2e-5, dropout=(0.2, 0.1)),
        "input-pool": Chosen(0.01, 4e-5),
        "hidden1": Chosen(0.02, 2e-5, hidden_length=0.15),
        "hidden2": Chosen(0.01, 4e-5),
        "paper": Chosen(0.01, 2e-5, weight=0.1, hidden_weight=0.01, factor=1.5),
        "layers": Chosen(0.02, 4e-5, hidden_weight=0.1),
        "vat": Chosen(0.02, 2e-5, length=1.25),
    },
    "LeNet-5": {
        USUAL: Chosen(0.008, 1e-5, length=1.25),
        "dropout": Chosen(0.008, 1e-5, dropout=(0.0, 0.1)),
        "paper": Chosen(0.002, 1e-5, weight=0.1, hidden_weight=0.1),
    },
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
    chosen, hidden = CHOSEN[name], [str(layer.name) for layer in network.layers[:-1]]
    ways = ["decay", "dropout", "input-pool", "input", *hidden, "paper", "layers", "vat", "pgd"]
    return {way: _training(way, chosen.get(way, chosen[USUAL]), hidden, epochs) for way in ways}


def _training(way: str, chosen: Chosen, hidden: Sequence[str], epochs: int) -> Way:
    """One of them, of a network with these hidden layers."""
    schedule = Schedule(epochs, BATCH, chosen.learning_rate)
    supervised = Supervised((chosen.decay,) * (len(hidden) + 1), schedule)
    weights = {INPUT: chosen.weight} | dict.fromkeys(hidden, chosen.hidden_weight)

    def fresh(layer: str) -> Source:
        length = chosen.length if layer == INPUT else chosen.hidden_length
        return Source(layer, GradientSteps(length), weights[layer])

    def pool(layer: str, made: GradientSteps | MinimumDistortion) -> Source:
        return Source(layer, made, weights[layer], made=MADE, slots=SLOTS)

    match way:
        case "decay":
            return supervised
        case "dropout":
            return Dropout(supervised, *chosen.dropout)
        case "input-pool":
            sources = [pool(INPUT, GradientSteps(chosen.length))]
        case "paper":
            nearest = MinimumDistortion(factor=chosen.factor)
            sources = [pool(layer, nearest) for layer in weights]
        case "layers":
            sources = map(fresh, weights)
        case "vat":
            return VirtualAdversarial(supervised, chosen.length)
        case "pgd":
            several = GradientSteps(chosen.length, steps=2, random_start=True)
            return Adversarial(supervised, (Source(INPUT, several),), clean=0.0)
        case layer:
            sources = [fresh(layer)]
    return Adversarial(supervised, tuple(sources), alternate=way == "paper")
