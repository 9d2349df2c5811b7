"""Work spread over all local devices: calls, or shards of a leading axis, padded with zeros."""

import functools
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Result = TypeVar("Result")
SPLIT = PartitionSpec("device")  # along the leading axis


def called_on(devices: Sequence[Any], calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Makes calls in the order given, each on the next device that is free, in a thread.

    The first exception, an interruption, too, is raised at once. Calls that have begun go on in
    their threads; of the others, one may still begin on each device. The caller's contexts, such as
    `jax.enable_x64`, do not reach the threads.

    Args:
      devices: of jax, each the default one of one call at a time.
      calls: functions without arguments.

    Returns:
      What they return, in their order.

    Example:
      >>> called_on(jax.local_devices(), [lambda: 1, lambda: 2, lambda: 3])
      [1, 2, 3]
    """
    free = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def on_free_device(call):
        device = free.get()
        try:
            with jax.default_device(device):
                return call()
        finally:
            free.put(device)

    executor = ThreadPoolExecutor(len(devices))
    try:
        futures = [executor.submit(on_free_device, call) for call in calls]
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def sharded(
    function: Callable[..., Any],
    devices: Sequence[Any],
    *,
    whole: int = 1,
    donate: Sequence[int] = (),
) -> Callable[..., Any]:
    """Compiles a function so that each device applies it to its own part of the arrays.

    Loops in the function are loops of each device alone: nothing waits for another device.

    Args:
      function: of pytrees of arrays; its results are arrays with the parts' leading axis.
      devices: of jax, to work on.
      whole: number of arguments, the first ones, that every device gets whole. The others are split
        along their leading axes, which must be multiples of the number of devices.
      donate: indices of arguments whose memory the results may take.

    Returns:
      The jitted function, of the same arguments.

    Example:
      >>> add = sharded(lambda a, x: a + x, jax.local_devices()[:1])
      >>> add(1.0, np.arange(3.0)).tolist()
      [1.0, 2.0, 3.0]
    """
    mapped = jax.shard_map(
        lambda everywhere, parts: function(*everywhere, *parts),
        mesh=_mesh(devices),
        in_specs=(PartitionSpec(), SPLIT),
        out_specs=SPLIT,
        check_vma=False,  # carries of loops start as constants, which are the same on all devices
    )
    return jax.jit(
        lambda *arguments: mapped(arguments[:whole], arguments[whole:]), donate_argnums=donate
    )


def dealt(
    arrays: Sequence[np.ndarray], devices: int, size: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Entries of arrays, (B, …) each, dealt evenly to devices, each share padded to `size`.

    Returns:
      The arrays, (devices · size, …); how many entries of a share are real.

    Example:
      >>> dealt([np.array([7, 8, 9])], 2, 4)
      ([array([7, 8, 0, 0, 9, 0, 0, 0])], array([2, 1]))
    """
    shares = [np.array_split(array, devices) for array in arrays]
    counts = np.array([len(share) for share in shares[0]])
    return [np.concatenate([padded(share, size) for share in each]) for each in shares], counts


def collected(arrays: Any, counts: np.ndarray) -> Any:
    """The real entries of a pytree of arrays, in the order in which they were dealt.

    Example:
      >>> collected(np.array([7, 8, 0, 0, 9, 0, 0, 0]), np.array([2, 1])).tolist()
      [7, 8, 9]
    """
    size = len(jax.tree.leaves(arrays)[0]) // len(counts)
    real = np.concatenate([np.arange(size) < count for count in counts])
    return jax.tree.map(lambda array: np.asarray(array)[real], arrays)


def in_batches(size: int, count: Any, apply: Callable[..., Any], *arrays: Any) -> Any:
    """`apply` to the first `count` entries of (B, …) arrays, `size` at a time, under jit.

    Returns:
      What it returns, a pytree of (B, …) arrays, with zeros for batches without such entries.

    Example:
      >>> in_batches(2, 3, lambda x: x + 1, jnp.zeros(6)).tolist()
      [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    size = min(size, len(arrays[0]))

    def parts(index):
        return [jax.lax.dynamic_slice_in_dim(array, index * size, size) for array in arrays]

    def batch(index, results):
        def put(results, part):
            return jax.lax.dynamic_update_slice_in_dim(results, part, index * size, axis=0)

        return jax.tree.map(put, results, apply(*parts(index)))

    def nothing(one):
        return jnp.zeros((len(arrays[0]), *one.shape[1:]), one.dtype)

    results = jax.tree.map(nothing, jax.eval_shape(lambda: apply(*parts(0))))
    return jax.lax.fori_loop(0, (count + size - 1) // size, batch, results)


def placed(arrays: Any, devices: Sequence[Any]) -> Any:
    """A pytree of arrays on the devices, as `sharded` functions split them.

    Example:
      >>> placed(np.arange(3.0), jax.local_devices()[:1]).tolist()
      [0.0, 1.0, 2.0]
    """
    return jax.device_put(arrays, NamedSharding(_mesh(devices), SPLIT))


def _mesh(devices) -> Mesh:
    return jax.make_mesh((len(devices),), ("device",), (AxisType.Auto,), devices=devices)


def side_by_side(most: int, image: Any, each: int = 1) -> int:
    """Images that are worked on at a time, at most, where each takes memory `each` times.

    As many as 4 MiB hold: what networks make of them is often a hundred times as large.

    Example:
      >>> [side_by_side(256, np.zeros((side, side, 3), "f4")) for side in (28, 224)]
      [256, 6]
    """
    return max(1, min(most, 2**22 // (each * image.nbytes)))


def together(image: Any) -> int:
    """Images that a network is applied to at a time.

    On CPUs, more take up to three times as long each, as their caches hold no more of what the
    layers make of them.
    """
    return side_by_side(25 if jax.default_backend() == "cpu" else 250, image)


def padded(arrays: Any, size: int) -> Any:
    """A pytree of NumPy arrays, with zeros up to a leading axis of `size`, which is no less.

    Example:
      >>> padded((np.ones(2), np.ones((1, 2), int)), 3)
      (array([1., 1., 0.]), array([[1, 1],
             [0, 0],
             [0, 0]]))
    """
    return jax.tree.map(functools.partial(_padded, size), arrays)


def _padded(size, array):
    missing = np.zeros((size - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, missing])  # of the machine's byte order, which JAX needs


def batches(arrays: Any, size: int) -> Iterator[tuple[int, Any]]:
    """Parts of a pytree of NumPy arrays, each of `size` along the leading axis, the last padded.

    Yields:
      The number of real entries of a part, and the part.

    Example:
      >>> [(count, part.tolist()) for count, part in batches(np.array([7, 8, 9]), 2)]
      [(2, [7, 8]), (1, [9, 0])]
    """
    total = len(jax.tree.leaves(arrays)[0])
    for start in range(0, total, size):
        part = jax.tree.map(lambda array, start=start: array[start : start + size], arrays)
        yield min(size, total - start), padded(part, size)
