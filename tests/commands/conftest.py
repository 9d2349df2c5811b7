"""What the tests of all commands share: little data, small networks, attacks that compile once."""

import json
import sys

import pytest
from own_model import MODULE, PROGRAM, files

from jaxadv import datasets, generate, zoo
from jaxadv.networks import mlp
from jaxadv.runs import command, inputs
from jaxadv.storage.devices import called_on
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
        on_one = lambda devices, calls: called_on(devices[:1], calls)  # noqa: E731
        patch.setattr(
            inputs, "called_on", on_one
        )  # programs are compiled once, not once per device
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


class Generate:
    """The command `generate` in this process, on a user's own model and images."""

    def __init__(self, folder, capsys):
        self.folder, self._capsys = folder, capsys

    def options(self, out, *more):
        usual = "--model gen_mine:model --data gen_mine:Images --shard-size 4"
        cache = "--cache-dir", str(self.folder / "cache")
        return [*usual.split(), *ATTACK.split(), *cache, "--out", str(out), *more]

    def __call__(self, out, *more):
        """Returns what it printed."""
        assert generate.main(self.options(out, *more)) == 0
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return captured.out

    def refused(self, out, *more, status=2):
        """Returns its one line of error."""
        assert generate.main(self.options(out, *more)) == status
        message = self._capsys.readouterr().err
        assert message.count("\n") == 1
        return message


@pytest.fixture(scope="module")
def own_model(tmp_path_factory):
    """The folder of the user's module, from which it can be imported."""
    folder = tmp_path_factory.mktemp("own_model")
    (folder / "gen_mine.py").write_text(MODULE)
    (folder / "program.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(command, "use_all_cores", lambda: None)  # JAX has started
        yield folder
    sys.modules.pop("gen_mine", None)


@pytest.fixture
def generated(own_model, capsys):
    """Runs the command."""
    return Generate(own_model, capsys)


@pytest.fixture(scope="module")
def reference(own_model, tmp_path_factory):
    """The bytes of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("reference")
    with pytest.warns(UserWarning, match="image 7 cannot be attacked: OSError: no disk"):
        assert generate.main(Generate(own_model, None).options(out)) == 0
    return files(out)
