"""What an attack demands of its input, checked before any work starts, and what its end shows."""

import functools
import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Bool, Float, Int32

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.types import LogitsFn
from jaxadv.storage.devices import side_by_side
from jaxadv.storage.errors import InputError

NUMBERS = (bool, int, float, complex)  # which are traced, as arrays are
ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct, *NUMBERS)  # leaves of params
DIFFERENCE = 0.05  # of an image's largest logit and their median, what half precision may change
FEW = 10  # gradients, by which a step has moved an image unless its gradient is 0
MASK = 1e6  # times an image's largest logit: what is so far below is a mask
PARTITION = (
    "; of an Equinox module, give the arrays of params, static = eqx.partition(model,"
    " eqx.is_array), and let logits_fn call eqx.combine(params, static)"
)
BATCH = "; if this is a single image, it needs an axis of images, x[None]"
TRAINING = "; a module of Flax nnx must be in evaluation mode, by model.eval()"


def validated(
    logits_fn: LogitsFn,
    params: Any,
    x: Any,
    target: Any,
    *,
    name: str = "target",
) -> tuple[Float[np.ndarray, "B *image"], Int32[np.ndarray, " B"], int]:
    """Returns x as float32 (float64 with jax_enable_x64), target as int32, and the classes' number.

    Raises ValueError where they or logits_fn are not what `minimal_adversarial` asks for. Warns if
    the logits look like probabilities, on which cross-entropy would apply softmax twice, or depend
    on the images beside theirs.
    """
    _refuse_tracers(params=params, **{name: target})
    x, target = checked_images(x), np.asarray(target)
    sample = x[: side_by_side(256, x[0])]
    classes = number_of_classes(logits_fn, params, sample)
    target = _checked_classes(name, target, len(x), classes)
    logits, elsewhere = _in_two_companies(logits_fn, params, sample)
    _check_company(logits, elsewhere)
    _check_logits(logits)
    return x, target, classes


def check_progress(progress: Any) -> None:
    """Raises ValueError where progress is neither None nor a function of a number."""
    if progress is not None and (isinstance(progress, type) or not _takes_a_number(progress)):
        raise ValueError(
            "progress must be a function, called with how many images have just been done, as"
            f" tqdm(total=len(x)).update, got {progress!r:.200}"
        )


def checked_options(options: Any) -> AttackOptions:
    """The options, by default `AttackOptions()`; ValueError where they are anything else."""
    if options is None:
        return AttackOptions()
    if type(options) is not AttackOptions:  # jit takes no other class
        name = getattr(options, "__qualname__", None)
        hint = f"; call it: {name}()" if str(name).startswith("AttackOptions") else ""
        raise ValueError(f"options must be an AttackOptions, got {options!r:.200}{hint}")
    return options


def checked_images(x: Any) -> Float[np.ndarray, "B *image"]:
    """Returns x as a floating-point array, or raises ValueError: (B, …), finite, in [0, 1]."""
    _refuse_tracers(x=x)
    try:
        given, x = x, np.asarray(x)
    except ValueError as error:  # such as a list of images of several shapes
        raise ValueError(f"images must form one array: {error}") from error
    if not jnp.issubdtype(x.dtype, jnp.floating):
        got = x.dtype if x.dtype.kind in "biuc" else f"{given!r:.100}"
        hint = "; divide 8-bit images by 255" if np.issubdtype(x.dtype, np.integer) else ""
        if x.dtype == np.uint16:
            hint = "; divide 16-bit images by 65535"
        raise ValueError(f"images must be floating-point numbers in [0, 1], got {got}{hint}")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"images must have the shape (B, …) with B ≥ 1, got {x.shape}")
    x = x.astype(jax.dtypes.canonicalize_dtype(np.float64))
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
        raise ValueError(f"images must be finite, got NaN or infinity in images {_some(bad)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"images must lie in [0, 1], got values from {x.min()!s} to {x.max()!s};"
            " put any other normalisation into logits_fn"
        )
    return x


