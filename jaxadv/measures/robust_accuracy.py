"""How far images are from another class, by an attack, and which fraction of them lies beyond."""

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Shaped

from jaxadv.attacks.results import Status


def nearest(
    target: Int[np.ndarray, "B k"],
    label: Int[np.ndarray, "B"],
    distortion: Float[np.ndarray, "B k"],
    success: Bool[np.ndarray, "B k"],
    status: Int8[np.ndarray, "B k"],
) -> Int[np.ndarray, "B"]:
    """The position of each image's nearest wrong class, of attacks towards all classes.

    Classes that were not reached come after all that were. Without a label (-1) the class of the
    image itself, `ALREADY_TARGET`, is the right one.

    Example:
      >>> target, label, status = np.arange(3)[None], np.array([0]), np.int8([[1, 0, 2]])
      >>> nearest(target, label, np.array([[0.0, 0.2, 0.1]]), status < 2, status)
      array([1])
    """
    own = np.where(label[:, None] < 0, status == Status.ALREADY_TARGET, target == label[:, None])
    distance = np.where(success, distortion, np.finfo(np.float32).max)
    return np.argmin(np.where(own, np.inf, distance), axis=1)


def radius(
    distortion: Float[np.ndarray, "B"],
    success: Bool[np.ndarray, "B"],
    status: Int8[np.ndarray, "B"],
) -> Float[np.ndarray, "B"]:
    """The distance of each image to where its class changes, as far as an attack tells.

    0 where the image is of another class as it is, infinite where the attack found nothing, and NaN
    where the image could not be read, or the model's output for it is not finite.
    """
    found = np.where(success, distortion, np.inf)
    return np.where(np.isin(status, (Status.NOT_FINITE, Status.UNREADABLE)), np.nan, found)


def accuracy(
    radius: Shaped[np.ndarray, "B"], distortion: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """The fraction of images whose radius exceeds each distortion, less those of radius NaN.

    Example:
      >>> accuracy(np.array([0, 0.1, 0.2, np.inf, np.nan]), np.array([0, 0.1, 0.15]))
      array([0.75, 0.5 , 0.5 ])
    """
    known = np.sort(radius[~np.isnan(radius)])
    return 1 - np.searchsorted(known, distortion, side="right") / max(1, len(known))
