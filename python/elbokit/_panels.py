"""The panels of a model's picture: images or lines of rows, samples, and the latent space with its prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from numpy.typing import NDArray

    from elbokit.mixture import GaussianMixture

__all__ = ["HELD_OUT", "MUTED", "TRAIN", "image_pairs", "image_samples", "latent_space", "line_pairs", "line_samples"]

TRAIN, HELD_OUT, MUTED = "#1f6fb4", "#d1552c", "#8a8f98"
# More points than this hide each other and make a vector file large.
_MOST_POINTS = 5000


def _mosaic(images: NDArray[np.float64], across: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """One image of all the images, `across` in a line, a NaN line between them."""
    height, width = shape
    down = -(-len(images) // across)
    canvas = np.full((down, across, height + 1, width + 1), np.nan)
    canvas.reshape(down * across, height + 1, width + 1)[: len(images), :-1, :-1] = images.reshape(-1, height, width)
    whole: NDArray[np.float64] = canvas.transpose(0, 2, 1, 3).reshape(down * (height + 1), across * (width + 1))
    return whole[:-1, :-1]


def _show(axes: Axes, mosaic: NDArray[np.float64], X: NDArray[np.float64], title: str) -> None:
    # One scale for rows, reconstructions and samples, or they could not be compared by eye.
    axes.imshow(mosaic, cmap="gray_r", vmin=np.nanmin(X), vmax=np.nanmax(X), interpolation="nearest")
    axes.set_title(title)
    axes.set_anchor("N")
    axes.set_axis_off()


def image_pairs(
    axes: Axes, X: NDArray[np.float64], reconstructions: NDArray[np.float64], shape: tuple[int, int]
) -> None:
    """Rows as images, each over its reconstruction."""
    across = min(10, len(X))
    lines = min(5, len(X) // across)
    n = across * lines
    pairs = np.stack([X[:n].reshape(lines, across, -1), reconstructions[:n].reshape(lines, across, -1)], axis=1)
    mosaic = _mosaic(pairs.reshape(2 * n, -1), across, shape)
    # A white line of some height after each pair, so that the eye takes the two as one.
    gap = max(2, shape[0] // 4)
    block = 2 * (shape[0] + 1)
    space = ((0, gap), (0, 0))
    parts = [np.pad(mosaic[i : i + block], space, constant_values=np.nan) for i in range(0, len(mosaic), block)]
    _show(axes, np.concatenate(parts)[:-gap], X, "rows (upper) and reconstructions (lower)")


def image_samples(
    axes: Axes, X: NDArray[np.float64], samples: NDArray[np.float64], shape: tuple[int, int], title: str
) -> None:
    """Samples as images, eight in a line."""
    _show(axes, _mosaic(samples[:64], 8, shape), X, title)


def _scaled(X: NDArray[np.float64], *others: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """X and the others in standard deviations of X's columns from their means; a constant column is only centred."""
    seen = ~np.isnan(X)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, X, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(seen, X - mean, 0.0) ** 2).sum(axis=0) / count)
    spread[spread == 0.0] = 1.0
    return [(a - mean) / spread for a in (X, *others)]


