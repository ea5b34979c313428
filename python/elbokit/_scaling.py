"""By what a model scales its rows and their conditions, and what a fit makes of its rows, in words."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit.likelihood import (
    Binomial,
    Categorical,
    Columns,
    Gaussian,
    Laplace,
    Likelihood,
    NegativeBinomial,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from elbokit._plan import Plan
    from elbokit.vae import VAE

# Rows at a time when columns' means and deviations are taken: no copy of the data set is made.
_ROWS = 1 << 14


def real_columns(likelihood: Likelihood, width: int) -> NDArray[np.bool_]:
    """Which columns hold real numbers, and are standardised."""
    if not isinstance(likelihood, Columns):
        return np.full(width, isinstance(likelihood, (Gaussian, Laplace, StudentT)))
    real = np.zeros(width, dtype=bool)
    for columns, member in likelihood.members:
        # A column that the rows lack is refused with the model.
        real[[column for column in columns if column < width]] = isinstance(member, (Gaussian, Laplace, StudentT))
    return real


class _Moments:
    """Sums over the observed cells of some rows by weight, column by column."""

    def __init__(
        self, rows: NDArray[Any], train: NDArray[np.uint32] | None, weights: NDArray[np.float64] | None
    ) -> None:
        index = np.arange(len(rows), dtype=np.uint32) if train is None else train
        if weights is not None:
            # A row of weight 0 leaves no trace, whatever it holds.
            index, weights = index[weights > 0], weights[weights > 0]
        self._blocks = [
            (index[i : i + _ROWS], None if weights is None else weights[i : i + _ROWS, None])
            for i in range(0, len(index), _ROWS)
        ]
        self._rows = rows
        # An infinity is named by the check that follows; here it must only not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            seen = self.total(lambda x: ~np.isnan(x))
            seen[seen == 0] = 1
            self.mean = self.total(lambda x: x) / seen
            self.deviation = np.sqrt(self.total(lambda x: (x - self.mean) ** 2) / seen)
        self.finite = np.isfinite(self.mean)
        self.spread = self.finite & np.isfinite(self.deviation) & (self.deviation > np.abs(self.mean) * 1e-12)

    def total(self, of: Callable[[NDArray[np.float64]], NDArray[Any]]) -> NDArray[np.float64]:
        """The sum of a function of the cells over the observed ones, each by its row's weight."""
        sums = []
        for block, weights in self._blocks:
            terms = of(self._rows[block].astype(np.float64))
            sums.append(np.nansum(terms if weights is None else terms * weights, axis=0))
        return np.asarray(np.sum(sums, axis=0), dtype=np.float64)


def statistics(
    vae: VAE, rows: NDArray[Any], train: NDArray[np.uint32] | None, weights: NDArray[np.float64] | None
) -> tuple[list[float], list[float], list[float]]:
    """What the columns are scaled by, and how far they then spread: the observed training cells' mean and deviation.

    Both are by the rows' weights. Columns that are not scaled have 0 and 1; a column that is constant, or holds no real
    numbers, has no spread.
    """
    width = rows.shape[1]
    real = real_columns(vae.likelihood, width)
    if not real.any():
        return [0.0] * width, [1.0] * width, [0.0] * width
    moments = _Moments(rows, train, weights)
    usable = real & moments.spread
    if vae.standardize is False:
        return [0.0] * width, [1.0] * width, np.where(usable, moments.deviation, 0.0).tolist()
    if vae.dtype == np.float32:
        _warn_of_rounding("X", moments.mean, np.where(real, moments.deviation, 0.0))
    # A constant column carries no scale of its own.
    shift = np.where(real & moments.finite, moments.mean, 0.0)
    return shift.tolist(), np.where(usable, moments.deviation, 1.0).tolist(), np.where(usable, 1.0, 0.0).tolist()


def condition_statistics(
    vae: VAE,
    condition: NDArray[Any] | None,
    train: NDArray[np.uint32] | None,
    weights: NDArray[np.float64] | None,
) -> tuple[list[float], list[float]]:
    """What a condition's columns are scaled by: the training rows' mean and deviation, but 0 and 1 of bits."""
    if condition is None:
        return [], []
    width = condition.shape[1]
    if vae.standardize is False:
        return [0.0] * width, [1.0] * width
    moments = _Moments(condition, train, weights)
    bits = moments.total(lambda c: (c != 0.0) & (c != 1.0)) == 0
    if vae.dtype == np.float32:
        _warn_of_rounding("condition", moments.mean, np.where(bits, 0.0, moments.deviation))
    shift = np.where(moments.finite & ~bits, moments.mean, 0.0)
    return shift.tolist(), np.where(moments.spread & ~bits, moments.deviation, 1.0).tolist()


def described(vae: VAE, rows: NDArray[Any], plan: Plan) -> str:
    """What a fit makes of its rows, in words."""
    if isinstance(vae.likelihood, Columns):
        members = vae.likelihood.members
        view = "; ".join(f"{', '.join(map(str, columns))} {_view(vae, member)}" for columns, member in members)
    else:
        view = _view(vae, vae.likelihood)
    beside = "" if plan.condition is None else f" beside a condition of {plan.condition.shape[1]}"
    return (
        f"{len(rows)} rows of {rows.shape[1]} columns ({rows.dtype}, read as {vae.dtype}){beside}; "
        f"{plan.num_rows} train, {plan.num_held_out} held out; {vae.likelihood!r}; the encoder sees columns {view}"
    )


def _view(vae: VAE, likelihood: Likelihood) -> str:
    """What the encoder sees of columns of one kind."""
    if isinstance(likelihood, Binomial):
        return f"over {likelihood.total_count}"
    if isinstance(likelihood, (Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial)):
        return "as log(1 + x)"
    if isinstance(likelihood, Categorical):
        return "as one number a class"
    if isinstance(likelihood, (Gaussian, Laplace, StudentT)) and vae.standardize == "auto":
        return "standardised by the training rows"
    return "as they are"


def _warn_of_rounding(argument: str, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
    """Warn of columns whose spread float32 rounds away: rows are scaled after they are read as float32."""
    lost = np.isfinite(mean) & (deviation > 0) & (np.abs(mean) * np.finfo(np.float32).eps > 0.01 * deviation)
    if lost.any():
        warnings.warn(
            f"{argument}: column {int(np.argmax(lost))} has a mean of {mean[lost][0]:.6g} and a standard deviation of "
            f'{deviation[lost][0]:.3g}, too close for float32; use VAE(dtype="float64"), or subtract an offset',
            UserWarning,
            stacklevel=4,
        )
