"""Operator norms of convolutions: exact, estimated, and by published bounds.

    python benchmarks/spectral.py --cores 0

The claim: exact norms of AlexNet's convolutions (the paper's Table 5) take less time than singular
values by FFT and batched SVD, and than Gram iteration. Weights are Glorot's for AlexNet and trained
for LeNet-5. Each norm is that on the smallest torus that makes it a bound with zero padding. –: the
method knows no stride, or no groups.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import common
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.reports.tables import Table
from jaxadv.runs import command
from jaxadv.runs.console import progress_bars
from jaxadv.spectral import conv_operator_norm, dense_operator_norm

WIDTH = 100  # of the tables, in characters, where the terminal has fewer
REPETITIONS = 3  # the median of which is reported, after compilation
TENSOR_ITERATIONS = 100
LEGEND = """\
gram: 8 Gram iterations, an upper bound. power: 30 power iterations, a lower bound.
SVD: of all matrices of half of the spectrum, in a batch.
fantastic four: Singla & Feizi 2021. LipBound: Araujo et al. 2021, but with its suprema over the
frequencies of the torus, which is smaller than by its grid of samples.
tensor norm: Grishina et al. 2024, by 100 alternating iterations, which give a lower estimate of the
tensor's norm, and so no certificate."""


class Layer(NamedTuple):
    """A convolution on a square torus."""

    name: str
    kernel: jax.Array  # (size, size, in / groups, out)
    grid: int
    stride: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Config(common.Common):
    """Settings of the benchmark."""


def run(config: Config) -> None:
    """Measures all layers, prints the tables and writes the files."""
    common.pin(config.cores)
    params = common.load_model("LeNet-5", common.load_data(config), config).params
    layers = [
        *alexnet(config.seed),
        Layer("LeNet-5 conv1", params["conv1"]["kernel"], 28),
        Layer("LeNet-5 conv2", params["conv2"]["kernel"], 12),
    ]
    results = {}
    with progress_bars() as bars:
        task = bars.add_task("operator norms", total=len(layers))
        for layer in layers:
            results[layer.name] = {name: measure(f, layer) for name, f in methods(layer).items()}
            bars.advance(task)
    tables = [ratios(results), seconds(results)]
    common.publish(config, "spectral", {"spectral": results}, tables, WIDTH, LEGEND)


