"""What changes from epoch to epoch: the KL's weight by the epoch's number, the learning rate by what was reached."""

from __future__ import annotations

from dataclasses import dataclass

from elbokit._arrays import count, number
from elbokit.errors import ArgumentError

__all__ = ["Cyclical", "Linear", "Plateau"]


@dataclass(frozen=True)
class Linear:
    """A number that goes from `start` to `end` on a line and stays there: start + (end − start) min(epoch / epochs, 1).

    Parameters
    ----------
    start, end : float
        At epoch 0, and from epoch `epochs` on.
    epochs : int
        How many epochs the way takes.

    References
    ----------
    Bowman et al. (2016), "Generating sentences from a continuous space", section 3.1.

    Examples
    --------
    >>> [Linear(0.0, 1.0, epochs=4)(epoch) for epoch in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start: float
    end: float
    epochs: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        object.__setattr__(self, "epochs", count("epochs", self.epochs, 1))

    def __call__(self, epoch: int) -> float:
        """The number of an epoch, counted from 0."""
        if epoch >= self.epochs:
            return self.end
        return self.start + (self.end - self.start) * (epoch / self.epochs)


@dataclass(frozen=True)
class Cyclical:
    """A number that rises from `start` to `end` in the first `ratio` of each of several cycles, and then stays there.

    With τ = (epoch mod C) / C, C = epochs / cycles: start + (end − start) min(τ / ratio, 1); from epoch `epochs` on it
    is `end`.

    Parameters
    ----------
    cycles : int
    epochs : int
        How many epochs all cycles take together: those of the fit.
    ratio : float
        The share of a cycle in which the number rises, above 0 and at most 1.
    start, end : float

    References
    ----------
    Fu et al. (2019), "Cyclical annealing schedule: a simple approach to mitigating KL vanishing", eq. 6 and 7.

    Examples
    --------
    >>> [Cyclical(2, epochs=8, ratio=0.5)(epoch) for epoch in range(9)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """

    cycles: int
    epochs: int
    ratio: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        for name in ("cycles", "epochs"):
            object.__setattr__(self, name, count(name, getattr(self, name), 1))
        for name in ("ratio", "start", "end"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not 0 < self.ratio <= 1:
            raise ArgumentError(f"ratio: expected a share above 0 and at most 1, got {self.ratio}; use 0.5")

    def __call__(self, epoch: int) -> float:
        """The number of an epoch, counted from 0."""
        if epoch >= self.epochs:
            return self.end
        # In whole numbers: a cycle begins where it should, whatever epochs / cycles rounds to.
        within = (epoch * self.cycles) % self.epochs / self.epochs
        return self.start + (self.end - self.start) * min(within / self.ratio, 1.0)


@dataclass(frozen=True)
class Plateau:
    """A learning rate that is multiplied by `factor` whenever `patience` epochs have brought no new best.

    What is watched is the held-out ELBO, or where no row is held out the training objective. After a cut the waiting
    starts anew.

    Parameters
    ----------
    factor : float
        Above 0 and below 1.
    patience : int
        Epochs without a new best before a cut.
    least : float
        The rate does not fall below this share of the learning rate that the fit was given.
    """

    factor: float = 0.5
    patience: int = 10
    least: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", count("patience", self.patience, 1))
        for name in ("factor", "least"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not 0 < self.factor < 1:
            raise ArgumentError(f"factor: expected a number above 0 and below 1, got {self.factor}; use 0.5")
        if not 0 <= self.least <= 1:
            raise ArgumentError(f"least: expected a share from 0 to 1, got {self.least}; use 1e-3")


class Descent:
    """Where a plateau's rate stands, as a share of the first one, after the values it was shown."""

    def __init__(self, plateau: Plateau) -> None:
        self.plateau = plateau
        self.share = 1.0
        self._best = float("-inf")
        self._waited = 0

    def see(self, value: float) -> None:
        """Take one epoch's value."""
        if value > self._best:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.plateau.patience:
            self.share, self._waited = max(self.share * self.plateau.factor, self.plateau.least), 0
