"""Queues: lanes, devices, progress, and how little of the gradients is idle."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problems import SOLVERS, linear, linear_problem

from jaxadv import AttackOptions, minimal_adversarial
from jaxadv.attacks import queues
from jaxadv.storage.devices import dealt, placed


@pytest.fixture
def short(monkeypatch):
    """Queues of 8 problems on 8 lanes, of which the tests share the programs."""
    monkeypatch.setattr(queues, "MAX_ROUNDS", 1)
    monkeypatch.setattr(queues, "CPU_LANES", 8)


def compilations():
    """How often the functions that attack the linear classifier were compiled."""
    programs = queues._programs(linear, 8, tuple(jax.local_devices()))
    return [program._cache_size() for program in programs[:3]]


def test_progress_counts_every_image_once(short, monkeypatch):
    params, x, target = linear_problem(21)
    seen = []
    monkeypatch.setattr(queues, "FEW_TICKS", 2)  # so that it is told within a queue,
    monkeypatch.setattr(queues, "PERIOD", 0.0)  # again and again
    result = minimal_adversarial(linear, params, x, target, progress=seen.append)
    assert sum(seen) == 21 and len(seen) > 3 and min(seen) > 0
    assert seen[0] < 1 and not all(part.is_integer() for part in seen)  # within an image, too
    queue = np.cumsum(seen).tolist().index(16)  # 8 lanes on each of two devices
    assert 0 < queue < len(seen) - 1
    unseen = minimal_adversarial(linear, params, x, target)
    np.testing.assert_array_equal(result.x_adv, unseen.x_adv)
    np.testing.assert_array_equal(result.cost, unseen.cost)
    assert compilations() == [1, 1, 1]  # also of the function that is called again and again


def test_other_numbers_need_no_compilation(short):
    params, x, target = linear_problem(3)
    minimal_adversarial(linear, params, x, target)
    analysed = queues._accessed.cache_info().misses
    numbers = dict.fromkeys(("smoothing_steps", "max_iterations", "max_evaluations"), 40)
    others = [
        AttackOptions.quick(),
        AttackOptions(**numbers, c_steps=1, growth=2, bracket=1.5, margin=0.1, temperature=0.1),
    ]
    for options in others:
        minimal_adversarial(linear, params, x, target, options)
    assert compilations() == [1, 1, 1]
    assert queues._accessed.cache_info().misses == analysed


def test_the_farthest_to_go_are_attacked_first(short):
    """Of each device's problems, and none of what pads them; those of NaN come last."""
    params, x, target = linear_problem(9)
    x[1] = np.nan
    devices = tuple(jax.local_devices())
    problems, counts = dealt((x, target), len(devices), 8)
    programs = queues._programs(linear, 8, devices)
    state = programs.begin(AttackOptions(), params, *placed((*problems, counts), devices))
    logits = linear(params, x)
    lead = logits[np.arange(9), target] - logits[np.arange(9), 1 - target]
    orders = np.asarray(state.order).reshape(len(devices), -1)
    for order, share in zip(orders, np.array_split(lead, len(devices)), strict=True):
        np.testing.assert_array_equal(order[: len(share)], np.argsort(share, stable=True))
        assert sorted(order) == list(range(8))


