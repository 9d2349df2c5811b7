"""Plots of figures, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.reports.pictures import save, subplots


def heat_maps(
    path: Path, panels: dict[str, np.ndarray], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draws matrices of fractions side by side.

    Args:
      path: of the PNG.
      panels: title -> (rows, columns) fractions, NaN where there is none.
      rows: their names.
      columns: their names.
    """
    size = 3 + 0.75 * len(columns) * len(panels), 2.6 + 0.45 * len(rows)
    figure, [axes] = subplots(*size, columns=len(panels), sharey=True)
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        axis.imshow(100 * values, vmin=0, vmax=100, cmap="magma", aspect="auto")
        axis.set_title(title)
        axis.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
        axis.set_yticks(range(len(rows)), rows)
        axis.set_xlabel("fed to")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "black" if value > 0.6 else "white"
                axis.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=color)
    axes[0].set_ylabel("made for")
    figure.colorbar(axes[0].images[0], ax=list(axes), label="error (%)", pad=0.02)
    save(figure, path)


def curves(
    path: Path,
    x: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    xlabel: str,
    ylabel: str,
) -> None:
    """Draws curves, panels side by side: title -> label -> y, with x on a log axis."""
    figure, [axes] = subplots(1 + 4 * len(panels), 4, columns=len(panels), sharey=True)
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for label, y in lines.items():
            axis.plot(x, y, "o-", markersize=3, label=label)
        axis.set(title=title, xlabel=xlabel, xscale="log")
        axis.set_xticks(x, [f"{value:g}" for value in x], minor=False)
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel)
    axes[-1].legend(fontsize=8)
    save(figure, path)


class Curve(NamedTuple):
    """Fractions with intervals; where a fraction is None, `high` is an upper bound."""

    name: str
    fractions: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float]


class Panel(NamedTuple):
    """Curves, and one for reference, given by its points."""

    title: str
    scale: str  # of the y axis: log or linear
    curves: Sequence[Curve]
    reference: tuple[np.ndarray, np.ndarray]


def fractions(
    path: Path, panels: Sequence[Panel], x: Sequence[float], label: str, reference: str
) -> None:
    """Draws fractions with their intervals side by side; zero is left out of logarithmic scales.

    Args:
      path: of the PNG.
      panels: what to draw; upper bounds become triangles, references are dashed.
      x: of the points of each curve, positive, on a logarithmic scale.
      label: of the x axis.
      reference: its name.
    """
    figure, [axes] = subplots(4.2 * len(panels), 4.2, columns=len(panels))
    bottom = 0.5 * np.min([curve.high for panel in panels for curve in panel.curves])
    for axis, (title, scale, curves, (at, values)) in zip(axes, panels, strict=True):
        axis.plot(at, np.where(values, values, np.nan), "k--", linewidth=0.8, label=reference)
        for index, curve in enumerate(curves):
            y, low, high = (np.array(values, float) for values in curve[1:])
            style = {"color": f"C{index}", "fillstyle": "none", "markersize": 5 + 3 * index}
            axis.plot(x, y, ".-", color=style["color"], label=curve.name)
            axis.fill_between(x, np.maximum(low, 1e-12), high, color=style["color"], alpha=0.2)
            axis.plot(x, np.where(np.isnan(y), high, np.nan), "v", **style)
        axis.set(title=title, xlabel=label, xscale="log", yscale=scale)
        axis.set_ylim(*((bottom, 1.3) if scale == "log" else (0, 1)))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("fraction")
    axes[0].legend()
    save(figure, path)


