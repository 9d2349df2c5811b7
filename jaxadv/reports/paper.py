"""Figures that Szegedy et al. (2013), arXiv 1312.6199, report, as fractions."""

from collections.abc import Mapping
from typing import NamedTuple


class ModelFigures(NamedTuple):
    """A row of Table 1."""

    train_error: float | None
    test_error: float | None
    distortion: float | None


TABLE_1 = {
    "FC10(1e-4)": ModelFigures(0.067, 0.074, 0.062),
    "FC10(1e-2)": ModelFigures(0.10, 0.094, 0.1),
    "FC10(1)": ModelFigures(0.212, 0.20, 0.14),
    "FC100-100-10": ModelFigures(0.0, 0.0164, 0.058),
    "FC200-200-10": ModelFigures(0.0, 0.0154, 0.065),
    "AE400-10": ModelFigures(0.0057, 0.019, 0.086),
}

# Error of the column's model on the examples made for the row's, or on noise; columns as Table 1.
TABLE_2 = {
    row: dict(zip(TABLE_1, errors, strict=True))
    for row, errors in {
        "FC10(1e-4)": (1.0, 0.117, 0.227, 0.02, 0.039, 0.027),
        "FC10(1e-2)": (0.871, 1.0, 0.352, 0.359, 0.273, 0.098),
        "FC10(1)": (0.719, 0.762, 1.0, 0.481, 0.47, 0.344),
        "FC100-100-10": (0.289, 0.137, 0.211, 1.0, 0.066, 0.02),
        "FC200-200-10": (0.382, 0.14, 0.238, 0.203, 1.0, 0.027),
        "AE400-10": (0.234, 0.16, 0.248, 0.094, 0.066, 1.0),
        "noise 0.1": (0.05, 0.101, 0.183, 0.0, 0.0, 0.008),
        "noise 0.3": (0.156, 0.113, 0.227, 0.05, 0.043, 0.031),
    }.items()
}


class SplitFigures(NamedTuple):
    """A row of Table 3: errors on both halves of the training set and on the test set."""

    part_1_error: float | None
    part_2_error: float | None
    test_error: float | None
    distortion: float | None


# A prime marks the network that was trained on the second half.
TABLE_3 = {
    "FC100-100-10": SplitFigures(0.0, 0.024, 0.02, 0.062),
    "FC123-456-10": SplitFigures(0.0, 0.025, 0.021, 0.059),
    "FC100-100-10'": SplitFigures(0.023, 0.0, 0.021, 0.058),
}

TABLE_4 = {
    row: dict(zip(TABLE_3, errors, strict=True))
    for row, errors in {
        "FC100-100-10": (1.0, 0.262, 0.059),
        "FC123-456-10": (0.0625, 1.0, 0.051),
        "FC100-100-10'": (0.082, 0.082, 1.0),
        "noise 0.06": (0.022, 0.026, 0.024),
        "FC100-100-10 to 0.1": (1.0, 0.98, 0.43),
        "FC123-456-10 to 0.1": (0.96, 1.0, 0.22),
        "FC100-100-10' to 0.1": (0.27, 0.5, 1.0),
        "noise 0.1": (0.026, 0.028, 0.027),
    }.items()
}

IMAGENET = 0.006508  # mean distortion of 64 examples for AlexNet (Figure 5)

# Operator norms of AlexNet's layers.
TABLE_5 = {
    "conv1": 2.75,
    "conv2": 10.0,
    "conv3": 7.0,
    "conv4": 7.5,
    "conv5": 11.0,
    "fc1": 3.12,
    "fc2": 4.0,
    "fc3": 4.0,
}


class Tables(NamedTuple):
    """A table of models, and one of errors by row and column."""

    models: Mapping[str, ModelFigures | SplitFigures]
    no_model: ModelFigures | SplitFigures
    errors: Mapping[str, Mapping[str, float]]


TABLES_1_AND_2 = Tables(TABLE_1, ModelFigures(None, None, None), TABLE_2)
TABLES_3_AND_4 = Tables(TABLE_3, SplitFigures(None, None, None, None), TABLE_4)


def for_dataset(dataset: str, tables: Tables) -> Tables:
    """The tables; without any figures for a data set that they are not about."""
    return tables if dataset == "mnist" else tables._replace(models={}, errors={})
