"""The diagonal Gaussian q(z | x) = N(loc, diag exp(log_var)): draws, densities, entropy and divergence.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> loc, log_var = np.array([[0.5, -1.0]]), np.zeros((1, 2))
    >>> ek.gaussian.kl(loc, log_var)  # (0.5² + 1²) / 2 nats
    array([0.625])

Arrays are (batch, latent); every function returns one number a row, in nats, unless its name says otherwise. Results
have the dtype of loc and log_var, which must agree. A row's sum is accumulated in float64 (float32) or without loss
(float64) in one documented order, so its bits depend on the row alone: not on threads, batch or processor. A NaN or
infinity in the input is a NonFiniteError that names it; finite input never gives NaN, and what leaves the float range
is ±inf.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import agree, count, floats, pair
from elbokit.errors import ArgumentError, ShapeError
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "entropy",
    "entropy_grad",
    "kl",
    "kl_grad",
    "kl_monte_carlo",
    "kl_per_dim",
    "log_prob",
    "log_prob_grad",
    "rsample",
    "rsample_and_log_prob",
    "rsample_grad",
]

# Numbers of z that are drawn at a time where particles are only averaged.
_BLOCK = 1 << 18
# Small beside the largest number of either type, and far past the log density of any row.
_MODERATE = 1e30


def rsample(
    loc: ArrayLike,
    log_var: ArrayLike,
    *,
    key: Key | int,
    num_particles: int | None = None,
    first_row: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The reparameterised draw z = loc + exp(log_var / 2) · ε, shape (batch, latent) or (particles, batch, latent).

    ε of particle 0 is ``random.normal`` of the same shape, key and first_row. The scale is capped at the largest
    finite number.

    Parameters
    ----------
    loc, log_var : array_like, shape (batch, latent)
        float32 or float64.
    key : Key or int
        Row i of particle k is a function of the key, k, first_row + i and the width, and of its own loc and log_var.
    num_particles : int, optional
        Draws a row; None drops the particle axis, 1 keeps it.
    first_row : int
        The number of the first row, to continue a draw.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Largest error measured: 9.7e-08 (float32) and 1.9e-16 (float64), relative to |loc| + |scale · ε|, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> rsample(np.zeros((2, 3)), np.zeros((2, 3)), key=0, num_particles=5).shape
    (5, 2, 3)
    """
    return _core.gaussian_rsample(loc, log_var, key, _particles(num_particles), count("first_row", first_row), out)


