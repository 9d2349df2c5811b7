"""Lipschitz bounds of networks, layer by layer, beside Table 5 of Szegedy et al. (2013).

For each layer the operator norm and the constants of activation, normalisation and pooling, and the
product over all layers: an upper bound of ‖f(x) − f(x')‖ / ‖x − x'‖ for the logits f. Beside these,
norms of Jacobians at images: no Lipschitz constant is less.
"""

import dataclasses
import functools
from pathlib import Path

from jaxadv.measures.stability import jacobian_norms
from jaxadv.networks import layer_bounds
from jaxadv.reports import stability as report
from jaxadv.reports.publish import publish
from jaxadv.runs import command, networks
from jaxadv.runs.console import progress_bars
from jaxadv.runs.record import Clock, record


@dataclasses.dataclass(frozen=True)
class Config(networks.Settings):
    """Settings of the experiment."""

    out: Path = Path("results/stability")


def run(config: Config) -> None:
    """Runs the experiment, prints its tables and writes its files."""
    clock = Clock()
    with clock.stage("networks"):
        given = networks.load(config)
    with clock.stage("norms"), progress_bars() as bars:
        models = [_figures(config, bars, name, *each) for name, each in given.items()]
    figures = {"models": models} | record(config, clock)
    publish(config.out, "stability", figures, report.texts(figures), "Tables are")


def _figures(config, bars, name, network, params):
    """What is said about a network; a bar shows what is done for it."""
    task = bars.add_task(f"bounds of {name}", total=None)
    bounds = layer_bounds(network, params)
    images = networks.some_images(config, network.input_shape)
    if len(images):
        bars.update(task, total=len(images), description=f"compiling {name}")

    def progress(count):
        bars.update(task, advance=count, description=f"Jacobians of {name}")

    norms = jacobian_norms(network, params, images, progress=progress)
    return report.model_figures(name, params, bounds, norms)


main = functools.partial(command.main, networks.check, run, Config)

if __name__ == "__main__":
    command.leave(main())
