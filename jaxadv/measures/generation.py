"""Adversarial examples of a source's images, a part of them at a time, as columns of results."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxadv.attacks import checks
from jaxadv.attacks.minimal import minimal_adversarial
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult, Status
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.attacks.several_targets import all_targets, untargeted
from jaxadv.attacks.stored import logits_in_batches
from jaxadv.attacks.types import LogitsFn, Progress
from jaxadv.certify import Mlp, crown
from jaxadv.datasets.examples import UNKNOWN, Examples
from jaxadv.datasets.reading import Batch
from jaxadv.storage.devices import together
from jaxadv.storage.errors import InputError
from jaxadv.zoo import Model

SHARD_BYTES = 2**26  # at most, unless it is one image
BALLS = 20  # that CROWN tries per image
Mode = Literal[
    "random", "least-likely", "next-likely", "class", "given", "untargeted", "all-targets"
]


@dataclasses.dataclass(frozen=True)
class Generation:
    """What is done to each image, and what is written of it.

    Args:
      logits_fn: as for `jaxadv.minimal_adversarial`.
      params: as there.
      classes: number of logits.
      mode: which classes the attacks are towards. The class to leave is the label, or where that is
        not known, that which the model takes the image for.
      target: for the mode "class".
      attack: its settings.
      seed: of random targets, which depend on it and on the image's index alone.
      certified: the model, to prove lower bounds for; or None.
      others: (logits_fn, params) by name, which are asked what they take the examples for.
    """

    logits_fn: LogitsFn
    params: Any
    classes: int
    mode: Mode = "random"
    target: int | None = None
    attack: AttackOptions = AttackOptions()
    seed: int = 0
    certified: Mlp | None = None
    others: Mapping[str, tuple[LogitsFn, Any]] = dataclasses.field(default_factory=dict)

    def columns(self, image_shape: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The dtype and the shape of a row of each column; an axis of classes for all targets."""
        ways = (self.classes,) if self.mode == "all-targets" else ()
        real = _real().name  # that of the attack, as a rounded image may be of another class
        kinds = {
            **dict.fromkeys(("target", "evaluations"), "int32"),
            **dict.fromkeys(("distortion", "l2"), real),
            **{"success": "bool", "status": "int8"},
        }
        if self.certified:
            kinds["certified"] = real
        kinds |= {f"transfer/{name}": "int32" for name in self.others}
        columns: dict[str, tuple[str, tuple[int, ...]]] = {"index": ("int64", ())}
        columns |= dict.fromkeys(("label", "predicted"), ("int32", ()))
        columns["x_adv"] = real, (*ways, *image_shape)
        return columns | {name: (dtype, ways) for name, dtype in kinds.items()}

    def shard_size(self, image_shape: tuple[int, ...]) -> int:
        """Images of a shard that suit, 4,096 at most: those of large images are few.

        Example:
          >>> Generation(lambda params, x: x, None, 10).shard_size((224, 224, 3))
          111
        """
        dtypes = self.columns(image_shape).values()
        row = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in dtypes)
        return max(1, min(4096, SHARD_BYTES // row))

    def checked(self, batch: Batch) -> Batch:
        """The images, of which one without a target has an error, where the data gives targets."""
        if self.mode != "given" or batch.targets is None:
            return batch
        wanting = (batch.targets == UNKNOWN) & batch.readable
        given = zip(batch.errors, wanting.tolist(), strict=True)
        return batch._replace(errors=tuple("it has no target" if no else e for e, no in given))

    def __call__(
        self, batch: Batch, first: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Attacks images, the first of which has the index `first`; returns the columns.

        An image that cannot be read, or whose logits are not finite, has a status that says so, and
        harms no other.

        Raises:
          InputError: a label or a target that is needed is no class of the model.
        """
        count = len(batch.images)
        labels = np.full(count, UNKNOWN, np.int32) if batch.labels is None else batch.labels
        _check_classes("label", labels, self.classes, first, batch.readable & (labels != UNKNOWN))
        unknown = np.isnan(batch.images)
        images = np.where(unknown, 0, batch.images).astype(_real())
        logits = logits_in_batches(self.logits_fn, self.params, images).astype(_real())
        finite = checks.are_finite(logits)
        found = self._nothing(batch, first, labels)
        is_image = ~unknown.any(axis=tuple(range(1, unknown.ndim)))
        found["predicted"][:] = np.where(finite & is_image, logits.argmax(axis=1), UNKNOWN)
        found["status"][~finite] = Status.NOT_FINITE
        found["status"][~batch.readable] = Status.UNREADABLE
        (rows,) = np.nonzero(finite & batch.readable)
        if len(rows):
            known = (labels >= 0) & (labels < self.classes)  # else there may be no image, too
            leave = np.where(known, labels, logits.argmax(axis=1))
            targets = self._targets(batch, leave, logits, first, rows)
            result = self._attack(images[rows], leave[rows], targets, progress)
            for name, column in self._columns_of(result, images[rows], leave[rows]).items():
                found[name][rows] = column
        if progress:
            progress(count - len(rows))
        return found

    def _nothing(self, batch, first, labels):
        """The columns as they are where there is no attack."""
        count, empty = len(batch.images), {"target": UNKNOWN, "success": False, "evaluations": 0}
        found = {
            name: np.full((count, *shape), empty.get(name, np.nan if "float" in dtype else -1))
            for name, (dtype, shape) in self.columns(()).items()
        }
        found["index"], found["label"] = first + np.arange(count), labels
        ways = self.columns(())["target"][1]
        images = np.float32(batch.images).reshape(count, *[1] * len(ways), *batch.images.shape[1:])
        found["x_adv"] = np.repeat(images, *ways, axis=1) if ways else images.copy()
        return {name: found[name].astype(dtype) for name, (dtype, _) in self.columns(()).items()}

    def _targets(self, batch, leave, logits, first, rows) -> Int[np.ndarray, " rows"] | None:
        if self.mode == "random":
            return wrong_targets(leave, self.classes, self.seed, first=first)[rows]
        if self.mode == "least-likely":
            others = np.where(_is_class(leave, self.classes), np.inf, logits)
            return others[rows].argmin(axis=1)
        if self.mode == "next-likely":
            others = np.where(_is_class(leave, self.classes), -np.inf, logits)
            return others[rows].argmax(axis=1)
        if self.mode == "class":
            return np.full(len(rows), self.target)
        if self.mode == "given":
            given = np.full(len(leave), UNKNOWN) if batch.targets is None else batch.targets
            _check_classes("target", given, self.classes, first, batch.readable)
            return given[rows]
        return None  # towards several classes

    def _attack(self, x, leave, targets, progress) -> AttackResult:
        model, more = (self.logits_fn, self.params, x), {"progress": progress}
        if self.mode == "untargeted":
            return untargeted(*model, leave, self.attack, **more)
        if self.mode == "all-targets":
            return all_targets(*model, self.attack, **more)
        return minimal_adversarial(*model, targets, self.attack, **more)

    def _columns_of(self, result, x, leave):
        names = ("target", "x_adv", "success", "status", "distortion", "evaluations")
        found = {name: getattr(result, name) for name in names}
        found["l2"] = result.distortion * np.sqrt(result.distortion.dtype.type(x[0].size))
        if self.certified:
            bounds = _certified(self.certified, x, leave, result.target, self.mode)
            found["certified"] = _rounded_down(bounds, result.distortion.dtype)
        ways = result.success.shape
        flat = result.x_adv.reshape(-1, *x.shape[1:])
        for name, model in self.others.items():
            logits = logits_in_batches(*model, flat)
            classes = np.where(checks.are_finite(logits), logits.argmax(axis=1), UNKNOWN)
            found[f"transfer/{name}"] = classes.reshape(ways)
        return found


def checked_classes(
    models: Sequence[Model],
    examples: Examples,
    mode: Mode,
    target: int | None,
    images: int | None = None,
) -> int:
    """The number of logits of the first model, which is attacked, on so many images or all.

    Raises:
      ValueError: a model does not take such images, has other classes than the one attacked, or
        has no gradients if it is attacked; or the targets are not to be had, or are no classes of
        the model, or labels are not, as far as that is known without reading the images.
    """
    classes, *others = [_number_of_logits(model, examples.image_shape) for model in models]
    for model, count in zip(models[1:], others, strict=True):
        if count != classes:
            raise ValueError(
                f"{model.name} has {count} classes, expected {classes}, those of {models[0].name}"
            )
    _check_gradients(models[0], examples.image_shape)
    if mode == "class" and target is None:
        raise ValueError("mode class needs a target, got none")
    if mode != "class" and target is not None:
        raise ValueError(f"target is for mode class alone, got mode {mode}")
    if target is not None and not 0 <= target < classes:
        raise ValueError(f"target must be from 0 to {classes - 1}, got {target}")
    if (named := len(examples.classes or ())) > classes:
        raise ValueError(
            f"{examples.name} has {named} classes, expected at most {classes}, those of"
            f" {models[0].name}"
        )
    if mode == "given" and not examples.targeted:
        raise ValueError(f"mode given needs data with targets, got none in {examples.name}")
    for name in ("label", "target") if mode == "given" else ("label",):
        numbers = examples.at_hand(name)
        if numbers is not None:
            numbers = numbers[:images]
            _check_classes(name, numbers, classes, 0, numbers != UNKNOWN)
    return classes


def _number_of_logits(model, image_shape) -> int:
    image = np.zeros(image_shape, np.float32)
    images = np.zeros((together(image), *image_shape), np.float32)
    try:
        return checks.number_of_classes(model.network.logits, model.params, images)
    except ValueError as error:
        raise ValueError(f"{model.name}: {error}") from error


def _check_gradients(model, image_shape):
    images = jax.ShapeDtypeStruct((1, *image_shape), _real())
    try:
        jax.eval_shape(jax.grad(lambda x: model.network.logits(model.params, x).sum()), images)
    except Exception as error:  # whatever the user's function raises
        raise ValueError(f"{model.name} has no gradients: {error}") from error


def _certified(mlp, x, leave, target, mode) -> Float[np.ndarray, "rows ..."]:
    """Proven lower bounds of the distortions: towards the target, or any class but the one left."""
    bounds = crown(mlp, x, balls=BALLS)
    if mode == "untargeted":
        return np.where(_is_class(leave, bounds.shape[1]), np.inf, bounds).min(axis=1)
    return bounds if mode == "all-targets" else bounds[np.arange(len(x)), target]


def _real() -> np.dtype:
    """float32, or float64 with jax_enable_x64."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def _rounded_down(bounds: Float[np.ndarray, "..."], dtype: np.dtype) -> Float[np.ndarray, "..."]:
    rounded = bounds.astype(dtype)
    return np.where(rounded > bounds, np.nextafter(rounded, dtype.type(0)), rounded)


def _is_class(labels, classes) -> Bool[np.ndarray, "B k"]:
    return np.arange(classes) == labels[:, None]


def _check_classes(name, values, classes, first, needed):
    wrong = needed & ((values < 0) | (values >= classes))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"image {first + row} has the {name} {values[row]}, expected 0 to {classes - 1}"
        )
