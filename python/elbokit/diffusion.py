"""Noising steps and their reversal: diffusion models on NumPy, exact where the data are a mixture.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> gm = ek.GaussianMixture([0.3, 0.7], locs=[[-2.0], [2.0]], variances=[0.04, 1.0])
    >>> steps = ek.Diffusion(np.full(200, 0.97))
    >>> x0 = gm.sample(2000, key=0)
    >>> terms = steps.elbo(x0, steps.score_of(gm), key=1)
    >>> gap = (gm.log_evidence(x0) - terms.elbo).mean()  # 0.051 in expectation
    >>> bool(0 < gap < 0.1)
    True

A step is x_t = √α_t x_{t−1} + √(1 − α_t) ε, t = 1 … T, so x_t given x_0 is N(√ᾱ_t x_0, (1 − ᾱ_t) I), ᾱ_t = α_1 ⋯ α_t.
A score is a function of (x_t, t), rows (rows, d) -> (rows, d), that stands for ∂ log p_t / ∂x_t. It defines a model:
p(x_T) = N(0, I), p(x_{t−1} | x_t) = N((x_t + (1 − α_t) score) / √α_t, variance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core, gaussian, random
from elbokit._arrays import agree, choice, count, floats
from elbokit._naming import Worded, Words
from elbokit.errors import ArgumentError, NonFiniteError, ShapeError
from elbokit.evidence import ElboTerms
from elbokit.mixture import GaussianMixture
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Score = Callable[[NDArray[Any], int], ArrayLike]

__all__ = ["Diffusion"]

# Numbers of x_t in memory at once; particles beyond them are drawn after.
_BLOCK = 1 << 20
# The least variance of a reverse step, of 1 − α_t: a score that is not one may ask for less than none.
_LEAST = 1e-6
# Of max(variance, 1 − α_t), the most that rounding may make of an optimal variance that is used.
_RESOLVED = 0.1
# A mixture's own word for rows that a score was given.
_AS_SCORED = Worded({"X": Words("score: x_t")})


class Diffusion:
    """T noising steps x_t = √α_t x_{t−1} + √(1 − α_t) ε, and their reversal by a score; it does not change.

    Parameters
    ----------
    alphas : array_like, shape (T,)
        α_1 … α_T, each between 0 and 1.
    variance : {"alpha", "optimal"}
        Of a reverse step: 1 − α_t, or that of the exact p(x_{t−1} | x_t), column by column: (1 − α_t) / α_t · [1 + (1 −
        α_t) ∂score_j / ∂x_j], the variance of x_{t−1} given x_t and x_0 and what the posterior of x_0 adds to it. The
        derivative is a central difference, two calls of the score a column. Where x_t's dtype does not resolve the
        difference, the variance is 1 − α_t.

    Attributes
    ----------
    alphas, alpha_bar : ndarray, shape (T,)
        Read-only float64; ᾱ_t stands at index t − 1.
    variance : str

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ValueError

    Notes
    -----
    With either variance the bound is one on a model's log density: that of the T steps, whose density of x_0 is not
    quite p_0 even with the exact score. So E[elbo] ≤ E[log p_0] over rows of p_0, but at one x the bound may be above
    log p_0(x). The mean gap closes with finer steps at ᾱ_T near 0, not with T at fixed α.

    A score is taken to be right to its last bit or two. Rounding of it and of the difference enters an optimal variance
    by 1 / α_t; where that may be more than a tenth of the variance and of 1 − α_t, 1 − α_t stands in its place: of
    |x_t| near 1 below α_t of 1e-4 in float32 and 2e-11 in float64, and at any α_t where |x_t| is so large that few
    numbers lie between it and its neighbours in p_t. The mean, of either variance, has an error of about eps · |x_t| /
    √α_t: below α_t of 1e-10 in float32 and 1e-28 in float64 it keeps no figure, except of a score that is −x_t
    exactly, and the bound is far too low.

    References
    ----------
    Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli (2015), "Deep unsupervised learning using nonequilibrium
    thermodynamics"; Ho, Jain and Abbeel (2020), "Denoising diffusion probabilistic models", equation 5; Bao, Li, Zhu
    and Zhang (2022), "Analytic-DPM".

    Examples
    --------
    >>> Diffusion([0.9, 0.8]).alpha_bar
    array([0.9 , 0.72])
    """

    __slots__ = ("alpha_bar", "alphas", "variance")

    alphas: NDArray[np.float64]
    alpha_bar: NDArray[np.float64]
    variance: str

    def __init__(self, alphas: ArrayLike, variance: str = "alpha") -> None:
        steps = np.array(floats("alphas", alphas), dtype=np.float64)
        if steps.ndim != 1 or len(steps) == 0:
            raise ShapeError(
                f"alphas: expected an array (T,) of at least one step, got shape {steps.shape}; "
                "give np.full(T, alpha) for equal steps",
                argument="alphas",
            )
        if not ((steps > 0) & (steps < 1)).all():
            t = int(np.argmin((steps > 0) & (steps < 1)))
            raise ArgumentError(
                f"alphas: expected numbers between 0 and 1, got {steps[t]} at step {t + 1}; give α_t, the share of the "
                "variance that a step leaves"
            )
        choice("variance", variance, ("alpha", "optimal"))
        for name, value in (("alphas", steps), ("alpha_bar", np.cumprod(steps)), ("variance", variance)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def score_of(self, mixture: GaussianMixture) -> Score:
        """The exact score of a mixture under these steps: (x_t, t) -> ∂ log p_t / ∂x_t.

        ``mixture.diffuse(alpha_bar[t - 1]).grad_log_prob(x_t)``; the noised mixtures are kept.

        Parameters
        ----------
        mixture : GaussianMixture

        Returns
        -------
        callable

        Examples
        --------
        >>> gm = GaussianMixture([1.0], locs=[[0.0]], variances=[1.0])  # N(0, 1) stays what it is
        >>> Diffusion([0.5]).score_of(gm)(np.array([[2.0]]), 1)
        array([[-2.]])
        """
        noised: dict[int, GaussianMixture] = {}

        def score(x_t: NDArray[Any], t: int) -> NDArray[Any]:
            if t not in noised:
                noised[t] = mixture.diffuse(float(self.alpha_bar[t - 1]))
            with _AS_SCORED:
                return noised[t].grad_log_prob(x_t)

        return score

    def forward(
        self, x0: ArrayLike, *, t: int | ArrayLike | None = None, key: Key | int, first_row: int = 0
    ) -> NDArray[Any]:
        """The path x_0 … x_T, shape (T + 1, n, d), or with `t` the rows at that step, (n, d).

        Parameters
        ----------
        x0 : array_like, shape (n, d)
            float32 or float64; the result has its dtype.
        t : int or array_like of int, shape (n,), optional
            A step, 1 … T, for all rows or for each: √ᾱ_t x_0 + √(1 − ᾱ_t) ε in one step.
        key : Key or int
            ε of the path's step t is ``random.normal`` under ``key.fold_in(t)``; with `t` it is that under the key.
        first_row : int
            The number of the first row, to continue a draw.

        Returns
        -------
        ndarray

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, ValueError

        Examples
        --------
        >>> Diffusion(np.full(10, 0.9)).forward(np.zeros((3, 2)), key=0).shape
        (11, 3, 2)
        """
        rows, key, first = _rows("x0", x0), Key(seed_of(key)), count("first_row", first_row)
        if t is not None:
            steps = np.asarray(t)
            known = steps.dtype.kind in "iu" and ((steps >= 1) & (steps <= len(self.alphas))).all()
            if not known or steps.shape not in {(), (len(rows),)}:
                raise ArgumentError(
                    f"t: expected whole numbers from 1 to {len(self.alphas)}, one or one a row, got {t!r}; "
                    "x0 itself is t = 0"
                )
            left = self.alpha_bar[steps - 1].reshape(-1, 1)
            keep, add = (np.sqrt(part).astype(rows.dtype) for part in (left, 1 - left))
            noise = random.normal(rows.shape, key=key, dtype=rows.dtype, first_row=first)
            return np.asarray(keep * rows + add * noise)
        path = np.empty((len(self.alphas) + 1, *rows.shape), rows.dtype)
        path[0] = rows
        for step, alpha in enumerate(self.alphas.tolist(), 1):
            noise = random.normal(rows.shape, key=key.fold_in(step), dtype=rows.dtype, first_row=first)
            path[step] = alpha**0.5 * path[step - 1] + (1 - alpha) ** 0.5 * noise
        return path

    def reverse(
        self,
        score: Score,
        n: int,
        *,
        dim: int,
        key: Key | int,
        dtype: DTypeLike = np.float64,
        first_row: int = 0,
        return_path: bool = False,
    ) -> NDArray[Any]:
        """`n` rows of the model that a score defines, shape (n, dim): from N(0, I) back through the T steps.

        x_{t−1} = (x_t + (1 − α_t) score(x_t, t)) / √α_t + √variance ε, down to t = 1: the law whose log density `elbo`
        bounds.

        Parameters
        ----------
        score : callable
            (x_t, t) -> (n, dim), for t = T … 1; it must treat rows alone.
        n, dim : int
        key : Key or int
            x_T is ``random.normal`` under ``key.fold_in(0)``, ε of step t under ``key.fold_in(t)``.
        dtype : float32 or float64
        first_row : int
            The number of the first row, to continue a draw.
        return_path : bool
            Return x_0 … x_T, (T + 1, n, dim), instead.

        Returns
        -------
        ndarray

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, ValueError

        Notes
        -----
        A row that leaves the dtype's range stays as it is, with ±inf; the score gets zeros in its place.

        Examples
        --------
        >>> gm = GaussianMixture([1.0], locs=[[3.0]], variances=[0.25])
        >>> steps = Diffusion(np.full(200, 0.95), variance="optimal")
        >>> x = steps.reverse(steps.score_of(gm), 2000, dim=1, key=0)
        >>> bool(abs(x.mean() - 3) < 0.05 and abs(x.std() - 0.5) < 0.05)
        True
        """
        _check_score(score)
        shape, key, first = (count("n", n), count("dim", dim, 1)), Key(seed_of(key)), count("first_row", first_row)
        x = random.normal(shape, key=key.fold_in(0), dtype=dtype, first_row=first)
        path = [x]
        for t in range(len(self.alphas), 0, -1):
            seen, lost = _within(x)
            loc, variance = self._reverse_step(seen, t, _scored(score, seen, t), score)
            noise = random.normal(shape, key=key.fold_in(t), dtype=dtype, first_row=first)
            with np.errstate(over="ignore"):
                x = np.where(lost[:, None], x, loc + np.sqrt(variance) * noise)
            if return_path:
                path.append(x)
        return np.stack(path[::-1]) if return_path else x

    def elbo(
        self, x0: ArrayLike, score: Score, *, key: Key | int, num_particles: int = 1, first_row: int = 0
    ) -> ElboTerms:
        """The variational bound of the T steps on each row's log density, its parts each of shape (n,), in nats.

        E_q[log p(x_0 | x_1)] − Σ_{t > 1} E_q KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)) − KL(q(x_T | x_0) ‖ N(0, I)):
        every divergence is between Gaussians and exact, and x_t of each t is one draw a particle. That of step t is
        evaluated from the difference of the means, (1 − α_t) / √α_t · [score + ε / √(1 − ᾱ_t)].

        Parameters
        ----------
        x0 : array_like, shape (n, d)
            float32 or float64; the result has its dtype.
        score : callable
            (x_t, t) -> (rows, d), t = 1 … T, of x_t's dtype; it must treat rows alone.
        key : Key or int
            ε of step t is that of `gaussian.rsample` under ``key.fold_in(t)``.
        num_particles : int
            Paths a row.
        first_row : int
            The number of the first row, so that parts of a data set score as the whole does.

        Returns
        -------
        ElboTerms
            elbo; reconstruction, the mean of log p(x_0 | x_1); kl, all divergences; the standard error of elbo.

        Raises
        ------
        ShapeError, DtypeError, NonFiniteError, ValueError

        Notes
        -----
        A path of which a mean leaves the dtype's range has density 0: the row's elbo is −inf.
        """
        _check_score(score)
        rows, key, first = _rows("x0", x0), Key(seed_of(key)), count("first_row", first_row)
        particles = count("num_particles", num_particles, 1)
        batch, dim = rows.shape
        zeros = np.zeros_like(rows)
        left = self.alpha_bar.tolist()
        prior = gaussian.kl(rows * left[-1] ** 0.5, np.full_like(rows, np.log(1 - left[-1]))).astype(np.float64)
        bound, reconstruction, divergence = (_core.RunningTerms(batch, True) for _ in range(3))
        block = max(1, _BLOCK // max(rows.size, 1))
        for from_particle in range(0, particles, block):
            number = min(block, particles - from_particle)
            many = np.broadcast_to(rows, (number, batch, dim)).reshape(-1, dim)
            kl = np.zeros(number * batch)
            for t in range(1, len(left) + 1):
                seed = key.fold_in(t).seed
                eps = _core.gaussian_rsample_and_log_prob(zeros, zeros, seed, number, first, from_particle)[0]
                eps = eps.reshape(-1, dim)
                x_t = left[t - 1] ** 0.5 * many + (1 - left[t - 1]) ** 0.5 * eps
                gradient = _scored(score, x_t, t)
                loc, variance = self._reverse_step(x_t, t, gradient, score)
                log_var = np.log(variance)
                if t == 1:
                    loc, lost = _within(loc)
                    likelihood = gaussian.log_prob(many, loc, log_var).astype(np.float64)
                    likelihood[lost] = -np.inf
                    continue
                root, beta = float(self.alphas[t - 1]) ** 0.5, 1 - float(self.alphas[t - 1])
                with np.errstate(over="ignore"):
                    apart = gradient + eps / (1 - left[t - 1]) ** 0.5
                    off, lost = _within((beta / root * _beside(root, apart)).astype(rows.dtype, copy=False))
                own = np.log((1 - left[t - 2]) / (1 - left[t - 1]) * beta)
                kl += gaussian.kl(off, np.full_like(off, own), np.zeros_like(off), log_var)
                kl[lost] = np.inf
            shape = (number, batch)
            likelihood, kl = likelihood.reshape(shape), kl.reshape(shape) + prior
            for running, part in ((bound, likelihood - kl), (reconstruction, likelihood), (divergence, kl)):
                running.push(part)
        (value, error), (mean, _), (total, _) = (running.result() for running in (bound, reconstruction, divergence))
        with np.errstate(over="ignore"):
            return ElboTerms(*(part.astype(rows.dtype) for part in (value, mean, total, error)))

    def _reverse_step(
        self, x: NDArray[Any], t: int, gradient: NDArray[Any], score: Score
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """loc and variance of p(x_{t−1} | x_t), each of x's shape."""
        alpha = float(self.alphas[t - 1])
        beta, root = 1 - alpha, alpha**0.5
        with np.errstate(over="ignore"):
            loc = (_beside(root, x + beta * gradient) / root).astype(x.dtype, copy=False)
        if self.variance == "alpha":
            return loc, np.full_like(x, beta)
        slope, error, near = self._slopes(x, t, score)
        # The variance given x_0 too is the least that it can be, and 0 at the last step. Below its error none is known.
        before = float(self.alpha_bar[t - 2]) if t > 1 else 1.0
        least = max((1 - before) / (1 - float(self.alpha_bar[t - 1])), _LEAST) * beta
        eps = float(np.finfo(x.dtype).eps)
        with np.errstate(over="ignore", invalid="ignore"):
            optimal = beta / alpha * (1 + beta * slope)
            doubt = beta / alpha * (eps + beta * error)
            known = near & (doubt <= _RESOLVED * np.maximum(optimal, beta)) & np.isfinite(optimal)
            variance = np.where(known, np.maximum(np.maximum(optimal, least), doubt), beta)
        return loc, variance.astype(x.dtype, copy=False)

    def _slopes(self, x: NDArray[Any], t: int, score: Score) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """∂score_j / ∂x_j, what rounding of the score may make of it, and where the two points are near in p_t."""
        eps, most = float(np.finfo(x.dtype).eps), np.finfo(x.dtype).max
        # p_t is no narrower than the noise in it: a step of 1e-4 of that has an error of 1e-8 of the derivative.
        width = (1 - float(self.alpha_bar[t - 1])) ** 0.5
        step = (1e-4 if x.dtype == np.float64 else 1e-2) * width
        with np.errstate(over="ignore"):
            # Or of a few neighbours of a large x; where they are no longer near in p_t, nothing is known.
            steps = np.maximum(4 * eps * np.abs(x), x.dtype.type(step))
            above, below = np.minimum(x + steps, most), np.maximum(x - steps, -most)
        near = steps <= width / 4
        slope, error = np.empty_like(x), np.empty_like(x)
        for j in range(x.shape[1]):
            up, down = x.copy(), x.copy()
            up[:, j], down[:, j] = above[:, j], below[:, j]
            # What the score itself does is not hushed.
            high, low = (_returned(score, rows, t)[:, j] for rows in (up, down))
            # An infinity may be the range's end; what is no number, so near, is the score's mistake.
            wrong = (np.isnan(high) | np.isnan(low)) & near[:, j]
            if wrong.any():
                told = np.zeros_like(x)
                told[wrong, j] = np.nan
                _check_finite("score", told, f" of t = {t}")
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                apart = above[:, j] - below[:, j]
                slope[:, j] = (high - low) / apart
                error[:, j] = eps * (np.abs(high) + np.abs(low)) / apart
        return slope, error, near

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Diffusion does not change; make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Diffusion does not change; make another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Diffusion) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        left = float(self.alpha_bar[-1])
        return f"Diffusion(steps={len(self.alphas)}, alpha_bar={left:.3g}, variance={self.variance!r})"

    def __reduce__(self) -> tuple[type[Diffusion], tuple[NDArray[np.float64], str]]:
        return Diffusion, (self.alphas, self.variance)

    def _parts(self) -> tuple[object, ...]:
        return self.alphas.tobytes(), self.variance


