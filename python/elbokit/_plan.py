"""What a fit is told, checked by name before anything is trained, and what it makes of its rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import random
from elbokit._arrays import count, number, rows_of
from elbokit.errors import ElbokitError, ShapeError
from elbokit.likelihood import Binomial, Gaussian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from elbokit import _core
    from elbokit.random import Key
    from elbokit.training import History
    from elbokit.vae import VAE

# Rows at a time when columns' means and deviations are taken: no copy of the data set is made.
_STATISTICS_ROWS = 1 << 14


@dataclass(frozen=True)
class Plan:
    """A checked fit: its rows, which of them train and which are held out, and its options."""

    rows: NDArray[Any]
    train: NDArray[np.uint32] | None
    held_out: tuple[NDArray[Any], NDArray[np.uint32] | None] | None
    weights: NDArray[np.float64] | None
    epochs: int
    batch_size: int
    learning_rate: float
    num_particles: int
    kl_weight: float
    patience: int | None
    callbacks: tuple[Callable[[VAE, History], object], ...]
    progress: bool

    @property
    def num_rows(self) -> int:
        """Rows that train."""
        return len(self.rows) if self.train is None else len(self.train)


def checked(
    rows: NDArray[Any],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    validation: float | ArrayLike,
    sample_weight: ArrayLike | None,
    num_particles: int,
    kl_weight: float,
    patience: int | None,
    callbacks: Sequence[Callable[[VAE, History], object]],
    progress: bool,
    splitting: Key,
) -> Plan:
    """A fit's options, each refused by name where it is out of range; `splitting` draws the held-out rows."""
    if len(rows) == 0 or rows.shape[1] == 0:
        raise ShapeError(
            f"X: expected at least one row and one column to train on, got shape {rows.shape}; give data",
            argument="X",
        )
    if len(rows) >= 1 << 32:
        raise ShapeError(f"X: expected less than 2**32 rows, got {len(rows)}; fit a part of them", argument="X")
    train: NDArray[np.uint32] | None = None
    held_out: tuple[NDArray[Any], NDArray[np.uint32] | None] | None = None
    if np.ndim(validation) == 0:
        share = number("validation", validation)
        if not 0 <= share < 1:
            raise ValueError(f"validation: expected a share from 0 to below 1 or rows, got {share}; use 0.1")
        if held := round(share * len(rows)):
            order = _shuffled(len(rows), splitting)
            # Sorted, so that a row's place among its kind does not depend on the share.
            held_out, train = (rows, np.sort(order[:held])), np.sort(order[held:])
            if not len(train):
                raise ValueError(
                    f"validation: expected to leave rows to train on, got {share} of {len(rows)}; use less"
                )
    else:
        others = rows_of("validation", validation)
        if others.shape[1] != rows.shape[1]:
            raise ShapeError(
                f"validation: expected {rows.shape[1]} columns like X, got {others.shape[1]}; give such rows",
                argument="validation",
            )
        held_out = (others, None) if len(others) else None
    least = {"learning_rate": learning_rate, "kl_weight": kl_weight}
    rate, beta = (number(name, value) for name, value in least.items())
    if not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"learning_rate: expected a positive number, got {rate}; use 1e-3")
    if not (beta >= 0 and np.isfinite(beta)):
        raise ValueError(f"kl_weight: expected a number not below 0, got {beta}; use 1.0 for the ELBO")
    if patience is not None:
        patience = count("patience", patience, 1)
        if held_out is None:
            raise ValueError("patience: expected held-out rows to wait on, got none; give validation=0.1")
    return Plan(
        rows=rows,
        train=train,
        held_out=held_out,
        weights=_weights(sample_weight, len(rows), train),
        epochs=count("epochs", epochs, 1),
        batch_size=count("batch_size", batch_size, 1),
        learning_rate=rate,
        num_particles=count("num_particles", num_particles, 1),
        kl_weight=beta,
        patience=patience,
        callbacks=_functions(callbacks),
        progress=bool(progress),
    )


