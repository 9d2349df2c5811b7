"""Two CPU devices, as on the smallest machine the commands run on, and a small trained network.

Shapes and types of signatures are checked in all calls. Long compilations are kept between runs;
none is optimised but where what is compiled takes longer.
"""

import gc
import os
import re
from importlib.metadata import version
from pathlib import Path

# Of NumPy's linear algebra, whose threads spin while the other worker computes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# isort: split
import pytest
from jaxtyping import install_import_hook

# LLVM's -O1 in place of -O3, no MLIR, no modules split for threads that the other worker takes, and
# kernels of several results: as fast here, and an attack compiles in less than half the time.
FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1"
FLAGS += " --xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true"
JAXLIB = tuple(map(int, re.findall(r"\d+", version("jaxlib"))[:3]))
if JAXLIB < (0, 11, 1):  # later ones end, not knowing it
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
# With flags that are given in their place, all is optimised; workers inherit either.
GIVEN = os.environ.get("XLA_FLAGS", "").replace(FLAGS, "").strip()
os.environ["XLA_FLAGS"] = GIVEN or FLAGS
CHECKED = (  # all, but for the solver that derives from jaxopt's
    *("attacks", "certify", "datasets", "measures", "networks", "reports", "runs"),
    *("solvers.bounded", "solvers.boxes", "solvers.compact", "solvers.line_search"),
    *("solvers.pairs", "solvers.trees", "spectral", "storage", "training", "zoo"),
)
OPTIMISED = (  # as these compute for longer than they compile
    *("attacks/test_many_images.py", "commands/test_control.py", "commands/test_density.py"),
    *("datasets/test_photographs.py", "zoo/test_paper_networks.py"),
)
gc.set_threshold(50_000, 10, 10)  # of all that JAX allocates, by default 6 to 9 % of the time
install_import_hook(
    [f"jaxadv.{folder}" for folder in CHECKED],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float
)


def pytest_collection():
    """Workers collect; what starts them does not, nor waits for JAX to be imported."""
    import jax

    cache = Path(__file__).parent.parent / ".pytest_cache" / "xla"
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    # What compiles faster takes as long to write, and half as long to read again.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.25)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_finish():
    """What imports and collection have made lives as long as the tests, and is searched no more."""
    gc.freeze()


def pytest_sessionfinish():
    """Once, where pytest collects five times all that is left, for exceptions in deleting it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """LLVM's optimisation is a third of the time of small compilations, those of fixtures, too."""
    import jax

    from jaxadv.attacks import queues
    from jaxadv.networks import network

    path = item.path.relative_to(Path(__file__).parent).as_posix()
    unoptimised = path not in OPTIMISED and not GIVEN
    if jax.config.values["jax_disable_most_optimizations"] != unoptimised:
        jax.config.update("jax_disable_most_optimizations", unoptimised)
        queues._programs.cache_clear()  # not optimised, which are slow
        network._drawing.cache_clear()
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(unoptimised)  # in other processes, too
    network.QUICKLY["xla_backend_optimization_level"] = int(not unoptimised)  # which goes before it


@pytest.fixture(scope="session")
def mnist():
    """The first 3,000 training images of MNIST."""
    from jaxadv import datasets

    return datasets.load("mnist", "train[:3000]")


@pytest.fixture(scope="session")
def mlp_on_mnist(mnist):
    """(network, params) of a sigmoid network that fits `mnist` well."""
    import jax
    import numpy as np

    from jaxadv.networks import mlp
    from jaxadv.training import Schedule, Supervised, train

    network = mlp(40, 40)
    recipe = Supervised((1e-5, 1e-5, 1e-6), Schedule(30, 100, 0.01))
    params = train(network, mnist, recipe, jax.random.key(0))
    return network, jax.tree.map(np.asarray, params)
