"""Many problems over boxes at once: `minimize_bounded` against jaxopt's and SciPy's L-BFGS-B.

    python benchmarks/bounded.py --cores 0

The claim: vmapped over 1,024 problems of 784 variables it solves more of them than jaxopt's own
`LBFGSB`; per second, about 50 times as many of those like attacks, and several times as many where
few bounds are met on the way. SciPy's solves a few, one after the other.
A problem is solved where the objective, in float64, is within 1e-4 of the least that any of the
methods finds, relative to it.
"""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import progress_bars
from jaxadv.solvers import minimize_bounded

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
    import jaxopt

HEADER = ("method", "problems", "solved", "solved/s", "relative", "evaluations", "compile s")
WIDTH = 100  # of the tables, in characters, where the terminal has fewer
SIZE, CLASSES = 784, 10
LEGEND = """\
attack: c ‖z − x‖² + cross-entropy of a linear classifier with random weights, over [0, 1].
Rosenbrock: the extended function, over [−1.5, 0.8], from random starts.
Evaluations are means per problem; jaxopt's are iterations."""


class Problems(NamedTuple):
    """Problems that differ in their starts and in what is passed on to the objective."""

    fun: Callable[..., jax.Array]
    start: jax.Array
    bounds: tuple[float, float]
    args: tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""

    problems: int = 1024
    """Problems side by side."""
    scipy_problems: int = 16
    """The first so many, for SciPy."""
    tolerance: float = 1e-5
    """Of the projected gradient, for all methods."""
    history_size: int = 5
    """Pairs that L-BFGS keeps, for all methods."""
    jaxopt_iterations: int = 200
    """Iterations of jaxopt's, at most."""


def check(config: Config) -> None:
    """Raises ValueError or OSError for settings that cannot work, before any of the work."""
    if not 1 <= config.scipy_problems <= config.problems:
        got = f"got {config.scipy_problems} of {config.problems}"
        raise ValueError(f"scipy_problems must be from 1 to problems, {got}")
    if not (config.tolerance > 0 and min(config.history_size, config.jaxopt_iterations) >= 1):
        raise ValueError("tolerance must be above 0, history_size and iterations at least 1")
    common.check(config)


def run(config: Config) -> None:
    """Measures all methods on all problems, prints the tables and writes the files."""
    common.pin(config.cores)
    sets = {"attack": attack(config), "Rosenbrock": rosenbrock(config)}
    methods = {"jaxadv": by_jaxadv, "jaxopt LBFGSB": by_jaxopt, "SciPy, singly": by_scipy}
    results = {}
    with progress_bars() as bars:
        task = bars.add_task("problems over boxes", total=len(sets) * len(methods))
        for name, problems in sets.items():
            found = {}
            for method, solve in methods.items():
                found[method] = solve(problems, config)
                bars.advance(task)
            results[name] = judged(problems, found)
    tables = [as_table(name, rows) for name, rows in results.items()]
    common.publish(config, "bounded", {"bounded": results}, tables, WIDTH, LEGEND)


def attack(config: Config) -> Problems:
    """As of an adversarial attack on a linear classifier."""
    rng = np.random.default_rng(config.seed)
    weights = jnp.asarray(rng.normal(size=(SIZE, CLASSES)) * 10 / np.sqrt(SIZE), jnp.float32)
    images = jnp.asarray(rng.uniform(size=(config.problems, SIZE)), jnp.float32)
    targets = jnp.asarray(rng.integers(CLASSES, size=config.problems))

    def fun(z, x, target):
        logits = z @ weights
        return 0.02 * jnp.sum((z - x) ** 2) + jax.nn.logsumexp(logits) - logits[target]

    return Problems(fun, images, (0.0, 1.0), (images, targets))


def rosenbrock(config: Config) -> Problems:
    """The extended Rosenbrock function, half of whose variables end at their bound."""
    rng = np.random.default_rng(config.seed)
    starts = jnp.asarray(rng.uniform(-1.5, 0.8, size=(config.problems, SIZE)), jnp.float32)

    def fun(x):
        return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)

    return Problems(fun, starts, (-1.5, 0.8), ())


def by_jaxadv(problems: Problems, config: Config) -> dict[str, Any]:
    """All problems by ours, in a vmapped call."""

    def solve(start, *args):
        options = {"gradient_tolerance": config.tolerance, "history_size": config.history_size}
        result = minimize_bounded(problems.fun, start, problems.bounds, *args, **options)
        return result.x, result.evaluations

    return side_by_side(solve, problems)