def rsample_and_log_prob(
    loc: ArrayLike,
    log_var: ArrayLike,
    *,
    key: Key | int,
    num_particles: int | None = None,
    first_row: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`rsample` and log q(z | x) of each draw: z, and log_prob of shape (batch,) or (particles, batch).

    log q = −½ Σ [ε² + log_var + ln 2π], from the ε that z was made of, so it holds where (z − loc) / scale would have
    lost it.

    Parameters and errors are those of `rsample`.

    Notes
    -----
    Largest error measured: 1.2e-07 (float32) and 2.3e-16 (float64) for log_prob, relative to the sum of the
    terms' magnitudes, over the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> import numpy as np
    >>> z, log_prob = rsample_and_log_prob(np.zeros((2, 3)), np.zeros((2, 3)), key=0)
    >>> z.shape, log_prob.shape
    ((2, 3), (2,))
    """
    return _core.gaussian_rsample_and_log_prob(
        loc, log_var, key, _particles(num_particles), count("first_row", first_row)
    )


def rsample_grad(
    loc: ArrayLike,
    log_var: ArrayLike,
    d_z: ArrayLike,
    *,
    key: Key | int,
    num_particles: int | None = None,
    first_row: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The cotangent d_z of z pulled back through `rsample`: (d_loc, d_log_var), each of shape (batch, latent).

    d_loc = Σ d_z and d_log_var = ½ exp(log_var / 2) Σ d_z · ε, over particles, with the ε of the same key, drawn again
    and never stored. A latent's particles are added in their order, in float64 with the rounding errors carried beside
    the sum, so the bits depend neither on threads nor on the batch.

    Parameters
    ----------
    loc, log_var : array_like, shape (batch, latent)
        What the draw was made of, float32 or float64.
    d_z : array_like, shape (batch, latent) or (particles, batch, latent)
        Of z's shape: the gradient of a number with respect to z.
    key, num_particles, first_row
        Those of the draw.

    Returns
    -------
    d_loc, d_log_var : ndarray, shape (batch, latent)

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Largest error measured: 6.0e-08 (float32) and 5.2e-16 (float64), relative to the sum of the terms' magnitudes, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> loc, log_var = np.array([[0.5]]), np.array([[-1.0]])
    >>> z = rsample(loc, log_var, key=0, num_particles=1000)
    >>> d_loc, d_log_var = rsample_grad(loc, log_var, z / 1000, key=0, num_particles=1000)  # of the mean of z²/2
    >>> bool(abs(d_loc - 0.5) < 0.05), bool(abs(d_log_var - np.exp(-1) / 2) < 0.05)
    (True, True)
    """
    a, b = pair("loc", loc, "log_var", log_var)
    cotangent = floats("d_z", d_z)
    agree("loc", a, "d_z", cotangent)
    return _core.gaussian_rsample_grad(
        a, b, cotangent, seed_of(key), _particles(num_particles), count("first_row", first_row)
    )


def _particles(num_particles: int | None) -> int | None:
    return None if num_particles is None else count("num_particles", num_particles, 1)


def log_prob(z: ArrayLike, loc: ArrayLike, log_var: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """log N(z; loc, exp(log_var)) of each row, shape (batch,) or (particles, batch), in nats.

    −½ Σ [((z − loc) exp(−log_var / 2))² + log_var + ln 2π].

    Parameters
    ----------
    z : array_like, shape (batch, latent) or (particles, batch, latent)
    loc, log_var : array_like, shape (batch, latent)
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Largest error measured: 2.6e-07 (float32) and 6.7e-16 (float64), relative to the sum of the terms' magnitudes, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> import numpy as np
    >>> log_prob(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))  # −ln 2π
    array([-1.83787707])
    """
    return _core.gaussian_log_prob(z, loc, log_var, out)


def log_prob_grad(
    z: ArrayLike, loc: ArrayLike, log_var: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """`log_prob` and its gradient by draw, in one pass: (log_prob, d_z, d_loc, d_log_var).

    With δ = (z − loc) exp(−log_var / 2): ∂/∂z = −δ / scale, ∂/∂loc = δ / scale, ∂/∂log_var = ½ (δ² − 1). All three
    have z's shape: with particles, the gradients of each draw's own log_prob, not summed over particles.

    Parameters and errors are those of `log_prob`.

    Notes
    -----
    Largest error measured: 2.7e-07 (float32) and 6.0e-16 (float64), relative to the sum of the terms' magnitudes, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> log_prob_grad([[2.0]], [[0.0]], [[0.0]])
    (array([-2.91893853]), array([[-2.]]), array([[2.]]), array([[1.5]]))
    """
    return _core.gaussian_log_prob_grad(z, loc, log_var)


def entropy(log_var: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The entropy ½ Σ [log_var + 1 + ln 2π] of each row, shape (batch,), in nats.

    Parameters
    ----------
    log_var : array_like, shape (batch, latent)
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray, shape (batch,)

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Largest error measured: 5.4e-08 (float32) and 1.5e-16 (float64), relative to the sum of the terms' magnitudes, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> entropy([[0.0]])
    array([1.41893853])
    """
    return _core.gaussian_entropy(log_var, out)


def entropy_grad(log_var: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """`entropy` and its gradient by row: (entropy, d_log_var), d_log_var of shape (batch, latent) and ½ everywhere.

    Parameters and errors are those of `entropy`.

    Examples
    --------
    >>> entropy_grad([[0.0]])
    (array([1.41893853]), array([[0.5]]))
    """
    return _core.gaussian_entropy_grad(log_var)


def kl(
    loc: ArrayLike,
    log_var: ArrayLike,
    prior_loc: ArrayLike | None = None,
    prior_log_var: ArrayLike | None = None,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """KL(q ‖ p) of each row, shape (batch,), in nats; never negative.

    With v = log_var − prior_log_var and δ = (loc − prior_loc) / prior scale: ½ Σ [(eᵛ − 1 − v) + δ²]. The first part
    has a kernel of its own, so the result keeps full relative accuracy where q is within 1e-7 of the prior.

    Parameters
    ----------
    loc, log_var : array_like, shape (batch, latent)
        float32 or float64, of one dtype with the prior.
    prior_loc, prior_log_var : array_like, shape (latent,) or (batch, latent), optional
        The prior; N(0, I) by default, and 0 for the one that is left out.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray, shape (batch,)

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Largest error measured: 2.6e-07 (float32) and 5.9e-16 (float64), relative to the divergence itself, whose
    terms are all positive, over the whole domain; asserted in tests/test_gaussian_exact.py.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", appendix B.

    Examples
    --------
    >>> kl([[1e-8]], [[0.0]])  # ½ · 1e-16, not 0
    array([5.e-17])
    """
    return _core.gaussian_kl(loc, log_var, prior_loc, prior_log_var, out)


def kl_per_dim(
    loc: ArrayLike,
    log_var: ArrayLike,
    prior_loc: ArrayLike | None = None,
    prior_log_var: ArrayLike | None = None,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The divergence of each latent, shape (batch, latent), in nats: which latents the encoder uses.

    Parameters and errors are those of `kl`, whose result is the sum over latents but for rounding.

    Notes
    -----
    Largest error measured: 2.6e-07 (float32) and 5.9e-16 (float64), relative to the divergence itself, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> kl_per_dim([[1.0, 2.0]], [[0.0, 0.0]])
    array([[0.5, 2. ]])
    """
    return _core.gaussian_kl_per_dim(loc, log_var, prior_loc, prior_log_var, out)


def kl_grad(
    loc: ArrayLike, log_var: ArrayLike, prior_loc: ArrayLike | None = None, prior_log_var: ArrayLike | None = None
) -> tuple[NDArray[Any], ...]:
    """`kl` and its gradient by row, in one pass: (kl, d_loc, d_log_var[, d_prior_loc, d_prior_log_var]).

    ∂/∂loc = δ / prior scale, ∂/∂log_var = ½ (eᵛ − 1), ∂/∂prior_loc = −∂/∂loc, ∂/∂prior_log_var = −½ (eᵛ − 1 + δ²),
    each of shape (batch, latent).

    Parameters and errors are those of `kl`.

    Notes
    -----
    Largest error measured: 2.6e-07 (float32) and 5.8e-16 (float64), relative to the sum of the terms' magnitudes, over
    the whole domain; asserted in tests/test_gaussian_exact.py.

    Examples
    --------
    >>> value, d_loc, d_log_var = kl_grad([[1.0]], [[0.0]])
    >>> value, d_loc, d_log_var
    (array([0.5]), array([[1.]]), array([[0.]]))
    """
    return _core.gaussian_kl_grad(loc, log_var, prior_loc, prior_log_var)


def kl_monte_carlo(
    loc: ArrayLike,
    log_var: ArrayLike,
    prior: Any,
    *,
    key: Key | int,
    num_particles: int,
    first_row: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """KL(q ‖ p) by Monte Carlo, for a prior that has no closed form: (kl, standard_error), each (batch,), in nats.

    The mean over particles of log q(z | x) − log p(z), z the draws of `rsample` with the same key, and its standard
    error sd (ddof 1) / √particles, +inf for one particle. The estimate is unbiased and may be negative. Particles
    stream: memory does not grow with their number.

    Parameters
    ----------
    loc, log_var : array_like, shape (batch, latent)
        float32 or float64.
    prior : GaussianMixture or GaussianParams
        A GaussianParams is (latent,) or (batch, latent); `kl` is then exact and cheaper.
    key : Key or int
    num_particles : int
    first_row : int
        The number of the first row, to continue a draw.

    Returns
    -------
    kl, standard_error : ndarray, shape (batch,)
        Of loc's dtype. +inf, both, where the prior gives a draw no density that the range holds.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ValueError

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> loc, log_var = np.array([[1.0]]), np.array([[0.0]])
    >>> one = ek.GaussianMixture([1.0], locs=[[0.0]], variances=[1.0])  # N(0, 1), whose divergence is ½
    >>> value, error = kl_monte_carlo(loc, log_var, one, key=0, num_particles=10_000)
    >>> bool(abs(value - 0.5) < 4 * error)
    True
    """
    a, b = pair("loc", loc, "log_var", log_var)
    log_prior = _density(prior, a, b)
    seed, particles, row = seed_of(key), count("num_particles", num_particles, 1), count("first_row", first_row)
    batch, latent = a.shape
    terms = _core.RunningTerms(batch, a.dtype == np.float64)
    block = max(1, _BLOCK // max(1, batch * latent))
    for first in range(0, particles, block):
        z, log_posterior = _core.gaussian_rsample_and_log_prob(a, b, seed, min(block, particles - first), row, first)
        terms.push(_difference(log_posterior, _log_density_of_draws(z, log_prior), np.inf))
    value, error = terms.result()
    return _decided(value, np.inf), error


def _density(prior: Any, loc: NDArray[Any], log_var: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Log p(z) of draws (particles, batch, latent); checks prior and posterior before anything is drawn."""
    if hasattr(prior, "log_evidence"):
        kl(loc, log_var)
        return _mixture_density(prior, loc.shape[1])
    if not hasattr(prior, "log_var"):
        raise ArgumentError(
            f"prior: expected a GaussianMixture or GaussianParams(loc, log_var), got {type(prior).__name__}; make one"
        )
    parts = pair("prior_loc", prior.loc, "prior_log_var", prior.log_var)
    kl(loc, log_var, *parts)
    p_loc, p_log_var = (np.ascontiguousarray(np.broadcast_to(part, loc.shape)) for part in parts)
    return lambda z: log_prob(z, p_loc, p_log_var)


def _mixture_density(prior: Any, latent: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Log p(z) of draws (particles, batch, latent) under a mixture of as many columns."""
    if prior.locs.shape[1] != latent:
        raise ShapeError(
            f"prior: expected {latent} columns like loc, got {prior.locs.shape[1]}; give a mixture over the latents",
            argument="prior",
        )
    return lambda z: prior.log_evidence(z.reshape(-1, latent)).reshape(z.shape[:-1])


def _log_density_of_draws(z: NDArray[Any], log_density: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """The log density of draws; one that has left the float's range has density 0."""
    inside = np.isfinite(z).all(axis=-1)
    if inside.all():
        return log_density(z)
    values = log_density(np.where(inside[..., None], z, z.dtype.type(0)))
    return np.where(inside, values, z.dtype.type(-np.inf))


def _difference(
    a: NDArray[Any], b: NDArray[Any], undecided: float | None, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """a − b of log densities, ±inf past the range; ∞ − ∞, which says nothing of their ratio, is `undecided`.

    Where that is None it stays NaN.
    """
    # Beside moderate numbers nothing overflows and no infinities meet: two looks cost a small call less than hushing
    # the warnings does.
    result: NDArray[Any]
    if b.size and b.item(b.argmin()) > -_MODERATE and b.item(b.argmax()) < _MODERATE:
        result = np.subtract(a, b, out=out)
        return result
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.subtract(a, b, out=out)
    return result if undecided is None else _decided(result, undecided)


def _decided(values: NDArray[Any], undecided: float) -> NDArray[Any]:
    """`values` with `undecided`, the end that lowers the bound, where infinities of both signs met in one."""
    # NaN counts as the least.
    if values.size and math.isnan(values.item(values.argmin())):
        values[np.isnan(values)] = undecided
    return values
