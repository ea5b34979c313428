"""Reconstruction likelihoods p(x | z): a row's log probability given the decoder's params, its gradient, mean, draws.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> coin = ek.likelihood.Bernoulli()
    >>> coin.log_prob([[1, 0, np.nan]], np.zeros((1, 3)))  # 2 ln ½: the missing cell adds nothing
    array([-1.38629436])

`params` holds a likelihood's blocks in order, each as wide as the features. x is (batch, features) of any real dtype;
results have the dtype of params. Every density and mass carries all its constants. A missing cell (NaN in x, or False
in `mask`) adds exactly 0 to value and gradient, whatever it or its params hold; rows with different patterns of
missing cells are not comparable.

| likelihood | params | x |
|---|---|---|
| `Gaussian(scale=1.0)` | loc [, log_var] | real numbers |
| `Bernoulli()` | logits | 0 or 1 |
| `Binomial(total_count)` | logits | whole numbers from 0 to total_count |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import count, floats, observed
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Bernoulli", "Binomial", "Gaussian", "Likelihood"]


class Likelihood:
    """What the likelihoods share; make one of its subclasses."""

    __slots__ = ("_core",)

    _core: _core.Likelihood

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
        given = floats("params", params)
        return self._core.log_prob(observed(x, given.dtype, mask), given, out)

    def log_prob_grad(
        self, x: ArrayLike, params: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """`log_prob` and its gradient with respect to params, in one pass: shapes (rows,) and (rows, num_params).

        Parameters and errors are those of `log_prob`.
        """
        given = floats("params", params)
        return self._core.log_prob_grad(observed(x, given.dtype, mask), given)

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
        >>> Binomial(16).check_support([[0, 16], [3, 7]])
        """
        self._core.check_support(observed(x, np.dtype(np.float64), mask))

    def mean(self, params: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The mean of p(x | params), shape (rows, features).

        Parameters
        ----------
        params : array_like, shape (rows, num_params)
        out : ndarray, optional
            Where to write.

        Returns
        -------
        ndarray, shape (rows, features)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError
        """
        return self._core.mean(floats("params", params), out)

    def sample(self, params: ArrayLike, *, key: Key | int, first_row: int = 0) -> NDArray[Any]:
        """A draw of x for each row of params, shape (rows, features), of params' dtype; row-addressed like every draw.

        A Binomial count costs one uniform for each of its trials.

        Parameters
        ----------
        params : array_like, shape (rows, num_params)
        key : Key or int
        first_row : int
            The number of the first row, to continue a draw.

        Returns
        -------
        ndarray, shape (rows, features)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError
        """
        return self._core.sample(floats("params", params), seed_of(key), count("first_row", first_row))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))


class Gaussian(Likelihood):
    """Real cells: log p = −½ Σ [((x − loc) / scale)² + 2 ln scale + ln 2π].

    Parameters
    ----------
    scale : float, array_like of shape (features,), or "predicted"
        The noise's standard deviation. "predicted" adds a second block to params: the log-variance of each cell.

    Examples
    --------
    >>> Gaussian(1.0).log_prob([[0.0]], [[0.0]])
    array([-0.91893853])
    >>> Gaussian("predicted").num_params(3)
    6
    """

    __slots__ = ("scale",)

    scale: float | tuple[float, ...] | str

    def __init__(self, scale: float | ArrayLike | str = 1.0) -> None:
        if isinstance(scale, str):
            if scale != "predicted":
                raise ValueError(
                    f'scale: expected a number, an array by feature or "predicted", got {scale!r}; use one'
                )
            self.scale = scale
            self._core = _core.Likelihood.gaussian_predicted()
            return
        try:
            values = np.asarray(scale, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f'scale: expected a number, an array by feature or "predicted", got {scale!r}; use one'
            ) from None
        if values.ndim > 1:
            raise ValueError(f"scale: expected one number a feature, got shape {values.shape}; give one axis")
        self.scale = float(values) if values.ndim == 0 else tuple(values.tolist())
        self._core = _core.Likelihood.gaussian(values.ravel().tolist(), values.ndim == 1)

    def __repr__(self) -> str:
        return f"Gaussian(scale={self.scale!r})"

    def __reduce__(self) -> tuple[type[Gaussian], tuple[float | tuple[float, ...] | str]]:
        return Gaussian, (self.scale,)


class Bernoulli(Likelihood):
    """Cells of 0 or 1: log p = −Σ softplus((1 − 2x) · logit), which cancels nowhere.

    Examples
    --------
    >>> Bernoulli().log_prob_grad([[1.0]], [[0.0]])
    (array([-0.69314718]), array([[0.5]]))
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._core = _core.Likelihood.bernoulli()

    def __repr__(self) -> str:
        return "Bernoulli()"

    def __reduce__(self) -> tuple[type[Bernoulli], tuple[()]]:
        return Bernoulli, ()


class Binomial(Likelihood):
    """Counts from 0 to n: log p = Σ [ln C(n, x) − x softplus(−logit) − (n − x) softplus(logit)].

    The mean is the expected count.

    Parameters
    ----------
    total_count : int
        n, the largest count a cell can hold, 1 ≤ n < 2³².

    Examples
    --------
    >>> Binomial(2).log_prob([[1]], [[0.0]])  # ln ½
    array([-0.69314718])
    """

    __slots__ = ("total_count",)

    total_count: int

    def __init__(self, total_count: int) -> None:
        self.total_count = count("total_count", total_count, 1)
        if self.total_count >= 1 << 32:
            raise ValueError(f"total_count: expected less than 2**32, got {total_count}; use a Gaussian likelihood")
        self._core = _core.Likelihood.binomial(self.total_count)

    def __repr__(self) -> str:
        return f"Binomial({self.total_count})"

    def __reduce__(self) -> tuple[type[Binomial], tuple[int]]:
        return Binomial, (self.total_count,)
