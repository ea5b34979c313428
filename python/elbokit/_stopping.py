"""When to stop on a noisy bound: so many epochs without a new best, or a sequential test with a stated error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit._arrays import count, number
from elbokit.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Patience", "Stopping"]


@dataclass(frozen=True)
class Patience:
    """A stopping rule: once `epochs` epochs have brought no new best of the bound that is watched.

    Parameters
    ----------
    epochs : int
    watch : {"elbo", "evidence"}
        Of the held-out rows, under one key: the mean ELBO, or the mean of `VAE.log_evidence`'s lower by 32 draws around
        the mode. A row of that costs about as much as 5 to 20 rows of a training epoch.

    Notes
    -----
    The ELBO is the encoder's and the decoder's affair, the evidence the decoder's alone. Where the encoder is
    surprised by a few rows, or was trained by "iwae" to be wide, the ELBO turns down long before the model p(x) does:
    ``docs/training.md`` has an example. What a scaled, imputed or sampled row rests on is p(x).
    """

    epochs: int = 20
    watch: str = "elbo"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", count("epochs", self.epochs, 1))
        if self.watch not in ("elbo", "evidence"):
            raise ArgumentError(f'watch: expected "elbo" or "evidence", got {self.watch!r}; use one of these')


@dataclass(frozen=True)
class Stopping:
    """A stopping rule: once the held-out ELBO is sure to rise by less than `improvement` in `window` epochs.

    At the end of every window of epochs from the second on, the test compares each held-out row's mean ELBO over the
    last span of epochs with its mean over the span before, under one key. A span is one window at first and a quarter
    of the epochs so far later, in whole windows, at most 8 of them: k windows should bring k · improvement, and their
    mean is less noisy. With d the mean of these differences over rows, it stops where d + t s < k · improvement.

    s² adds up the variance of d over rows, and that of the difference of two spans' means over the noise of their
    epochs: half the mean squared difference of neighbouring epochs, or of neighbouring half windows where that makes it
    larger (von Neumann 1941; a trend inflates both, so that they err on the safe side). t is Student's quantile at
    1 − 6 α / (π² j²) for the j-th test, so that all tests of a fit together stop too soon with a probability of at
    most α.

    Parameters
    ----------
    improvement : float
        What a window of epochs must still bring, in nats a row, to be worth its time.
    window : int
        Epochs, at least 2.
    alpha : float
        α: how often, at most, a fit may be stopped that still gains `improvement` in every window, each epoch's noise
        being independent. Noise that lasts for several epochs makes it somewhat more often.

    Notes
    -----
    Measured rates and delays stand in ``docs/training.md``; ``tests/test_stopping.py`` asserts them.

    References
    ----------
    von Neumann (1941), "Distribution of the ratio of the mean square successive difference to the variance".
    """

    improvement: float = 0.1
    window: int = 10
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for name in ("improvement", "alpha"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        object.__setattr__(self, "window", count("window", self.window, 2))
        if not math.isfinite(self.improvement):
            raise ArgumentError(f"improvement: expected a finite number, got {self.improvement}; use 0.1 nats a row")
        if not 0 < self.alpha < 1:
            raise ArgumentError(f"alpha: expected a probability above 0 and below 1, got {self.alpha}; use 0.05")


# Windows of the longest span.
_LONGEST = 8


class Watch:
    """The state of a `Stopping` in one fit: the sums by row of the windows that two spans may hold, newest last."""

    def __init__(self, stopping: Stopping, rows: int) -> None:
        self.stopping = stopping
        self.sums = np.zeros((2 * _LONGEST, rows))

    def see(self, scores: NDArray[Any], means: list[float]) -> bool:
        """Take an epoch's scores by row; whether to stop. `means` are those of all epochs so far, this one included."""
        windows, within = divmod(len(means), self.stopping.window)
        if within == 1:
            self.sums[:-1] = self.sums[1:]
            self.sums[-1] = 0.0
        # An epoch whose rows left the range keeps its windows from being judged.
        with np.errstate(invalid="ignore", over="ignore"):
            self.sums[-1] += scores
        if within or windows < 2:
            return False
        span = min(max(windows // 4, 1), _LONGEST)
        return self._late(span, np.asarray(means[-2 * span * self.stopping.window :]), windows - 1)

    def _late(self, span: int, means: NDArray[np.float64], test: int) -> bool:
        epochs = span * self.stopping.window
        with np.errstate(invalid="ignore", over="ignore"):
            last, before = self.sums[-span:].sum(axis=0), self.sums[-2 * span : -span].sum(axis=0)
            differences = (last - before) / epochs
        if not np.isfinite(differences).all() or not np.isfinite(means).all() or len(differences) < 2:
            return False
        over_rows = float(differences.var(ddof=1)) / len(differences)
        # Neighbours within a span: the step between the two spans is what is tested.
        over_epochs = max(_between(means, epochs, 1), _between(means, epochs, self.stopping.window // 2))
        # The mean squared difference of n neighbours is worth about two thirds of n − 1 degrees of freedom.
        freedom = 2 * (epochs - 1) * 2 / 3
        spent = self.stopping.alpha * 6 / (math.pi * test) ** 2
        margin = student_quantile(1 - spent, freedom) * math.sqrt(over_rows + over_epochs)
        return float(differences.mean()) + margin < span * self.stopping.improvement


def _between(means: NDArray[np.float64], epochs: int, length: int) -> float:
    """The variance of the difference of two spans' means, by neighbouring stretches of `length` epochs in each span."""
    stretches = epochs // length
    spans = means.reshape(2, epochs)[:, epochs - stretches * length :]
    steps = np.diff(spans.reshape(2, stretches, length).mean(axis=2), axis=1)
    # 2 / stretches times half the mean square.
    return float((steps**2).mean()) / stretches


def student_quantile(probability: float, freedom: float) -> float:
    """Student's quantile, by Cornish and Fisher's expansion to third order; never below the normal one."""
    from statistics import NormalDist  # noqa: PLC0415 -- it costs more to import than all of this package

    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return max(z, z + first / freedom + second / freedom**2 + third / freedom**3)