def _rows(argument: str, x: ArrayLike) -> NDArray[Any]:
    rows = floats(argument, x)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ShapeError(
            f"{argument}: expected an array (rows, columns), got shape {rows.shape}; reshape one row with x[None, :]",
            argument=argument,
        )
    _check_finite(argument, rows)
    return rows


def _check_score(score: Score) -> None:
    if not callable(score):
        raise ArgumentError(f"score: expected a function from (x_t, t) to ∂ log p_t / ∂x_t, got {score!r}; give one")


def _scored(score: Score, x: NDArray[Any], t: int) -> NDArray[Any]:
    """The score's value, checked."""
    value = _returned(score, x, t)
    _check_finite("score", value, f" of t = {t}")
    return value


def _returned(score: Score, x: NDArray[Any], t: int) -> NDArray[Any]:
    """The score's value, finite or not."""
    value = floats("score", score(x, t))
    agree("x_t", x, "score", value)
    if value.shape != x.shape:
        raise ShapeError(
            f"score: expected shape {x.shape} like x_t at t = {t}, got shape {value.shape}; return one number a cell",
            argument="score",
        )
    return value


def _beside(root: float, array: NDArray[Any]) -> NDArray[Any]:
    """An array to divide by √α_t: in float64 where its own type has no such number."""
    return array if root >= np.finfo(array.dtype).tiny else array.astype(np.float64)


def _within(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The rows with zeros where one has left the range, and which have."""
    lost = ~np.isfinite(rows).all(axis=1)
    return np.where(lost[:, None], rows.dtype.type(0), rows), lost


def _check_finite(argument: str, rows: NDArray[Any], where: str = "") -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(i) for i in np.unravel_index(int(np.argmin(finite)), rows.shape))
        value = float(rows[row, column])
        raise NonFiniteError(
            f"{argument}: expected finite numbers, got {value} at row {row}, column {column}{where}; "
            "remove or replace it",
            argument=argument,
            row=row,
            column=column,
            value=value,
        )
