"""Pictures of a model: its rows, its samples, its latent space, its training; a mixture under noise.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).random((20, 64))
    >>> rows(X, X, X, X[:, :2]).axes[0].get_title()
    'rows (upper) and reconstructions (lower)'

Every function takes plain arrays, draws one matplotlib ``Figure`` and returns it: ``figure.savefig(path)`` writes it, a
notebook shows it. No global figure, backend or style is touched, so this works without a display and beside any other
plotting. matplotlib is imported by the call, not by the import of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import ArrayLike, NDArray

__all__ = ["formats", "history", "noising", "rows", "step_gap"]

_TRAIN, _HELD_OUT, _MUTED = "#1f6fb4", "#d1552c", "#8a8f98"
# A square number of columns below this is a table rather than an image.
_SMALLEST_SIDE = 6
# More points than this hide each other and make a vector file large.
_MOST_POINTS = 5000


def rows(
    X: ArrayLike,
    reconstructions: ArrayLike,
    samples: ArrayLike,
    latent: ArrayLike,
    labels: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    title: str | None = None,
) -> Figure:
    """Figure of rows beside their reconstructions, of samples from the prior, and of the latent space.

    Rows are drawn as images where `image_shape` says so or the number of columns is the square of 6 or more, and
    otherwise as lines over the columns, each column scaled by its own mean and standard deviation in `X`.

    Parameters
    ----------
    X : array_like, shape (rows, columns)
        Observed rows; as many are drawn as fit. A missing cell is NaN.
    reconstructions : array_like, shape (rows, columns)
        The likelihood's mean for each of these rows, in the same units.
    samples : array_like, shape (n, columns)
        Rows drawn from the model, in the same units.
    latent : array_like, shape (rows, latent)
        The posterior's `loc` of each row. Drawn by its first two principal axes.
    labels : array_like, shape (rows,), optional
        Colours of the points: classes where there are at most 20 different values, else numbers.
    image_shape : tuple of int, optional
        (height, width) of a row.
    title : str, optional
        Over the whole figure; the place for a bound and its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Shapes that do not belong together.
    ImportError
        matplotlib is not installed.
    """
    arrays = (X, reconstructions, samples, latent)
    X, reconstructions, samples, latent = (np.asarray(a, dtype=np.float64) for a in arrays)
    if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"X: expected (rows, columns) with at least one of each, got shape {X.shape}")
    if reconstructions.shape != X.shape:
        raise ValueError(f"reconstructions: expected the shape of X, {X.shape}, got {reconstructions.shape}")
    if samples.ndim != 2 or samples.shape[1] != X.shape[1]:
        raise ValueError(f"samples: expected (n, {X.shape[1]}) as X has columns, got shape {samples.shape}")
    if latent.ndim != 2 or len(latent) != len(X):
        raise ValueError(f"latent: expected ({len(X)}, latent) as X has rows, got shape {latent.shape}")
    if labels is not None and np.shape(labels) != (len(X),):
        raise ValueError(f"labels: expected shape ({len(X)},), one a row of X, got {np.shape(labels)}")
    if image_shape is not None and image_shape[0] * image_shape[1] != X.shape[1]:
        raise ValueError(f"image_shape: {image_shape} does not hold the {X.shape[1]} columns of X")

    figure = _figure((14.0, 5.0), title)
    left, middle, right = figure.subfigures(1, 3, squeeze=False, width_ratios=[1.15, 0.95, 1.15])[0]
    shape = image_shape or _square(X.shape[1])
    if shape is None:
        _line_pairs(left, X, reconstructions)
        _line_samples(middle, X, samples)
    else:
        _image_pairs(left.subplots(), X, reconstructions, shape)
        _image_samples(middle.subplots(), X, samples, shape)
    _latent(right, latent, None if labels is None else np.asarray(labels))
    return figure


def history(history: Any) -> Figure:
    """Figure of a training run: the ELBO, its two terms, by epoch, in nats a row.

    Parameters
    ----------
    history : History
        What ``VAE.fit`` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Left the ELBO, with the epoch whose weights were kept; right reconstruction and KL. The range leaves out the
        first tenth of the epochs, which would flatten the rest.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    figure = _figure((11.0, 4.2), None)
    bound, terms = figure.subplots(1, 2)
    held_out = history.held_out_elbo is not None and len(history.held_out_elbo) > 0
    _by_epoch(bound, history.elbo, "training rows", _TRAIN)
    if held_out:
        _by_epoch(bound, history.held_out_elbo, "held-out rows", _HELD_OUT)
        if history.best_epoch is not None:
            bound.axvline(history.best_epoch + 1, color=_MUTED, linewidth=0.8, linestyle=":", label="kept weights")
    _leave_out_start(bound, [history.elbo, history.held_out_elbo] if held_out else [history.elbo])
    bound.set_title("ELBO")
    bound.legend(frameon=False, loc="lower right")

    _by_epoch(terms, np.negative(history.reconstruction), "−reconstruction, training", _TRAIN)
    _by_epoch(terms, history.kl, "KL, training", _TRAIN, linestyle="--")
    shown = [history.kl, np.negative(history.reconstruction)]
    if held_out:
        _by_epoch(terms, np.negative(history.held_out_reconstruction), "−reconstruction, held out", _HELD_OUT)
        _by_epoch(terms, history.held_out_kl, "KL, held out", _HELD_OUT, linestyle="--")
    _leave_out_start(terms, shown)
    terms.set_title("the two terms: ELBO = reconstruction − KL")
    terms.legend(frameon=False)
    for axes in (bound, terms):
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats a row")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def noising(grid: ArrayLike, density: ArrayLike, forward: ArrayLike, reverse: ArrayLike) -> Figure:
    """Figure of one column under noise: p_t over the steps as shades, and over it paths there and back.

    Parameters
    ----------
    grid : array_like, shape (points,)
        Where the density is known, evenly spaced.
    density : array_like, shape (T + 1, points)
        p_t at the grid, t = 0 … T.
    forward : array_like, shape (T + 1, n)
        Paths pushed step by step, left; ``Diffusion.forward(...)[..., 0]``.
    reverse : array_like, shape (T + 1, m)
        Paths drawn from the noise back, right; ``Diffusion.reverse(..., return_path=True)[..., 0]``.

    Returns
    -------
    matplotlib.figure.Figure
        Shades are of the square root of the density, which keeps a wide p_t visible beside a narrow one.

    Raises
    ------
    ValueError
        Shapes that do not belong together.
    ImportError
        matplotlib is not installed.
    """
    x, p, there, back = (np.asarray(a, dtype=np.float64) for a in (grid, density, forward, reverse))
    if p.ndim != 2 or x.shape != p.shape[1:] or x.size < 2:
        raise ValueError(f"density: expected (T + 1, points) with grid (points,), got {p.shape} with {x.shape}")
    for name, paths in (("forward", there), ("reverse", back)):
        if paths.ndim != 2 or len(paths) != len(p):
            raise ValueError(f"{name}: expected paths ({len(p)}, n) as density has steps, got shape {paths.shape}")
    figure = _figure((11.0, 4.2), None)
    steps, half = np.arange(len(p)), (x[1] - x[0]) / 2
    panels = zip(figure.subplots(1, 2, sharey=True), (there, back), (_TRAIN, _HELD_OUT), strict=True)
    for axes, paths, colour in panels:
        extent = (-0.5, len(p) - 0.5, x[0] - half, x[-1] + half)
        axes.imshow(np.sqrt(p.T), extent=extent, origin="lower", aspect="auto", cmap="gray_r", interpolation="nearest")
        axes.plot(steps, paths, color=colour, linewidth=0.7, alpha=0.7)
        axes.set_ylim(x[0], x[-1])
        axes.set_xlabel("step t")
    left, right = figure.axes
    left.set_title("forward: rows into noise")
    left.set_ylabel("x_t")
    right.set_title("reverse: noise into rows")
    # Time runs from left to right on both sides.
    right.invert_xaxis()
    return figure