def number_of_classes(logits_fn: LogitsFn, params: Any, x: Float[np.ndarray, "B *image"]) -> int:
    """Returns k, or raises ValueError: logits_fn maps (B, …) images to (B, k) logits, k ≥ 2.

    So it does where params has a leaf that is no array.
    """
    _check_arrays(params)
    try:
        output = jax.eval_shape(_in_loop(logits_fn), params, x)
    except Exception as error:  # whatever the user's function raises
        numbers = any(isinstance(leaf, NUMBERS) for leaf in jax.tree.leaves(params))
        hint = PARTITION if numbers and isinstance(error, jax.errors.JAXTypeError) else ""
        hint = TRAINING if type(error).__name__ == "TraceContextError" else hint
        hint = hint or (BATCH if _takes(logits_fn, params, (1, *x.shape), x.dtype) else "")
        raise ValueError(
            f"logits_fn cannot be applied to images of shape {x.shape[1:]}: {error}{hint}"
        ) from error
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x) or shape[1] < 2:
        raise ValueError(
            f"logits_fn must map {len(x)} images of shape {x.shape[1:]} to ({len(x)}, k) logits"
            f" with k ≥ 2 classes, got {jax.tree.map(lambda a: a.shape, output)}"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise ValueError(f"logits_fn must return floating-point logits, got {output.dtype}")
    if not _takes(logits_fn, params, (len(x) + 1, *x.shape[1:]), x.dtype):
        raise ValueError(
            f"logits_fn must take any number of images, and cannot be applied to {len(x) + 1}, only"
            f" to {len(x)}; a function made by jax.export needs a symbolic one"
        )
    return shape[1]


def checked_result(result: AttackResult) -> AttackResult:
    """Returns the result, and warns where no attack so much as moved its image."""
    searched = result.status != Status.ALREADY_TARGET
    failed = (result.status == Status.NOT_FOUND) & (result.evaluations > FEW)
    if searched.any() and failed[searched].all() and not result.distortion.any():
        warnings.warn(
            "no attack moved its image: the gradient of the gap between the logits is 0, as after"
            " rounding, argmax or jax.lax.stop_gradient, or the box leaves no way along it",
            stacklevel=3,
        )
    return result


def are_finite(logits: Float[np.ndarray, "B k"]) -> Bool[np.ndarray, " B"]:
    """Whether an image's logits are: classes may be masked by -∞."""
    return np.isfinite(logits.max(axis=1)) & ~np.isnan(logits).any(axis=1)


@functools.lru_cache(maxsize=8)  # one function object for each, which JAX traces but once
def _in_loop(logits_fn):
    """As attacks call it: in a loop, outside of which a function cannot change anything."""

    @functools.wraps(logits_fn)  # so that errors have the names of its arguments
    def called(params, x):
        outputs = jax.lax.map(lambda _: logits_fn(params, x), jnp.zeros(1))
        return jax.tree.map(lambda each: each[0], outputs)

    return called


def _takes(logits_fn, params, shape, dtype):
    """Whether logits_fn can be applied to images of the (B, …) shape."""
    try:
        jax.eval_shape(logits_fn, params, jax.ShapeDtypeStruct(shape, dtype))
    except Exception:  # whatever the user's function raises
        return False
    return True


def _takes_a_number(function):
    try:
        inspect.signature(function).bind(1.0)
    except TypeError:  # also of what is no function
        return False
    except ValueError:  # there is no signature, as of some functions in C
        pass
    return True


def _refuse_tracers(**values):
    for name, value in values.items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
            raise ValueError(
                f"attacks are not traceable, by jax.jit, vmap or grad, got a tracer in {name}:"
                " call them outside, on whole arrays, of as many images as there are"
            )


def _check_arrays(params):
    for path, leaf in jax.tree.leaves_with_path(params):
        if not isinstance(leaf, ARRAYS) and not hasattr(leaf, "__jax_array__"):
            raise ValueError(
                f"params must be a pytree of arrays, got {type(leaf).__name__} as"
                f" params{jax.tree_util.keystr(path)}{PARTITION}"
            )


def _checked_classes(name, values, images, classes):
    if values.shape != (images,):
        raise ValueError(
            f"{name} must hold one class per image, shape ({images},), got {values.shape}"
        )
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must hold integer classes, got {values.dtype}")
    if values.min() < 0 or values.max() >= classes:
        raise ValueError(
            f"{name} must hold classes from 0 to {classes - 1},"
            f" got values from {values.min()} to {values.max()}"
        )
    return values.astype(np.int32)


def _check_logits(logits):
    finite = are_finite(logits)
    if not finite.any():
        raise InputError("logits_fn returned NaN or infinity for every image")
    if logits[finite].min() >= 0 and np.allclose(logits[finite].sum(axis=1), 1, atol=1e-3):
        warnings.warn(
            "the logits look like probabilities (each row is non-negative and sums to 1):"
            " logits_fn should return the values before softmax",
            stacklevel=4,
        )


def _in_two_companies(logits_fn, params, sample):
    """The logits of the sample, and those of half of it, or of one image, beside black images."""
    count = max(1, len(sample) // 2)
    beside = sample if len(sample) > 1 else np.repeat(sample, 2, axis=0)
    moved = np.concatenate([np.zeros_like(beside[count:]), beside[:count]])
    compiled = jax.jit(logits_fn)
    logits, elsewhere = (np.asarray(compiled(params, x)) for x in (beside, moved))
    return logits[: len(sample)], elsewhere[-count:]


def _check_company(logits, elsewhere):
    """Warns unless the first logits are those of the same images elsewhere, but for rounding.

    Masks are left out.
    """
    rounding = 4 * float(jnp.finfo(logits.dtype).eps) + 1e-4
    logits, elsewhere = logits[: len(elsewhere)].astype(float), elsewhere.astype(float)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        largest = logits.max(axis=1, keepdims=True)
        kept = np.isfinite(logits) & (logits > -MASK * np.maximum(1, np.abs(largest)))
        some = kept.any(axis=1)
        logits, elsewhere, largest, kept = (
            each[some] for each in (logits, elsewhere, largest, kept)
        )
        median = np.nanmedian(np.where(kept, logits, np.nan), axis=1, keepdims=True)
        most = np.maximum(DIFFERENCE * (largest - median), rounding * np.abs(largest))
        differ = kept & ~(np.abs(elsewhere - logits) <= most)
    if differ.any():
        warnings.warn(
            "the logits of an image depend on its place or on the images beside it: logits_fn"
            " should be in evaluation mode, without dropout and batch statistics",
            stacklevel=4,
        )


def _some(indices, most=5):
    return ", ".join(map(str, indices[:most])) + (", …" if len(indices) > most else "")
