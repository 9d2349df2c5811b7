"""Which modules import what: optional weight stays where it belongs, and there are no circles."""

import ast
from pathlib import Path

import pytest

import jaxadv

ROOT = Path(jaxadv.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
LAYERS = (
    *("paper", "cache", "models", "alexnet", "weights", "spectral", "lipschitz", "datasets"),
    *("solvers", "attacks", "training", "zoo"),
    *("transfer", "robustness", "activations", "perturbations", "lower_bounds"),
    *("report", "pictures", "command", "experiment", "transfer_report", "units_report"),
    *("transfer_table", "cross_training", "units", "density"),
    *("stability", "certificates", "control"),
)


def imports(path):
    """Dotted names of all that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "package, importers",
    [
        ("tensorflow_datasets", {"datasets.py"}),
        ("flax", {"models.py", "alexnet.py", "zoo.py"}),
        ("jaxopt", {"solvers/lbfgsb.py"}),
        ("tyro", {"command.py"}),
        ("rich", {"command.py", "report.py"}),
        ("matplotlib", {"pictures.py"}),
        ("tensorflow", set()),
    ],
)
def test_who_imports_a_package(package, importers):
    names = {module: imports(path) for module, path in MODULES.items()}
    assert importers == {
        module for module, used in names.items() if any(n.split(".")[0] == package for n in used)
    }


def test_zoo_imports_of_flax_only_what_flattens_dicts():
    used = {name for name in imports(MODULES["zoo.py"]) if name.startswith("flax")}
    assert used == {"flax.traverse_util"}


def test_every_module_has_its_layer():
    found = {module.removesuffix(".py").split("/")[0] for module in MODULES}
    assert found - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__.py"])
def test_no_module_imports_from_above_itself(module):
    level = LAYERS.index(module.removesuffix(".py").split("/")[0])
    used = {n.split(".")[1] for n in imports(MODULES[module]) if n.startswith("jaxadv.")}
    assert {name for name in used if LAYERS.index(name) > level} == set()
