"""The mixture of Gaussians: a density that is known, with its score and draws, and a prior for the bound.

>>> import numpy as np
>>> import elbokit as ek
>>> two = ek.GaussianMixture([0.5, 0.5], locs=[[-1.0], [1.0]], variances=[1.0, 1.0])
>>> two.log_evidence([[0.0]])  # −½ − ½ ln 2π: both components at distance 1
array([-1.41893853])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import count, floats
from elbokit.random import Key, _double, _word, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["GaussianMixture"]


class GaussianMixture:
    """The density Σ wₖ N(x; locₖ, Σₖ) of k components in d columns; it does not change once it is made.

    Parameters
    ----------
    weights : array_like, shape (k,)
        Positive; they sum to 1 within 1e-6 and are divided by their sum.
    locs : array_like, shape (k, d)
    variances : array_like, shape (k,), (k, d) or (k, d, d)
        One variance a component, one a column, or full covariances: symmetric and positive definite.

    Attributes
    ----------
    weights, locs, variances : ndarray
        Read-only float64, in which all parameters are held; weights as normalised.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError
    ValueError
        For a weight or a variance that is not positive, weights that do not sum to 1, and a covariance that is not
        symmetric or not positive definite; it names the component.

    Notes
    -----
    Rows may be float32 or float64; both are computed in float64 and rounded once. A full covariance is held as its
    Cholesky factor, and its condition enters the error: the bound there is a backward one.

    Examples
    --------
    >>> GaussianMixture([0.25, 0.75], locs=[[0.0, 0.0], [3.0, 0.0]], variances=[1.0, 0.5])
    GaussianMixture(components=2, columns=2, variances=(2,))
    """

    __slots__ = ("_core", "locs", "variances", "weights")

    weights: NDArray[np.float64]
    locs: NDArray[np.float64]
    variances: NDArray[np.float64]
    _core: _core.Mixture

    def __init__(self, weights: ArrayLike, locs: ArrayLike, variances: ArrayLike) -> None:
        w, m, v = (
            np.array(floats(name, part), dtype=np.float64, order="C")
            for name, part in (("weights", weights), ("locs", locs), ("variances", variances))
        )
        core = _core.Mixture(w, m, v)
        for name, value in (("_core", core), ("weights", core.weights()), ("locs", m), ("variances", v)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def log_evidence(self, X: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """ln Σ wₖ N(x; locₖ, Σₖ) of each row, shape (rows,), in nats.

        As evaluated: m + ln Σ exp(sₖ − m), sₖ = ln wₖ − ½ ln det 2πΣₖ − ½ |Lₖ⁻¹ (x − locₖ)|², m the largest sₖ. A row
        that is further than the range can square is −inf.

        Parameters
        ----------
        X : array_like, shape (rows, d)
            float32 or float64; the result has its dtype.
        out : ndarray, optional
            Where to write.

        Returns
        -------
        ndarray, shape (rows,)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError

        Notes
        -----
        Memory is O(rows). A row's bits depend on that row alone.
        """
        return self._core.log_evidence(floats("X", X), out)

    def grad_log_prob(self, X: ArrayLike) -> NDArray[Any]:
        """The score ∂ log_evidence / ∂x of each row, shape (rows, d): Σ rₖ Σₖ⁻¹ (locₖ − x), rₖ ∝ wₖ N(x; locₖ, Σₖ).

        Where the density of every component leaves the range, the nearest component alone stands.

        Parameters, errors and dtype are those of `log_evidence`.

        Examples
        --------
        >>> two = GaussianMixture([0.5, 0.5], locs=[[-1.0], [1.0]], variances=[1.0, 1.0])
        >>> two.grad_log_prob([[0.0], [50.0]])
        array([[  0.],
               [-49.]])
        """
        return self._core.log_evidence_grad(floats("X", X))[1]

    def sample(self, n: int, *, key: Key | int, dtype: DTypeLike = np.float64, first_row: int = 0) -> NDArray[Any]:
        """`n` rows of the mixture, shape (n, d): locₖ + Lₖ ε, k drawn by the weights.

        Row i is a function of the key, first_row + i and d: its component is the first whose cumulative weight is above
        ``random.uniform`` of that row (float64), its ε that row of ``random.normal``.

        Parameters
        ----------
        n : int
        key : Key or int
        dtype : float32 or float64
        first_row : int
            The number of the first row, to continue a draw.

        Returns
        -------
        ndarray, shape (n, d)

        Raises
        ------
        DtypeError, ValueError

        Examples
        --------
        >>> two = GaussianMixture([0.5, 0.5], locs=[[-9.0], [9.0]], variances=[1.0, 1.0])
        >>> bool(abs((two.sample(1000, key=0) > 0).mean() - 0.5) < 0.05)
        True
        """
        return self._core.sample(count("n", n), seed_of(key), _double(dtype), _word("first_row", first_row))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a GaussianMixture does not change; make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a GaussianMixture does not change; make another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GaussianMixture) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        k, d = self.locs.shape
        return f"GaussianMixture(components={k}, columns={d}, variances={self.variances.shape})"

    def __reduce__(self) -> tuple[type[GaussianMixture], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        return GaussianMixture, (self.weights, self.locs, self.variances)

    def _parts(self) -> tuple[object, ...]:
        # + 0 so that −0 is 0.
        return tuple((part.shape, (part + 0.0).tobytes()) for part in (self.weights, self.locs, self.variances))
