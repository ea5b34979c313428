"""What a fit is told, what it records, and the loop that runs it, an epoch at a time.

>>> import numpy as np
>>> import elbokit as ek
>>> X = ek.random.normal((200, 4), key=0)
>>> history = ek.VAE(2, hidden=(8,)).fit(X, epochs=3, kl_weight=ek.training.Linear(0, 1, epochs=2), progress=False)
>>> history.kl_weight, history.best_epoch
([0.0, 0.5, 1.0], None)
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _checkpoint
from elbokit._naming import FOREIGN
from elbokit._schedules import Cyclical, Descent, Linear, Plateau
from elbokit._stopping import Patience, Stopping, Watch
from elbokit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from elbokit import _core
    from elbokit._plan import HeldOut, Plan
    from elbokit.random import Key
    from elbokit.vae import VAE

__all__ = ["Cyclical", "History", "Linear", "Patience", "Plateau", "Stopping"]

# Draws a row of the evidence that patience watches, and rows that are copied at a time for it.
_PARTICLES = 32
_ROWS = 1 << 12


@dataclass
class History:
    """What happened in a fit, one entry an epoch; bounds are means over rows in nats a row, of the rows as given.

    Attributes
    ----------
    elbo, reconstruction, kl : list of float
        Over the training rows by weight, at β = 1 and without free bits, each batch scored just before its step.
    objective : list of float
        What was maximised: reconstruction − kl_weight · kl, or with free bits or importance weights its like.
    kl_weight : list of float
        The β of the epoch.
    learning_rate : list of float
        Of the epoch's last step.
    gradient_norm : list of float
        The mean over the epoch's steps of the gradient's Euclidean norm over all parameters, before it is clipped.
    held_out_elbo, held_out_reconstruction, held_out_kl, held_out_standard_error : list of float
        Over the held-out rows after the epoch, at β = 1 and under one key throughout; empty where no row is held out.
        The last is the standard error of the mean over rows.
    held_out_evidence : list of float
        Likewise the lower bound of `VAE.log_evidence` by 32 draws, where a `Patience` watches it.
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
    learning_rate: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    held_out_elbo: list[float] = field(default_factory=list)
    held_out_reconstruction: list[float] = field(default_factory=list)
    held_out_kl: list[float] = field(default_factory=list)
    held_out_standard_error: list[float] = field(default_factory=list)
    held_out_evidence: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_per_second: list[float] = field(default_factory=list)
    skipped_steps: list[int] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False
    data: str = ""

    def by_epoch(self) -> dict[str, list[Any]]:
        """Every list of the history by its name; those of held-out rows are empty where there are none.

        held_out_evidence is among them where it was watched.
        """
        lists = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: value
            for name, value in lists.items()
            if isinstance(value, list) and (value or name != "held_out_evidence")
        }

    def plot(self) -> Figure:
        """Figure of the ELBO and its two terms by epoch, as `elbokit.plot.history` draws it; needs matplotlib."""
        from elbokit import plot  # noqa: PLC0415 -- a picture is optional

        return plot.history(self)

    def to_frame(self) -> Any:
        """A polars DataFrame, a row an epoch: "epoch" from 0, then every list that has entries; needs polars.

        Raises
        ------
        ImportError
            polars is not installed.
        """
        try:
            import polars as pl  # noqa: PLC0415 -- optional
        except ImportError as error:
            raise ImportError(f"a frame needs polars ({error}): pip install polars, or use by_epoch()") from error
        columns = {name: values for name, values in self.by_epoch().items() if values}
        return pl.DataFrame({"epoch": list(range(len(self.elbo))), **columns})


def run(vae: VAE, core: _core.Vae, state: State, noise: Key, scoring: Key) -> None:
    """Train `core`, whose buffers are made, in place; an error or a signal leaves it at its last finished step."""
    plan, history = state.plan, state.history
    try:
        if not history.stopped_early:
            for epoch in _bar(plan, history):
                _epoch(core, plan, state, epoch, noise)
                if history.skipped_steps[-1] and not state.broken:
                    state.broken = _broken(core, plan, epoch, scoring)
                state.score(core, scoring)
                # Every callback is called, whatever another one asks for.
                with FOREIGN:
                    answers = [callback(vae, history) for callback in plan.callbacks]
                asked = [isinstance(stop, (bool, np.bool_)) and stop for stop in answers]
                history.stopped_early |= any(asked)
                last = history.stopped_early or epoch + 1 == plan.epochs
                if plan.checkpoint is not None and (last or (epoch + 1) % plan.checkpoint.every == 0):
                    state.save(core, plan.checkpoint)
                if history.stopped_early:
                    break
        if state.best is not None:
            core.restore(state.best)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(_interrupted(plan, history)) from interrupt
    finally:
        core.finish()
    if skipped := sum(history.skipped_steps):
        steps = len(history.elbo) * plan.steps
        warnings.warn(
            f"{skipped} of {steps} steps had a gradient that was not finite and were not taken{state.broken}; "
            "lower learning_rate, or look for extreme values in X",
            RuntimeWarning,
            stacklevel=3,
        )


