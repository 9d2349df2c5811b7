"""Adversarial examples for photographs: figures, tables and Figure 5."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxadv.measures.photographs import Attacked, Fed, Problems
from jaxadv.measures.robustness import LEVELS
from jaxadv.measures.statistics import bootstrap_mean, summary
from jaxadv.reports import paper, pictures
from jaxadv.reports.tables import Figures, Table, decimals, percent, run_of
from jaxadv.storage import npz
from jaxadv.storage.errors import printable

PAPER, OSTRICH = "AlexNet, the paper's", "ostrich"
NAMED = 5  # photographs at most, in a note
ROWS = 4  # photographs in the picture
TOP = 5  # classes among which the right one is to be


def accuracies(
    ranks: Mapping[str, np.ndarray], sides: Sequence[int], photographs: Sequence[str]
) -> list[dict[str, Any]]:
    """How often networks recognise photographs, by name; see `measures.photographs.ranks`."""
    return [
        {
            "name": name,
            "side": side,
            "photographs": len(found),
            "top_1": float(np.mean(found == 0)),
            "top_5": float(np.mean(found < TOP)),
            "misclassified": [
                printable(name) for name, rank in zip(photographs, found, strict=True) if rank
            ],
        }
        for (name, found), side in zip(ranks.items(), sides, strict=True)
    ]


def distortions(
    results: Sequence[Attacked],
    problems: Problems,
    survived: Sequence[Bool[np.ndarray, "factors 2 P"]],
    target: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Of each network, towards random classes and towards that target, means over successes."""
    kinds = {"random": problems.random, target: ~problems.random}
    return [
        {"name": attacked.model.name, "targets": kind, "problems": int(chosen.sum())}
        | _distortion(attacked.found, chosen, seed)
        | {"taken_for_target": taken[:, :, chosen].mean(axis=2).tolist()}
        for attacked, taken in zip(results, survived, strict=True)
        for kind, chosen in kinds.items()
        if chosen.any()
    ]


def _distortion(found, chosen, seed):
    """Of the chosen problems."""
    rms = found.distortion[chosen & found.success]
    mean = summary(np.mean, rms)
    return {
        "distortion": mean,
        "distortion_interval": summary(functools.partial(bootstrap_mean, seed=seed), rms),
        "l2": None if mean is None else mean * found.x_adv[0].size ** 0.5,
        "steps": None if mean is None else mean * LEVELS,
        "success_rate": float(found.success[chosen].mean()),
        "evaluations": float(found.evaluations[chosen].mean()),
    }


