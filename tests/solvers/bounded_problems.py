"""Bound-constrained problems: of Hock & Schittkowski (hs), of CUTEst, and others like them."""

import jax
import jax.numpy as jnp
import numpy as np

INF = np.inf
PROBLEMS = {}


def problem(x0, lower=-INF, upper=INF):
    """Registers an objective with its start and box, as float64 vectors."""

    def register(fun):
        x = np.asarray(x0, float)
        box = np.broadcast_to(lower, x.shape), np.broadcast_to(upper, x.shape)
        PROBLEMS[fun.__name__] = (fun, x, *(np.asarray(bound, float) for bound in box))
        return fun

    return register


def rosen(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@problem([-2, 1], [-INF, -1.5])
def hs1(x):
    return rosen(x)


@problem([-2, 1], [-INF, 1.5])
def hs2(x):
    return rosen(x)


@problem([10, 1], [-INF, 0])
def hs3(x):
    return x[1] + 1e-5 * (x[1] - x[0]) ** 2


@problem([1.125, 0.125], [1, 0])
def hs4(x):
    return (x[0] + 1) ** 3 / 3 + x[1]


@problem([0, 0], [-1.5, -3], [4, 3])
def hs5(x):
    return jnp.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1


@problem([-3, -1, -3, -1], -10, 10)
def hs38(x):
    return wood(x)


def wood(x):
    a, b, c, d = x[:4]
    valleys = 100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
    return valleys + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1)


@problem([2] * 5, 0, [1, 2, 3, 4, 5])
def hs45(x):
    return 2 - jnp.prod(x) / 120


@problem([9] * 10, 2.001, 9.999)
def hs110(x):
    return jnp.sum(jnp.log(x - 2) ** 2 + jnp.log(10 - x) ** 2) - jnp.prod(x) ** 0.2


@problem([3, 1, 3, 1], [0, 0.2, 0, 0.2], [0.9, 10, 10, 10])
def wood_bounded(x):
    return wood(x)


@problem([1, 1], [0.6, 0.5], [10, 100])
def beale(x):
    i = np.arange(1, 4)
    return jnp.sum((np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** i)) ** 2)


@problem([3, -1, 0, 3], [0.1, -20, -1, -1], [100, 20, 1, 50])
def powell_singular(x):
    a, b, c, d = x
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


@problem(1 - np.arange(1, 11) / 10, 0.0, [0.5] * 5 + [2] * 5)
def variably_dimensioned(x):
    t = jnp.sum(np.arange(1, 11) * (x - 1))
    return jnp.sum((x - 1) ** 2) + t**2 + t**4


@problem([-1.2, 1] * 5, -2, [0.8] * 5 + [2] * 5)
def rosenbrock(x):
    return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


@problem([-1.2] + [1] * 9, [0.2, -1] * 5, 0.9)
def rosenbrock_chained(x):
    return rosen(x)


@problem(np.full(20, 1.0), 0, 3)
def bdexp(x):
    return jnp.sum((x[:-2] + x[1:-1]) * jnp.exp(-x[2:] * (x[:-2] + x[1:-1])))


def _dense_qp(n, seed, condition):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return q @ np.diag(np.geomspace(1, condition, n)) @ q.T, 5 * rng.normal(size=n)


QP, QP_BAD = _dense_qp(30, 0, 1e2), _dense_qp(30, 1, 1e4)


@problem(np.full(30, 0.5), 0, 1)
def qp(x):
    return 0.5 * x @ QP[0] @ x - QP[1] @ x


@problem(np.full(30, 0.5), 0, 1)
def qp_ill_conditioned(x):
    return 0.5 * x @ QP_BAD[0] @ x - QP_BAD[1] @ x


GRID = 8  # points in each direction, inside a square with u = 0 around it
POINTS = np.arange(1, GRID + 1) / (GRID + 1)


def dirichlet(x, weights=1.0):
    """½ ∫ w |∇u|², where w varies along the first direction."""
    u = jnp.pad(x.reshape(GRID, GRID), 1)
    along, across = jnp.diff(u, axis=0)[:, 1:-1] ** 2, jnp.diff(u, axis=1)[1:-1] ** 2
    return 0.5 * (jnp.sum(along[1:].T * weights) + jnp.sum(along[0]) + jnp.sum(across.T * weights))


def on_grid(first, second):
    return np.outer(first, second).ravel()


NEAREST = np.minimum(POINTS, 1 - POINTS)  # distance from the boundary
DISTANCE = np.minimum.outer(NEAREST, NEAREST).ravel()


@problem(np.zeros(GRID**2), -DISTANCE, DISTANCE)
def torsion(x):
    return dirichlet(x) - 5 / (GRID + 1) ** 2 * jnp.sum(x)


@problem(np.full(GRID**2, 1.0), on_grid(np.sin(3.2 * POINTS), np.sin(3.2 * POINTS)) ** 3, 2000)
def obstacle(x):
    return dirichlet(x) - 1 / (GRID + 1) ** 2 * jnp.sum(x)


@problem(np.full(GRID**2, 0.1), 0)
def journal_bearing(x):
    film = (1 + 0.1 * np.cos(2 * np.pi * POINTS)) ** 3
    return dirichlet(x, film) - 0.1 * on_grid(np.sin(2 * np.pi * POINTS), np.ones(GRID)) @ x


_rng = np.random.default_rng(3)
FEATURES, LABELS = _rng.normal(size=(80, 20)), np.sign(_rng.normal(size=80))


@problem(np.zeros(20), -0.2, 0.3)
def logistic(x):
    return jnp.sum(jax.nn.softplus(-LABELS * (FEATURES @ x))) + 0.05 * x @ x


@problem(np.full(20, 0.5), 0)
def nonnegative_least_squares(x):
    return 0.5 * jnp.sum((FEATURES @ x - LABELS) ** 2)


@problem(np.full(12, 0.5), 1e-3, 1)
def entropy(x):
    return jnp.sum(x * jnp.log(x)) + 10 * (jnp.sum(x) - 1) ** 2 + np.linspace(-3, 3, 12) @ x


@problem([1, 1, 0.0], [-INF, 0.2, -INF], [0.9, INF, 0.5])
def helical_valley(x):
    angle = jnp.arctan2(x[1], x[0]) / (2 * np.pi)
    return 100 * ((x[2] - 10 * angle) ** 2 + (jnp.hypot(x[0], x[1]) - 1) ** 2) + x[2] ** 2


@problem(np.full(15, -1.0), -2, np.linspace(-0.9, -0.2, 15))
def broyden_tridiagonal(x):
    y = jnp.pad(x, 1)
    return jnp.sum(((3 - 2 * x) * x - y[:-2] - 2 * y[2:] + 1) ** 2)


@problem(np.arange(1, 11) / 11, 0.1, [0.3] * 4 + [1] * 6)
def trigonometric(x):
    i = np.arange(1, 11)
    return jnp.sum((10 - jnp.sum(jnp.cos(x)) + i * (1 - jnp.cos(x)) - jnp.sin(x)) ** 2)


@problem(np.full(10, 0.5), [-1] * 9 + [0.3], [0.4] * 3 + [2] * 7)
def penalty(x):
    return 1e-5 * jnp.sum((x - 1) ** 2) + (jnp.sum(x**2) - 0.25) ** 2


@problem(np.full(6, 1.0), 0.4, 5)
def mccormick(x):
    a, b = x[:-1], x[1:]
    return jnp.sum(-1.5 * a + 2.5 * b + 1 + (a - b) ** 2 + jnp.sin(a + b))
