"""`untargeted` in AttackBench (arXiv 2404.19460), beside the ℓ2 attacks of its library.

    pip install -e '.[attackbench]'
    pip install --no-deps attackbenchlib adv-lib cleverhans==4.0.0 torchattacks
    python benchmarks/attackbench.py --cores 0

AttackBench calls each attack with a torch module that has our weights, counts forward and backward
passes per image, stops answering after `--budget` of them, and takes the smallest distortion that
it was asked about. Nothing is downloaded: an attack is compared with the best of all that ran here.

Into `--out` go the table, and for each network what AttackBench returns for each attack, per image:
<network>.json holds distances, queries and hashes of the images, which any other attack on the same
images can be scored against, and <network>.npz the images and what the attacks made of them.
"""

import dataclasses
import functools
import math
import warnings
from pathlib import Path
from typing import Any

import common
import jax
import numpy as np
import peers
import problems

from jaxadv.reports import files
from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import console
from jaxadv.runs.settings import check_count
from jaxadv.storage import npz

HEADER = (
    *("attack", "success", "mean ℓ2", "median ℓ2", "optimality"),
    *("propagations", "most", "s per image"),
)
LEGEND = """\
success: per cent of the images whose class the returned image does not have.
ℓ2: the smallest distortion that the network was asked about, where there is one.
optimality: local, as AttackBench has it; the reference is the best of these attacks for each image.
propagations: forward and backward passes per image, as AttackBench counts them; and the most of any
image, of which the budget is a limit.
s per image: without what AttackBench takes itself; our attack calls torch from JAX, one image at a
time, and is compiled within that time."""
WIDTH = 110
PER_IMAGE = (
    "distances",
    "hashes",
    "num_forwards",
    "num_backwards",
    "adv_success",
    "correct",
    "metadata",
)


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    models: tuple[str, ...] = problems.TRAINED
    """Networks to attack."""
    images: int = 100
    """Test images to attack each on."""
    attacks: tuple[str, ...] = ()
    """Attacks of AttackBench to run beside ours, such as "adv_lib pdgd"; by default all."""
    budget: int = 2000
    """Forward and backward passes per image, after which there are no answers."""
    out: Path = Path("results/attackbench")
    """Directory for the table and the files per image."""


def run(config: Config) -> None:
    """Runs all attacks on all networks, prints the tables and writes the files."""
    common.pin(config.cores)
    from attackbench_bridge import minimum_norm_attacks, ours

    if config.cores is not None:
        peers.use_threads(len(set(config.cores)))
    attacks = {"jaxadv": ours(), **minimum_norm_attacks()}
    if unknown := set(config.attacks) - set(attacks):
        raise ValueError(f"attacks must be among {sorted(attacks)}, got {sorted(unknown)}")
    chosen = {name: attacks[name] for name in ("jaxadv", *(config.attacks or attacks))}
    splits, tables, rows = common.load_data(config), [], {}
    for name in config.models:
        model = common.load_model(name, splits, config)
        x, labels = splits["test"].part(slice(config.images))
        results = measure(model, x, labels, chosen, config)
        rows[name] = figures(results)
        write(config.out, name, results)
        tables.append(as_table(f"{name}, {config.images} images", rows[name]))
    common.publish(config, "attackbench", {"attackbench": rows}, tables, WIDTH, LEGEND)


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    names, known = config.models, problems.TRAINED
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"models must be among {known}, each once, got {names}")
    check_count("images", config.images, config.info.examples["test"])
    if config.budget < 2:
        raise ValueError(f"budget must be at least 2, got {config.budget}")
    common.check(config)


def measure(model, x, labels, attacks, config: Config) -> dict[str, dict[str, Any]]:
    """What AttackBench returns for each attack on the images."""
    import torch
    from attackbench_bridge import library
    from torch_network import torch_network

    network = torch_network(model.layered, model.params)
    data = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(np.int64(labels))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), len(x))
    results = {}
    for name, attack in attacks.items():
        jax.clear_caches()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries, as when the budget is used up
            results[name] = library().run_attack(
                *(network, loader, attack, "l2", next(network.parameters()).device),
                query_budget=config.budget,
                seed=config.seed,
                save_adversarial=True,
                dataset_name="mnist",
                model_name=model.name,
                attack_name=name,
            )
        failed = " and raised an error" if any(results[name]["batch_failures"]) else ""
        console.print(f"{model.name}: {name} is done{failed}")
    return results


def figures(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The table's figures: attack -> column -> value, the best attack first.

    Args:
      results: attack -> what AttackBench's `run_attack` returned for it.
    """
    from attackbench_bridge import library

    references = list(results.values())
    rows = {}
    for name, result in results.items():
        distances = np.array(result["distances"]["l2"])
        found = distances[np.isfinite(distances)]
        queries = np.array(result["num_forwards"]) + np.array(result["num_backwards"])
        scored = library().compute_local_optimality(result, references, use_wandb=False)
        rows[name] = {
            "success": float(np.mean(result["adv_success"])),
            "found": len(found) / len(distances),
            "mean_l2": float(found.mean()) if len(found) else None,
            "median_l2": float(np.median(found)) if len(found) else None,
            "optimality": None if math.isnan(scored["optimality"]) else scored["optimality"],
            "propagations": float(queries.mean()),
            "most_propagations": int(queries.max()),
            "seconds_per_image": sum(result["times"]) / len(distances),
            "raised": any(result["batch_failures"]),
        }
    best_first = sorted(rows, key=lambda name: rows[name]["optimality"] or 0, reverse=True)
    return {name: rows[name] for name in best_first}


def as_table(title: str, rows: dict[str, dict[str, Any]]) -> Table:
    """The figures of one network."""

    def text(value, spec):
        return "–" if value is None else format(value, spec)

    return Table(
        title,
        HEADER,
        [
            (
                name,
                "raised" if row["raised"] else text(100 * row["success"], ".4g"),
                *(text(row[key], ".4f") for key in ("mean_l2", "median_l2", "optimality")),
                *(text(row[key], ".0f") for key in ("propagations", "most_propagations")),
                text(row["seconds_per_image"], ".3f"),
            )
            for name, row in rows.items()
        ],
    )


def write(out: Path, name: str, results: dict[str, dict[str, Any]]) -> None:
    """Writes <name>.json and <name>.npz: each attack's result for each image.

    Distances that were never found are null in JSON, which has no infinity; the images are
    channels first.
    """

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    kept = {
        attack: {key: plain(result[key]) for key in PER_IMAGE} for attack, result in results.items()
    }
    files.write_json(out / f"{name}.json", {"attacks": kept})
    images = {attack: np.asarray(result["adv_inputs"]) for attack, result in results.items()}
    images["inputs"] = np.asarray(next(iter(results.values()))["inputs"])
    arrays = {key: npz.Parts(value.shape, value.dtype, [value]) for key, value in images.items()}
    npz.write_arrays(out / f"{name}.npz", arrays)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
