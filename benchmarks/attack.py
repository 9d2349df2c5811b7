"""`minimal_adversarial` against its peers, on the same images, targets and weights.

    pip install -e '.[bench]' && pip install --no-deps adv-lib
    python benchmarks/attack.py --cores 0

The claim, at default options on both networks: our attack finds smaller distortions than the best
of its peers, adv-lib's PDGD with 500 gradients, for more images per second on the same cores.

The peers are those of adv-lib and Foolbox on torch, and SciPy's L-BFGS-B, image by image; attacks
that would take too long are run on the first few of the images. Everything runs in one process,
which keeps to the given cores. The tables and the picture go into `--out`; what their columns mean
stands below the tables.
"""

import dataclasses
import functools
import itertools
import os
import sys
import time
from importlib import metadata
from pathlib import Path

import jax
import matplotlib.figure
import numpy as np
import peers
from gradients import gradient_seconds
from peers import Attack, Outcome
from rich.console import Console

from jaxadv import AttackOptions, minimal_adversarial, untargeted, zoo
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import CLASSES
from jaxadv.reports import tables as report
from jaxadv.runs import console as command
from jaxadv.storage import cache

REFERENCE = "adv-lib PDGD 500"
OURS = "ours"
MARKERS = "*oDs^vPX<>"
WIDTH = 125  # of the tables, in characters, where the terminal has fewer
HEADER = (
    "attack",
    "images",
    "success (batch, single, float64)",
    "mean RMS",
    "median RMS",
    "mean ‖r‖ / mean best",
    "optimality",
    "gradients",
    "images/s",
    "× PDGD 500",
    "compile s",
    "bare gradients",
    "utilisation",
)
LEGEND = """\
images: the first of the training images; fewer for slow attacks, whose figures are of those alone.
success: per cent classified as the target, all at once and one by one by the network that was
attacked, and in float64. RMS and ratio are of the images that succeed all at once.
RMS: root mean square of r = x_adv − x over the pixels.
mean ‖r‖ / mean best: both over the images that the attack ran on and solved; the best is the
smallest ‖r‖ that any attack of the table found for the image.
optimality: AttackBench's (arXiv 2404.19460): 1 for the best of every image; failures cost most.
gradients: of the network, per image.
images/s: without compilation.
compile s: a call of the same shapes whose targets are reached already.
bare gradients: seconds per image, in those of a gradient of the network alone within a jitted loop,
as many images side by side as our attack takes.
utilisation: of the gradients computed, the share that was for images not yet done with.
The attacks to the paper's loss are c‖r‖² + cross-entropy, by descents alone."""


@dataclasses.dataclass(frozen=True)
class Common:
    """Settings that the benchmarks share."""

    cores: tuple[int, ...] | None = (0,)
    """CPU cores to run on; None for the devices that JAX and torch choose, as on an accelerator."""
    seed: int = 0
    """Seed of the weights and the targets."""
    out: Path = Path("results/benchmark")
    """Directory for the tables and the picture."""
    data_dir: Path | None = None
    """Directory of the data sets; by default that of tensorflow-datasets."""
    cache_dir: Path = cache.DEFAULT_DIRECTORY
    """Directory of trained weights."""


@dataclasses.dataclass(frozen=True)
class Config(Common):
    """Settings of the benchmark."""

    fc_images: int = 1000
    """Training images to attack FC100-100-10 on."""
    cnn_images: int = 200
    """Training images to attack the CNN on."""
    lbfgsb_images: int = 64
    """At most so many for our solver lbfgsb."""
    scipy_images: int = 20
    """At most so many for SciPy."""
    slow: bool = False
    """Run Foolbox's Carlini & Wagner, too, with its 9,000 gradients."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return command.main(run, Config, argv)


def run(config: Config) -> None:
    """Runs all attacks on both networks, prints the tables and writes the files."""
    check(config)
    pin(config.cores)
    splits = datasets.load("mnist", data_dir=config.data_dir)
    results = {}
    for name, images, targeted in (
        ("FC100-100-10", config.fc_images, True),
        ("FC100-100-10", config.fc_images, False),
        ("CNN", config.cnn_images, True),
    ):
        model = load(name, splits, config)
        x, labels = (array[:images] for array in splits["train"])
        classes = wrong_targets(labels, CLASSES, config.seed) if targeted else labels
        title = name if targeted else f"{name}, untargeted"
        outcomes, seconds = {}, {}
        for attack in attacks(model, config, targeted):
            measured = measure(title, attack, x, classes, targeted)
            outcomes[attack.name], seconds[attack.name] = measured
        results[title] = figures(model, x, classes, targeted, outcomes, seconds)
    tables = [as_table(name, rows) for name, rows in results.items()]
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }
    content = {"attacks": results, "settings": settings} | environment()
    report.write_json(config.out / "attack.json", content)
    body = "\n".join(table.markdown() for table in tables)
    report.write_text(config.out / "attack.md", f"{body}\n```\n{LEGEND}\n```\n")
    draw(config.out / "attack.png", results)
    console = Console(width=max(WIDTH, command.console.width))
    console.print(*(table.rich() for table in tables), LEGEND, sep="\n", highlight=False)
    console.print(f"Tables and picture are in {config.out}/.")


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    check_cores(config.cores)
    size = datasets.SPLITS["train"].num_examples
    for name in ("fc_images", "cnn_images", "lbfgsb_images", "scipy_images"):
        if not 1 <= getattr(config, name) <= size:
            raise ValueError(f"{name} must be from 1 to {size}, got {getattr(config, name)}")
    command.check_writable(config.out)
    command.check_writable(config.cache_dir)


def check_cores(cores: tuple[int, ...] | None) -> None:
    """Raises ValueError for cores that this process may not run on."""
    available = os.sched_getaffinity(0)
    if cores is not None and not (cores and set(cores) <= available):
        raise ValueError(f"cores must be among {sorted(available)}, got {cores}")


def pin(cores: tuple[int, ...] | None) -> None:
    """Keeps the process to the cores: begins it anew, so that no thread started before them."""
    if cores is None:
        return
    if os.sched_getaffinity(0) != set(cores):
        os.sched_setaffinity(0, cores)
        os.execv(sys.executable, sys.orig_argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", len(set(cores)))
    peers.use_threads(len(set(cores)))


def load(name: str, splits: dict[str, datasets.Dataset], config: Common) -> zoo.Model:
    """Reads the network's weights, or trains it."""
    with command.progress_bars() as bars:
        task = bars.add_task(f"training {name}", total=100)
        model = zoo.load(
            name,
            splits,
            config.seed,
            datasets.info("mnist"),
            cache_dir=config.cache_dir,
            progress=lambda done: bars.update(task, completed=100 * done),
        )
        bars.update(task, completed=100)
    command.console.print(f"{name}: {100 * model.test_error:.2f} % test error")
    return model


