"""Bounds on the log evidence from log weights log p(x, z) − log q(z | x), and what tells how far to trust them.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> log_weights = np.log([[1.0], [3.0]])  # (particles, batch)
    >>> ek.bounds.elbo(log_weights), ek.bounds.iwae(log_weights)  # mean log, log mean
    (array([0.54930614]), array([0.69314718]))

Log weights are (particles, batch), as `elbokit.log_weights` gives them; a result is one number a batch row, of the
same dtype, computed in float64 in the order of the particles. A weight may be −inf (the model gives the draw no
density); NaN or +inf is an error that names its place. No finite input gives NaN.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from elbokit import _core
from elbokit._arrays import floats, number
from elbokit.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Weights that k-hat is pulled toward ½ by.
_PULL = 10

__all__ = ["EvidenceBounds", "PsisResult", "cubo", "elbo", "ess", "iwae", "log_evidence", "psis", "renyi"]


class PsisResult(NamedTuple):
    """Pareto-smoothed log weights, and how heavy their tail is.

    Attributes
    ----------
    log_weights : ndarray, shape (particles, batch)
        On the scale of those given, not normalised: any of the bounds takes them.
    khat : ndarray, shape (batch,)
        The shape of the tail: 0 for equal weights, +inf where it cannot be told.
    """

    log_weights: NDArray[Any]
    khat: NDArray[Any]


class EvidenceBounds(NamedTuple):
    """Bounds on the log evidence of each row from both sides, in nats.

    Attributes
    ----------
    lower : ndarray, shape (batch,)
        The importance-weighted bound, that of `iwae` but for rounding; in expectation at most log p(x).
    estimate : ndarray, shape (batch,)
        Its jackknife over folds of particles.
    upper : ndarray, shape (batch,)
        The cross-fitted tangent bound; in expectation at least log p(x). +inf where one run of it is not to be trusted:
        where khat exceeds min(1 − 1/log10 K, 0.7), K the number of particles, and so for fewer than 25.
    standard_error : ndarray, shape (batch,)
        Of the estimate, over the folds.
    khat : ndarray, shape (batch,)
        That of `psis`.
    ess : ndarray, shape (batch,)
        The effective sample size (Σw)² / Σw².
    """

    lower: NDArray[Any]
    estimate: NDArray[Any]
    upper: NDArray[Any]
    standard_error: NDArray[Any]
    khat: NDArray[Any]
    ess: NDArray[Any]


@overload
def elbo(
    log_weights: ArrayLike, return_error: Literal[False] = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any]: ...
@overload
def elbo(
    log_weights: ArrayLike, return_error: Literal[True], *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def elbo(
    log_weights: ArrayLike, return_error: bool = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The evidence lower bound of each row, the mean log weight: shape (batch,), in nats.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error sd (ddof 1) / √particles, +inf for one particle.
    out : ndarray, shape (batch,), optional
        Where the value is written.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Its expectation is at most log p(x) for any number of particles.
    """
    value, error = _core.bound_elbo(floats("log_weights", log_weights), _flag(return_error), out)
    return value if error is None else (value, error)


@overload
def iwae(
    log_weights: ArrayLike, return_error: Literal[False] = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any]: ...
