"""What every likelihood can do: log probability of rows, its gradient, mean, draws, and the check of its support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import count, observed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from elbokit.random import Key

__all__ = ["Likelihood"]


class Likelihood:
    """What the likelihoods share; make one of its subclasses."""

    __slots__ = ("_core",)

    _core: _core.Likelihood

    def _constants(self) -> dict[str, Any]:
        """What the likelihood was made with, in order."""
        return {}

    def num_params(self, num_features: int) -> int:
        """Numbers a row of params holds for rows of `num_features`."""
        return self._core.num_params(count("num_features", num_features))

    def log_prob(
        self, x: ArrayLike, params: ArrayLike, mask: ArrayLike | None = None, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """log p(x | params) of each row of params, shape (rows,), in nats.

        Parameters
        ----------
        x : array_like, shape (batch, features)
            Any real dtype; NaN is a missing cell.
        params : array_like, shape (rows, num_params)
            float32 or float64; row r belongs to row r mod batch of x, so all particles of a batch go in one call.
        mask : array_like of bool, shape (batch, features), optional
            True = observed.
        out : ndarray, optional
            Where to write.

        Returns
        -------
        ndarray, shape (rows,)

        Raises
        ------
        SupportError
            For a cell that has no probability; it names a likelihood that fits.
        ShapeError, DtypeError, NonFiniteError
        """
        return self._core.log_prob(x, params, mask, out)

    def log_prob_grad(
        self, x: ArrayLike, params: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """`log_prob` and its gradient with respect to params, in one pass: shapes (rows,) and (rows, num_params).

        Parameters and errors are those of `log_prob`.
        """
        return self._core.log_prob_grad(x, params, mask)

    def check_support(self, x: ArrayLike, mask: ArrayLike | None = None) -> None:
        """Raise a SupportError that names the first observed cell without a probability, and a likelihood that fits.

        Parameters
        ----------
        x : array_like, shape (batch, features)
        mask : array_like of bool, shape (batch, features), optional
            True = observed.

        Raises
        ------
        SupportError, NonFiniteError, ShapeError, DtypeError

        Examples
        --------
        >>> import elbokit as ek
        >>> ek.likelihood.Binomial(16).check_support([[0, 16], [3, 7]])
        """
        self._core.check_support(observed(x, np.dtype(np.float64), mask))

    def mean(self, params: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The mean of p(x | params), shape (rows, features): of counts the expected count, of codes the probabilities.

        `Categorical` gives (rows, features · classes), feature by feature, and so do its columns in `Columns`.

        Parameters
        ----------
        params : array_like, shape (rows, num_params)
        out : ndarray, optional
            Where to write.

        Returns
        -------
        ndarray, shape (rows, means)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError
        """
        return self._core.mean(params, out)

    def sample(
        self, params: ArrayLike, *, key: Key | int, first_row: int = 0, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """A draw of x for each row of params, shape (rows, features), of params' dtype; row-addressed like every draw.

        Parameters
        ----------
        params : array_like, shape (rows, num_params)
        key : Key or int
        first_row : int
            The number of the first row, to continue a draw.
        out : ndarray, shape (rows, features), optional
            Where the draw is written.

        Returns
        -------
        ndarray, shape (rows, features)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError
        """
        return self._core.sample(params, key, count("first_row", first_row), out)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        constants = (f"scale={v!r}" if k == "scale" else repr(v) for k, v in self._constants().items())
        return f"{type(self).__name__}({', '.join(constants)})"

    def __reduce__(self) -> tuple[type[Likelihood], tuple[Any, ...]]:
        return type(self), tuple(self._constants().values())