def _broken(core: _core.Vae, plan: Plan, epoch: int, key: Key) -> str:
    """Which term has left the range after an epoch with a step that was not taken, by some of its rows."""
    index = np.arange(len(plan.rows), dtype=np.uint32) if plan.train is None else plan.train
    if plan.weights is not None:
        index = index[plan.weights > 0]
    index = np.ascontiguousarray(index[:_ROWS])
    _, reconstruction, kl, _ = core.elbo(plan.rows, index, key.seed, 1, plan.condition)
    lost = {name: int((~np.isfinite(term)).sum()) for name, term in (("reconstruction", reconstruction), ("KL", kl))}
    if not any(lost.values()):
        # A sum over rows or of squares has, or a product with a large derivative.
        return (
            f": after epoch {epoch} reconstruction and KL are finite, and the gradient of the parameters alone is not"
        )
    said = " and ".join(f"the {name} of {rows}" for name, rows in lost.items() if rows)
    return f": after epoch {epoch} {said} of {len(index)} rows are not finite"


def _epoch(core: _core.Vae, plan: Plan, state: State, epoch: int, noise: Key) -> None:
    history = state.history
    share = 1.0 if state.descent is None else state.descent.share
    started = time.perf_counter()
    (elbo, reconstruction, kl, objective, norm, rate), (_, skipped) = core.epoch(
        plan.rows, plan.train, plan.weights, epoch, noise.seed, plan.learning_rate * share, plan.warmup, plan.cosine,
        plan.weight_decay, plan.max_grad_norm, plan.kl_weight[epoch], plan.free_bits, plan.importance_weighted,
        plan.estimator, plan.condition,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    history.elbo.append(elbo)
    history.reconstruction.append(reconstruction)
    history.kl.append(kl)
    history.objective.append(objective)
    history.kl_weight.append(plan.kl_weight[epoch])
    history.learning_rate.append(rate)
    history.gradient_norm.append(norm)
    history.seconds.append(seconds)
    history.rows_per_second.append(plan.num_rows / max(seconds, 1e-9))
    history.skipped_steps.append(skipped)


class State:
    """What a fit carries from epoch to epoch beside the model and the optimiser; it begins where a checkpoint ended."""

    def __init__(self, core: _core.Vae, plan: Plan, history: History) -> None:
        self.plan = plan
        self.history = history
        self.best: NDArray[Any] | None = None
        # Which term left the range, once a step was not taken.
        self.broken = ""
        self.descent = None if plan.plateau is None else Descent(plan.plateau)
        self.watch: Watch | None = None
        if isinstance(plan.patience, Stopping):
            self.watch = Watch(plan.patience, plan.num_held_out)
        if plan.checkpoint is not None:
            self._resume(core, plan.checkpoint)
            # A fit that has ended is read back and writes nothing more.
            if not history.stopped_early and len(history.elbo) < plan.epochs:
                plan.checkpoint.try_out()

    def score(self, core: _core.Vae, key: Key) -> None:
        """Score the held-out rows, keep the best weights, and decide on a stop and on the next rate."""
        plan, history = self.plan, self.history
        if plan.held_out is not None:
            held_out = plan.held_out
            terms = core.elbo(held_out.rows, held_out.index, key.seed, 1, held_out.condition)
            elbo, reconstruction, kl, _ = (part.astype(np.float64) for part in terms)
            history.held_out_elbo.append(float(elbo.mean()))
            history.held_out_reconstruction.append(float(reconstruction.mean()))
            history.held_out_kl.append(float(kl.mean()))
            # A row that the network has left the range for has elbo −inf, and the rows then have no finite spread.
            spread = float(elbo.std(ddof=1)) if len(elbo) > 1 and np.isfinite(elbo).all() else np.inf
            history.held_out_standard_error.append(spread / len(elbo) ** 0.5)
            if plan.watches_evidence:
                history.held_out_evidence.append(_evidence(core, held_out, key))
            if plan.patience is not None:
                self._judge(core, elbo)
        if self.descent is not None:
            self.descent.see(_watched(history))

    def _judge(self, core: _core.Vae, elbo: NDArray[np.float64]) -> None:
        history = self.history
        epoch = len(history.elbo) - 1
        means = history.held_out_evidence if self.plan.watches_evidence else history.held_out_elbo
        if self.best is None or history.best_epoch is None or means[-1] > means[history.best_epoch]:
            self.best, history.best_epoch = core.snapshot(), epoch
        if self.watch is not None:
            history.stopped_early |= self.watch.see(elbo, means)
        elif isinstance(self.plan.patience, Patience) and epoch - history.best_epoch >= self.plan.patience.epochs:
            history.stopped_early = True

    def save(self, core: _core.Vae, checkpoint: _checkpoint.Checkpoint) -> None:
        """Write all of it, whole or not at all."""
        vectors = {"parameters": core.snapshot()}
        if self.best is not None:
            vectors["best"] = self.best
        steps, vectors["adam.first"], vectors["adam.second"] = core.moments()
        if self.watch is not None:
            vectors["stopping"] = self.watch.sums.ravel()
        for name, values in self.history.by_epoch().items():
            vectors[f"history.{name}"] = np.array(values, dtype=np.float64)
        counts = {
            "steps": steps,
            "best_epoch": self.history.best_epoch,
            "stopped_early": self.history.stopped_early,
        }
        checkpoint.write(counts, vectors)

    def _resume(self, core: _core.Vae, checkpoint: _checkpoint.Checkpoint) -> None:
        """Go on from the file, where there is one."""
        found = checkpoint.read()
        if found is None:
            return
        history = self.history
        with checkpoint.reading():
            epochs = found.length("history.elbo")
            held_out = epochs if self.plan.held_out is not None else 0
            lengths = {name: held_out if "held_out" in name else epochs for name in history.by_epoch()}
            if self.plan.watches_evidence:
                lengths["held_out_evidence"] = epochs
            for name, length in lengths.items():
                stored = found.vector(f"history.{name}", np.dtype(np.float64), length)
                getattr(history, name).extend(int(x) if name == "skipped_steps" else float(x) for x in stored)
            parameters = core.snapshot()
            dtype, size = parameters.dtype, len(parameters)
            history.best_epoch = found.optional_count("best_epoch", epochs)
            history.stopped_early = found.flag("stopped_early")
            if history.best_epoch is not None:
                self.best = found.vector("best", dtype, size)
            if self.watch is not None:
                sums = self.watch.sums
                sums[:] = found.vector("stopping", sums.dtype, sums.size).reshape(sums.shape)
            moments = found.vector("adam.first", dtype, size), found.vector("adam.second", dtype, size)
            parameters = found.vector("parameters", dtype, size)
            steps = found.count("steps", epochs * self.plan.steps)
            found.end()
        self._replay(epochs)
        core.resume(steps, *moments)
        core.restore(parameters)

    def _replay(self, epochs: int) -> None:
        history, plan = self.history, self.plan
        if epochs > plan.epochs:
            raise ArgumentError(f"epochs: expected at least the checkpoint's {epochs}, got {plan.epochs}; give more")
        for epoch in range(epochs):
            if history.kl_weight[epoch] != plan.kl_weight[epoch]:
                raise ArgumentError(
                    f"kl_weight: expected {history.kl_weight[epoch]} in epoch {epoch} as in the checkpoint, got "
                    f"{plan.kl_weight[epoch]}; give the fit's own, or another checkpoint"
                )
        if self.descent is not None:
            for value in history.held_out_elbo or history.objective:
                self.descent.see(value)


def _evidence(core: _core.Vae, held_out: HeldOut, key: Key) -> float:
    """The mean bound on the log evidence of held-out rows, of which a part is copied at most."""
    count = len(held_out.rows if held_out.index is None else held_out.index)
    total = 0.0
    for first in range(0, count, _ROWS):
        chosen: Any = slice(first, first + _ROWS)
        if held_out.index is not None:
            chosen = held_out.index[chosen]
        condition = None if held_out.condition is None else held_out.condition[chosen]
        (lower, *_), _ = core.log_evidence(held_out.rows[chosen], key.seed, _PARTICLES, True, condition)
        total += float(lower.sum(dtype=np.float64))
    return total / count


def _watched(history: History) -> float:
    return (history.held_out_elbo or history.objective)[-1]


def _interrupted(plan: Plan, history: History) -> str:
    """What a stopped fit says."""
    done = len(history.elbo)
    message = (
        f"fit stopped after {done} of {plan.epochs} epochs; the model stands at its last finished step, to be used"
    )
    if plan.checkpoint is not None and plan.checkpoint.written:
        message += f"; the same call goes on from {plan.checkpoint.path}"
    return message


def _bar(plan: Plan, history: History) -> Iterable[int]:
    """The epochs that are left, behind a progress bar where one is wanted and tqdm is installed."""
    left = range(len(history.elbo), plan.epochs)
    if not plan.progress:
        return left
    try:
        from tqdm import tqdm  # noqa: PLC0415 -- optional
    except ImportError:
        return left

    def epochs() -> Iterable[int]:
        with tqdm(total=plan.epochs, initial=left.start, unit="epoch", leave=True) as bar:
            for epoch in left:
                yield epoch
                shown = {"elbo": f"{history.elbo[-1]:.2f}"}
                if history.held_out_elbo:
                    shown["held out"] = f"{history.held_out_elbo[-1]:.2f}"
                bar.set_postfix(shown, refresh=False)
                bar.update()

    return epochs()