def by_jaxopt(problems: Problems, config: Config) -> dict[str, Any]:
    """All problems by jaxopt's own, in a vmapped call."""
    solver = jaxopt.LBFGSB(
        problems.fun,
        maxiter=config.jaxopt_iterations,
        tol=config.tolerance,
        history_size=config.history_size,
    )
    box = tuple(jnp.full(SIZE, bound, jnp.float32) for bound in problems.bounds)

    def solve(start, *args):
        x, state = solver.run(start, box, *args)
        return x, state.iter_num

    return side_by_side(solve, problems)


def side_by_side(solve: Callable, problems: Problems) -> dict[str, Any]:
    """Minimisers, seconds of compilation and of a call, and evaluations."""
    arguments = problems.start, *problems.args
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(solve)).lower(*arguments).compile()
    compilation = time.perf_counter() - start
    start = time.perf_counter()
    x, evaluations = jax.block_until_ready(compiled(*arguments))
    seconds = time.perf_counter() - start
    mean = float(np.mean(evaluations))
    return {"x": x, "seconds": seconds, "compile_seconds": compilation, "evaluations": mean}


def by_scipy(problems: Problems, config: Config) -> dict[str, Any]:
    """The first problems by SciPy's, one after the other."""
    start = time.perf_counter()
    objective = jax.jit(jax.value_and_grad(problems.fun))
    objective(problems.start[0], *(each[0] for each in problems.args))
    compilation = time.perf_counter() - start
    found, evaluations = [], 0
    start = time.perf_counter()
    for index in range(config.scipy_problems):
        args = tuple(each[index] for each in problems.args)
        result = scipy.optimize.minimize(
            lambda x, *args: tuple(np.float64(a) for a in objective(np.float32(x), *args)),
            problems.start[index],
            args,
            method="L-BFGS-B",
            jac=True,
            bounds=[problems.bounds] * SIZE,
            options={"gtol": config.tolerance, "ftol": 0.0, "maxcor": config.history_size},
        )
        found.append(result.x)
        evaluations += result.nfev / config.scipy_problems
    seconds = time.perf_counter() - start
    x = np.stack(found)
    return {"x": x, "seconds": seconds, "compile_seconds": compilation, "evaluations": evaluations}


def judged(problems: Problems, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The share of problems that each method has solved, and its rate."""
    with jax.enable_x64(True):
        evaluate = jax.jit(jax.vmap(problems.fun))
        values = {}
        for method, of_method in found.items():
            x = np.clip(np.asarray(of_method["x"], float), *problems.bounds)
            values[method] = np.asarray(evaluate(x, *(each[: len(x)] for each in problems.args)))
    least = np.full(len(problems.start), np.inf)
    for of_method in values.values():
        least[: len(of_method)] = np.minimum(least[: len(of_method)], of_method)
    rows = {}
    for method, of_method in values.items():
        outside = np.asarray(found[method]["x"], np.float32)
        inside = (outside >= np.float32(problems.bounds[0])).all(axis=1)
        inside &= (outside <= np.float32(problems.bounds[1])).all(axis=1)
        close = of_method <= least[: len(of_method)] * (1 + 1e-4)
        rows[method] = {
            "problems": len(of_method),
            "solved": float(np.mean(close & inside)),
            "solved_per_second": float(np.sum(close & inside)) / found[method]["seconds"],
            "seconds": found[method]["seconds"],
            "evaluations": found[method]["evaluations"],
            "compile_seconds": found[method]["compile_seconds"],
        }
    return rows


def as_table(name: str, rows: dict[str, dict[str, float]]) -> Table:
    """One row per method; rates also relative to jaxopt's."""
    peer = rows["jaxopt LBFGSB"]["solved_per_second"]
    lines = [
        (
            *(method, f"{row['problems']}", f"{100 * row['solved']:.0f} %"),
            f"{row['solved_per_second']:.3g}",
            f"{row['solved_per_second'] / peer:.3g}" if peer else "–",
            f"{row['evaluations']:.0f}",
            f"{row['compile_seconds']:.1f}",
        )
        for method, row in rows.items()
    ]
    return Table(f"{name}, {SIZE} variables", HEADER, lines)


main = functools.partial(command.main, check, run, Config)

if __name__ == "__main__":
    command.leave(main())