def attacks(model: zoo.Model, config: Config, targeted: bool) -> list[Attack]:
    """Ours, and of the peers those that can be imported; names the others."""
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

    if targeted:
        call = functools.partial(minimal_adversarial, network.logits, params)
        done = classify
    else:
        call = functools.partial(untargeted, network.logits, params)
        done = lambda x: (classify(x) + 1) % CLASSES  # noqa: E731

    libraries, missing = peers.torch_attacks(network, params, config.slow, targeted)
    if missing:
        command.console.print(f"Skipped, as it cannot be imported: {'; '.join(missing)}")
    if not targeted:
        return [
            ours(OURS, call),
            ours("ours, all classes", functools.partial(call, classes=CLASSES - 1)),
            *libraries,
        ]
    return [
        ours(OURS, call),
        ours("ours, quick", functools.partial(call, options=AttackOptions.quick())),
        ours("ours, 3 rounds", functools.partial(call, options=AttackOptions(smoothing_rounds=3))),
        ours("ours, paper's loss", functools.partial(call, options=AttackOptions.paper())),
        *libraries,
        ours(
            "ours, lbfgsb",
            functools.partial(call, options=AttackOptions(solver="lbfgsb")),
            config.lbfgsb_images,
        ),
        peers.scipy_attack(network, params, classify, config.scipy_images),
    ]


def measure(
    title: str, attack: Attack, x: np.ndarray, classes: np.ndarray, targeted: bool
) -> tuple[dict, dict[str, float]]:
    """Runs an attack on its share of the images.

    Returns:
      The outcome and its success, all at once and one by one, and the seconds that it took.
    """
    x, classes = x[: attack.images], classes[: attack.images]
    start = time.perf_counter()
    attack.warm_up(x, classes)
    # An untargeted attack is at work on other classes even where x is misclassified.
    compilation = time.perf_counter() - start if targeted else None
    with command.progress_bars() as bars:
        task = bars.add_task(f"{title}: {attack.name}", total=len(x))
        start = time.perf_counter()
        outcome = attack.run(x, classes, lambda count: bars.advance(task, count))
        seconds = time.perf_counter() - start
    single = [attack.classify(image[None])[0] for image in outcome.x_adv]
    success = {
        "batch": (attack.classify(outcome.x_adv) == classes) == targeted,
        "single": (np.array(single) == classes) == targeted,
    }
    return {"outcome": outcome, "success": success}, {"compile": compilation, "run": seconds}