def alexnet(seed: int) -> list[Layer]:
    """Its convolutions without groups, as in the paper, then those that had two when published."""
    shapes = {
        "conv1": ((11, 11, 3, 96), 228, 4),
        "conv2": ((5, 5, 96, 256), 29, 1),
        "conv3": ((3, 3, 256, 384), 14, 1),
        "conv4": ((3, 3, 384, 384), 14, 1),
        "conv5": ((3, 3, 384, 256), 14, 1),
    }
    layers = []
    for groups, suffix in ((1, ""), (2, ", 2 groups")):
        for index, (name, (shape, grid, stride)) in enumerate(shapes.items()):
            if groups == 1 or name in ("conv2", "conv4", "conv5"):
                key = jax.random.fold_in(jax.random.key(seed), index)
                shape = (*shape[:2], shape[2] // groups, shape[3])
                kernel = nn.initializers.glorot_uniform()(key, shape)
                layers.append(Layer(f"AlexNet {name}{suffix}", kernel, grid, stride, groups))
    return layers


def methods(layer: Layer) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Functions of the layer's kernel; bounds only where they apply."""
    norm = functools.partial(
        conv_operator_norm, grid=layer.grid, strides=layer.stride, groups=layer.groups
    )
    found: dict[str, Callable[[jax.Array], jax.Array]] = {
        name: functools.partial(norm, method=name) for name in ("exact", "gram", "power")
    }
    if layer.groups == 1:
        found["SVD"] = functools.partial(by_svd, grid=layer.grid, stride=layer.stride)
        if layer.stride == 1:
            found["fantastic four"] = fantastic_four
            found["LipBound"] = functools.partial(lip_bound, grid=layer.grid)
            found["tensor norm"] = tensor_norm
    return found


def measure(function: Callable[[jax.Array], jax.Array], layer: Layer) -> dict[str, float]:
    """The value, the seconds of compilation, and the median of those of calls."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(layer.kernel).compile()
    compilation = time.perf_counter() - start
    value, durations = compiled(layer.kernel), []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        value = jax.block_until_ready(compiled(layer.kernel))
        durations.append(time.perf_counter() - start)
    return {
        "norm": float(value),
        "compile_seconds": compilation,
        "seconds": statistics.median(durations),
    }


def by_svd(kernel: jax.Array, grid: int, stride: int) -> jax.Array:
    """The exact norm: polyphase components, FFT, and all singular values (Sedghi et al., 2019)."""
    size, _, channels, features = kernel.shape
    taps = -(-size // stride)
    kernel = jnp.pad(kernel, [(0, taps * stride - size)] * 2 + [(0, 0)] * 2)
    kernel = kernel.reshape(taps, stride, taps, stride, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(taps, taps, -1, features)
    matrices = jnp.fft.rfft2(kernel, s=[grid // stride] * 2, axes=(0, 1))
    return jnp.linalg.svd(matrices, compute_uv=False).max()


def fantastic_four(kernel: jax.Array) -> jax.Array:
    """√(height · width) times the least norm of four reshaped kernels (arXiv 1911.10258)."""
    height, width, _, features = kernel.shape
    matrices = (
        kernel.transpose(3, 0, 1, 2).reshape(features * height, -1),
        kernel.transpose(3, 1, 0, 2).reshape(features * width, -1),
        kernel.transpose(3, 0, 1, 2).reshape(features, -1),
        kernel.transpose(3, 0, 1, 2).reshape(features * height * width, -1),
    )
    norms = jnp.array([dense_operator_norm(matrix) for matrix in matrices])
    return jnp.sqrt(height * width) * norms.min()


def lip_bound(kernel: jax.Array, grid: int) -> jax.Array:
    """√ Σ_out sup_ξ Σ_in |f(ξ)|² (arXiv 2006.08391, Theorem 4)."""
    spectrum = jnp.fft.rfft2(kernel, s=(grid, grid), axes=(0, 1))
    return jnp.sqrt(jnp.square(jnp.abs(spectrum)).sum(axis=2).max(axis=(0, 1)).sum())


def tensor_norm(kernel: jax.Array) -> jax.Array:
    """√(height · width) times max |⟨kernel, a ⊗ b ⊗ c ⊗ d⟩|, over complex unit vectors."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal((n, 2)) @ (1, 1j) for n in kernel.shape]
    vectors = [jnp.asarray(v / np.linalg.norm(v), jnp.complex64) for v in start]
    others = ("b,c,d->a", "a,c,d->b", "a,b,d->c", "a,b,c->d")

    def step(_, state):
        vectors, norm = state
        for axis, indices in enumerate(others):
            rest = [v for index, v in enumerate(vectors) if index != axis]
            vector = jnp.einsum(f"abcd,{indices}", kernel, *rest).conj()
            norm = jnp.linalg.norm(vector)
            vectors = [vector / norm if index == axis else v for index, v in enumerate(vectors)]
        return vectors, norm

    _, norm = jax.lax.fori_loop(0, TENSOR_ITERATIONS, step, (vectors, jnp.float32(0)))
    return jnp.sqrt(kernel.shape[0] * kernel.shape[1]) * norm


def ratios(results: dict[str, dict]) -> Table:
    """The norms, and what the methods give, as multiples of them."""
    names = list(results["LeNet-5 conv1"])
    rows = []
    for layer, found in results.items():
        exact = found["exact"]["norm"]
        others = [f"{found[n]['norm'] / exact:.6f}" if n in found else "–" for n in names[1:]]
        rows.append((layer, f"{exact:.5g}", *others))
    return Table("Operator norms, and ratios to them", ("layer", *names), rows)


def seconds(results: dict[str, dict]) -> Table:
    """The seconds of a call, and their sum over AlexNet, of the exact ones also with groups."""
    names = list(results["LeNet-5 conv1"])

    def line(title, layers):
        return title, *(
            f"{sum(results[layer][name]['seconds'] for layer in layers):.2g}"
            if all(name in results[layer] for layer in layers)
            else "–"
            for name in names
        )

    alexnet = [layer for layer in results if layer.startswith("AlexNet")]
    plain = [layer for layer in alexnet if "groups" not in layer]
    published = [f"{a}, 2 groups" if f"{a}, 2 groups" in results else a for a in plain]
    return Table(
        "Seconds, without compilation",
        ("layer", *names),
        [
            *(line(layer, [layer]) for layer in results),
            line("AlexNet, all", plain),
            line("AlexNet, as published", published),
        ],
    )


main = functools.partial(command.main, common.check, run, Config)

if __name__ == "__main__":
    command.leave(main())