def test_classes_ahead_count_before_the_gap():
    x = np.zeros((4, 4), np.float32)  # the logits; the last is padding, with 3 classes ahead
    x[:3] = [0.1, 0, 0, 0.6], [0.3, 0.3, 0, 0.3], [0.1, 0, 0, 0.9]
    x[3, :3] = 1
    target, params = np.array([0, 2, 0, 3]), (np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
    begin = jax.jit(queues._begin, static_argnums=(0, 1))
    state = begin(linear, 2, AttackOptions(), params, x, target, np.array([3]))
    assert state.order.tolist() == [1, 2, 0, 3] and state.lane.problem.tolist() == [1, 2]


@pytest.mark.parametrize("solver", SOLVERS)
def test_devices_do_not_communicate(short, solver):
    params, x, target = linear_problem(1)
    devices, options = tuple(jax.local_devices()), AttackOptions(solver=solver)
    lanes, queue = queues.lanes_and_queue(linear, params, options, x, "cpu")
    programs = queues._programs(linear, lanes, devices)
    x, target = np.resize(x, (2 * queue, x.size)), np.resize(np.int32(target), 2 * queue)
    problems = placed((x, target, np.full(2, queue)), devices)
    with jax.default_matmul_precision("highest"):  # the program that attacks run
        if solver == "lbfgsb":
            lowered = programs.lbfgsb.lower(options, params, *problems)
        else:
            state = programs.begin(options, params, *problems)
            lowered = programs.advance.lower(options, params, 1, *problems, state)
        text = lowered.compile().as_text()
    assert "while" in text
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all"):
        assert collective not in text


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_programs_can_be_lowered_for_accelerators(short, solver, platform):
    params, x, target = linear_problem(1)
    devices, options = tuple(jax.local_devices()), AttackOptions(solver=solver)
    problems, counts = dealt((x, target), len(devices), 8)
    programs = queues._programs(linear, 8, devices)
    program, args = programs.lbfgsb, (options, params, *problems, counts)
    if solver == "lockstep":
        state = programs.begin(options, params, *placed((*problems, counts), devices))
        program, args = programs.advance, (options, params, 1, *problems, counts, state)
    lowered = program.trace(*args).lower(lowering_platforms=(platform,))
    assert "stablehlo.while" in lowered.as_text()


def test_utilisation_is_the_useful_share_of_all_gradients(short):
    result = minimal_adversarial(linear, *linear_problem(21))
    assert 0 < result.utilisation <= 1
    np.testing.assert_allclose(
        result.utilisation, result.evaluations.sum() / result.cost.sum(), rtol=1e-6
    )


def test_only_the_solver_lbfgsb_needs_jaxopt():
    """A JAX that breaks jaxopt breaks that option alone."""
    program = """
import sys
sys.modules["jaxopt"] = None  # so that importing it raises ImportError
import numpy as np, jaxadv
def logits(params, x): return x @ np.eye(3, dtype="float32")
x = np.array([[0.9, 0.1, 0.2]], "float32")
attack = lambda **settings: jaxadv.minimal_adversarial(
    logits, None, x, np.array([1]), jaxadv.AttackOptions(smoothing_steps=0, **settings)
)
assert attack().success.all()
try:
    attack(solver="lbfgsb")
except ImportError as error:
    assert "jaxopt" in str(error)
else:
    raise AssertionError("it did not need jaxopt")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_lanes_follow_from_the_size_of_the_network_and_the_device_alone():
    wide = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((20, 2**19), (2**19, 2))]

    def heavy(wide, x):
        first, last = wide  # 2 MB per image
        return jnp.tanh(x @ first) @ last

    image = np.zeros((1, 20), np.float32)
    params = {linear: linear_problem(1, 20)[0], heavy: wide}

    def lanes(logits_fn, platform="cpu", **settings):
        arguments = params[logits_fn], AttackOptions(**settings), image, platform
        return queues.lanes_and_queue(logits_fn, *arguments)

    assert lanes(linear) == (16, 16 * 128)
    assert lanes(heavy) == (8, 8 * 128)
    assert lanes(linear, "gpu") == (4096, 4096 * 128)
    assert lanes(heavy, "gpu")[0] < 4096
    assert lanes(linear, batch_size=100) == (104, 104 * 128)
    assert lanes(linear, batch_size=3) == (2, 2 * 32)
    assert lanes(linear, solver="lbfgsb") == (16, 16)


@pytest.mark.parametrize(
    "side, platform, expected",
    [
        (32, "cpu", (16, 16 * 128)),
        (64, "cpu", (8, 8 * 128)),
        (96, "cpu", (2, 2 * 32)),
        (224, "cpu", (1, 16)),
        (224, "gpu", (448, 448)),
        (4000, "gpu", (1, 1)),
    ],
)
def test_of_large_images_lanes_are_few_and_queues_short(side, platform, expected):
    image = np.zeros((1, side, side, 3), np.float32)
    arguments = (lambda params, x: x[:, 0, :2, 0], None, AttackOptions(), image, platform)
    assert queues.lanes_and_queue(*arguments) == expected
