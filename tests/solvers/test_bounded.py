"""`minimize_bounded` against SciPy's L-BFGS-B, and how it ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from bounded_problems import PROBLEMS
from box_problems import least_squares

from jaxadv.solvers import BoundedLBFGS, BoundedStatus, minimize_bounded

SIZE = max(len(x0) for _, x0, _, _ in PROBLEMS.values())
SADDLES = {"hs38"}  # which in float32 is level, to rounding, around (−1, 1, −1, 1)


def branch(fun, x0):
    return lambda x: fun(x[: len(x0)]).astype(x.dtype)


def any_problem(x, index):
    """The objective of one of the problems, on x padded to their largest size."""
    branches = [branch(fun, x0) for fun, x0, _, _ in PROBLEMS.values()]
    return jax.lax.switch(index, branches, x)


def padded(dtype):
    """(start, lower, upper) of all problems; what is added is fixed at 0."""
    arrays = zip(*(problem[1:] for problem in PROBLEMS.values()), strict=True)
    pad = functools.partial(np.pad, mode="constant")
    return [
        jnp.asarray(np.stack([pad(a, (0, SIZE - len(a))) for a in same]), dtype) for same in arrays
    ]


def solved(dtype, tolerance):
    """(result, lower, upper), with one compilation for all problems."""
    start, lower, upper = padded(dtype)

    def solve(problem):
        index, start, *bounds = problem
        options = {"gradient_tolerance": tolerance, "max_evaluations": 500}
        return minimize_bounded(any_problem, start, tuple(bounds), index, **options)

    problems = jnp.arange(len(PROBLEMS)), start, lower, upper
    run = jax.jit(lambda problems: jax.lax.map(solve, problems))
    result = run(problems)
    return jax.tree.map(np.asarray, result), np.asarray(lower), np.asarray(upper)


@pytest.fixture(scope="module")
def objective():
    with jax.enable_x64(True):
        yield jax.jit(jax.value_and_grad(any_problem))


@pytest.fixture(scope="module")
def scipys(objective):
    """Least values by SciPy's L-BFGS-B in float64, as tight as it goes."""
    with jax.enable_x64(True):
        values = []
        for index, problem in enumerate(zip(*padded(float), strict=True)):
            start, lower, upper = map(np.asarray, problem)

            def evaluate(x, index=index):
                return tuple(np.asarray(part, float) for part in objective(x, index))

            found = scipy.optimize.minimize(
                *(evaluate, start),
                method="L-BFGS-B",
                jac=True,
                bounds=scipy.optimize.Bounds(lower, upper),
                options={"ftol": 1e-15, "gtol": 1e-8, "maxfun": 5000},
            )
            values.append(found.fun)
    return np.array(values)


def assert_close(values, scipys, relative, least):
    error = (values - scipys) / np.maximum(np.abs(scipys), least)
    wrong = {name: e for name, e in zip(PROBLEMS, error, strict=True) if not abs(e) <= relative}
    assert not wrong


def test_objectives_are_scipys(x64, scipys):
    result, lower, upper = solved(jnp.float64, 1e-8)
    assert result.value.dtype == np.float64
    assert ((result.x >= lower) & (result.x <= upper)).all()
    assert_close(result.value, scipys, relative=1e-6, least=1e-3)
    ends = {BoundedStatus.CONVERGED_GRADIENT, BoundedStatus.CONVERGED_REDUCTION}
    assert set(result.status) <= ends
    assert np.mean(result.status == BoundedStatus.CONVERGED_GRADIENT) > 0.8
    assert result.evaluations.sum() < 1150  # SciPy's has 903


def test_objectives_in_single_precision(objective, scipys):
    result, lower, upper = solved(jnp.float32, 1e-6)
    assert result.value.dtype == np.float32
    assert ((result.x >= lower) & (result.x <= upper)).all()
    with jax.enable_x64(True):
        exact = [float(objective(np.float64(x), i)[0]) for i, x in enumerate(result.x)]
    values = np.where([name in SADDLES for name in PROBLEMS], scipys, exact)
    assert_close(values, scipys, relative=2e-6, least=1.0)
    assert set(result.status) <= {
        *(BoundedStatus.CONVERGED_GRADIENT, BoundedStatus.CONVERGED_REDUCTION)
    }


# What one call of a vmapped program shows

KINDS = ["square", "level", "valley", "uphill", "not finite", "barrier", "infeasible"]
ENDS = [
    BoundedStatus.CONVERGED_GRADIENT,
    BoundedStatus.CONVERGED_REDUCTION,
    BoundedStatus.MAX_EVALUATIONS,
    BoundedStatus.LINE_SEARCH_FAILED,
    BoundedStatus.NOT_FINITE,
    BoundedStatus.CONVERGED_GRADIENT,
    BoundedStatus.INFEASIBLE,
]


