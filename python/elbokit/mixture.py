"""The mixture of Gaussians: a density that is known, its fit, its score and draws, and a prior for the bound.

>>> import numpy as np
>>> import elbokit as ek
>>> two = ek.GaussianMixture([0.5, 0.5], locs=[[-1.0], [1.0]], variances=[1.0, 1.0])
>>> two.log_evidence([[0.0]])  # −½ − ½ ln 2π: both components at distance 1
array([-1.41893853])
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import agree, choice, count, floats, number, out_of_range, rows_of_floats, tolerance
from elbokit.errors import ArgumentError, ElbokitError, ShapeError
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
    history : ndarray or None
        Of a fitted mixture the rows' mean log evidence at the start of each iteration; it takes no part in equality.

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

    __slots__ = ("_core", "history", "locs", "variances", "weights")

    weights: NDArray[np.float64]
    locs: NDArray[np.float64]
    variances: NDArray[np.float64]
    history: NDArray[np.float64] | None
    _core: _core.Mixture

    def __init__(self, weights: ArrayLike, locs: ArrayLike, variances: ArrayLike) -> None:
        w, m, v = (
            np.array(floats(name, part), dtype=np.float64, order="C")
            for name, part in (("weights", weights), ("locs", locs), ("variances", variances))
        )
        core = _core.Mixture(w, m, v)
        self._set(_core=core, weights=core.weights(), locs=m, variances=v, history=None)

    def _set(self, **parts: Any) -> None:
        for name, value in parts.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        n_components: int,
        *,
        key: Key | int,
        covariance: str = "full",
        tol: float = 1e-6,
        max_iter: int = 1000,
        regularisation: float = 1e-6,
        start: GaussianMixture | None = None,
    ) -> GaussianMixture:
        """A mixture fitted by expectation and maximisation: a local maximum of the rows' likelihood.

        The bound Σ rₖ (ln wₖ N(x; k) − ln rₖ) is raised in r, by `responsibilities`, which closes its gap, and then in
        the parameters: weights are mean shares, locs and variances the shares' moments.

        Parameters
        ----------
        X : array_like, shape (rows, d)
            float32 or float64; at least two rows that differ, or with ``start`` one row a component.
        n_components : int
        key : Key or int
            Draws the rows to start from.
        covariance : {"full", "diagonal", "spherical"}
        tol : float
            The fit ends when an iteration gains less, in nats a row; below 0, never.
        max_iter : int
            The most iterations.
        regularisation : float
            Added to each variance in each iteration, in units of X². At 0 the mean log evidence never falls, and a
            component that shrinks to too few rows is an error.
        start : GaussianMixture, optional
            Of n_components, its locs near the rows, variances of the shape that covariance asks for; without it locs
            are rows drawn by k-means++, distances in units of the columns' standard deviations.

        Returns
        -------
        GaussianMixture
            Its history is the mean log evidence at the start of each iteration.

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError
        ValueError
            For more components than different rows, and where a covariance is not positive definite.

        Warns
        -----
        UserWarning
            After max_iter iterations that still gained.

        Notes
        -----
        An iteration is one pass over the rows, by blocks of 512 whose sums are added in order: the same bits on any
        number of threads. Sums are taken about the locs before the iteration, in float64.

        References
        ----------
        Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM algorithm"; Neal and
        Hinton (1998), "A view of the EM algorithm that justifies incremental, sparse, and other variants"; Arthur and
        Vassilvitskii (2007), "k-means++: the advantages of careful seeding".

        Examples
        --------
        >>> truth = GaussianMixture([0.3, 0.7], locs=[[-2.0], [2.0]], variances=[0.04, 1.0])
        >>> fitted = GaussianMixture.fit(truth.sample(10_000, key=0), 2, key=1, covariance="spherical")
        >>> order = fitted.locs[:, 0].argsort()
        >>> fitted.locs[order].round(1), fitted.weights[order].round(1)
        (array([[-2.],
               [ 2.]]), array([0.3, 0.7]))
        """
        choice("covariance", covariance, _AXES)
        rows, k = rows_of_floats("X", X), count("n_components", n_components, 1)
        if start is None and rows.ndim == 2 and len(rows) < 2:
            # Before the core, which would first find too few rows for the components.
            raise ShapeError(f"X: expected at least two rows, got {len(rows)}; a covariance needs more", argument="X")
        # X of another rank is refused by the core.
        given = None if start is None or rows.ndim != 2 else _given(start, (k, rows.shape[1]), covariance)
        seed, limit = seed_of(key), count("max_iter", max_iter, 1)
        gain, added = (
            tolerance(tol),
            number("regularisation", regularisation),
        )
        try:
            fitted = _core.Mixture.fit(rows, k, covariance, seed, given, gain, limit, added)
        except ElbokitError as error:
            cause = _cause(error, rows, k, start, added)
            if cause is None:
                raise
            raise cause from None
        weights, locs, variances, history, converged = fitted
        if not converged:
            warnings.warn(
                f"GaussianMixture.fit: max_iter: the last of {limit} iterations gained {gain:g} nats a row or more; "
                "raise it, or tol",
                UserWarning,
                stacklevel=2,
            )
        mixture = cls(weights, locs, variances)
        mixture._set(history=history)
        return mixture

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
        return self._core.log_evidence(rows_of_floats("X", X), out)

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
        return self._core.log_evidence_grad(rows_of_floats("X", X))[1]

    def responsibilities(self, X: ArrayLike) -> NDArray[Any]:
        """p(k | x) of each row, shape (rows, k): the posterior of its component.

        wₖ N(x; k) over their sum; a row that is further than the range can square belongs to the nearest component.

        Parameters, errors and dtype are those of `log_evidence`.

        Examples
        --------
        >>> two = GaussianMixture([0.5, 0.5], locs=[[-1.0], [1.0]], variances=[1.0, 1.0])
        >>> two.responsibilities([[0.0], [50.0]]).round(3)
        array([[0.5, 0.5],
               [0. , 1. ]])
        """
        return self._core.responsibilities(rows_of_floats("X", X))

    def elbo(self, X: ArrayLike, responsibilities: ArrayLike) -> NDArray[Any]:
        """Σ rₖ (ln wₖ N(x; k) − ln rₖ) of each row for any assignment r, shape (rows,), in nats.

        With `gap` it adds up to `log_evidence`.

        Parameters
        ----------
        X : array_like, shape (rows, d)
            float32 or float64; the result has its dtype.
        responsibilities : array_like, shape (rows, k)
            Of X's dtype, not negative; each row sums to 1 within 1e-5 and is divided by its sum. A hard assignment has
            one 1 a row.

        Returns
        -------
        ndarray, shape (rows,)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, SupportError, ValueError

        Examples
        --------
        >>> two = GaussianMixture([0.5, 0.5], locs=[[-1.0], [1.0]], variances=[1.0, 1.0])
        >>> two.elbo([[0.0]], [[0.5, 0.5]]) == two.log_evidence([[0.0]])
        array([ True])
        """
        return self._core.elbo(*_assigned(X, responsibilities))

    def gap(self, X: ArrayLike, responsibilities: ArrayLike) -> NDArray[Any]:
        """KL(r ‖ p(k | x)) of each row, shape (rows,), in nats: what the bound falls short by.

        As evaluated: Σ rₖ (eᵛ − 1 − v), v = ln p(k | x) − ln rₖ, with p(k | x) in place of a term whose rₖ is 0. No
        term is negative, and each keeps its accuracy near 0.

        Parameters and errors are those of `elbo`.
        """
        return self._core.gap(*_assigned(X, responsibilities))

    def diffuse(self, alpha_bar: float) -> GaussianMixture:
        """The mixture that √ᾱ x + √(1 − ᾱ) ε has, ε ~ N(0, I), for x of this one.

        Component k becomes N(√ᾱ locₖ, ᾱ Σₖ + (1 − ᾱ) I); the weights stay. ᾱ = 1 is this mixture, 0 is N(0, I). Its
        `grad_log_prob` is the exact score of a noised row.

        Parameters
        ----------
        alpha_bar : float
            ᾱ in [0, 1]: what is left of the variance.

        Returns
        -------
        GaussianMixture

        Raises
        ------
        ValueError

        Examples
        --------
        >>> GaussianMixture([1.0], locs=[[2.0]], variances=[3.0]).diffuse(0.25).variances  # ¼ · 3 + ¾
        array([1.5])
        """
        left = number("alpha_bar", alpha_bar)
        if not 0 <= left <= 1:
            raise ArgumentError(f"alpha_bar: expected a number from 0 to 1, got {left}; give ᾱ, not its complement")
        added: Any = np.eye(self.locs.shape[1]) if self.variances.ndim == 3 else 1.0
        return GaussianMixture(self.weights, np.sqrt(left) * self.locs, left * self.variances + (1 - left) * added)

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


# How many axes variances have.
_AXES = {"full": 3, "diagonal": 2, "spherical": 1}

# The moments are taken about the locs: at so many spreads from them the rounding of a square is 2e-4 of the variance.
_FAR = 1e6


def _given(
    start: Any, shape: tuple[int, int], covariance: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    variances = (*shape, shape[1])[: _AXES[covariance]]
    got = repr(start)
    if isinstance(start, GaussianMixture):
        if (start.locs.shape, start.variances.shape) == (shape, variances):
            return start.weights, start.locs, start.variances
        got = f"{start.locs.shape} and {start.variances.shape}"
    raise ArgumentError(
        f"start: expected a GaussianMixture with locs of shape {shape} and variances of shape {variances} for "
        f'covariance="{covariance}", got {got}; make one'
    )


def _cause(
    error: ElbokitError, rows: NDArray[Any], k: int, start: GaussianMixture | None, regularisation: float
) -> ElbokitError | None:
    """What to say instead of an error that names what the core made, where what it was made from is to blame."""
    if start is None:
        # Rows that differ by less than has a square look equal.
        alike = error.argument == "n_components" and len(np.unique(rows, axis=0)) >= k
        return out_of_range("underflow") if alike or error.argument == "variances" else None
    if error.argument != "regularisation" or not 0 <= regularisation < np.inf:
        return None
    with np.errstate(all="ignore"):
        spread = np.sqrt(np.var(rows, axis=0, dtype=np.float64) + regularisation)
        lost = (spread == 0) & (rows != rows[:1]).any(axis=0)
        if lost.any() or not np.isfinite(spread).all():
            return out_of_range("underflow" if lost.any() else "overflow")
        off = np.abs(start.locs - rows.mean(axis=0, dtype=np.float64)) / spread
    # A column without any spread needs regularisation, and a component without any row stays where it is.
    off[:, spread == 0] = 0
    off[start.responsibilities(rows).max(axis=0) == 0] = 0
    if off.max() <= _FAR:
        return None
    k, j = (int(place) for place in np.unravel_index(off.argmax(), off.shape))
    return ArgumentError(
        f"start: expected locs near the rows, got {start.locs[k, j]:g} at row {k}, column {j}, more than {_FAR:g} "
        "standard deviations from the column's mean; give locs among the rows",
        row=k,
        column=j,
        value=float(start.locs[k, j]),
    )


def _assigned(X: ArrayLike, responsibilities: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, shares = rows_of_floats("X", X), floats("responsibilities", responsibilities)
    agree("X", rows, "responsibilities", shares)
    return rows, shares