def distributions(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    ticks: Sequence[float],
    xlabel: str,
    ylabel: str,
    levels: Mapping[str, float],
) -> None:
    """Draws box plots, up to four panels in a row.

    Args:
      path: of the PNG.
      panels: title -> label -> a sample for each of the ticks; boxes span the quartiles, whiskers
        all of the sample, and triangles are means.
      ticks: of the x axis.
      xlabel: of the x axis.
      ylabel: of the y axis.
      levels: label -> a value that is drawn as a dashed line.
    """
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    size = 1 + 2.6 * columns, 0.8 + 2.4 * lines
    figure, axes = subplots(*size, lines, columns, sharex=True, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    handles = {}
    for axis, (title, samples) in zip(axes.flat, panels.items(), strict=False):
        width = 0.8 / len(samples)
        for index, (label, sample) in enumerate(samples.items()):
            offset = (index - (len(samples) - 1) / 2) * width
            handles[label] = _boxes(axis, sample, offset, width, f"C{index}")
        for label, value in levels.items():
            handles[label] = axis.axhline(value, color="black", linestyle="--", linewidth=0.8)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
        axis.tick_params(labelbottom=True)
        axis.grid(axis="y", alpha=0.3)
    figure.supxlabel(xlabel)
    figure.supylabel(ylabel)
    figure.legend(handles.values(), handles, loc="outside upper right", ncols=len(handles))
    save(figure, path)


def _boxes(axis, sample, offset, width, color):
    """Boxes of one colour beside the ticks; returns one of them, for the legend."""
    boxes = axis.boxplot(
        sample,
        positions=np.arange(len(sample)) + offset,
        widths=0.8 * width,
        whis=(0, 100),
        showmeans=True,
        patch_artist=True,
        boxprops={"facecolor": color, "alpha": 0.5},
        medianprops={"color": "black"},
        meanprops={"markerfacecolor": color, "markeredgecolor": "black"},
    )
    return boxes["boxes"][0]


def sorted_values(
    path: Path, panels: Mapping[str, Mapping[str, np.ndarray]], by: str, ylabel: str
) -> None:
    """Draws values for each of many things, up to three panels in a row, on a log axis.

    Args:
      path: of the PNG.
      panels: title -> label -> (N,) values, of which those that are not positive are left out.
      by: the label that the things are sorted by; drawn as a line, others as dots.
      ylabel: of the y axis.
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = max(8, 1 + 3 * columns), 0.9 + 2.5 * lines
    figure, axes = subplots(*size, lines, columns, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=False):
        order = np.argsort(values[by])
        for label, each in values.items():
            y = np.where(each > 0, each, np.nan)[order]
            style = {"color": "black"} if label == by else {"marker": ".", "linestyle": "none"}
            axis.plot(y, label=label, markersize=2.5, **style)
        axis.set(yscale="log")
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
    figure.supxlabel(f"images, sorted by {by}")
    figure.supylabel(ylabel)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    save(figure, path)


class Points(NamedTuple):
    """Means of samples, NaN where there is none."""

    means: np.ndarray  # (N,)
    intervals: np.ndarray  # (N, 2)
    samples: np.ndarray  # (N, S)


def stacked(path: Path, x: Points, panels: Mapping[str, Mapping[str, Points]], xlabel: str) -> None:
    """Draws panels above each other on one logarithmic x axis.

    Means are joined by lines and have error bars; samples are faint dots.

    Args:
      path: of the PNG.
      x: positive values; their intervals are not drawn.
      panels: label of the y axis -> label of a line -> what to draw.
      xlabel: of the x axis.
    """
    figure, axes = subplots(6.5, 1 + 2.4 * len(panels), rows=len(panels), sharex=True)
    axes = axes[:, 0]
    order = np.argsort(x.means)
    for axis, (ylabel, lines) in zip(axes, panels.items(), strict=True):
        for index, (label, y) in enumerate(lines.items()):
            bars, color = np.abs(y.intervals - y.means[:, None]).T, f"C{index}"
            line = x.means[order], y.means[order], bars[:, order]
            axis.errorbar(*line, fmt="o-", markersize=4, capsize=3, color=color, label=label)
            axis.plot(x.samples, y.samples, ".", color=color, alpha=0.3)
        axis.set(xscale="log", ylabel=ylabel)
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
        axis.legend()
    axes[-1].set_xticks(x.means, [f"{value:.3g}" for value in x.means], minor=False)
    axes[-1].set_xticks([], minor=True)
    axes[-1].set_xlabel(xlabel)
    save(figure, path)


class Training(NamedTuple):
    """What S trainings in one way gave."""

    name: str
    errors: np.ndarray  # (S,) in per cent
    distortions: np.ndarray  # (S,) means, NaN where there is none
    accuracy: np.ndarray  # (D,) in per cent


def trainings(path: Path, rows: Sequence[Training], distortions: Sequence[float]) -> None:
    """Draws errors by row, errors against distortions, and accuracy against D distortions."""
    figure, [axes] = subplots(14, 2.4 + 0.32 * max(8, len(rows)), columns=3)
    by_row, against, curves = axes
    for index, row in enumerate(rows):
        place, marker = len(rows) - 1 - index, "os^v"[index // 10 % 4]
        style = {"color": f"C{index % 10}", "marker": marker}
        by_row.plot(row.errors, np.full(len(row.errors), place), alpha=0.4, ls="none", **style)
        by_row.plot(row.errors.mean(), place, "|", color="black", markersize=14)
        against.plot(row.distortions, row.errors, alpha=0.8, ls="none", **style)
        curves.plot(distortions, row.accuracy, label=row.name, markersize=4, **style)
        curves.lines[-1].set_linestyle(["-", "--", ":"][index // 10 % 3])
    by_row.set_yticks(range(len(rows)), [row.name for row in rows][::-1])
    by_row.set(xlabel="error (%)")
    against.set(xlabel="distortion to the nearest class (RMS)", ylabel="error (%)")
    curves.set(xlabel="distortion (RMS)", ylabel="accuracy found (%)")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    save(figure, path)
