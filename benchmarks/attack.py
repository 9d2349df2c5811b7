"""`minimal_adversarial` against its peers, on the same images, targets and weights.

    pip install -e '.[bench]' && pip install --no-deps adv-lib
    python benchmarks/attack.py --cores 0

The claim, at default options on the networks for MNIST: our attack finds smaller distortions than
the best of its peers, adv-lib's PDGD with 500 gradients, for more images per second on the same
cores.

The peers are those of adv-lib and Foolbox on torch, and SciPy's L-BFGS-B, image by image; attacks
that would take too long are run on the first few of the images, or not at all on EfficientNet-Lite0
and its photographs, those that take less than five seconds more than once. On FC100-100-10 they run
untargeted, too. Everything runs in one process, which keeps to the given cores. The tables and the
picture go into `--out`; what their columns mean stands below the tables.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import attack_report as report
import common
import jax
import numpy as np
import peers
import problems
from attack_report import OURS, QUICK, Measured
from peers import Attack, Outcome
from problems import Problems

from jaxadv import AttackOptions, all_targets, minimal_adversarial, untargeted
from jaxadv.attacks.results import AttackResult
from jaxadv.measures import robust_accuracy
from jaxadv.runs import command
from jaxadv.runs.console import console, progress_bars
from jaxadv.runs.settings import check_count

WIDTH = 175  # of the tables, in characters, where the terminal has fewer
TIMED = 5.0  # seconds of runs, at least: the median of short ones, where the machine's speed varies
ON_PHOTOGRAPHS = (
    *(OURS, QUICK),
    *(f"adv-lib {name}" for name in ("PDGD 500", "DDN 100", "FMN 100")),
)


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    networks: tuple[str, ...] = problems.NETWORKS
    """Networks to attack."""
    fc_images: int = 1000
    """Training images to attack FC100-100-10 on."""
    cnn_images: int = 200
    """Training images to attack the CNN on."""
    lenet_images: int = 100
    """Training images to attack LeNet-5 on."""
    photographs: int = 10
    """Photographs to attack EfficientNet-Lite0 on, each twice."""
    lbfgsb_images: int = 64
    """At most so many for our solver lbfgsb."""
    scipy_images: int = 20
    """At most so many for SciPy."""
    slow: bool = False
    """Run Foolbox's Carlini & Wagner, too, with its 9,000 gradients."""


def run(config: Config) -> None:
    """Runs all attacks on all networks, prints the tables and writes the files."""
    common.pin(config.cores)
    jax.config.update("jax_enable_compilation_cache", False)  # compilations are measured
    if config.cores is not None:
        peers.use_threads(len(set(config.cores)))
    counts = config.fc_images, config.cnn_images, config.lenet_images, config.photographs
    by_name = dict(zip(problems.NETWORKS, counts, strict=True))
    results = {}
    for given in problems.of(config.networks, by_name, config):
        measured = {attack.name: measure(given, attack) for attack in attacks(given, config)}
        results[given.title] = report.figures(given, measured)
    tables = [report.as_table(name, rows) for name, rows in results.items()]
    report.draw(config.out / "attack.png", results)
    common.publish(config, "attack", {"attacks": results}, tables, WIDTH, report.LEGEND)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    names, known = config.networks, problems.NETWORKS
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"networks must be among {known}, each once, got {names}")
    for name in ("fc_images", "cnn_images", "lenet_images", "lbfgsb_images", "scipy_images"):
        check_count(name, getattr(config, name), config.info.examples["train"])
    check_count("photographs", config.photographs, problems.RECOGNISED)
    common.check(config)


def attacks(given: Problems, config: Config) -> list[Attack]:
    """Ours, and of the peers those that can be imported; names the others."""
    model, targeted = given.model, given.targeted
    network, params = model.network, model.params
    logits = jax.jit(network.logits)

    def classify(x):
        with jax.default_matmul_precision("highest"):  # as the attack
            return np.asarray(logits(params, x)).argmax(axis=1)

    def ours(name, attack, images=None):
        def run(x, classes, progress=None):
            result = attack(x, classes, progress=progress)
            return Outcome(result.x_adv, float(result.evaluations.mean()), result.utilisation)

        # Of images whose class is the target, there is nothing to do but to compile.
        return Attack(name, run, lambda x, _: run(x, done(x)), classify, images)

    attack: Callable[..., AttackResult] = minimal_adversarial if targeted else untargeted

    def call(x, target, **options):
        return attack(network.logits, params, x, target, **options)

    def done(x):
        return classify(x) if targeted else (classify(x) + 1) % config.info.classes

    libraries, missing = peers.torch_attacks(model.layered, params, config.slow, targeted)
    if missing:
        console.print(f"Skipped, as it cannot be imported: {'; '.join(missing)}")
    if not targeted:
        return [
            ours(OURS, call),
            ours("ours, all classes", functools.partial(nearest_of_all, network.logits, params)),
            *libraries,
        ]
    found = [
        ours(OURS, call),
        ours(QUICK, functools.partial(call, options=AttackOptions.quick())),
        ours("ours, thorough", functools.partial(call, options=AttackOptions.thorough())),
        ours("ours, paper's loss", functools.partial(call, options=AttackOptions.paper())),
        *libraries,
        ours(
            "ours, lbfgsb",
            functools.partial(call, options=AttackOptions(solver="lbfgsb")),
            config.lbfgsb_images,
        ),
        peers.scipy_attack(model.layered, params, classify, config.scipy_images),
    ]
    few = given.title == problems.LITE
    return [attack for attack in found if not few or attack.name in ON_PHOTOGRAPHS]


def nearest_of_all(logits_fn, params, x, label, progress=None) -> AttackResult:
    """The smallest distortion of attacks towards every class, with the gradients of all."""
    found = all_targets(logits_fn, params, x, progress=progress)
    names = "target", "distortion", "success", "status"
    target, *others = (getattr(found, name) for name in names)
    nearest = np.arange(len(x)), robust_accuracy.nearest(target, label, *others)
    smallest = AttackResult(*(array[nearest] for array in found))
    return smallest._replace(evaluations=found.evaluations.sum(axis=1), cost=found.cost.sum(axis=1))


def measure(given: Problems, attack: Attack) -> Measured:
    """Runs an attack on its share of the images, more than once if that takes little time."""
    x, classes = given.x[: attack.images], given.classes[: attack.images]
    jax.clear_caches()  # else an attack that shares its program with another compiles nothing
    attack.classify(x)
    start = time.perf_counter()
    attack.warm_up(x, classes)
    # An untargeted attack is at work on other classes even where x is misclassified.
    compilation = time.perf_counter() - start if given.targeted else None
    runs = []
    with progress_bars() as bars:
        task = bars.add_task(f"{given.title}: {attack.name}", total=len(x))
        while True:
            start = time.perf_counter()
            outcome = attack.run(x, classes, lambda count: bars.advance(task, count))
            runs.append(time.perf_counter() - start)
            if sum(runs) >= TIMED:
                break
            bars.reset(task)
    single = [attack.classify(image[None])[0] for image in outcome.x_adv]
    success = {
        "batch": (attack.classify(outcome.x_adv) == classes) == given.targeted,
        "single": (np.array(single) == classes) == given.targeted,
    }
    return Measured(outcome, success, float(np.median(runs)), compilation)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
