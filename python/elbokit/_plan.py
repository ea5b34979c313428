"""What a fit is told, checked by name before anything is trained, and what it makes of its rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import random
from elbokit._arrays import count, number, rows_of
from elbokit._checkpoint import Checkpoint, fingerprint
from elbokit._schedules import Plateau
from elbokit._stopping import Stopping
from elbokit.errors import ElbokitError, ShapeError
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
    import os
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
    num_particles: int
    learning_rate: float
    weight_decay: float
    warmup: int
    cosine: int | None
    plateau: Plateau | None
    max_grad_norm: float | None
    importance_weighted: bool
    kl_weight: list[float]
    free_bits: float
    patience: int | Stopping | None
    checkpoint: Checkpoint | None
    callbacks: tuple[Callable[[VAE, History], object], ...]
    progress: bool

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return -(-self.num_rows // self.batch_size)

    @property
    def num_held_out(self) -> int:
        """Rows that are held out."""
        return 0 if self.held_out is None else len(self.held_out[0] if self.held_out[1] is None else self.held_out[1])

    @property
    def num_rows(self) -> int:
        """Rows that train."""
        return len(self.rows) if self.train is None else len(self.train)


@dataclass(frozen=True)
class Options:
    """A fit's options as they were given."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    weight_decay: float | None
    schedule: str | Plateau
    warmup: float
    max_grad_norm: float | None
    validation: float | ArrayLike
    sample_weight: ArrayLike | None
    objective: str
    num_particles: int
    kl_weight: float | Callable[[int], float]
    free_bits: float
    patience: int | Stopping | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: int
    callbacks: Sequence[Callable[[VAE, History], object]]
    progress: bool


