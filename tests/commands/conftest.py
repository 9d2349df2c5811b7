"""What the tests of all commands share: little data, small networks, attacks that compile once."""

import json

import pytest

from jaxadv import datasets, zoo
from jaxadv.networks import mlp
from jaxadv.runs import command
from jaxadv.training import Schedule, Supervised

# One network and one kind of attack, so that what XLA compiles serves all tests.
SMALL = zoo.Entry(mlp(20), Supervised((1e-5, 1e-6), Schedule(8, 100, 0.01)))
ATTACK = "--attack.c-steps 4 --attack.smoothing-steps 0 --attack.tol 3e-4 --attack.no-restart"


@pytest.fixture(scope="module")
def splits(mnist):
    """2,000 training images and 500 test images."""
    return {"train": mnist.part(slice(2000)), "test": mnist.part(slice(2000, 2500))}


@pytest.fixture(scope="module")
def little_data(splits):
    """Makes the small network part of the zoo, and little data all there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(zoo.ZOO, "small", SMALL)
        patch.setattr(datasets, "load", lambda name, split, data_dir: splits[split])
        patch.setattr(command, "use_all_cores", lambda: None)  # JAX has started
        yield patch


@pytest.fixture(scope="module")
def run(request, tmp_path_factory, little_data):
    """Runs the command that the module's `COMMAND` names; returns its figures.

    With `out` and `cache`, folders below `run.folder`, and options; before these come the
    module's `OPTIONS`, and where the command attacks, `ATTACK`. `run.command` returns the exit
    status instead.
    """
    module, folder = request.module, tmp_path_factory.mktemp(request.module.__name__)
    name = module.COMMAND.__name__.rpartition(".")[2]
    first = [*module.OPTIONS, *(ATTACK.split() if hasattr(module.COMMAND.Config, "attack") else ())]

    def command(*options, out="out", cache="cache"):
        directories = ["--out", str(folder / out), "--cache-dir", str(folder / cache)]
        return module.COMMAND.main([*first, *directories, *options])

    def run(*options, out="out", cache="cache"):
        assert command(*options, out=out, cache=cache) == 0
        return json.loads((folder / out / f"{name}.json").read_text(encoding="utf-8"))

    run.folder, run.command = folder, command
    return run


@pytest.fixture(scope="module")
def figures(run):
    """Of the module's command with its `OPTIONS`."""
    return run()


@pytest.fixture
def refused(request, tmp_path, monkeypatch, capsys):
    """Runs the module's command with bad settings before any work; returns the message."""

    def refused(options):
        monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: pytest.fail("worked"))
        monkeypatch.chdir(tmp_path)
        assert request.module.COMMAND.main(["--cache-dir", "cache", *options.split()]) == 2
        return capsys.readouterr().err

    return refused
