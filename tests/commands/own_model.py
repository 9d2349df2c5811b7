"""A user's own model and images, for the tests of the command `generate`."""

from pathlib import Path

MODULE = """
import os, signal
import jax, jax.numpy as jnp, numpy as np

INTERRUPTED = []  # once, by this signal, before the fourth shard
WEIGHTS = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")

def logits(params, x):
    return jnp.tanh(x.reshape(len(x), -1) - 0.5) @ params["w"]

def model():
    return logits, {"w": WEIGHTS}

def reversed():
    return logits, {"w": WEIGHTS[:, ::-1].copy()}

def failing():
    def fail(x):
        if jax.numpy.mean(x) > -1:
            raise KeyError("a bug of theirs")
        return x

    @jax.custom_jvp
    def through(x):
        return jax.pure_callback(fail, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    through.defjvp(lambda primals, tangents: (through(*primals), *tangents))
    return lambda params, x: logits(params, through(x)), {"w": WEIGHTS}

def of_five():
    return lambda params, x: x.reshape(len(x), 5) @ params, np.ones((5, 4), "float32")

def with_five_classes():
    return logits, {"w": np.ones((16, 5), "float32")}

class Images:
    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 13 and INTERRUPTED:
            os.kill(os.getpid(), INTERRUPTED.pop())
        if index == 7:
            raise OSError("no disk")
        rng = np.random.default_rng(index)
        return rng.random((4, 4), "float32"), rng.integers(4)
"""
PROGRAM = '''
"""Runs the command on so many devices, and kills it before it renames its nth shard, if any."""
import os, signal, sys
import jax
from jaxadv import generate
from jaxadv.runs import command
from jaxadv.storage import cache

devices, nth = map(int, sys.argv[1:3])
replace, whole = os.replace, []

def fatal(temporary, path):
    whole.extend([path] * (path.suffix == ".safetensors"))
    if 0 < len(whole) == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(temporary, path)

cache.os.replace = fatal
command.use_all_cores = lambda: jax.config.update("jax_num_cpu_devices", devices)
sys.exit(generate.main(sys.argv[3:]))
'''


def files(out):
    """Bytes of all files but the page, by path."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "report.html"
    }


def put(out, contents):
    """Writes files by path."""
    for name, content in contents.items():
        path = Path(out, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
