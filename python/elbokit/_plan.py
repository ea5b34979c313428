"""What a fit is told, checked by name before anything is trained, and which of its rows train."""

from __future__ import annotations

import itertools
import numbers
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from elbokit import random
from elbokit._arrays import Stream, choice, count, file_path, number, rank, rows_of
from elbokit._checkpoint import Checkpoint, fingerprint
from elbokit._condition import condition_of
from elbokit._naming import FOREIGN, Worded, Words, say_given
from elbokit._schedules import Plateau
from elbokit._stopping import Patience, Stopping
from elbokit.errors import ArgumentError, DtypeError, ElbokitError, NonFiniteError, ShapeError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from elbokit import _core
    from elbokit.random import Key
    from elbokit.training import History
    from elbokit.vae import VAE


_AS_VALIDATION = Worded({"X": Words("validation"), "condition": Words("validation: condition")})


@dataclass(frozen=True)
class HeldOut:
    """Rows that are held out: all of an array, or those that an index numbers, with the array of their conditions."""

    rows: NDArray[Any]
    index: NDArray[np.uint32] | None
    condition: NDArray[Any] | None


@dataclass(frozen=True)
class Plan:
    """A checked fit: its rows, which of them train and which are held out, and its options."""

    rows: NDArray[Any]
    condition: NDArray[Any] | None
    train: NDArray[np.uint32] | None
    held_out: HeldOut | None
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
    estimator: str
    kl_weight: list[float]
    free_bits: float
    patience: Patience | Stopping | None
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
        if self.held_out is None:
            return 0
        return len(self.held_out.rows if self.held_out.index is None else self.held_out.index)

    @property
    def watches_evidence(self) -> bool:
        """Whether patience watches the evidence of held-out rows."""
        return isinstance(self.patience, Patience) and self.patience.watch == "evidence"

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
    condition: ArrayLike | Stream | None
    validation: float | ArrayLike | Stream | tuple[ArrayLike | Stream, ArrayLike | Stream]
    sample_weight: ArrayLike | None
    objective: str
    estimator: str
    num_particles: int
    kl_weight: float | Callable[[int], float]
    free_bits: float
    patience: int | Patience | Stopping | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: int
    callbacks: Sequence[Callable[[VAE, History], object]]
    progress: bool