def of_kind(x, kind):
    x = jnp.where(kind == KINDS.index("not finite"), jnp.nan, 1.0) * x
    square = jnp.sum((x - 0.3) ** 2)
    return jnp.stack(
        [
            square,
            1e5 + 1e6 * jnp.sum((x**2 - 2) ** 2),  # no float32 has a small gradient
            jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
            2 * jax.lax.stop_gradient(2 - x[2]) - (2 - x[2]),  # a gradient of the wrong sign
            square,
            jnp.sum(x - 0.7 * jnp.log(x)),  # NaN below 0
            square,
        ]
    )[kind]


SOLVER = BoundedLBFGS(of_kind, max_evaluations=25)
START = np.tile(np.float32([-1.2, 1.0, 2.5]), (len(KINDS), 1))
START[KINDS.index("barrier")] = 1.9
LOWER = np.full(len(KINDS), -1.5, "float32")
UPPER = np.where(np.array(KINDS) == "infeasible", -2, 2).astype("float32")
BOX = LOWER, UPPER


@pytest.fixture(scope="module")
def lanes():
    """Problems of all kinds, solved side by side."""
    solve = jax.vmap(lambda x, box, kind: SOLVER.run(x, box, kind))
    run = jax.jit(solve)
    return jax.tree.map(np.asarray, run(START, BOX, np.arange(len(KINDS))))


def test_each_status_is_reached(lanes):
    assert dict(zip(KINDS, map(BoundedStatus, lanes.status), strict=True)) == dict(
        zip(KINDS, ENDS, strict=True)
    )
    assert {*ENDS, BoundedStatus.RUNNING} == set(BoundedStatus)
    for kind, minimiser in (("square", 0.3), ("level", 2**0.5), ("barrier", 0.7)):
        x = np.abs(lanes.x[KINDS.index(kind)])
        np.testing.assert_allclose(x, minimiser, rtol=0, atol=1e-4)
    assert lanes.evaluations[KINDS.index("valley")] == 25
    assert lanes.evaluations[KINDS.index("not finite")] == 1
    assert lanes.evaluations[KINDS.index("infeasible")] == 0
    assert np.isnan(lanes.value[KINDS.index("not finite")])
    assert (lanes.x[:-1] <= 2).all() and (lanes.x[:-1] >= -1.5).all()


def test_one_by_one_and_step_by_step_as_side_by_side(lanes):
    """So no lane, of NaN or others, harms another."""
    update = jax.jit(SOLVER.update)
    init = jax.jit(SOLVER.init)
    for kind in range(len(KINDS)):
        x, box = jnp.asarray(START[kind]), (LOWER[kind], UPPER[kind])
        state = init(x, box)
        while state.status == BoundedStatus.RUNNING:
            x, state = update(x, state, box, kind)
            assert ((x >= box[0]) & (x <= box[1])).all()
        after = update(x, state, box, kind)
        jax.tree.map(np.testing.assert_array_equal, after, (x, state))
        assert state.status == lanes.status[kind]
        tolerance = 1e-6 if state.status != BoundedStatus.MAX_EVALUATIONS else 1e-2
        np.testing.assert_allclose(x, lanes.x[kind], rtol=0, atol=100 * tolerance)
        np.testing.assert_allclose(state.value, lanes.value[kind], rtol=tolerance, atol=1e-6)


def test_long_steps_below_rounding_are_taken():
    """Whose first steps change less than rounding hides: five of these once passed for the end."""
    weights = jnp.arange(1.0, 4.0)

    @jax.jit
    @jax.vmap
    def solve(scale):
        return minimize_bounded(lambda x: (weights * (x / scale - 3) ** 2).sum(), jnp.zeros(3))

    result = solve(jnp.array([1e3, 1e4, 3e4, 1e5]))
    assert (result.status == BoundedStatus.CONVERGED_GRADIENT).all()
    assert (result.value < 0.05).all()  # 54 at the start
    assert (result.evaluations < 30).all()


def test_a_gradient_of_the_wrong_sign_fails(x64):
    def fun(x):
        return (x**2).sum(), -2 * x

    result = minimize_bounded(fun, jnp.full(3, 5.0), value_and_grad=True)
    assert result.status == BoundedStatus.LINE_SEARCH_FAILED