def statistics(vae: VAE, rows: NDArray[Any], train: NDArray[np.uint32] | None) -> tuple[list[float], list[float]]:
    """What the columns are scaled by: mean and standard deviation of the observed training cells, or 0 and 1."""
    width = rows.shape[1]
    if vae.standardize is False or not isinstance(vae.likelihood, Gaussian):
        return [0.0] * width, [1.0] * width
    index = np.arange(len(rows), dtype=np.uint32) if train is None else train
    blocks = [index[i : i + _STATISTICS_ROWS] for i in range(0, len(index), _STATISTICS_ROWS)]

    def total(of: Callable[[NDArray[np.float64]], NDArray[Any]]) -> NDArray[np.float64]:
        """The sum of a function of the cells over the observed ones, column by column."""
        sums = [np.nansum(of(rows[block].astype(np.float64)), axis=0) for block in blocks]
        return np.asarray(np.sum(sums, axis=0), dtype=np.float64)

    # An infinity is named by the check that follows; here it must only not warn.
    with np.errstate(invalid="ignore", over="ignore"):
        seen = np.maximum(total(lambda x: ~np.isnan(x)), 1)
        mean = total(lambda x: x) / seen
        deviation = np.sqrt(total(lambda x: (x - mean) ** 2) / seen)
    if vae.dtype == np.float32:
        _warn_of_rounding(mean, deviation)
    usable = np.isfinite(mean) & np.isfinite(deviation) & (deviation > np.abs(mean) * 1e-12)
    # A constant column carries no scale of its own.
    shift = np.where(np.isfinite(mean), mean, 0.0)
    return shift.tolist(), np.where(usable, deviation, 1.0).tolist()


def described(vae: VAE, rows: NDArray[Any], plan: Plan) -> str:
    """What a fit makes of its rows, in words."""
    held_out = 0 if plan.held_out is None else len(plan.held_out[0] if plan.held_out[1] is None else plan.held_out[1])
    view = "as they are"
    if isinstance(vae.likelihood, Binomial):
        view = f"over {vae.likelihood.total_count}"
    elif isinstance(vae.likelihood, Gaussian) and vae.standardize == "auto":
        view = "standardised by the training rows"
    return (
        f"{len(rows)} rows of {rows.shape[1]} columns ({rows.dtype}, read as {vae.dtype}); "
        f"{plan.num_rows} train, {held_out} held out; {vae.likelihood!r}; the encoder sees columns {view}"
    )


def check_held_out(core: _core.Vae, rows: NDArray[Any]) -> None:
    """Refuse a held-out row by that name."""
    try:
        core.check(rows)
    except ElbokitError as error:
        error.args = (f"validation: {error}",)
        raise


def _shuffled(n: int, key: Key) -> NDArray[np.uint32]:
    """0 … n − 1 in an order drawn by `key`: the ranks of n 64-bit draws."""
    draws = random.raw(2 * n, key=key).view(np.uint64)
    return np.argsort(draws, kind="stable").astype(np.uint32)


def _functions(callbacks: Sequence[Callable[[VAE, History], object]]) -> tuple[Callable[[VAE, History], object], ...]:
    if not isinstance(callbacks, (list, tuple)) or not all(callable(callback) for callback in callbacks):
        raise ValueError(f"callbacks: expected a list of functions, got {callbacks!r}; give callback(vae, history)")
    return tuple(callbacks)


def _warn_of_rounding(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
    """Warn of columns whose spread float32 rounds away: rows are scaled after they are read as float32."""
    lost = np.isfinite(mean) & (deviation > 0) & (np.abs(mean) * np.finfo(np.float32).eps > 0.01 * deviation)
    if lost.any():
        warnings.warn(
            f"X: column {int(np.argmax(lost))} has a mean of {mean[lost][0]:.6g} and a standard deviation of "
            f'{deviation[lost][0]:.3g}, too close for float32; use VAE(dtype="float64"), or subtract an offset',
            UserWarning,
            stacklevel=4,
        )


def _weights(
    sample_weight: ArrayLike | None, rows: int, train: NDArray[np.uint32] | None
) -> NDArray[np.float64] | None:
    """The training rows' weights, of mean 1."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (rows,):
        raise ShapeError(
            f"sample_weight: expected shape ({rows},), got shape {weights.shape}; give one weight a row",
            argument="sample_weight",
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("sample_weight: expected finite weights not below 0, got others; remove or replace them")
    chosen = weights if train is None else weights[train]
    mean = chosen.mean()
    if not mean > 0:
        raise ValueError("sample_weight: expected a positive weight among the training rows, got none; give one")
    return np.ascontiguousarray(chosen / mean)