def each(
    results: Sequence[Attacked], problems: Problems, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Every problem of every network, and what was found for it.

    Args:
      results: of the networks.
      problems: that were attacked.
      names: of the photographs attacked.
    """
    return [
        {
            "network": attacked.model.name,
            "photograph": names[problems.photograph[at]],
            "label": int(problems.label[at]),
            "target": int(problems.target[at]),
            "success": bool(attacked.found.success[at]),
            "distortion": float(attacked.found.distortion[at]),
            "evaluations": int(attacked.found.evaluations[at]),
        }
        for attacked in results
        for at in range(len(problems.target))
    ]


def fed(rows: Mapping[str, Fed], columns: Sequence[str]) -> dict[str, Any]:
    """What networks make of examples for others; see `measures.photographs.transfer`."""
    listed = [{"name": name} | row._asdict() for name, row in rows.items()]
    return {"columns": list(columns), "rows": listed}


def texts(figures: Figures) -> list[Table | str]:
    """All tables, and what they were made from."""
    tables = accuracy_table, distortion_table, rounding_table, transfer_table
    return [*(table(figures) for table in tables), note(figures)]


def accuracy_table(figures: Figures) -> Table:
    """How often networks recognise the photographs."""
    rows = [
        [
            row["name"],
            *(str(row["side"]), str(row["photographs"])),
            *(percent(row["top_1"]), percent(row["top_5"])),
        ]
        for row in figures["accuracy"]
    ]
    header = ["network", "pixels a side", "photographs", "top 1 %", f"top {TOP} %"]
    return Table("Photographs recognised", header, rows)


def distortion_table(figures: Figures) -> Table:
    """Mean minimum distortions, in three units, and the paper's."""
    rows = [
        [
            *(row["name"], row["targets"]),
            *(decimals(row["distortion"], 5), decimals(row["l2"], 3), decimals(row["steps"], 2)),
            *(percent(row["success_rate"]), f"{row['evaluations']:.0f}"),
        ]
        for row in figures["distortions"]
    ]
    steps = decimals(LEVELS * paper.IMAGENET, 2)
    if figures["target"] == OSTRICH:
        rows.append([PAPER, OSTRICH, decimals(paper.IMAGENET, 5), "–", steps, "–", "–"])
    header = ["network", "target", "RMS", "ℓ2", "RMS · 255", "success %", "gradients"]
    return Table("Average minimum distortion", header, rows)


def rounding_table(figures: Figures) -> Table:
    """How often examples are taken for the target, and after rounding, at and beyond r."""
    header = ["network", "target"]
    for factor in figures["settings"]["amplifications"]:
        header += [f"{factor:g} r", f"{factor:g} r (8 bits)"]
    rows = [
        [row["name"], row["targets"], *map(percent, np.ravel(row["taken_for_target"]).tolist())]
        for row in figures["distortions"]
    ]
    return Table("Taken for the target (%), also after rounding to 8 bits", header, rows)


def transfer_table(figures: Figures) -> Table:
    """What the column's network makes of examples for the row's."""
    rows = []
    for row in figures["transfer"]["rows"]:
        pairs = zip(row["wrong"], row["target"], strict=True)
        cells = [f"{percent(wrong)} / {percent(target)}" for wrong, target in pairs]
        rows.append([row["name"], *cells, decimals(row["distortion"], 5)])
    title = "Fed to each network: taken for a wrong class / for the target (%)"
    return Table(title, ["made for", *figures["transfer"]["columns"], "RMS"], rows)


def note(figures: Figures) -> str:
    """What the tables were made from, and how to read them."""
    number, name = str(figures["settings"]["target"]), figures["target"]
    named = "" if name == number else f" ({name})"
    return (
        f"{figures['images']} of {figures['dataset']}, which all networks recognise, each towards a"
        f" random class and towards class {number}{named}."
        " For another network, differences are resized (bicubic), keep their RMS, and are added to"
        " the photograph as that network sees it."
        f"{_misclassified(figures)} Run with {run_of(figures)}"
    )


def _misclassified(figures):
    """The photographs that each network takes for another class, which is why they are left out."""
    said = ""
    for row in figures["accuracy"]:
        if names := row["misclassified"]:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            said += f" {row['name']} misclassifies {', '.join(names[:NAMED])}{more}."
    return said


def write_examples(
    directory: Path,
    results: Sequence[Attacked],
    problems: Problems,
    photographs: Sequence[str],
    classes: Sequence[str],
) -> None:
    """Writes adversarial.npz, and the picture of the first network's examples.

    Args:
      directory: to write into.
      results: of the networks.
      problems: that were attacked.
      photographs: names of the files attacked.
      classes: names of the classes.
    """
    names = np.array(photographs)[problems.photograph]
    arrays = {"photographs": names, "labels": problems.label, "targets": problems.target}
    for model, _, found in results:
        arrays |= {f"{model.name}/images": found.x_adv, f"{model.name}/success": found.success}
    parts = {name: npz.Parts(a.shape, a.dtype, [a]) for name, a in arrays.items()}
    npz.write_arrays(directory / "adversarial.npz", parts)
    _draw(directory / "imagenet.png", results[0], problems, classes)


def _draw(path, attacked, problems, classes):
    """A photograph per line, towards the class for all and towards a random one."""
    x, found = attacked.x, attacked.found

    def drawn(at):
        after = classes[problems.target[at]] if found.success[at] else "no success"
        return x[at], found.x_adv[at], classes[problems.label[at]], after

    by_photograph = [np.flatnonzero(problems.photograph == n)[::-1] for n in range(ROWS)]
    complete = [pair for pair in by_photograph if len(pair) == 2]
    rows = [list(map(drawn, pair)) for pair in complete or by_photograph[:1]]
    pictures.magnified_differences(path, rows, _factor(found.x_adv - x))


def _factor(r):
    """With which all but the largest of the differences stay in a picture, of one digit."""
    largest = float(np.quantile(np.abs(r), 0.999)) or 1.0
    factor = 0.5 / largest
    power = 10.0 ** np.floor(np.log10(factor))
    return float(max(1.0, power * np.floor(factor / power)))
