"""Queues of problems for all local devices, and the verdict on what is found."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep import loop as lockstep
from jaxadv.attacks.lockstep.state import Stage
from jaxadv.attacks.margins import hidden_by_summation, perturbed, target_and_others
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status, concatenated
from jaxadv.attacks.types import SHARES, LogitsFn, Progress
from jaxadv.storage.devices import collected, dealt, in_batches, placed, sharded

MAX_ROUNDS = 128  # a queue is at most so many times as long as the lanes are many
ROUNDS = 16  # the same, times the lanes: with few of them, few idle at the end of a short queue
QUEUE_SIZE = 2**28  # bytes of its images, at most, unless the lanes are more
CPU_LANES = 16  # more are no faster, and more of them idle at the end of a queue
CPU_CACHE = 2**22  # bytes of what lanes hold
LANES = 4096  # on accelerators, at most
MEMORY = 2**32  # bytes of an accelerator that they may take
PERIOD = 1.0  # seconds between reports of progress, at most about twice as many
FEW_TICKS, MANY_TICKS = 16, 2**20  # gradients of all lanes before the first, and at most
NEARLY = 0.9  # of a problem in work, at most, counts as done


def attack(
    logits_fn: LogitsFn,
    params: Any,
    x: Float[np.ndarray, "B *image"],
    target: Int[np.ndarray, " B"],
    options: AttackOptions,
    progress: Progress | None,
) -> AttackResult:
    """Gives the problems to all local devices, queue by queue.

    Short queues are padded, so that all problems are solved by the same program, whatever others
    there are, and however many devices.
    """
    devices = tuple(jax.local_devices())
    lanes, queue = lanes_and_queue(logits_fn, params, options, x[:1], devices[0].platform)
    programs = _programs(logits_fn, lanes, devices)
    # Lanes are all that the batch size changes: others of as many use the same compilation.
    whole = dataclasses.replace(options, batch_size=None), params
    results = []
    for start in range(0, len(x), queue * len(devices)):
        chunk = slice(start, start + queue * len(devices))
        problems, counts = dealt((x[chunk], target[chunk]), len(devices), queue)
        problems = placed((*problems, counts), devices)  # once, however often work is interrupted
        with jax.default_matmul_precision("highest"):  # TF32 would upset the line search
            result = _solved(programs, whole, problems, progress)
        results.append(AttackResult(*collected(result, counts)))
    return concatenated(results)


class _Programs(NamedTuple):
    """Compiled functions, each of (options, params, …, x, target, counts, …), on all devices."""

    begin: Callable[..., lockstep.State]
    advance: Callable[..., lockstep.State]
    judge: Callable[..., tuple]  # the fields of `AttackResult`
    lbfgsb: Callable[..., tuple]


@functools.lru_cache(maxsize=8)  # a compiled attack takes 20 MB
def _programs(logits_fn, lanes, devices):
    def compiled(function, **settings):
        return sharded(functools.partial(function, logits_fn, lanes), devices, **settings)

    return _Programs(
        begin=compiled(_begin, whole=2),
        advance=compiled(_advance, whole=3, donate=(6,)),
        judge=compiled(_judge_lockstep, whole=2),
        lbfgsb=compiled(_lbfgsb, whole=2),
    )


def _solved(programs, whole, problems, progress):
    """Solves a queue per device, and judges the outcome: the fields of `AttackResult`.

    Where somebody waits for progress, the work is interrupted about once per second.
    """
    if whole[0].solver == "lbfgsb":
        result = programs.lbfgsb(*whole, *problems)
        if progress:
            jax.block_until_ready(result)
            progress(int(problems[-1].sum()))
        return result
    state = programs.begin(*whole, *problems)
    ticks, told = FEW_TICKS if progress else MANY_TICKS, 0.0
    while True:
        start = time.perf_counter()
        state = programs.advance(*whole, ticks, *problems, state)
        done, left = _done(whole[0], state)
        if progress and done > told:
            progress(done - told)
            told = done
        if not left:
            return programs.judge(*whole, *problems, state)
        if time.perf_counter() - start < PERIOD:
            ticks = min(2 * ticks, MANY_TICKS)


def _done(options, state):
    """How many problems are done, and whether any are left.

    One in work counts by its gradients, compared with what others took on average, or with what it
    may take at most while there are no others.
    """
    watched = state.lane.stage, state.lane.evaluations, state.next_place, state.found.evaluations
    stage, evaluations, next_place, found = jax.device_get(watched)
    working, finished = stage < Stage.DONE, int(next_place.sum()) - len(stage)
    usual = found.sum() / finished if finished else options.max_evaluations
    shares = np.minimum(evaluations[working] / usual, NEARLY).sum()
    return finished + math.floor(SHARES * shares) / SHARES, bool(working.any())


def _begin(logits_fn, lanes, options, params, x, target, count):
    hidden, ahead, lead = _at_x(logits_fn, lanes, params, x, target, count)
    # Those with the farthest to go tend to take longest, so that few lanes idle at the end.
    order = jnp.lexsort((lead, -ahead, jnp.arange(len(x)) >= count[0]))
    classes = jax.eval_shape(logits_fn, params, x[:1]).shape[-1]
    return lockstep.begin(options, lanes, x, target, hidden, order, count[0], classes)


def _advance(logits_fn, lanes, options, params, ticks, x, target, count, state):
    return lockstep.advance(logits_fn, options, params, ticks, x, target, count[0], state)


def _judge_lockstep(logits_fn, lanes, options, params, x, target, count, state):
    return _judged(logits_fn, lanes, params, x, target, count, lockstep.found(state, x))


def _lbfgsb(logits_fn, lanes, options, params, x, target, count):
    from jaxadv.attacks import lbfgsb  # here, so that nothing else needs jaxopt

    hidden, *_ = _at_x(logits_fn, lanes, params, x, target, count)
    found = jax.vmap(functools.partial(lbfgsb.solve, logits_fn, options, params))(x, target, hidden)
    return _judged(logits_fn, lanes, params, x, target, count, found)


def _at_x(logits_fn, lanes, params, x, target, count):
    """What orders of summation may hide of leads; classes ahead of the targets, and their leads."""
    params_perturbed = perturbed(params)

    def of_some(x, target):
        logits = logits_fn(params, x)
        hidden = hidden_by_summation(logits_fn, params, params_perturbed, x, target, logits)
        at_target, others = target_and_others(logits, target)
        ahead = jnp.sum(others > at_target[:, None], axis=1)
        return hidden, ahead, at_target - jnp.max(others, axis=1)

    return in_batches(lanes, count[0], of_some, x, target)


def _judged(logits_fn, lanes, params, x, target, count, found):
    """The fields of `AttackResult`, by a forward pass on what was found."""
    x_adv = jnp.clip(found.image, 0.0, 1.0)

    def classes(part):
        return jnp.argmax(logits_fn(params, part), axis=-1)

    success = found.success & (in_batches(lanes, count[0], classes, x_adv) == target)
    distortion = jnp.sqrt(jnp.mean((x_adv - x) ** 2, axis=tuple(range(1, x.ndim))))
    status = jnp.select(
        [success & (distortion == 0), success, ~found.finite],
        [Status.ALREADY_TARGET, Status.SUCCESS, Status.NOT_FINITE],
        Status.NOT_FOUND,
    )
    evaluations = found.evaluations
    cost = evaluations * (found.lane_ticks / evaluations.sum())
    judged = x_adv, success, distortion, found.c, evaluations, status.astype(jnp.int8)
    return *judged, target, cost, found.by_stage


def lanes_and_queue(
    logits_fn: LogitsFn,
    params: Any,
    options: AttackOptions,
    image: Float[np.ndarray, "1 *image"],
    platform: str,
) -> tuple[int, int]:
    """Images that a device works on side by side, and images that it is given at a time.

    They follow from the size of an image and of its activations, and from the kind of device.
    Matrix products of other numbers of rows may differ in their last bits, but not those of as many
    rows, whichever row an image is. Lanes are multiples of 8, as suits XLA's CPU kernels, or a
    power of two where what fewer hold fills a CPU's cache already: of such images, gradients of
    many at once are no faster, and a lane without work costs as much as one with.
    """
    lanes = options.batch_size
    if lanes is None:
        state = image.nbytes * (2 * options.history_size + 8)
        suitable = _lanes_on_cpu if platform == "cpu" else _lanes_on_accelerator
        lanes = suitable(state, logits_fn, params, image)
    lanes = 8 * math.ceil(lanes / 8) if lanes > 4 else 2 ** int(math.log2(lanes))
    if options.solver == "lbfgsb":
        return lanes, lanes
    rounds = min(MAX_ROUNDS, ROUNDS * lanes, QUEUE_SIZE // (lanes * image.nbytes))
    return lanes, lanes * max(1, rounds)


def _lanes_on_cpu(state, logits_fn, params, image):
    lanes = CPU_CACHE // (state + _accessed_size(logits_fn, params, image))
    return min(CPU_LANES, max(lanes, 8), max(1, CPU_CACHE // state))


def _lanes_on_accelerator(state, logits_fn, params, image):
    lanes = MEMORY // (state + _accessed_size(logits_fn, params, image))
    if lanes < LANES:  # that size is too large, often many times, but needs no compilation
        lanes = MEMORY // (state + _temporary_size(logits_fn, params, image))
    return min(LANES, max(1, lanes))


def _accessed_size(logits_fn, params, image):
    shapes, tree = jax.tree.flatten(jax.eval_shape(lambda *arrays: arrays, params, image))
    return _accessed(logits_fn, tree, tuple(shapes))


@functools.lru_cache(maxsize=8)  # as it takes as long as some dozens of attacks
def _accessed(logits_fn, tree, shapes):
    """Bytes that a forward pass reads and writes for one more image, by XLA's estimate."""
    params, image = jax.tree.unflatten(tree, shapes)

    def total(images):
        analysis = jax.jit(logits_fn).lower(params, images).cost_analysis() or {}
        return analysis.get("bytes accessed", 0)

    return _of_one_more(total, image)


def _temporary_size(logits_fn, params, image):
    """Bytes that a gradient needs for one more image, besides those of the image."""

    def total(images):
        gradient = jax.jit(jax.grad(lambda x, params: logits_fn(params, x).sum()))
        analysis = gradient.lower(images, params).compile().memory_analysis()
        return analysis.temp_size_in_bytes if analysis else 0

    return _of_one_more(total, image)


def _of_one_more(total, image):
    one, two = (jax.ShapeDtypeStruct((count, *image.shape[1:]), image.dtype) for count in (1, 2))
    return int(max(0, total(two) - total(one)))