def _whole_columns(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def line_pairs(figure: SubFigure, X: NDArray[np.float64], reconstructions: NDArray[np.float64]) -> None:
    """Rows and their reconstructions as lines over the columns, a panel each."""
    X, reconstructions = _scaled(X, reconstructions)
    n = min(6, len(X))
    column = np.arange(X.shape[1])
    panels = np.atleast_1d(figure.subplots(n, 1, sharex=True, sharey=True))
    for axes, row, mean in zip(panels, X, reconstructions, strict=False):
        axes.plot(column, row, color="black", linewidth=1.0, marker="o", markersize=2, label="row")
        axes.plot(column, mean, color=HELD_OUT, linewidth=1.2, label="reconstruction")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title("rows and reconstructions", loc="left")
    # Above the panel: over it, the legend would cover lines.
    panels[0].legend(frameon=False, fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _whole_columns(panels[-1])
    panels[-1].set_xlabel("column")
    figure.supylabel("standard deviations of the column", fontsize="medium")


def line_samples(figure: SubFigure, X: NDArray[np.float64], samples: NDArray[np.float64], title: str) -> None:
    """Samples as lines over the columns, before the range of the rows."""
    scaled, drawn = _scaled(X, samples)
    axes = figure.subplots()
    column = np.arange(X.shape[1])
    # A column without any cell has no range; it stays empty instead of warning.
    seen = ~np.isnan(scaled).all(axis=0)
    low, high = np.full((2, X.shape[1]), np.nan)
    low[seen], high[seen] = np.nanquantile(scaled[:, seen], [0.05, 0.95], axis=0)
    axes.fill_between(column, low, high, color=MUTED, alpha=0.25, linewidth=0, label="5 to 95 % of rows")
    axes.plot(column, drawn[:20].T, color=TRAIN, linewidth=0.8, alpha=0.6)
    axes.set_title(title, loc="left")
    axes.set_xlabel("column")
    axes.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _whole_columns(axes)
    axes.spines[["top", "right"]].set_visible(False)


def latent_space(
    figure: SubFigure, latent: NDArray[np.float64], labels: NDArray[Any] | None, prior: GaussianMixture | None
) -> None:
    """Each row's loc by its first two principal axes, and the prior's components over them."""
    axes = figure.subplots()
    mean = latent.mean(axis=0)
    _, length, axis = np.linalg.svd(latent - mean, full_matrices=False)
    share = length**2 / max(float(np.sum(length**2)), np.finfo(np.float64).tiny)
    # One latent dimension, or one row, has no second axis: its points lie on a line.
    plane = np.zeros((2, latent.shape[1]))
    plane[: min(2, len(axis))] = axis[:2]
    keep = slice(None, _MOST_POINTS)
    style: dict[str, Any] = {"s": 14, "linewidths": 0, "alpha": 0.85}
    x, y = ((latent - mean) @ plane.T)[keep].T
    if labels is None:
        axes.scatter(x, y, color=TRAIN, **style)
    else:
        _coloured(figure, axes, x, y, labels[keep], style)
    axes.set_title("latent space: loc of each row")
    if prior is not None:
        _prior(axes, prior, mean, plane)
        axes.set_title("latent space: loc of rows, prior at 2 deviations")
    for name, text in enumerate(("first", "second")):
        part = f", {share[name]:.0%} of its variance" if name < len(share) else ""
        (axes.set_xlabel, axes.set_ylabel)[name](f"{text} principal axis{part}")
    axes.spines[["top", "right"]].set_visible(False)


def _prior(axes: Axes, prior: GaussianMixture, mean: NDArray[np.float64], plane: NDArray[np.float64]) -> None:
    """The ellipse of two standard deviations of each component, as it falls on the plane; fainter by its weight."""
    weights, locs, variances = (prior.weights, prior.locs, prior.variances)
    turn = np.linspace(0.0, 2 * np.pi, 73)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    for weight, loc, variance in zip(weights, locs, variances, strict=True):
        covariance = variance if variance.ndim == 2 else np.diag(np.broadcast_to(variance, loc.shape))
        values, vectors = np.linalg.eigh(plane @ covariance @ plane.T)
        # A plane of one axis leaves a variance of 0, and rounding may leave less.
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        x, y = (plane @ (loc - mean))[:, None] + 2 * root @ circle
        axes.plot(x, y, color="black", linewidth=0.9, alpha=0.15 + 0.65 * weight / weights.max())


def _coloured(
    figure: SubFigure,
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    labels: NDArray[Any],
    style: dict[str, Any],
) -> None:
    classes = np.unique(labels)
    if len(classes) > 20:
        figure.colorbar(axes.scatter(x, y, c=labels, cmap="viridis", **style), ax=axes, shrink=0.8)
        return
    palette = "tab10" if len(classes) <= 10 else "tab20"
    from matplotlib import colormaps  # noqa: PLC0415

    for colour, label in zip(colormaps[palette].colors, classes, strict=False):  # type: ignore[attr-defined]
        of_class = labels == label
        axes.scatter(x[of_class], y[of_class], color=colour, label=str(label), **style)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1)
