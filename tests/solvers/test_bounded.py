"""`minimize_bounded` against SciPy's L-BFGS-B, and how it ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from bounded_problems import PROBLEMS
from box_problems import half_square, least_squares

from jaxadv.solvers import BoundedLBFGS, BoundedStatus, minimize_bounded

SIZE = max(len(x0) for _, x0, _, _ in PROBLEMS.values())
SADDLES = {"hs38"}  # which in float32 is level, to rounding, around (−1, 1, −1, 1)


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


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
    run = jax.jit(lambda problems: jax.lax.map(solve, problems), compiler_options=QUICKLY)
    result = run(problems)
    return jax.tree.map(np.asarray, result), np.asarray(lower), np.asarray(upper)


@pytest.fixture(scope="module")
def objective():
    with jax.enable_x64(True):
        yield jax.jit(jax.value_and_grad(any_problem), compiler_options=QUICKLY)


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
    assert np.mean(result.status == BoundedStatus.CONVERGED_GRADIENT) > 0.9
    assert result.evaluations.sum() < 1200  # SciPy's has 960


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
