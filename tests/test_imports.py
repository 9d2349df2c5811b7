"""Which modules import what: optional weight stays where it belongs, and there are no circles."""

import ast
from pathlib import Path

import pytest

import jaxadv

ROOT = Path(jaxadv.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
COMMANDS = "commands"
FOLDERS = (  # from the top down
    *("reports", "measures", "runs", "zoo", "training", "certify", "attacks"),
    *("models", "networks", "spectral", "solvers", "datasets", "storage"),
)
LEVELS = (COMMANDS, *FOLDERS)
UPWARD = {("runs/settings.py", "reports"), ("runs/settings.py", "measures")}  # to be mended


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
        ("tensorflow_datasets", {"datasets/tfds.py"}),
        ("flax", {"networks/layers.py", "zoo/kept.py"}),
        ("jaxopt", {"solvers/lbfgsb.py"}),
        ("tyro", {"runs/console.py"}),
        ("rich", {"runs/console.py", "reports/tables.py"}),
        ("matplotlib", {"reports/pictures.py"}),
        ("tensorflow", set()),
    ],
)
def test_who_imports_a_package(package, importers):
    names = {module: imports(path) for module, path in MODULES.items()}
    assert importers == {
        module for module, used in names.items() if any(n.split(".")[0] == package for n in used)
    }


def test_zoo_imports_of_flax_only_what_flattens_dicts():
    used = {name for name in imports(MODULES["zoo/kept.py"]) if name.startswith("flax")}
    assert used == {"flax.traverse_util"}


def folder(module):
    """The folder that a module, by path or dotted name, is in."""
    first, _, rest = module.replace("/", ".").removesuffix(".py").partition(".")
    return first if rest or first in FOLDERS else COMMANDS


def test_every_folder_has_its_level():
    assert {folder(module) for module in MODULES} == set(LEVELS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__.py"])
def test_no_module_imports_from_above_itself(module):
    used = {n.removeprefix("jaxadv.") for n in imports(MODULES[module]) if n.startswith("jaxadv.")}
    above = LEVELS[: LEVELS.index(folder(module))]
    upward = {(module, folder(name)) for name in used if folder(name) in above}
    assert upward == {edge for edge in UPWARD if edge[0] == module}
