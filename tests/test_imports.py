"""Which modules import what: optional weight stays where it belongs, and there are no circles."""

import ast
import importlib
import subprocess
import sys
from importlib import metadata
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
FOLDERS_MAY_NOT = {"PIL", "grain", "jaxopt", "matplotlib", "tensorflow", "tensorflow_datasets"}
HEAVY = FOLDERS_MAY_NOT | {"flax", "optax", "orbax", "scipy"}


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
        (
            "flax",
            {
                *("networks/inverted_residual.py", "networks/layers.py", "networks/local.py"),
                "zoo/kept.py",
            },
        ),
        ("grain", {"datasets/reading.py"}),
        ("orbax", {"storage/checkpoints.py"}),
        ("jaxopt", {"solvers/lbfgsb.py"}),
        ("tyro", {"runs/arguments.py"}),
        ("rich", {"runs/console.py", "runs/command.py", "reports/tables.py"}),
        ("PIL", {"datasets/images.py", "reports/page/gallery.py"}),
        ("matplotlib", {"reports/page/charts.py", "reports/pictures.py"}),
        ("jinja2", {"reports/page/__init__.py"}),
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
    assert {name for name in used if folder(name) in above} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("measures/")])
def test_measures_print_nothing_and_take_no_settings(module):
    assert not {name for name in imports(MODULES[module]) if name.startswith("jaxadv.runs")}
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names = {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "arg", None)}
        assert not names & {"print", "console", "Settings", "Config"}


def lengths(path):
    """Lines of a file, and of each of its functions."""
    text = path.read_text(encoding="utf-8")
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    return len(text.splitlines()), [n.end_lineno - n.lineno + 1 for n in functions]


def test_files_and_functions_are_short():
    """Commands in 90 lines, files in 300, and nine functions in ten in 30."""
    functions = []
    for module, path in MODULES.items():
        lines, found = lengths(path)
        assert lines <= (90 if folder(module) == COMMANDS else 300), module
        functions += found
    assert sum(length <= 30 for length in functions) >= 0.9 * len(functions)


def loaded_by(program):
    """The top-level modules that are loaded after a program has run in a fresh process."""
    program = f"import sys\n{program}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-W", "error", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"sys", "jax", "jaxadv"} <= set(found)
    return set(found)


def test_import_is_light():
    assert not HEAVY & loaded_by("import jaxadv; jaxadv.minimal_adversarial; jaxadv.__version__")


def test_folders_are_reachable_and_light():
    names = ", ".join(f"jaxadv.{name}" for name in FOLDERS)
    program = f"import jaxadv, jaxadv.reports.transfer; {names}"  # which draws when it is asked to
    assert not FOLDERS_MAY_NOT & loaded_by(program)


@pytest.mark.parametrize("name", FOLDERS)
def test_names_that_a_folder_lists_are_there(name):
    package = importlib.import_module(f"jaxadv.{name}")
    assert package is getattr(jaxadv, name)
    assert package.__doc__
    for public in getattr(package, "__all__", ()):
        assert hasattr(package, public), public


def test_names_of_the_package():
    assert jaxadv.__version__ == metadata.version("jaxadv")
    assert {*FOLDERS, *jaxadv.__all__} <= set(dir(jaxadv))
    with pytest.raises(AttributeError, match="'jaxadv' has no attribute 'nothing'"):
        jaxadv.nothing  # noqa: B018


def test_only_a_solver_loads_jaxopt():
    assert "jaxopt" not in loaded_by("import jaxadv.solvers, jaxadv.attacks.stored")
    assert "jaxopt" in loaded_by("from jaxadv.solvers import LBFGSB")