def figures(
    model: zoo.Model,
    x: np.ndarray,
    classes: np.ndarray,
    targeted: bool,
    results: dict,
    seconds: dict,
) -> dict[str, dict]:
    """The table's figures: attack -> column -> value."""
    distances = {}
    for name, result in results.items():
        x_adv = result["outcome"].x_adv
        rms = np.sqrt(np.mean((np.float64(x_adv) - x[: len(x_adv)]) ** 2, axis=(1, 2, 3)))
        distances[name] = np.where(result["success"]["batch"], rms, np.inf)
    padded = [np.pad(d, (0, len(x) - len(d)), constant_values=np.inf) for d in distances.values()]
    best = np.min(padded, axis=0)
    gradient = gradient_seconds(model, x)
    rows = {}
    for name, result in results.items():
        outcome, distance = result["outcome"], distances[name]
        count, solved = len(distance), np.isfinite(distance)
        known = best[:count]
        rate = count / seconds[name]["run"]
        double = (float64_classes(model, outcome.x_adv) == classes[:count]) == targeted
        success = result["success"] | {"float64": double}
        rows[name] = {
            "images": count,
            "success": {how: float(np.mean(values)) for how, values in success.items()},
            "mean_rms": float(distance[solved].mean()) if solved.any() else None,
            "median_rms": float(np.median(distance[solved])) if solved.any() else None,
            "ratio": float(distance[solved].mean() / known[solved].mean())
            if solved.any()
            else None,
            "optimality": optimality(distance, known),
            "gradients": outcome.gradients,
            "images_per_second": rate,
            "compile_seconds": seconds[name]["compile"],
            "bare_gradients": 1 / rate / gradient if name.startswith(OURS) else None,
            "utilisation": outcome.utilisation
            if np.isfinite(outcome.utilisation or np.nan)
            else None,
        }
    reference = rows.get(REFERENCE, {}).get("images_per_second")
    for row in rows.values():
        row["relative_speed"] = reference and row["images_per_second"] / reference
    return rows


def optimality(distance: np.ndarray, best: np.ndarray) -> float | None:
    """Local optimality of AttackBench, arXiv 2404.19460: of the area that can be won, the part won.

    The area is that under the share of images that withstand a distortion, up to the largest of
    the best; that is the mean of the distances, clipped there.

    Args:
      distance: (N,) of the attack, ∞ where it failed.
      best: (N,) of the best attack for each image.
    """
    if not np.isfinite(best).any():
        return None
    limit = best[np.isfinite(best)].max()
    area, best_area = np.minimum(distance, limit).mean(), np.minimum(best, limit).mean()
    most = limit * np.mean(best > 0)
    return float(1 - (area - best_area) / (most - best_area)) if most > best_area else None


def float64_classes(model: zoo.Model, x: np.ndarray) -> np.ndarray:
    """(N, …) images -> (N,) classes, all in float64."""
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, model.params)
        logits = jax.jit(model.network.logits)(params, np.float64(x))
        assert logits.dtype == np.float64
        return np.asarray(logits).argmax(axis=1)


def as_table(name: str, rows: dict[str, dict]) -> report.Table:
    """The figures of one network."""

    def text(value, spec):
        return "–" if value is None else format(value, spec)

    return report.Table(
        f"Attacks on {name}",
        HEADER,
        [
            (
                attack,
                str(row["images"]),
                " ".join(f"{100 * share:.4g}" for share in row["success"].values()),
                text(row["mean_rms"], ".5f"),
                text(row["median_rms"], ".5f"),
                text(row["ratio"], ".4f"),
                text(row["optimality"], ".4f"),
                text(row["gradients"], ".0f"),
                text(row["images_per_second"], ".3g"),
                text(row["relative_speed"], ".3g"),
                text(row["compile_seconds"], ".1f"),
                text(row["bare_gradients"], ".0f"),
                text(row["utilisation"], ".3f"),
            )
            for attack, row in rows.items()
        ],
    )


def draw(path: Path, results: dict[str, dict[str, dict]]) -> None:
    """Draws, for each network, how far from the best and how slow the attacks are."""
    figure = matplotlib.figure.Figure(figsize=(4.5 * len(results) + 2.5, 4.5), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    mine = [name for name in names if name.startswith(OURS)]
    others = [name for name in names if name not in mine]
    styles = dict(zip(mine, itertools.product(["tab:red"], MARKERS), strict=False))
    styles |= dict(zip(others, itertools.product(["tab:blue"], MARKERS), strict=False))
    drawn = {}
    for axes, (title, rows) in zip(panels, results.items(), strict=True):
        axes.set(title=title, xlabel="seconds per image", ylabel="mean ‖r‖ / mean best − 1")
        axes.set(xscale="log", yscale="log")
        axes.margins(0.15, 0.15)
        axes.grid(alpha=0.3)
        for name, row in rows.items():
            if row["ratio"] is None:
                continue
            seconds, excess = 1 / row["images_per_second"], max(row["ratio"] - 1, 1e-5)
            color, marker = styles[name]
            filled = color if row["success"]["batch"] > 0.99 else "none"
            drawn[name] = axes.plot(
                *(seconds, excess, marker), color=color, markerfacecolor=filled, markersize=8
            )[0]
    names = [name for name in (*mine, *others) if name in drawn]
    figure.legend(
        [drawn[name] for name in names],
        names,
        title="hollow: success below 99 %",
        loc="outside right upper",
    )
    with cache.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def environment() -> dict:
    """What the figures may depend on."""
    installed = {package.metadata["Name"]: package.version for package in metadata.distributions()}
    content = report.environment()
    for package in ("torch", "adv-lib", "foolbox", "scipy"):
        content["versions"][package] = installed.get(package)
    return content


if __name__ == "__main__":
    sys.exit(main())
