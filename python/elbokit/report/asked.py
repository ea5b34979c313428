"""The one place where a report asks its model, so that whatever belongs to a row goes with it everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elbokit.random import seed_of
from elbokit.vae import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from elbokit.random import Key
    from elbokit.vae import VAE

__all__ = ["Asked"]

# Rows of which all cells' numbers are held at a time.
_BLOCK = 8192


class Asked:
    """A model with the rows that it is asked about.

    Attributes
    ----------
    vae : VAE
    rows : ndarray, shape (rows, features)
        Of the model's width, and not copied.
    condition : ndarray, shape (rows, columns), or None
        Theirs, of a conditional model.
    seed : int
        Of the key.
    columns : list of str
        Their names; by default "column 0" and on.
    """

    def __init__(self, vae: VAE, X: Any, condition: Any, key: Key | int, columns: Sequence[Any] | None) -> None:
        self.vae, self.seed = vae, seed_of(key)
        self.rows, self.condition = vae._checked(X, condition)
        self.columns = [f"column {j}" for j in range(vae.num_features)] if columns is None else [*map(str, columns)]

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, method: str, rows: Any = slice(None), **options: Any) -> Any:
        """What the model's method says of these rows: a slice, or an array of numbers."""
        return getattr(self.vae, method)(self.rows[rows], condition=self.beside(rows), **options)

    def beside(self, rows: Any) -> NDArray[Any] | None:
        """The condition of these rows, where the model takes one."""
        return None if self.condition is None else self.condition[rows]

    def evidence(self, num_particles: int, proposal: str, rows: Any = slice(None)) -> tuple[Evidence, int]:
        """`VAE.log_evidence`, with the number of rows without a mode in place of its warning."""
        laplace = proposal == "laplace"
        evidence, without = self.vae.core.log_evidence(
            self.rows[rows], self.seed, num_particles, laplace, self.beside(rows)
        )
        return Evidence(*evidence), without

    def hashes(self) -> NDArray[np.uint64]:
        """Each row's hash, which is the same wherever the row stands."""
        return self.vae.core.hashes(self.rows, self.condition)

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The rows' numbers, some at a time."""
        for first in range(0, len(rows), _BLOCK):
            yield rows[first : first + _BLOCK]
