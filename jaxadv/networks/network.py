"""A network as a sequence of named layers, and its parameters as plain dicts."""

import dataclasses
import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

Params = dict[str, Any]
QUICKLY = {"xla_backend_optimization_level": 1}  # compiles in a third of the time, to the same bits


@runtime_checkable
class Layer(Protocol):
    """What a `Network` needs of a layer: flax's modules have it."""

    @property
    def name(self) -> Any:
        """The key of its parameters."""
        ...

    def init(self, rngs: Any, *args: Any) -> Any:
        """Draws {"params": its parameters}; see flax."""
        ...

    def apply(self, variables: Any, *args: Any) -> Any:
        """Maps activations to activations; see flax."""
        ...


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a sequence of named layers φ_K ∘ … ∘ φ_1.

    Hashable, so that its methods can be static under jit. `params` is a dict with one entry per
    layer, named as the layer.

    >>> from jaxadv.networks import FullyConnected
    >>> hidden = FullyConnected(5, jax.nn.relu, name="hidden")
    >>> network = Network((hidden, FullyConnected(3, name="softmax")), (4, 4, 1))
    >>> params = network.init(jax.random.key(0))
    >>> network.logits(params, jnp.zeros((7, 4, 4, 1))).shape
    (7, 3)
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]

    def init(self, key: jax.Array) -> Params:
        """Draws parameters, each layer's from the key folded by its index."""
        backend = None if isinstance(key, Tracer) else jax.default_backend()
        drawn = _drawing(backend)(self, key)
        # By names in alphabetical order, as of all that jit returns.
        return {layer.name: drawn[layer.name] for layer in self.layers}

    def _drawn(self, key):
        params, h = {}, jax.ShapeDtypeStruct((1, *self.input_shape), "float32")
        for index, layer in enumerate(self.layers):
            variables = layer.init(jax.random.fold_in(key, index), jnp.zeros(h.shape))
            params[layer.name] = variables.get("params", {})
            h = jax.eval_shape(layer.apply, variables, h)
        return params

    def logits(
        self, params: Params, x: Float[jax.Array | np.ndarray, "B *image"]
    ) -> Float[jax.Array, "B k"]:
        """Logits of images in [0, 1], each of `input_shape`; ValueError where it is another."""
        if x.shape[1:] != tuple(self.input_shape):
            raise ValueError(f"images must have the shape {self.input_shape}, got {x.shape[1:]}")
        return self.between(params, x, 0, len(self.layers))

    def between(
        self, params: Params, h: Float[jax.Array | np.ndarray, "B *shape"], start: int, stop: int
    ) -> Any:
        """Applies the layers start … stop − 1 to the activations h; returns (B, …) ones."""
        for layer in self.layers[start:stop]:
            h = layer.apply({"params": params[layer.name]}, h)
        return h

    def shapes(self, params: Params) -> list[tuple[int, ...]]:
        """Shapes of one image and of each layer's output; `params` may be their shapes too."""
        h = jax.ShapeDtypeStruct((1, *self.input_shape), "float32")
        shapes = [self.input_shape]
        for index in range(len(self.layers)):
            h = _between.eval_shape(self, params, h, index, index + 1)
            shapes.append(h.shape[1:])
        return shapes


_between = jax.jit(Network.between, static_argnums=(0, 3, 4))  # traced once, as is `_drawing`


@functools.cache
def _drawing(backend):
    """Compiled for a backend, or, for None, within another program, where jit takes no options."""
    options = QUICKLY if backend == "cpu" else None
    return jax.jit(Network._drawn, static_argnums=0, compiler_options=options)