def checked(vae: VAE, rows: NDArray[Any], given: Options, seed: int, splitting: Key) -> Plan:
    """A fit's options, each refused by name where it is out of range; `splitting` draws the held-out rows."""
    train, held_out = _split(rows, given.validation, splitting)
    epochs, batch_size = count("epochs", given.epochs, 1), count("batch_size", given.batch_size, 1)
    steps = -(-(len(rows) if train is None else len(train)) // batch_size)
    importance_weighted = _choice("objective", given.objective, ("elbo", "iwae")) == "iwae"
    free_bits = _at_least_zero("free_bits", given.free_bits, "0.0")
    if importance_weighted and free_bits > 0:
        raise ValueError(
            f'free_bits: expected 0 with objective="iwae", which has no KL term, got {free_bits}; use objective="elbo"'
        )
    warmup, cosine, plateau = _schedule(given, epochs, steps)
    plan = Plan(
        rows=rows,
        train=train,
        held_out=held_out,
        weights=_weights(given.sample_weight, len(rows), train),
        epochs=epochs,
        batch_size=batch_size,
        num_particles=count("num_particles", given.num_particles, 1),
        learning_rate=_positive("learning_rate", given.learning_rate, "1e-3"),
        weight_decay=_decay(given.optimizer, given.weight_decay),
        warmup=warmup,
        cosine=cosine,
        plateau=plateau,
        max_grad_norm=None if given.max_grad_norm is None else _positive("max_grad_norm", given.max_grad_norm, "1.0"),
        importance_weighted=importance_weighted,
        kl_weight=_kl_weights(given.kl_weight, epochs),
        free_bits=free_bits,
        patience=_patience(given.patience, held_out is not None),
        checkpoint=None,
        callbacks=_functions(given.callbacks),
        progress=bool(given.progress),
    )
    every = count("checkpoint_every", given.checkpoint_every, 1)
    if given.checkpoint is None:
        return plan
    return replace(plan, checkpoint=Checkpoint(Path(given.checkpoint), every, _known_by(vae, plan, given, seed)))


def _known_by(vae: VAE, plan: Plan, given: Options, seed: int) -> dict[str, Any]:
    """What a checkpoint must share with the fit that goes on from it, by the names of `fit`."""
    return {
        "model": repr(vae),
        "key": seed,
        "X": fingerprint(plan.rows),
        # The key draws which ones.
        "validation": plan.num_held_out if plan.train is not None else plan.held_out and fingerprint(plan.held_out[0]),
        "sample_weight": None if plan.weights is None else fingerprint(plan.weights),
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "optimizer": given.optimizer,
        "weight_decay": plan.weight_decay,
        "schedule": repr(plan.plateau or given.schedule),
        "warmup": plan.warmup,
        # A cosine ends at the last epoch; without one a fit may be made longer.
        "epochs": None if plan.cosine is None else plan.epochs,
        "max_grad_norm": plan.max_grad_norm,
        "objective": given.objective,
        "num_particles": plan.num_particles,
        "free_bits": plan.free_bits,
        "patience": repr(plan.patience),
    }


def _split(
    rows: NDArray[Any], validation: float | ArrayLike, splitting: Key
) -> tuple[NDArray[np.uint32] | None, tuple[NDArray[Any], NDArray[np.uint32] | None] | None]:
    """Which rows train (None: all of them), and the held-out ones."""
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
    return train, held_out


def _choice(argument: str, value: Any, names: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{argument}: expected one of {names}, got {value!r}; use one of them")
    return value


def _positive(argument: str, value: Any, cure: str) -> float:
    x = number(argument, value)
    if not (x > 0 and np.isfinite(x)):
        raise ValueError(f"{argument}: expected a positive number, got {x}; use {cure}")
    return x


def _at_least_zero(argument: str, value: Any, cure: str) -> float:
    x = number(argument, value)
    if not (x >= 0 and np.isfinite(x)):
        raise ValueError(f"{argument}: expected a number not below 0, got {x}; use {cure}")
    return x


def _decay(optimizer: str, weight_decay: float | None) -> float:
    """AdamW's decay; Adam's is 0."""
    if _choice("optimizer", optimizer, ("adam", "adamw")) == "adamw":
        return 0.01 if weight_decay is None else _at_least_zero("weight_decay", weight_decay, "0.01")
    if weight_decay is not None:
        raise ValueError(
            f'weight_decay: expected none with optimizer="adam", got {weight_decay}; use optimizer="adamw"'
        )
    return 0.0


def _schedule(given: Options, epochs: int, steps: int) -> tuple[int, int | None, Plateau | None]:
    """Steps of warm-up, the step at which a cosine ends, and the plateau's rule, by `schedule` and `warmup`."""
    warmup = _at_least_zero("warmup", given.warmup, "0")
    if warmup > epochs:
        raise ValueError(f"warmup: expected at most the fit's {epochs} epochs, got {warmup}; use fewer")
    first = round(warmup * steps)
    if isinstance(given.schedule, Plateau):
        return first, None, given.schedule
    name = _choice("schedule", given.schedule, ("constant", "cosine", "plateau"))
    return first, epochs * steps if name == "cosine" else None, Plateau() if name == "plateau" else None


def _kl_weights(kl_weight: float | Callable[[int], float], epochs: int) -> list[float]:
    """β of every epoch."""
    if not callable(kl_weight):
        return [_at_least_zero("kl_weight", kl_weight, "1.0 for the ELBO")] * epochs
    return [
        _at_least_zero(f"kl_weight (epoch {epoch})", kl_weight(epoch), "1.0 for the ELBO") for epoch in range(epochs)
    ]


def _patience(patience: int | Stopping | None, held_out: bool) -> int | Stopping | None:
    if patience is None:
        return None
    if not held_out:
        raise ValueError("patience: expected held-out rows to wait on, got none; give validation=0.1")
    return patience if isinstance(patience, Stopping) else count("patience", patience, 1)


def real_columns(likelihood: Likelihood, width: int) -> NDArray[np.bool_]:
    """Which columns hold real numbers, and are standardised."""
    if not isinstance(likelihood, Columns):
        return np.full(width, isinstance(likelihood, (Gaussian, Laplace, StudentT)))
    real = np.zeros(width, dtype=bool)
    for columns, member in likelihood.members:
        # A column that the rows lack is refused with the model.
        real[[column for column in columns if column < width]] = isinstance(member, (Gaussian, Laplace, StudentT))
    return real


def statistics(
    vae: VAE, rows: NDArray[Any], train: NDArray[np.uint32] | None
) -> tuple[list[float], list[float], list[float]]:
    """What the columns are scaled by, and how far they then spread: the observed training cells' mean and deviation.

    Columns that are not scaled have 0 and 1; a column that is constant, or holds no real numbers, has no spread.
    """
    width = rows.shape[1]
    real = real_columns(vae.likelihood, width)
    if not real.any():
        return [0.0] * width, [1.0] * width, [0.0] * width
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
    usable = real & np.isfinite(mean) & np.isfinite(deviation) & (deviation > np.abs(mean) * 1e-12)
    if vae.standardize is False:
        return [0.0] * width, [1.0] * width, np.where(usable, deviation, 0.0).tolist()
    if vae.dtype == np.float32:
        _warn_of_rounding(mean, np.where(real, deviation, 0.0))
    # A constant column carries no scale of its own.
    shift = np.where(real & np.isfinite(mean), mean, 0.0)
    return shift.tolist(), np.where(usable, deviation, 1.0).tolist(), np.where(usable, 1.0, 0.0).tolist()


def described(vae: VAE, rows: NDArray[Any], plan: Plan) -> str:
    """What a fit makes of its rows, in words."""
    if isinstance(vae.likelihood, Columns):
        members = vae.likelihood.members
        view = "; ".join(f"{', '.join(map(str, columns))} {_view(vae, member)}" for columns, member in members)
    else:
        view = _view(vae, vae.likelihood)
    return (
        f"{len(rows)} rows of {rows.shape[1]} columns ({rows.dtype}, read as {vae.dtype}); "
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
