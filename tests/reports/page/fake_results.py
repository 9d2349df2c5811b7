"""Results as `jaxadv.read_results` returns them, of arrays in memory."""

import numpy as np

from jaxadv import Status

HOSTILE = "</script><script>alert(1)</script><b onclick='x'>\"&"


class FakeResults:
    def __init__(self, manifest, columns, missing=()):
        described = {
            name: {"dtype": column.dtype.name, "shape": [*column.shape[1:]]}
            for name, column in columns.items()
        }
        self.manifest = manifest | {"columns": described}
        self.missing, self._columns, self.files = [*missing], columns, None

    def __len__(self):
        return len(self._columns["index"])

    def __getitem__(self, name):
        return self._columns[name]


def images(count, shape=(28, 28, 1), seed=0):
    """Squares at some place, by label, of values that are multiples of 1/255."""
    rng = np.random.default_rng(seed)
    x = np.round(255 * rng.uniform(0, 0.2, (count, *shape))) / 255
    for i, each in enumerate(x):
        each[2 + i % 10 : 12 + i % 10, 3 + i % 7 : 15] = 0.8
    return np.float32(x)


def results(count=40, classes=10, shape=(28, 28, 1), mode="untargeted", **manifest):
    """(results, originals): of each status some, with certificates and a model to transfer to."""
    rng = np.random.default_rng(1)
    ways = (classes,) if mode == "all-targets" else ()
    label = np.int32(np.arange(count) % classes)
    target = np.int32((label + 1 + np.arange(count) % (classes - 1)) % classes)
    if ways:
        target = np.broadcast_to(np.arange(classes, dtype=np.int32), (count, classes))
    status = np.full((count, *ways), Status.SUCCESS, np.int8)
    for place, ended in enumerate(list(Status)[1:]):
        status[place + 1 :: 13] = ended
    each = label.reshape(-1, *[1] * len(ways))
    status[target == each] = Status.ALREADY_TARGET
    success = status <= Status.ALREADY_TARGET
    x = images(count, shape)
    r = rng.uniform(-0.05, 0.05, (count, *ways, *shape))
    r[status == Status.ALREADY_TARGET] = 0
    x_adv = np.float32((x.reshape(count, *[1] * len(ways), *shape) + r).clip(0, 1))
    r = x_adv - x.reshape(count, *[1] * len(ways), *shape)
    distortion = np.sqrt(np.mean(np.square(r), axis=tuple(range(-len(shape), 0))))
    columns = {
        "index": np.arange(count),
        "label": label,
        "target": target,
        "x_adv": x_adv,
        "success": success,
        "status": status,
        "distortion": distortion,
        "l2": distortion * np.float32(np.sqrt(np.prod(shape))),
        "evaluations": np.int32(rng.integers(20, 90, status.shape)),
        "certified": distortion / 2,
        "transfer/other": np.where(rng.uniform(size=status.shape) < 0.3, target, each),
    }
    known = {
        "schema": 1,
        "model": "mine:network",
        "data": {"name": "photos", "length": count, "fingerprint": "0123456789abcdef"},
        "mode": mode,
        "options": {"tol": 3e-6, "c_steps": 8, "batch_size": None},
        "seed": 0,
        "shard_size": 8,
        "count": count,
        "versions": {"jaxadv": "0.1.0", "jax": "0.10.2"},
    }
    return FakeResults(known | manifest, columns), lambda indices: [x[i] for i in indices]
