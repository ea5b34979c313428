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

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import agree, count, floats, pair
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["entropy", "kl", "kl_grad", "kl_per_dim", "log_prob", "rsample", "rsample_and_log_prob"]


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

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> rsample(np.zeros((2, 3)), np.zeros((2, 3)), key=0, num_particles=5).shape
    (5, 2, 3)
    """
    a, b = pair("loc", loc, "log_var", log_var)
    return _core.gaussian_rsample(a, b, seed_of(key), _particles(num_particles), count("first_row", first_row), out)


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

    Examples
    --------
    >>> import numpy as np
    >>> z, log_prob = rsample_and_log_prob(np.zeros((2, 3)), np.zeros((2, 3)), key=0)
    >>> z.shape, log_prob.shape
    ((2, 3), (2,))
    """
    a, b = pair("loc", loc, "log_var", log_var)
    return _core.gaussian_rsample_and_log_prob(
        a, b, seed_of(key), _particles(num_particles), count("first_row", first_row)
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

    Examples
    --------
    >>> import numpy as np
    >>> log_prob(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))  # −ln 2π
    array([-1.83787707])
    """
    point = floats("z", z)
    a, b = pair("loc", loc, "log_var", log_var)
    agree("z", point, "loc", a)
    return _core.gaussian_log_prob(point, a, b, out)


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

    Examples
    --------
    >>> entropy([[0.0]])
    array([1.41893853])
    """
    return _core.gaussian_entropy(floats("log_var", log_var), out)


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

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", appendix B.

    Examples
    --------
    >>> kl([[1e-8]], [[0.0]])  # ½ · 1e-16, not 0
    array([5.e-17])
    """
    return _core.gaussian_kl(*_kl_arguments(loc, log_var, prior_loc, prior_log_var), out)


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

    Examples
    --------
    >>> kl_per_dim([[1.0, 2.0]], [[0.0, 0.0]])
    array([[0.5, 2. ]])
    """
    return _core.gaussian_kl_per_dim(*_kl_arguments(loc, log_var, prior_loc, prior_log_var), out)


def kl_grad(
    loc: ArrayLike, log_var: ArrayLike, prior_loc: ArrayLike | None = None, prior_log_var: ArrayLike | None = None
) -> tuple[NDArray[Any], ...]:
    """`kl` and its gradient by row, in one pass: (kl, d_loc, d_log_var[, d_prior_loc, d_prior_log_var]).

    ∂/∂loc = δ / prior scale, ∂/∂log_var = ½ (eᵛ − 1), ∂/∂prior_loc = −∂/∂loc, ∂/∂prior_log_var = −½ (eᵛ − 1 + δ²),
    each of shape (batch, latent).

    Parameters and errors are those of `kl`.

    Examples
    --------
    >>> value, d_loc, d_log_var = kl_grad([[1.0]], [[0.0]])
    >>> value, d_loc, d_log_var
    (array([0.5]), array([[1.]]), array([[0.]]))
    """
    return _core.gaussian_kl_grad(*_kl_arguments(loc, log_var, prior_loc, prior_log_var))


def _kl_arguments(
    loc: ArrayLike, log_var: ArrayLike, prior_loc: ArrayLike | None, prior_log_var: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    a, b = pair("loc", loc, "log_var", log_var)
    if prior_loc is None and prior_log_var is None:
        return a, b, None, None
    c = None if prior_loc is None else floats("prior_loc", prior_loc)
    d = None if prior_log_var is None else floats("prior_log_var", prior_log_var)
    # The one that is left out is the standard normal's, of the other's shape.
    c = np.zeros_like(d) if c is None else c
    d = np.zeros_like(c) if d is None else d
    agree("loc", a, "prior_loc", c)
    agree("loc", a, "prior_log_var", d)
    return a, b, c, d
