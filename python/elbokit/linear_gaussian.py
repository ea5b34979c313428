"""The linear Gaussian model: probabilistic principal components and factor analysis, everything about it exact.

>>> import numpy as np
>>> import elbokit as ek
>>> lg = ek.LinearGaussian(weight=[[1.0], [1.0]], offset=[0.0, 0.0], noise_var=1.0)
>>> X = np.array([[1.0, 2.0], [np.nan, 2.0]])  # a missing cell: the evidence is of the observed ones
>>> post = lg.posterior(X)
>>> bool(np.abs(lg.log_evidence(X) - lg.elbo(X, post)).max() < 1e-15), lg.gap(X, post)
(True, array([0., 0.]))
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import choice, count, floats, number, observed, out_of_range, rank, rows_of_floats, tolerance
from elbokit.errors import ArgumentError, ElbokitError
from elbokit.evidence import GaussianParams, MvnParams, _coerced, _is_full
from elbokit.random import Key, _double, _word, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["LinearGaussian"]


class LinearGaussian:
    """p(z) = N(0, I), p(x | z) = N(W z + b, diag ψ), hence p(x) = N(b, W Wᵀ + Ψ); it does not change once it is made.

    Parameters
    ----------
    weight : array_like, shape (columns, latents)
        W.
    offset : array_like, shape (columns,)
        b, the mean of x.
    noise_var : float or array_like, shape (columns,)
        ψ: variances, not scales.

    Attributes
    ----------
    weight, offset, noise_var : ndarray
        Read-only float64, in which all parameters are held; noise_var by column.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError
    ValueError
        For a variance that is not positive, or so small beside the weights that WᵀΨ⁻¹W leaves float64's range.

    Notes
    -----
    NaN in rows, or False in ``mask=``, is a missing cell: evidence, posterior, bound and gap are of the observed cells,
    and a row without any has evidence 0. Rows of different patterns are not comparable. Each pattern costs a
    factorisation of (latents, latents).

    Rows may be float32 or float64; both are computed in float64 and rounded once, by operations that depend on the row
    alone. The posterior's precision I + WᵀΨ⁻¹W is factored as UUᵀ, U upper triangular, whose condition enters the
    posterior's error; that of log_evidence and elbo it enters squared.

    References
    ----------
    Tipping and Bishop (1999), "Probabilistic principal component analysis".

    Examples
    --------
    >>> LinearGaussian([[1.0, 0.0], [0.5, 2.0], [0.0, 1.0]], np.zeros(3), 0.1)
    LinearGaussian(columns=3, latents=2)
    """

    __slots__ = ("_core", "noise_var", "offset", "weight")

    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    noise_var: NDArray[np.float64]
    _core: _core.LinearGaussian

    def __init__(self, weight: ArrayLike, offset: ArrayLike, noise_var: ArrayLike) -> None:
        w, b = (
            np.array(floats(name, part), dtype=np.float64, order="C")
            for name, part in (("weight", weight), ("offset", offset))
        )
        v = np.array(_variances(noise_var), dtype=np.float64, order="C")
        # One number is that of every column; a weight without columns is refused by the core.
        v = v if v.ndim else np.full(w.shape[:1], v)
        parts = (("_core", _core.LinearGaussian(w, b, v)), ("weight", w), ("offset", b), ("noise_var", v))
        for name, value in parts:
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        latent_dim: int,
        noise: str = "isotropic",
        *,
        noise_var: float | None = None,
        tol: float = 1e-10,
        max_iter: int = 1000,
    ) -> LinearGaussian:
        """The model that makes the rows most likely, from their mean and their covariance with divisor n.

        ``"isotropic"``, probabilistic principal components, in closed form: W = V (Λ − σ²I)^½ of the leading
        eigenpairs, σ² the mean of the other eigenvalues (of none others, the least). ``"diagonal"``, factor analysis,
        by steps: W is the best one for ψ, then ψ ← diag(S − WWᵀ), extrapolated by SQUAREM; the likelihood never falls.

        Parameters
        ----------
        X : array_like, shape (rows, columns)
            Complete rows, at least two.
        latent_dim : int
        noise : {"isotropic", "diagonal"}
        noise_var : float, optional
            With isotropic noise, σ² is not fitted but this: a latent is then active, its column of W not 0, if its
            eigenvalue is above σ² (`active_latents`).
        tol : float
            Factor analysis ends when a cycle of three steps gains less, in nats a row; below 0, never.
        max_iter : int
            The most cycles.

        Returns
        -------
        LinearGaussian
            Columns of W by falling eigenvalue, each with its largest entry positive.

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, ValueError

        Warns
        -----
        UserWarning
            Where the likelihood has no maximum. Isotropic noise then stands at 1e-6 of the columns' mean variance, and
            the warning counts the eigenvalues above it: the dimensions in which the rows lie. Diagonal noise stands at
            1e-6 of its column's variance, or of the others' mean variance where its column is constant, and the
            warning names the columns. Also where max_iter was too few.

        References
        ----------
        Tipping and Bishop (1999), equations 7 and 8; Zhao, Yu and Jiang (2008), "ML estimation for factor analysis: EM
        or non-EM?"; Varadhan and Roland (2008), "Simple and globally convergent methods for accelerating the
        convergence of any EM algorithm".

        Examples
        --------
        >>> truth = LinearGaussian([[2.0], [-1.0], [0.5]], [0.0, 1.0, 2.0], [0.1, 0.2, 0.3])
        >>> fitted = LinearGaussian.fit(truth.sample(5000, key=0), 1, "diagonal")
        >>> bool(np.abs(fitted.weight - truth.weight).max() < 0.05)
        True
        """
        choice("noise", noise, ("isotropic", "diagonal"))
        rows, latents = rows_of_floats("X", X), count("latent_dim", latent_dim, 1)
        gain, limit = tolerance(tol), count("max_iter", max_iter, 1)
        given = None if noise_var is None else number("noise_var", noise_var)
        if noise == "diagonal" and given is not None:
            raise ArgumentError('noise_var: expected nothing with noise="diagonal", which fits it; leave it out')
        try:
            if noise == "isotropic":
                fitted = _core.LinearGaussian.fit_isotropic(rows, latents, given)
            else:
                fitted = _core.LinearGaussian.fit_diagonal(rows, latents, gain, limit)
        except ElbokitError as error:
            # What the fit itself made of rows whose squares are out of range is no argument of the caller's.
            if given is None and error.argument in {"noise_var", "weight"}:
                raise out_of_range("underflow") from None
            raise
        weight, offset, variances, _, constant, floored, converged = fitted
        if noise == "diagonal" and constant:
            _warn(f"constant columns {constant} have no variance: their noise_var is set to 1e-6 of the others' mean")
        if floored and noise == "isotropic":
            lie = int((_core.LinearGaussian.eigenvalues(rows) > variances[0]).sum())
            _warn(f"the rows lie in {lie} of {len(offset)} dimensions: noise_var is held at 1e-6 of the mean variance")
        elif floored:
            spread = np.var(rows, axis=0, dtype=np.float64)
            held = [j for j in np.flatnonzero(variances <= 1.001e-6 * spread).tolist() if j not in constant]
            _warn(f"columns {held} are determined by the others: their noise_var is held at 1e-6 of their variance")
        if not converged:
            _warn(f"max_iter: the last of {max_iter} cycles still gained {gain:g} nats a row or more; raise it, or tol")
        return cls(weight, offset, variances)

    @staticmethod
    def active_latents(X: ArrayLike, latent_dim: int, noise_var: ArrayLike) -> NDArray[np.int64] | int:
        """How many latents the likeliest model with isotropic noise σ² uses: min(latent_dim, #{eigenvalues > σ²}).

        At this optimum the other latents' columns of W are 0 and their posterior is the prior: posterior collapse is
        then a property of the likelihood at that noise, not of the bound.

        Parameters
        ----------
        X : array_like, shape (rows, columns)
        latent_dim : int
        noise_var : float or array_like
            σ², one or several.

        Returns
        -------
        int, or ndarray of the shape of noise_var

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, ValueError

        References
        ----------
        Lucas, Tucker, Grosse and Norouzi (2019), "Don't blame the ELBO! A linear VAE perspective on posterior
        collapse".

        Examples
        --------
        >>> X = np.diag([3.0, 2.0, 1.0]).repeat(2, axis=0) * np.array([1, -1] * 3)[:, None]  # eigenvalues 3, 4/3, 1/3
        >>> LinearGaussian.active_latents(X, 2, [0.1, 1.0, 2.0, 9.0])
        array([2, 2, 1, 0])
        """
        values = _core.LinearGaussian.eigenvalues(rows_of_floats("X", X))
        noise = _variances(noise_var)
        good = (noise > 0) & np.isfinite(noise)
        if not good.all():
            raise ArgumentError(f"noise_var: expected positive, finite numbers, got {noise[~good][0]}; give variances")
        above = (values > noise[..., None]).sum(axis=-1)
        active = np.minimum(above, count("latent_dim", latent_dim, 1))
        return active.astype(np.int64) if noise.ndim else int(active)

    def log_evidence(
        self, X: ArrayLike, *, mask: ArrayLike | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """log N(x; b, W Wᵀ + Ψ) of the observed cells of each row, shape (rows,), in nats.

        As evaluated: −½ [Σ (r − W m)²/ψ + Σ m² + ln det(I + WᵀΨ⁻¹W) + Σ ln 2πψ], r = x − b, m the posterior's mean,
        over the observed columns: no term cancels another.

        Parameters
        ----------
        X : array_like, shape (rows, columns)
            float32 or float64; the result has its dtype. NaN is a missing cell.
        mask : array_like of bool, shape (rows, columns), optional
            True = observed.
        out : ndarray, optional
            Where to write.

        Returns
        -------
        ndarray, shape (rows,)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError

        Examples
        --------
        >>> LinearGaussian([[1.0]], [0.0], 1.0).log_evidence([[0.0], [np.nan]])  # −½ ln 4π, and nothing observed
        array([-1.26551212,  0.        ])
        """
        return self._core.log_evidence(_cells(X, mask), out)

    def posterior(self, X: ArrayLike, *, mask: ArrayLike | None = None) -> MvnParams:
        """The exact posterior p(z | observed cells) of each row: N(m, S Sᵀ).

        S Sᵀ = (I + WᵀΨ⁻¹W)⁻¹, m = S Sᵀ WᵀΨ⁻¹(x − b), over the observed columns.

        Parameters and errors are those of `log_evidence`.

        Returns
        -------
        MvnParams
            loc (rows, latents), and scale_tril (latents, latents), that of every row, or (rows, latents, latents) where
            a cell is missing.

        Examples
        --------
        >>> loc, scale_tril = LinearGaussian([[1.0]], [0.0], 1.0).posterior([[3.0]])
        >>> loc, scale_tril**2
        (array([[1.5]]), array([[0.5]]))
        """
        return MvnParams(*self._core.posterior(_cells(X, mask)))

    def elbo(self, X: ArrayLike, post: GaussianParams | MvnParams, *, mask: ArrayLike | None = None) -> NDArray[Any]:
        """E_q[log p(x | z)] − KL(q ‖ p(z)) of each row in closed form, shape (rows,), in nats.

        As evaluated: −½ [Σ (r − W loc)²/ψ + Σ loc² + tr((I + WᵀΨ⁻¹W) C) − latents − ln det C + Σ ln 2πψ], C the
        covariance of q. With `gap` it adds up to `log_evidence` for any q.

        Parameters
        ----------
        X : array_like, shape (rows, columns)
            Any real dtype; NaN is a missing cell.
        post : GaussianParams or MvnParams
            Of either kind, float32 or float64; the result has its dtype.
        mask : array_like of bool, shape (rows, columns), optional
            True = observed.

        Returns
        -------
        ndarray, shape (rows,)

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, SupportError, ValueError

        Examples
        --------
        >>> lg, X = LinearGaussian([[1.0]], [0.0], 1.0), np.array([[3.0]])
        >>> prior = GaussianParams(np.zeros((1, 1)), np.zeros((1, 1)))
        >>> bool(abs(lg.elbo(X, prior) + lg.gap(X, prior) - lg.log_evidence(X))[0] < 1e-14)
        True
        """
        return self._core.elbo(*self._judged(X, post, mask))

    def gap(self, X: ArrayLike, post: GaussianParams | MvnParams, *, mask: ArrayLike | None = None) -> NDArray[Any]:
        """KL(q ‖ p(z | x)) of each row, shape (rows,), in nats: what the bound falls short by.

        By `mvn.kl`, so never negative, and accurate relative to itself near 0.

        Parameters and errors are those of `elbo`.
        """
        return self._core.gap(*self._judged(X, post, mask))

    def sample(self, n: int, *, key: Key | int, dtype: DTypeLike = np.float64, first_row: int = 0) -> NDArray[Any]:
        """`n` rows of the model, shape (n, columns): W z + b + √ψ ε.

        z and ε are that row of ``random.normal`` under the two keys of ``key.split(2)``.

        Parameters
        ----------
        n : int
        key : Key or int
        dtype : float32 or float64
        first_row : int
            The number of the first row, to continue a draw.

        Returns
        -------
        ndarray, shape (n, columns)

        Raises
        ------
        DtypeError, ValueError
        """
        return self._core.sample(count("n", n), seed_of(key), _double(dtype), _word("first_row", first_row))

    def _judged(
        self, X: ArrayLike, post: GaussianParams | MvnParams, mask: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], bool]:
        post = _coerced("post", post)
        return observed(X, post[0].dtype, mask, "X"), post[0], post[1], _is_full(post)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a LinearGaussian does not change; make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a LinearGaussian does not change; make another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinearGaussian) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"LinearGaussian(columns={self.weight.shape[0]}, latents={self.weight.shape[1]})"

    def __reduce__(self) -> tuple[type[LinearGaussian], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        return LinearGaussian, (self.weight, self.offset, self.noise_var)

    def _parts(self) -> tuple[object, ...]:
        # + 0 so that −0 is 0.
        return tuple((part.shape, (part + 0.0).tobytes()) for part in (self.weight, self.offset, self.noise_var))


def _variances(noise_var: ArrayLike) -> NDArray[Any]:
    """One number, or an array of them."""
    return floats("noise_var", noise_var) if rank(noise_var) != 0 else np.asarray(number("noise_var", noise_var))


def _cells(X: ArrayLike, mask: ArrayLike | None) -> NDArray[Any]:
    rows = rows_of_floats("X", X)
    return rows if mask is None else observed(rows, rows.dtype, mask, "X")


def _warn(message: str) -> None:
    warnings.warn(f"LinearGaussian.fit: {message}", UserWarning, stacklevel=3)
