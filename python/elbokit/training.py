"""What a fit is told, what it records, and the loop that runs it, an epoch at a time.

>>> import numpy as np
>>> import elbokit as ek
>>> X = ek.random.normal((200, 4), key=0)
>>> history = ek.VAE(2, hidden=(8,)).fit(X, epochs=3, progress=False)
>>> len(history.elbo), history.best_epoch
(3, None)
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from elbokit import _core
    from elbokit._plan import Plan
    from elbokit.random import Key
    from elbokit.vae import VAE

__all__ = ["History"]


@dataclass
class History:
    """What happened in a fit, one entry an epoch; bounds are means over rows in nats a row, of the rows as given.

    Attributes
    ----------
    elbo, reconstruction, kl : list of float
        Over the training rows by weight, at β = 1, each batch scored just before its step.
    objective : list of float
        reconstruction − kl_weight · kl: what was maximised.
    kl_weight : list of float
        The β of the epoch.
    held_out_elbo, held_out_reconstruction, held_out_kl, held_out_standard_error : list of float
        Over the held-out rows after the epoch, at β = 1 and under one key throughout; empty where no row is held out.
        The last is the standard error of the mean over rows.
    seconds, rows_per_second : list of float
        Of the epoch's training, without the held-out rows.
    skipped_steps : list of int
        Steps that were not taken because a gradient was not finite.
    best_epoch : int or None
        The epoch (from 0) whose weights were kept, where `patience` was given.
    stopped_early : bool
        Whether patience ran out, or a callback asked to stop.
    data : str
        What the fit made of its rows.
    """

    elbo: list[float] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    kl_weight: list[float] = field(default_factory=list)
    held_out_elbo: list[float] = field(default_factory=list)
    held_out_reconstruction: list[float] = field(default_factory=list)
    held_out_kl: list[float] = field(default_factory=list)
    held_out_standard_error: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_per_second: list[float] = field(default_factory=list)
    skipped_steps: list[int] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False
    data: str = ""


def run(vae: VAE, core: _core.Vae, plan: Plan, history: History, noise: Key, scoring: Key) -> None:
    """Train `core`, whose buffers are made, in place; an error or a signal leaves it at its last finished step."""
    best: tuple[float, NDArray[Any]] | None = None
    steps = 0
    try:
        for epoch in _bar(plan, history):
            started = time.perf_counter()
            elbo, reconstruction, kl, objective, taken, skipped = core.epoch(
                plan.rows, plan.train, plan.weights, epoch, noise.seed, plan.learning_rate, plan.kl_weight
            )
            seconds = time.perf_counter() - started
            steps += taken + skipped
            history.elbo.append(elbo)
            history.reconstruction.append(reconstruction)
            history.kl.append(kl)
            history.objective.append(objective)
            history.kl_weight.append(plan.kl_weight)
            history.seconds.append(seconds)
            history.rows_per_second.append(plan.num_rows / max(seconds, 1e-9))
            history.skipped_steps.append(skipped)
            _score(core, plan, history, scoring)
            if plan.patience is not None:
                if best is None or history.held_out_elbo[-1] > best[0]:
                    best = history.held_out_elbo[-1], core.snapshot()
                    history.best_epoch = epoch
                if epoch - (history.best_epoch or 0) >= plan.patience:
                    history.stopped_early = True
            # Every callback is called, whatever another one asks for.
            asked = [
                isinstance(stop := callback(vae, history), (bool, np.bool_)) and stop for callback in plan.callbacks
            ]
            history.stopped_early |= any(asked)
            if history.stopped_early:
                break
        if best is not None:
            core.restore(best[1])
    finally:
        core.finish()
    if skipped := sum(history.skipped_steps):
        warnings.warn(
            f"{skipped} of {steps} steps had a gradient that was not finite and were not taken; "
            "lower learning_rate, or look for extreme values in X",
            RuntimeWarning,
            stacklevel=3,
        )


def _score(core: _core.Vae, plan: Plan, history: History, key: Key) -> None:
    if plan.held_out is None:
        return
    rows, subset = plan.held_out
    elbo, reconstruction, kl, _ = (part.astype(np.float64) for part in core.elbo(rows, subset, key.seed, 1))
    history.held_out_elbo.append(float(elbo.mean()))
    history.held_out_reconstruction.append(float(reconstruction.mean()))
    history.held_out_kl.append(float(kl.mean()))
    # A row that the network has left the range for has elbo −inf, and the rows then have no finite spread.
    spread = float(elbo.std(ddof=1)) if len(elbo) > 1 and np.isfinite(elbo).all() else np.inf
    history.held_out_standard_error.append(spread / len(elbo) ** 0.5)


def _bar(plan: Plan, history: History) -> Iterable[int]:
    """The epochs, behind a progress bar where one is wanted and tqdm is installed."""
    if not plan.progress:
        return range(plan.epochs)
    try:
        from tqdm import tqdm  # noqa: PLC0415 -- optional
    except ImportError:
        return range(plan.epochs)

    def epochs() -> Iterable[int]:
        with tqdm(total=plan.epochs, unit="epoch", leave=True) as bar:
            for epoch in range(plan.epochs):
                yield epoch
                shown = {"elbo": f"{history.elbo[-1]:.2f}"}
                if history.held_out_elbo:
                    shown["held out"] = f"{history.held_out_elbo[-1]:.2f}"
                bar.set_postfix(shown, refresh=False)
                bar.update()

    return epochs()