def step_gap(step: ArrayLike, gaps: Mapping[str, ArrayLike]) -> Figure:
    """Figure of the mean gap against the size of a noising step, both on logarithmic axes.

    Parameters
    ----------
    step : array_like, shape (n,)
        1 − α.
    gaps : mapping of array_like, shape (n,)
        Mean gaps in nats a row by the name of the reverse variance; NaN where unknown.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Shapes that do not belong together.
    ImportError
        matplotlib is not installed.
    """
    x = np.asarray(step, dtype=np.float64)
    figure = _figure((6.4, 4.2), None)
    axes = figure.subplots()
    for (name, values), colour in zip(gaps.items(), (_TRAIN, _HELD_OUT, _MUTED, "black"), strict=False):
        y = np.asarray(values, dtype=np.float64)
        if x.ndim != 1 or y.shape != x.shape:
            raise ValueError(f"gaps: expected {x.shape} as step has for {name!r}, got shape {y.shape}")
        axes.loglog(x, y, marker="o", markersize=4, color=colour, linewidth=1.4, label=name)
    # Labels of a logarithmic axis that spans a decade stand on each other.
    axes.set_xticks(x, [f"{value:.2g}" for value in x])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("1 − α, the noise of a step")
    axes.set_ylabel("mean gap, nats a row")
    axes.legend(frameon=False, title="reverse variance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def formats() -> tuple[str, ...]:
    """Endings of the file names that a figure can be written to, without the dot, in alphabetical order.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    return tuple(sorted(_new_figure().canvas.get_supported_filetypes()))


def _new_figure(**options: Any) -> Figure:
    try:
        # Not pyplot: its figures are global and stay alive until they are closed.
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f'a picture needs matplotlib ({error}): pip install "elbokit[plot]"') from error
    return Figure(**options)


def _figure(size: tuple[float, float], title: str | None) -> Figure:
    figure = _new_figure(figsize=size, dpi=150, layout="constrained", facecolor="white")
    if title is not None:
        figure.suptitle(title)
    return figure


def _square(columns: int) -> tuple[int, int] | None:
    side = round(columns**0.5)
    return (side, side) if side >= _SMALLEST_SIDE and side * side == columns else None


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


def _image_pairs(
    axes: Axes, X: NDArray[np.float64], reconstructions: NDArray[np.float64], shape: tuple[int, int]
) -> None:
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


def _image_samples(axes: Axes, X: NDArray[np.float64], samples: NDArray[np.float64], shape: tuple[int, int]) -> None:
    _show(axes, _mosaic(samples[:64], 8, shape), X, "samples from the prior")


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


def _line_pairs(figure: SubFigure, X: NDArray[np.float64], reconstructions: NDArray[np.float64]) -> None:
    X, reconstructions = _scaled(X, reconstructions)
    n = min(6, len(X))
    column = np.arange(X.shape[1])
    panels = np.atleast_1d(figure.subplots(n, 1, sharex=True, sharey=True))
    for axes, row, mean in zip(panels, X, reconstructions, strict=False):
        axes.plot(column, row, color="black", linewidth=1.0, marker="o", markersize=2, label="row")
        axes.plot(column, mean, color=_HELD_OUT, linewidth=1.2, label="reconstruction")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title("rows and reconstructions", loc="left")
    # Above the panel: over it, the legend would cover lines.
    panels[0].legend(frameon=False, fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _whole_columns(panels[-1])
    panels[-1].set_xlabel("column")
    figure.supylabel("standard deviations of the column", fontsize="medium")


def _line_samples(figure: SubFigure, X: NDArray[np.float64], samples: NDArray[np.float64]) -> None:
    scaled, drawn = _scaled(X, samples)
    axes = figure.subplots()
    column = np.arange(X.shape[1])
    # A column without any cell has no range; it stays empty instead of warning.
    seen = ~np.isnan(scaled).all(axis=0)
    low, high = np.full((2, X.shape[1]), np.nan)
    low[seen], high[seen] = np.nanquantile(scaled[:, seen], [0.05, 0.95], axis=0)
    axes.fill_between(column, low, high, color=_MUTED, alpha=0.25, linewidth=0, label="5 % to 95 % of the rows")
    axes.plot(column, drawn[:20].T, color=_TRAIN, linewidth=0.8, alpha=0.6)
    axes.set_title("samples from the prior", loc="left")
    axes.set_xlabel("column")
    axes.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _whole_columns(axes)
    axes.spines[["top", "right"]].set_visible(False)


def _latent(figure: SubFigure, latent: NDArray[np.float64], labels: NDArray[Any] | None) -> None:
    axes = figure.subplots()
    centred = latent - latent.mean(axis=0)
    _, length, axis = np.linalg.svd(centred, full_matrices=False)
    share = length**2 / max(float(np.sum(length**2)), np.finfo(np.float64).tiny)
    # One latent dimension, or one row, has no second axis: its points lie on a line.
    points = np.zeros((len(latent), 2))
    points[:, : min(2, len(axis))] = centred @ axis[:2].T
    keep = slice(None, _MOST_POINTS)
    style: dict[str, Any] = {"s": 14, "linewidths": 0, "alpha": 0.85}
    x, y = points[keep].T
    if labels is None:
        axes.scatter(x, y, color=_TRAIN, **style)
    else:
        _coloured(figure, axes, x, y, labels[keep], style)
    axes.set_title("latent space: loc of each row")
    for name, text in enumerate(("first", "second")):
        part = f", {share[name]:.0%} of its variance" if name < len(share) else ""
        (axes.set_xlabel, axes.set_ylabel)[name](f"{text} principal axis{part}")
    axes.spines[["top", "right"]].set_visible(False)


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


def _by_epoch(axes: Axes, values: ArrayLike, label: str, colour: str, linestyle: str = "-") -> None:
    values = np.asarray(values, dtype=np.float64)
    axes.plot(np.arange(1, len(values) + 1), values, label=label, color=colour, linestyle=linestyle, linewidth=1.4)


def _leave_out_start(axes: Axes, series: list[Any]) -> None:
    """Choose the range by what comes after the first tenth of the epochs."""
    later = np.concatenate([np.asarray(s, dtype=np.float64)[len(s) // 10 :] for s in series])
    later = later[np.isfinite(later)]
    if len(later):
        low, high = later.min(), later.max()
        margin = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
