"""Lipschitz bounds of networks, layer by layer, beside Table 5 of Szegedy et al. (2013).

For each layer the operator norm and the constants of activation, normalisation and pooling, and the
product over all layers: an upper bound of ‖f(x) − f(x')‖ / ‖x − x'‖ for the logits f. Beside these,
norms of Jacobians at images: no Lipschitz constant is less.
"""

import dataclasses
import functools
from pathlib import Path

import jax

from jaxadv import zoo
from jaxadv.measures.stability import jacobian_norms
from jaxadv.networks import Network, Params, alexnet, layer_bounds, lipschitz_bound, torch_weights
from jaxadv.reports import stability as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, settings
from jaxadv.runs.console import progress_bars
from jaxadv.runs.inputs import load_networks, some_images, takes_photographs
from jaxadv.runs.record import Clock, record
from jaxadv.zoo.imported import layered


@dataclasses.dataclass(frozen=True)
class Config(settings.Settings):
    """Settings of the experiment."""

    models: settings.Names = ("FC100-100-10", "FC200-200-10", "AE400-10", "LeNet-5")
    """Networks by name, EfficientNet-Lite0 among them, trained where need be; or your own, as
    module:function that returns (Network, params)."""
    out: Path = Path("results/stability")
    count: int = 1000
    """Number of images to measure Jacobians at, at most: of the test set, or of 20 photographs."""
    weights: Path | None = None
    """AlexNet's weights as torchvision publishes them, .pth or .safetensors, in place of models."""
    random: bool = False
    """AlexNet's original layers, from a random start, in place of models."""


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("networks"):
        networks = load(config)
    with clock.stage("norms"), progress_bars() as bars:
        models = [_figures(config, bars, name, *each) for name, each in networks.items()]
    figures = {"models": models} | record(config, clock)
    publish(config.out, "stability", figures, report.texts(figures), "Tables are")


def _figures(config, bars, name, network, params):
    """What is said about a network; a bar shows what is done for it."""
    task = bars.add_task(f"bounds of {name}", total=None)
    bounds = layer_bounds(network, params)
    images = some_images(config, network.input_shape, config.count)
    if len(images):
        bars.update(task, total=len(images), description=f"compiling {name}")

    def progress(count):
        bars.update(task, advance=count, description=f"Jacobians of {name}")

    norms = jacobian_norms(network, params, images, progress=progress)
    return report.model_figures(name, params, bounds, norms)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    settings.check(config, [name for name in config.models if not takes_photographs(name)])
    settings.check_sizes(count=[config.count])
    for name in set(config.models) - set(zoo.PRETRAINED):
        network, params = zoo.untrained(name)
        jax.eval_shape(functools.partial(lipschitz_bound, layered(name, network)), params)
    if config.weights and config.random:
        raise ValueError("weights and random exclude each other")
    if config.weights and not config.weights.is_file():
        raise FileNotFoundError(f"there is no file {config.weights}")


def load(config: Config) -> dict[str, tuple[Network, Params]]:
    """The networks and their parameters, by name."""
    if config.weights:
        params = alexnet.from_torchvision(torch_weights.read(config.weights))
        classes = len(params["fc3"]["bias"])
        return {"AlexNet (torchvision)": (alexnet.torchvision_alexnet(classes), params)}
    if config.random:
        network = alexnet.alexnet()
        return {"AlexNet, random": (network, network.init(jax.random.key(config.seed)))}
    models = load_networks(config)
    return {name: (model.layered, model.params) for name, model in models.items()}


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