def checked(vae: VAE, rows: NDArray[Any], given: Options, seed: int, splitting: Key) -> Plan:
    """A fit's options, each refused by name where it is out of range; `splitting` draws the held-out rows."""
    condition = None if given.condition is None else condition_of(given.condition, len(rows), None)
    train, held_out = _split(rows, condition, given.validation, splitting)
    epochs, batch_size = count("epochs", given.epochs, 1), count("batch_size", given.batch_size, 1)
    steps = -(-(len(rows) if train is None else len(train)) // batch_size)
    importance_weighted = choice("objective", given.objective, ("elbo", "iwae")) == "iwae"
    free_bits = _at_least_zero("free_bits", given.free_bits, "0.0")
    if importance_weighted and free_bits > 0:
        raise ArgumentError(
            f'free_bits: expected 0 with objective="iwae", which has no KL term, got {free_bits}; use objective="elbo"'
        )
    if vae.prior != "standard" and free_bits > 0:
        raise ArgumentError(
            f"free_bits: expected 0 with prior={vae.prior!r}, to which the KL has no part for each latent, got "
            f'{free_bits}; use prior="standard"'
        )
    warmup, cosine, plateau = _schedule(given, epochs, steps)
    plan = Plan(
        rows=rows,
        condition=condition,
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
        estimator=_estimator(given, importance_weighted, free_bits),
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
    path = file_path("checkpoint", given.checkpoint)
    return replace(plan, checkpoint=Checkpoint(path, every, _known_by(vae, plan, given, seed)))


def _known_by(vae: VAE, plan: Plan, given: Options, seed: int) -> dict[str, Any]:
    """What a checkpoint must share with the fit that goes on from it, by the names of `fit`."""
    own_rows = None if plan.held_out is None or plan.train is not None else plan.held_out
    known = {
        "model": repr(vae),
        "key": seed,
        "X": fingerprint(plan.rows),
        # The key draws which ones.
        "validation": plan.num_held_out if plan.train is not None else own_rows and fingerprint(own_rows.rows),
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
        "estimator": plan.estimator,
        "num_particles": plan.num_particles,
        "free_bits": plan.free_bits,
        "patience": repr(plan.patience),
    }
    if plan.condition is not None:
        known["condition"] = fingerprint(plan.condition)
        known["validation's condition"] = (
            None if own_rows is None or own_rows.condition is None else fingerprint(own_rows.condition)
        )
    return known


def _estimator(given: Options, importance_weighted: bool, free_bits: float) -> str:
    """The estimator's name, where the other options allow it."""
    estimator = choice("estimator", given.estimator, ("pathwise", "stl", "dreg", "score"))
    if estimator == "stl" and importance_weighted:
        raise ArgumentError(
            'estimator: expected "pathwise", "dreg" or "score" with objective="iwae", of which "stl" is biased, '
            'got "stl"; give estimator="dreg"'
        )
    if estimator == "score" and count("num_particles", given.num_particles, 1) == 1:
        raise ArgumentError(
            'num_particles: expected at least 2 with estimator="score", whose baseline is the other particles, got 1; '
            'give more particles, or estimator="pathwise"'
        )
    if estimator != "pathwise" and free_bits > 0:
        raise ArgumentError(
            f'free_bits: expected 0 with estimator="{estimator}", which draws the KL that a floor asks for in closed '
            f'form, got {free_bits}; use estimator="pathwise"'
        )
    return estimator


def _split(
    rows: NDArray[Any],
    condition: NDArray[Any] | None,
    validation: float | ArrayLike | Stream | tuple[ArrayLike | Stream, ArrayLike | Stream],
    splitting: Key,
) -> tuple[NDArray[np.uint32] | None, HeldOut | None]:
    """Which rows train (None: all of them), and the held-out ones."""
    if len(rows) == 0 or rows.shape[1] == 0:
        raise ShapeError(
            f"X: expected at least one row and one column to train on, got shape {rows.shape}; give data",
            argument="X",
        )
    if len(rows) >= 1 << 32:
        raise ShapeError(f"X: expected less than 2**32 rows, got {len(rows)}; fit a part of them", argument="X")
    if not isinstance(validation, Stream) and rank(validation) == 0:
        share = number("validation", validation)
        if not 0 <= share < 1:
            raise ArgumentError(f"validation: expected a share from 0 to below 1 or rows, got {share}; use 0.1")
        held = round(share * len(rows))
        if not held:
            return None, None
        order = _shuffled(len(rows), splitting)
        # Sorted, so that a row's place among its kind does not depend on the share.
        train = np.sort(order[held:])
        if not len(train):
            raise ArgumentError(f"validation: expected to leave rows to train on, got {share} of {len(rows)}; use less")
        return train, HeldOut(rows, np.sort(order[:held]), condition)
    if condition is not None:
        if not isinstance(validation, tuple) or len(validation) != 2:
            raise ArgumentError(
                "validation: expected a share or a pair (rows, their condition) for a model with a condition, got "
                f"{type(validation).__name__}; give validation=(X, condition)"
            )
        return None, _given(validation[0], validation[1], rows, condition)
    if _is_pair(validation):
        raise ArgumentError(
            "validation: expected a share or rows for a model without a condition, got a pair; give condition= too"
        )
    return None, _given(cast("ArrayLike | Stream", validation), None, rows, None)


def _is_pair(validation: Any) -> bool:
    """Whether it is rows with their conditions, and no tuple of rows."""
    pair = isinstance(validation, tuple) and len(validation) == 2
    return pair and (isinstance(validation[0], Stream) or rank(validation[0]) == 2)


def _given(
    validation: ArrayLike | Stream,
    beside: ArrayLike | Stream | None,
    rows: NDArray[Any],
    condition: NDArray[Any] | None,
) -> HeldOut | None:
    """Held-out rows that were given as such."""
    others = rows_of("validation", validation)
    if others.shape[1] != rows.shape[1]:
        raise ShapeError(
            f"validation: expected {rows.shape[1]} columns like X, got {others.shape[1]}; give such rows",
            argument="validation",
        )
    conditions = None
    if condition is not None and beside is not None:
        name = "validation's condition"
        conditions = condition_of(beside, len(others), condition.shape[1], name, "validation")
    return HeldOut(others, None, conditions) if len(others) else None


def _positive(argument: str, value: Any, cure: str) -> float:
    x = number(argument, value)
    if not (x > 0 and np.isfinite(x)):
        raise ArgumentError(f"{argument}: expected a positive, finite number, got {x}; use {cure}")
    return x


def _at_least_zero(argument: str, value: Any, cure: str) -> float:
    x = number(argument, value)
    if not (x >= 0 and np.isfinite(x)):
        # Of a schedule the epoch stands behind the argument's name.
        name = argument.partition(" ")[0]
        raise ArgumentError(f"{argument}: expected a finite number not below 0, got {x}; use {cure}", argument=name)
    return x


def _decay(optimizer: str, weight_decay: float | None) -> float:
    """AdamW's decay; Adam's is 0."""
    if choice("optimizer", optimizer, ("adam", "adamw")) == "adamw":
        return 0.01 if weight_decay is None else _at_least_zero("weight_decay", weight_decay, "0.01")
    if weight_decay is not None:
        raise ArgumentError(
            f'weight_decay: expected none with optimizer="adam", got {weight_decay}; use optimizer="adamw"'
        )
    return 0.0


def _schedule(given: Options, epochs: int, steps: int) -> tuple[int, int | None, Plateau | None]:
    """Steps of warm-up, the step at which a cosine ends, and the plateau's rule, by `schedule` and `warmup`."""
    warmup = _at_least_zero("warmup", given.warmup, "0")
    if warmup > epochs:
        raise ArgumentError(f"warmup: expected at most the fit's {epochs} epochs, got {warmup}; use fewer")
    first = round(warmup * steps)
    if isinstance(given.schedule, Plateau):
        return first, None, given.schedule
    name = choice("schedule", given.schedule, ("constant", "cosine", "plateau"))
    return first, epochs * steps if name == "cosine" else None, Plateau() if name == "plateau" else None


def _kl_weights(kl_weight: float | Callable[[int], float], epochs: int) -> list[float]:
    """β of every epoch."""
    if not callable(kl_weight):
        return [_at_least_zero("kl_weight", kl_weight, "1.0 for the ELBO")] * epochs
    with FOREIGN:
        weights = [kl_weight(epoch) for epoch in range(epochs)]
    return [
        _at_least_zero(f"kl_weight (epoch {epoch})", weight, "1.0 for the ELBO") for epoch, weight in enumerate(weights)
    ]


def _patience(patience: int | Patience | Stopping | None, held_out: bool) -> Patience | Stopping | None:
    if patience is None:
        return None
    if not held_out:
        raise ArgumentError("patience: expected held-out rows to wait on, got none; give validation=0.1")
    return patience if isinstance(patience, (Patience, Stopping)) else Patience(count("patience", patience, 1))


def check_held_out(core: _core.Vae, held_out: HeldOut, dtype: np.dtype[Any]) -> None:
    """Refuse a held-out row by that name."""
    with _AS_VALIDATION:
        try:
            core.check(held_out.rows, held_out.condition)
        except ElbokitError as error:
            say_given(error, dtype, x=held_out.rows, condition=held_out.condition)
            raise


def too_large(vae: VAE, width: int) -> ArgumentError:
    """Which option of a model for `width` columns gives it more parameters than the core takes."""

    def parameters(latents: int, hidden: Sequence[int], components: int) -> int:
        encoder, decoder = (width, *hidden, 2 * latents), (latents, *reversed(hidden), width)
        layers = (a * b for widths in (encoder, decoder) for a, b in itertools.pairwise(widths))
        return sum(layers) + components * {"standard": 0, "mixture": 2 * latents, "vamp": width}[vae.prior]

    latents, hidden, components = vae.latent_dim, vae.hidden, vae.prior_components
    # The one without whose size the fewest would be left.
    left = {
        "hidden": parameters(latents, (1,) * len(hidden), components),
        "latent_dim": parameters(1, hidden, components),
        "prior_components": parameters(latents, hidden, 1),
    }
    name = min(left, key=left.__getitem__)
    cure = "make layers narrower" if name == "hidden" else "use fewer"
    return ArgumentError(f"{name}: expected a size for at most 2³¹ parameters, got {getattr(vae, name)}; {cure}")


def first_pseudo_inputs(vae: VAE, plan: Plan, key: Key) -> NDArray[np.uint32]:
    """The training rows at which pseudo-inputs start, drawn by `key`.

    Raises
    ------
    ValueError
        Where there are fewer of them than components.
    """
    if vae.prior_components > plan.num_rows:
        raise ArgumentError(
            f"prior_components: expected at most the {plan.num_rows} training rows, at which pseudo-inputs start, "
            f"got {vae.prior_components}; use fewer"
        )
    order = _shuffled(plan.num_rows, key)[: vae.prior_components]
    return order if plan.train is None else plan.train[order]


def _shuffled(n: int, key: Key) -> NDArray[np.uint32]:
    """0 … n − 1 in an order drawn by `key`: the ranks of n 64-bit draws."""
    draws = random.raw(2 * n, key=key).view(np.uint64)
    return np.argsort(draws, kind="stable").astype(np.uint32)


def _functions(callbacks: Sequence[Callable[[VAE, History], object]]) -> tuple[Callable[[VAE, History], object], ...]:
    if not isinstance(callbacks, (list, tuple)) or not all(callable(callback) for callback in callbacks):
        raise ArgumentError(f"callbacks: expected a list of functions, got {callbacks!r}; give callback(vae, history)")
    return tuple(callbacks)


def weights_of(sample_weight: ArrayLike, rows: int) -> NDArray[np.float64]:
    """One weight a row, refused by its place where it is none.

    Raises
    ------
    NonFiniteError, ShapeError, DtypeError
    ArgumentError
        For a weight below 0.
    """
    weights = _numbers_of(sample_weight)
    if weights.shape != (rows,):
        raise ShapeError(
            f"sample_weight: expected shape ({rows},), got shape {weights.shape}; give one weight a row",
            argument="sample_weight",
        )
    for kind, sound, expected in (
        (NonFiniteError, np.isfinite(weights), "finite weights"),
        (ArgumentError, weights >= 0, "weights not below 0"),
    ):
        if not sound.all():
            row = int(np.argmin(sound))
            raise kind(
                f"sample_weight: expected {expected}, got {weights[row]} at row {row}; leave the row out, or give it "
                "the weight 0",
                argument="sample_weight",
                row=row,
                value=float(weights[row]),
            )
    return weights


def _weights(
    sample_weight: ArrayLike | None, rows: int, train: NDArray[np.uint32] | None
) -> NDArray[np.float64] | None:
    """The training rows' weights, of mean 1."""
    if sample_weight is None:
        return None
    weights = weights_of(sample_weight, rows)
    chosen = weights if train is None else weights[train]
    if not (chosen > 0).any():
        raise ArgumentError("sample_weight: expected a positive weight among the training rows, got none; give one")
    if (chosen == chosen[0]).all():
        # The mean of equal weights may be rounded off them, and they would not be 1.
        return np.ones(len(chosen))
    # By a power of two, which is exact, so that no sum of them leaves the range.
    chosen = np.ldexp(chosen, -np.frexp(chosen.max())[1])
    return np.ascontiguousarray(chosen / chosen.mean())


def _numbers_of(sample_weight: ArrayLike) -> NDArray[np.float64]:
    try:
        given = np.asarray(sample_weight)
    except ValueError as error:
        raise ShapeError(
            f"sample_weight: expected one weight a row, got rows of different lengths ({error}); give one weight a row",
            argument="sample_weight",
        ) from None
    # Real numbers among objects, as pandas has them where a column may be empty.
    objects = given.dtype == object and all(isinstance(weight, numbers.Real) for weight in given.flat)
    if given.dtype.kind not in "biuf" and not objects:
        raise DtypeError(
            f"sample_weight: expected real numbers, got {given.dtype}; convert it with .astype",
            argument="sample_weight",
        )
    return given.astype(np.float64)
