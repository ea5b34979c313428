"""Pictures of a model: its rows, its samples, its latent space, its training; a mixture under noise.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).random((20, 64))
    >>> rows(X, X, X, X[:, :2]).axes[0].get_title()
    'rows (upper) and reconstructions (lower)'

Every function takes plain arrays (but `model` a fitted VAE, and `history` its training), draws one matplotlib
``Figure`` and returns it: ``figure.savefig(path)`` writes it, a notebook shows it. No global figure, backend or style
is touched, so this works without a display and beside any other plotting. matplotlib is imported by the call, not by
the import of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit._codes import likeliest
from elbokit._condition import condition_of
from elbokit._panels import (
    HELD_OUT,
    MUTED,
    TRAIN,
    image_pairs,
    image_samples,
    latent_space,
    line_pairs,
    line_samples,
)
from elbokit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from elbokit.mixture import GaussianMixture
    from elbokit.random import Key
    from elbokit.vae import VAE

__all__ = ["formats", "history", "model", "noising", "rows", "step_gap"]

# A square number of columns below this is a table rather than an image.
_SMALLEST_SIDE = 6


def rows(
    X: ArrayLike,
    reconstructions: ArrayLike,
    samples: ArrayLike,
    latent: ArrayLike,
    labels: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    title: str | None = None,
    prior: GaussianMixture | None = None,
    samples_title: str = "samples from the prior",
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
    prior : GaussianMixture, optional
        p(z), to be drawn over the latent space: of each component the ellipse of two standard deviations, the fainter
        the smaller its weight.
    samples_title : str
        Over the samples.

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
        raise ArgumentError(f"X: expected (rows, columns) with at least one of each, got shape {X.shape}")
    if reconstructions.shape != X.shape:
        raise ArgumentError(f"reconstructions: expected the shape of X, {X.shape}, got {reconstructions.shape}")
    if samples.ndim != 2 or samples.shape[1] != X.shape[1]:
        raise ArgumentError(f"samples: expected (n, {X.shape[1]}) as X has columns, got shape {samples.shape}")
    if latent.ndim != 2 or len(latent) != len(X):
        raise ArgumentError(f"latent: expected ({len(X)}, latent) as X has rows, got shape {latent.shape}")
    if labels is not None and np.shape(labels) != (len(X),):
        raise ArgumentError(f"labels: expected shape ({len(X)},), one a row of X, got {np.shape(labels)}")
    if image_shape is not None and image_shape[0] * image_shape[1] != X.shape[1]:
        raise ArgumentError(f"image_shape: {image_shape} does not hold the {X.shape[1]} columns of X")

    figure = _figure((14.0, 5.0), title)
    left, middle, right = figure.subfigures(1, 3, squeeze=False, width_ratios=[1.15, 0.95, 1.15])[0]
    shape = image_shape or _square(X.shape[1])
    if shape is None:
        line_pairs(left, X, reconstructions)
        line_samples(middle, X, samples, samples_title)
    else:
        image_pairs(left.subplots(), X, reconstructions, shape)
        image_samples(middle.subplots(), X, samples, shape, samples_title)
    latent_space(right, latent, None if labels is None else np.asarray(labels), prior)
    return figure


def model(
    vae: VAE,
    X: ArrayLike,
    *,
    condition: ArrayLike | None = None,
    sample_condition: ArrayLike | None = None,
    num_samples: int = 64,
    key: Key | int = 0,
    labels: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    title: str | None = None,
) -> Figure:
    """Figure of a fitted model: `rows` of X, their reconstructions, its samples and its latents.

    Samples are drawn by `VAE.sample`, so from the prior that the model has; one that it has learned is drawn over the
    latent space too.

    Parameters
    ----------
    vae : VAE
        A fitted model.
    X : array_like, shape (rows, features)
        As in `VAE.elbo`.
    condition : array_like, shape (rows, columns), optional
        Of a conditional model, that of X.
    sample_condition : array_like, shape (m, columns), optional
        What samples are drawn beside, row by row in turn; by default the condition of X, so that sample i stands for
        row i.
    num_samples : int
        Samples to draw; 64 images and 20 lines are shown at most.
    key : Key or int
        Of the samples.
    labels, image_shape, title
        As in `rows`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError, SupportError, DtypeError, NonFiniteError, NotFittedError, ValueError
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import elbokit as ek
    >>> X = ek.random.normal((100, 5), key=0)
    >>> vae = ek.VAE(2, hidden=(8,), prior="mixture", prior_components=3)
    >>> fitted = vae.fit(X, epochs=2, progress=False)
    >>> [axes.get_title() for axes in model(vae, X).axes][-1]
    'latent space: loc of rows, prior at 2 deviations'
    """
    means = likeliest(vae.reconstruct(X, condition=condition), vae.likelihood, vae.num_features)
    beside, drawn = None, "samples from the prior"
    given = condition if sample_condition is None else sample_condition
    if given is not None:
        given = condition_of(given, None, vae.condition_width or None)
        beside = np.resize(given, (num_samples, given.shape[1]))
        drawn = "samples at rows' conditions" if sample_condition is None else "samples at given conditions"
    return rows(
        X,
        means,
        vae.sample(num_samples, key=key, condition=beside),
        vae.encode(X, condition=condition).loc,
        labels,
        image_shape,
        title,
        None if vae.prior == "standard" else vae.prior_,
        drawn,
    )


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
    _by_epoch(bound, history.elbo, "training rows", TRAIN)
    if held_out:
        _by_epoch(bound, history.held_out_elbo, "held-out rows", HELD_OUT)
        if history.best_epoch is not None:
            bound.axvline(history.best_epoch + 1, color=MUTED, linewidth=0.8, linestyle=":", label="kept weights")
    _leave_out_start(bound, [history.elbo, history.held_out_elbo] if held_out else [history.elbo])
    bound.set_title("ELBO")
    bound.legend(frameon=False, loc="lower right")

    _by_epoch(terms, np.negative(history.reconstruction), "−reconstruction, training", TRAIN)
    _by_epoch(terms, history.kl, "KL, training", TRAIN, linestyle="--")
    shown = [history.kl, np.negative(history.reconstruction)]
    if held_out:
        _by_epoch(terms, np.negative(history.held_out_reconstruction), "−reconstruction, held out", HELD_OUT)
        _by_epoch(terms, history.held_out_kl, "KL, held out", HELD_OUT, linestyle="--")
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
        raise ArgumentError(f"density: expected (T + 1, points) with grid (points,), got {p.shape} with {x.shape}")
    for name, paths in (("forward", there), ("reverse", back)):
        if paths.ndim != 2 or len(paths) != len(p):
            raise ArgumentError(f"{name}: expected paths ({len(p)}, n) as density has steps, got shape {paths.shape}")
    figure = _figure((11.0, 4.2), None)
    steps, half = np.arange(len(p)), (x[1] - x[0]) / 2
    panels = zip(figure.subplots(1, 2, sharey=True), (there, back), (TRAIN, HELD_OUT), strict=True)
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
    for (name, values), colour in zip(gaps.items(), (TRAIN, HELD_OUT, MUTED, "black"), strict=False):
        y = np.asarray(values, dtype=np.float64)
        if x.ndim != 1 or y.shape != x.shape:
            raise ArgumentError(f"gaps: expected {x.shape} as step has for {name!r}, got shape {y.shape}")
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