@overload
def iwae(
    log_weights: ArrayLike, return_error: Literal[True], *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def iwae(
    log_weights: ArrayLike, return_error: bool = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The importance-weighted bound of each row, the log of the mean weight: shape (batch,), in nats.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error by the delta method, sd(weight) / (mean(weight) √particles), +inf for one
        particle.
    out : ndarray, shape (batch,), optional
        Where the value is written.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Its expectation is at most log p(x), rises with the number of particles, and is the ELBO for one. The standard
    error says nothing where the weights' variance is infinite: `psis` gives a k-hat above ½ there.

    References
    ----------
    Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders", equation 8.
    """
    value, error = _core.bound_iwae(floats("log_weights", log_weights), _flag(return_error), out)
    return value if error is None else (value, error)


@overload
def renyi(
    log_weights: ArrayLike, alpha: float, return_error: Literal[False] = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any]: ...
@overload
def renyi(
    log_weights: ArrayLike, alpha: float, return_error: Literal[True], *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def renyi(
    log_weights: ArrayLike, alpha: float, return_error: bool = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The variational Rényi bound of order α of each row, estimated: shape (batch,), in nats.

    (1/(1 − α)) ln (1/K Σ weight^(1−α)), over exp of the weight that counts most; for |1 − α| < ¼ the logarithm is that
    of 1 + 1/K Σ (weight^(1−α) − 1), so that it goes over into α = 1, the ELBO, without losing digits. α = 0 is `iwae`.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    alpha : float
        Finite. The exact bound falls as α rises: from 0, the log evidence, through 1, the ELBO. For α > 0 it is at
        most log p(x), for α < 0 at least that.
    return_error : bool
        Also return the standard error by the delta method, sd(weight^(1−α)) / (|1 − α| mean(weight^(1−α)) √K), +inf
        for one particle.
    out : ndarray, shape (batch,), optional
        Where the value is written.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them
        −inf for α ≥ 1 where a weight is 0.

    Warns
    -----
    RuntimeWarning
        For α > 1 or α < 0 where the k-hat of weight^(1−α) is above 1, in at least 25 particles: the mean of that power
        is then infinite as far as its tail shows, so that the true value is −inf (α > 1) or +inf (α < 0) although
        every estimate from finitely many draws is finite.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ValueError

    Notes
    -----
    From K particles the expectation is, by Jensen's inequality, below the exact value for α < 1 and above it for α > 1:
    for 0 ≤ α ≤ 1 a lower bound on log p(x) in expectation, for any other α a consistent estimate and no bound.

    References
    ----------
    Li and Turner (2016), "Rényi divergence variational inference", sections 3 and 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> log_weights = np.log([[1.0], [3.0]])
    >>> [float(ek.bounds.renyi(log_weights, alpha)[0].round(4)) for alpha in (0, 0.5, 1, 2)]
    [0.6931, 0.6238, 0.5493, 0.4055]
    """
    weights, order = floats("log_weights", log_weights), number("alpha", alpha)
    value, error = _core.bound_renyi(weights, order, _flag(return_error), out)
    if not 0 <= order <= 1:
        _warn_of_infinite_power("renyi", weights, 1 - order, "−inf" if order > 1 else "+inf")
    return value if error is None else (value, error)


@overload
def cubo(
    log_weights: ArrayLike, order: float = 2, return_error: Literal[False] = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any]: ...
@overload
def cubo(
    log_weights: ArrayLike, order: float = 2, *, return_error: Literal[True], out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
@overload
def cubo(
    log_weights: ArrayLike, order: float, return_error: Literal[True], *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def cubo(
    log_weights: ArrayLike, order: float = 2, return_error: bool = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """An estimate of the χ upper bound of each row, (1/n) ln E_q[weightⁿ]: shape (batch,), in nats. It is no bound.

    (1/n) ln (1/K Σ weightⁿ). What it estimates is at least log p(x); the estimate is consistent and biased low, so its
    expectation may lie below log p(x) itself, and where E_q[weightⁿ] is infinite, as it often is, it grows without end.
    An upper bound that holds in expectation is `upper` of `VAE.log_evidence`.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    order : float
        n, at least 1; 1 is `iwae`.
    return_error : bool
        Also return the standard error by the delta method, sd(weightⁿ) / (n mean(weightⁿ) √K), +inf for one particle.
        It does not hold the bias.
    out : ndarray, shape (batch,), optional
        Where the value is written.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them

    Warns
    -----
    RuntimeWarning
        For n > 1 where the k-hat of weightⁿ is above 1, in at least 25 particles: the true value is then +inf as far
        as the tail shows.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ValueError

    Notes
    -----
    μ ~ N(1.5, 1), y = (1.6, 1.4), q = N(1.88, 1) has order 2 at −2.2069 and log evidence −2.3972; the mean of the
    estimate is −3.06 from 1 particle, −2.47 from 2 and −2.27 from 5 (asserted in tests/test_bounds.py).

    References
    ----------
    Dieng, Tran, Ranganath, Paisley and Blei (2017), "Variational inference via χ upper bound minimization", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> ek.bounds.cubo(np.log([[1.0], [3.0]]))  # ½ ln((1² + 3²) / 2)
    array([0.80471896])
    """
    weights, power = floats("log_weights", log_weights), number("order", order)
    value, error = _core.bound_cubo(weights, power, _flag(return_error), out)
    if power > 1:
        _warn_of_infinite_power("cubo", weights, power, "+inf")
    return value if error is None else (value, error)


@overload
def ess(
    log_weights: ArrayLike, return_error: Literal[False] = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any]: ...
@overload
def ess(
    log_weights: ArrayLike, return_error: Literal[True], *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def ess(
    log_weights: ArrayLike, return_error: bool = False, *, out: NDArray[Any] | None = None
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The effective sample size (Σ weight)² / Σ weight² of each row, in particles: shape (batch,).

    K / (1 + v), v the mean of r² and r = weight / mean(weight) − 1: from 1 to K, exactly K for equal weights.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error by the delta method, from each particle's influence
        ess · (v (1 + 2 r) − r²) / (1 + v): sd / √K, +inf for one particle.
    out : ndarray, shape (batch,), optional
        Where the value is written.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them
        0, with an infinite error, where every weight is 0.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    It sees only the weights that were drawn: where large ones are rare it is high until one turns up. `psis` looks at
    the tail instead.

    References
    ----------
    Kong (1992), "A note on importance sampling using standardized weights", technical report 348, Chicago.

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> ek.bounds.ess(np.log([[1.0, 1.0], [3.0, 1.0]]))  # 4² / (1² + 3²), and 2 equal weights
    array([1.6, 2. ])
    """
    value, error = _core.bound_ess(floats("log_weights", log_weights), _flag(return_error), out)
    return value if error is None else (value, error)


def log_evidence(log_weights: ArrayLike) -> EvidenceBounds:
    """Bounds on the log evidence of each row from both sides by one set of weights, each (batch,), in nats.

    Particles are dealt in turn to M = min(20, K) folds of nₘ. With ℓ the log of the mean weight, ℓ₋ₘ that without fold
    m and gₘ that inside it: lower = ℓ, estimate = M ℓ − Σ (1 − nₘ/K) ℓ₋ₘ, upper = Σ (nₘ/K) [ℓ₋ₘ + exp(gₘ − ℓ₋ₘ) − 1],
    standard_error = √((M − 1)/M Σ (ℓ₋ₘ − mean)²).

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
        Of particles that are independent of each other.

    Returns
    -------
    EvidenceBounds

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    lower ≤ estimate ≤ upper always, and E[lower] ≤ log p(x) ≤ E[upper] for more than one particle. Over 200 random
    linear Gaussian models with a proposal wider than the posterior both hold (tests/test_coverage.py).

    References
    ----------
    Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Nowozin (2018), "Debiasing evidence
    approximations"; Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling".

    Examples
    --------
    >>> import elbokit as ek
    >>> log_weights = 0.5 * ek.random.normal((1000, 2), key=0, dtype="float64")  # the log of their mean is 1/8
    >>> found = ek.bounds.log_evidence(log_weights)
    >>> bool((found.lower <= found.estimate).all() and (found.estimate <= found.upper).all())
    True
    >>> bool((abs(found.estimate - 0.125) < 3 * found.standard_error).all())
    True
    """
    return EvidenceBounds(*_core.bound_evidence(floats("log_weights", log_weights)))


@overload
def psis(log_weights: ArrayLike, return_error: Literal[False] = False) -> PsisResult: ...
@overload
def psis(log_weights: ArrayLike, return_error: Literal[True]) -> tuple[PsisResult, NDArray[Any]]: ...
def psis(log_weights: ArrayLike, return_error: bool = False) -> PsisResult | tuple[PsisResult, NDArray[Any]]:
    """Pareto-smoothed log weights, and the k-hat of each row: ((particles, batch), (batch,)).

    The n = min(K/5, 3 √K) largest weights, rounded up, less the next one, are fitted by a generalised Pareto
    distribution: Zhang and Stephens' estimate with its shape pulled toward ½ as by 10 more weights. The tail is
    replaced by the fit's quantiles (j − ½)/n, none above the largest weight.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error of k-hat, n/(n + 10) · (1 + k)/√n, k being the shape before it is pulled: that of
        maximum likelihood for many weights (Smith 1987).

    Returns
    -------
    PsisResult, or a pair of it and an array, shape (batch,)
        k-hat is 0 where the tail's weights are equal but for rounding (8 units in the last place of the largest log
        weight), +inf where fewer than five weights stand out of the rest or there are fewer than 25 particles; the log
        weights are then those given, and the error is k-hat.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Moments of the weights of an order above 1/k do not exist: above ½ their variance is infinite, above 1 their mean.
    An estimate by K particles is to be trusted below min(1 − 1/log₁₀ K, 0.7).

    Of exact Pareto tails of shapes 0.1 to 1.5 k-hat's deviation over draws was 0.93 to 1.06 of its error for 1000
    particles and 10,000, and to 1.14 for 100. The error does not hold what the pull toward ½ and a tail that is no
    Pareto one yet do to the mean.

    Weights N(0, 1)³ against N(0, s)³ from 50,000 draws give the published fit's k-hat to 1e-13 (asserted to 1e-12 in
    tests/test_psis.py). A row of 1000 particles takes about 24 microseconds.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling".
    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto distribution".
    Smith (1987), "Estimating tails of probability distributions".

    Examples
    --------
    >>> import elbokit as ek
    >>> log_weights = 3 * ek.random.normal((1000, 2), key=0, dtype="float64")  # log-normal: a heavy tail
    >>> smoothed, khat = ek.bounds.psis(log_weights)
    >>> khat.round(2)
    array([1.23, 1.52])
    >>> ek.bounds.psis(log_weights * 0).khat
    array([0., 0.])
    """
    given = floats("log_weights", log_weights)
    result = PsisResult(*_core.bound_psis(given))
    if not return_error:
        return result
    particles = len(given)
    tail = max(1, math.ceil(min(particles / 5, 3 * math.sqrt(particles))))
    with np.errstate(invalid="ignore"):
        shape = (result.khat * (tail + _PULL) - _PULL / 2) / tail
        error = tail / (tail + _PULL) * (1 + np.maximum(shape, -0.5)) / math.sqrt(tail)
    # Nothing was fitted where k-hat is 0 or infinite.
    fitted = np.isfinite(result.khat) & (result.khat != 0)
    return result, np.where(fitted, error, result.khat).astype(result.khat.dtype)


def _flag(return_error: Any) -> bool:
    if not isinstance(return_error, (bool, np.bool_)):
        raise ArgumentError(f"return_error: expected True or False, got {return_error!r}; give one of them")
    return bool(return_error)


def _warn_of_infinite_power(bound: str, weights: NDArray[Any], power: float, value: str) -> None:
    """Say where the mean of weight^power looks infinite; too few particles show nothing."""
    khat = _core.bound_khat(weights, power)
    infinite = np.isfinite(khat) & (khat > 1)
    if infinite.any():
        warnings.warn(
            f"{bound}: the mean of weight^{power:g} looks infinite in {infinite.sum()} of {len(khat)} rows (k-hat up "
            f"to {khat[infinite].max():.2f}, above 1): the true value there is {value}, however finite the estimate",
            RuntimeWarning,
            stacklevel=3,
        )
