"""A small run and its columns, for the tests of both sides."""

import numpy as np

from jaxadv.storage import shards

COLUMNS = {
    "index": {"dtype": "int64", "shape": []},
    "label": {"dtype": "int32", "shape": []},
    "success": {"dtype": "bool", "shape": [3]},
    "x_adv": {"dtype": "float32", "shape": [2, 2, 1]},
    "transfer/fc": {"dtype": "int8", "shape": []},
}
MANIFEST = {
    "model": "models:mine",
    "options": {"tol": 0.05, "c": [1, 2]},
    "seed": 0,
    "count": 10,
    "shard_size": 3,
    "columns": COLUMNS,
    "versions": {"jax": "1"},
}


def arrays(start, stop, columns=COLUMNS):
    """Columns of the rows from start to stop, each row by its own seed."""
    rows = [np.random.default_rng(row) for row in range(start, stop)]
    found = {
        name: np.array([rng.integers(0, 2, column["shape"]) + rng.random() for rng in rows])
        .reshape(-1, *column["shape"])
        .astype(column["dtype"])
        for name, column in sorted(columns.items())
    }
    return found | {"index": np.arange(start, stop)}


def finish(directory, manifest=MANIFEST, only=None, **share):
    """Writes the shards that are missing; returns them and whether the run is complete."""
    with shards.begin(directory, manifest, **share) as run:
        missing = run.missing()
        for shard in missing if only is None else only:
            start = shard * manifest["shard_size"]
            stop = min(start + manifest["shard_size"], manifest["count"])
            run.write(shard, arrays(start, stop, manifest["columns"]))
        return missing, run.complete()


def files(directory):
    """Bytes of all files, by path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def flipped(data):
    """Bytes whose last bit is another."""
    return data[:-1] + bytes([data[-1] ^ 1])