def test_pytrees_and_bounds_of_some_of_their_leaves():
    a, b, _ = least_squares()
    lower, upper = np.full(30, -np.inf), np.full(30, np.inf)
    lower[:20], upper[10:20] = 0, np.linspace(0, 1, 10)

    def fun(x, b):
        residual = a @ jnp.concatenate([x["u"][0].ravel(), x["u"][1], x["v"]]) - b
        gradient = a.T @ residual
        parts = [gradient[:10].reshape(2, 5), gradient[10:20]]
        return 0.5 * residual @ residual, {"u": parts, "v": gradient[20:]}

    x = {"u": [np.full((2, 5), 0.5), np.full(10, 0.5)], "v": np.zeros(10)}
    x, b32 = jax.tree.map(np.float32, (x, b))
    box = {"u": [0, 0.0], "v": None}, {"u": [None, upper[10:20]], "v": np.inf}

    def solve(x, b):
        return minimize_bounded(fun, x, box, b, value_and_grad=True)

    result = jax.jit(solve)(x, b32)
    found = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(result.x)])
    exact = scipy.optimize.lsq_linear(a, b, (lower, np.maximum(upper, 1e-12)), method="bvls").x
    assert jax.tree.map(np.shape, result.x) == jax.tree.map(np.shape, x)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-3)


# Bad arguments

ZEROS = np.zeros(3, "float32")


@pytest.mark.parametrize(
    "x0, bounds, options, message",
    [
        (np.zeros(3, int), (0, 1), {}, "x0 must be all of float32 or all of float64, got int"),
        ({"a": ZEROS, "b": np.zeros(1)}, (0, 1), {}, "got float32, float64"),
        ({}, (0, 1), {}, "got no arrays"),
        (ZEROS[:0], (0, 1), {}, "x0 must not be empty"),
        (ZEROS, (0, 1, 2), {}, r"bounds must be a pair \(lower, upper\), got \(0, 1, 2\)"),
        (ZEROS, (1, 0.5), {}, "not above upper ones, got 1 and 0.5"),
        (ZEROS, (np.array([0, 2, 0]), 1), {}, "not above upper ones, got 2 and 1"),
        (ZEROS, (np.nan, 1), {}, "must be numbers, below ∞, and not above upper ones, got nan"),
        (
            ZEROS,
            (np.zeros(2), 1),
            {},
            r"lower bounds must have the shape of x0, \(3,\), got \(2,\)",
        ),
        (
            ZEROS,
            3 * [(0, 1)],
            {},
            r"got \[\(0, 1\), .*; SciPy's, .* are tuple\(numpy.array\(pairs\)",
        ),
        (ZEROS, (None, {"a": 1}), {}, "upper bounds must be None, a number or a pytree like x0"),
        (ZEROS, (np.inf, None), {}, "below ∞, and not above upper ones, got inf and inf"),
        (ZEROS, (0, 1), {"history_size": 0}, "an integer and at least 1, got 0"),
        (ZEROS, (0, 1), {"max_evaluations": 0}, "max_evaluations must be an integer"),
        (ZEROS, (0, 1), {"patience": 0}, "patience must be an integer"),
        (ZEROS, (0, 1), {"gradient_tolerance": -1}, "gradient_tolerance must not be negative"),
        (ZEROS, (0, 1), {"reduction_tolerance": np.nan}, "reduction_tolerance must not be"),
    ],
)
def test_bad_arguments(x64, x0, bounds, options, message):
    def fun(_):
        pytest.fail("called before the arguments were checked")

    with pytest.raises(ValueError, match=message):
        minimize_bounded(fun, x0, bounds, **options)
    with pytest.raises(TypeError, match=r"are value_and_grad, .*, max_evaluations, got maxiter$"):
        minimize_bounded(fun, ZEROS, maxiter=3)


@pytest.mark.parametrize(
    "fun, value_and_grad, message",
    [
        (lambda x: x**2, False, r"fun must return a real scalar, got float32 of shape \(3,\)"),
        (lambda x: 3, False, r"a real scalar, got int.. of shape \(\)"),
        (lambda x: (x.sum(), x), False, r"got a tuple .*; .* needs value_and_grad=True"),
        (lambda x: x.sum(), True, r"\(value, gradient\), got float32 of shape \(\)"),
        (lambda x: (x, x.sum()), True, r"of the shapes of x, \(3,\), got \(\)"),
        (lambda x: (x.sum(), {"a": x}), True, r"of the shapes of x, \(3,\), got \{'a': \(3,\)\}"),
        (lambda x: (x, x), True, r"a real scalar, got float32 of shape \(3,\)"),
    ],
)
def test_objectives_return_a_real_scalar(fun, value_and_grad, message):
    """Once a gradient of another structure was taken, as long as it had as many entries."""
    with pytest.raises(TypeError, match=message):
        minimize_bounded(fun, ZEROS, (0, 1), value_and_grad=value_and_grad)
