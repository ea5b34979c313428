"""The full-covariance Gaussian q(z | x) = N(loc, L Lᵀ), L = scale_tril: draws, densities, entropy and divergence.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> loc, scale_tril = np.array([[1.0, 0.0]]), np.array([[[1.0, 0.0], [2.0, 1.0]]])
    >>> ek.mvn.kl(loc, scale_tril)  # (1² + 2²) / 2 nats
    array([2.5])

loc is (batch, latent); scale_tril is (batch, latent, latent), lower triangular with a positive diagonal, or (latent,
latent), shared by all rows. What stands above a diagonal is never read, and its gradient is exactly 0. Every function
returns one number a row, in nats, unless its name says otherwise. Results have the dtype of the arguments, which must
agree; float32 is computed in float64 and rounded once.

A row's operations and their order depend on the number of latents alone, so its bits depend neither on threads nor
batch nor processor. Beside the accuracy of rows that `gaussian` has, a function that solves with a triangle has the
error of substitution: its result is that of triangles within (latent + 4) · 2⁻⁵³ of the given ones, entry by entry. A
NaN or infinity is a NonFiniteError, a diagonal that is not positive a SupportError; row and column are those of the one
matrix that is shared, else the row of the batch and the column in its matrix. Finite input never gives NaN: what
leaves float64's range on the way is ±inf, and +inf in a gradient whose sign is lost there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import agree, count, floats, pair
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["entropy", "kl", "kl_grad", "log_prob", "rsample", "rsample_and_log_prob"]


def rsample(
    loc: ArrayLike,
    scale_tril: ArrayLike,
    *,
    key: Key | int,
    num_particles: int | None = None,
    first_row: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The reparameterised draw z = loc + scale_tril · ε, shape (batch, latent) or (particles, batch, latent).

    ε is that of `gaussian.rsample`: of particle 0 it is ``random.normal`` of the same shape, key and first_row.

    Parameters
    ----------
    loc : array_like, shape (batch, latent)
        float32 or float64.
    scale_tril : array_like, shape (batch, latent, latent) or (latent, latent)
        Lower triangular.
    key : Key or int
        Row i of particle k is a function of the key, k, first_row + i and the width, and of its own loc and scale_tril.
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
    ShapeError, DtypeError, NonFiniteError, SupportError

    References
    ----------
    Kingma and Welling (2019), "An introduction to variational autoencoders", section 2.5.1.

    Examples
    --------
    >>> import numpy as np
    >>> rsample(np.zeros((2, 3)), np.eye(3), key=0, num_particles=5).shape
    (5, 2, 3)
    """
    a, b = pair("loc", loc, "scale_tril", scale_tril)
    return _core.mvn_rsample(a, b, seed_of(key), _particles(num_particles), count("first_row", first_row), out)


def rsample_and_log_prob(
    loc: ArrayLike,
    scale_tril: ArrayLike,
    *,
    key: Key | int,
    num_particles: int | None = None,
    first_row: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`rsample` and log q(z | x) of each draw: z, and log_prob of shape (batch,) or (particles, batch).

    log q = −½ Σ ε² − Σ ln L_ii − ½ latent ln 2π, from the ε that z was made of, so no triangle is solved with.

    Parameters and errors are those of `rsample`.

    Examples
    --------
    >>> import numpy as np
    >>> z, log_prob = rsample_and_log_prob(np.zeros((2, 3)), np.eye(3), key=0)
    >>> z.shape, log_prob.shape
    ((2, 3), (2,))
    """
    a, b = pair("loc", loc, "scale_tril", scale_tril)
    return _core.mvn_rsample_and_log_prob(a, b, seed_of(key), _particles(num_particles), count("first_row", first_row))


def _particles(num_particles: int | None) -> int | None:
    return None if num_particles is None else count("num_particles", num_particles, 1)


def log_prob(z: ArrayLike, loc: ArrayLike, scale_tril: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """log N(z; loc, L Lᵀ) of each row, shape (batch,) or (particles, batch), in nats.

    −½ ‖L⁻¹(z − loc)‖² − Σ ln L_ii − ½ latent ln 2π.

    Largest error measured: 5.9e-08 (float32) and 6.1e-16 (float64), relative to the row's value,
    at 1 to 17 latents.

    Parameters
    ----------
    z : array_like, shape (batch, latent) or (particles, batch, latent)
    loc : array_like, shape (batch, latent)
    scale_tril : array_like, shape (batch, latent, latent) or (latent, latent)
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, SupportError

    Examples
    --------
    >>> import numpy as np
    >>> log_prob(np.zeros((1, 2)), np.zeros((1, 2)), np.eye(2))  # −ln 2π
    array([-1.83787707])
    """
    point = floats("z", z)
    a, b = pair("loc", loc, "scale_tril", scale_tril)
    agree("z", point, "loc", a)
    return _core.mvn_log_prob(point, a, b, out)


def entropy(scale_tril: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The entropy Σ ln L_ii + ½ latent (1 + ln 2π) of each row, in nats.

    Largest error measured: 4.0e-08 (float32) and 1.3e-16 (float64), relative to 3 nats a latent,
    at 1 to 17 latents.

    Parameters
    ----------
    scale_tril : array_like, shape (batch, latent, latent) or (latent, latent)
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray, shape (batch,)
        Of one row, (1,), for a triangle (latent, latent): it broadcasts against the rows that share it.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, SupportError

    Examples
    --------
    >>> entropy([[1.0]])
    array([1.41893853])
    """
    return _core.mvn_entropy(floats("scale_tril", scale_tril), out)


def kl(
    loc: ArrayLike,
    scale_tril: ArrayLike,
    prior_loc: ArrayLike | None = None,
    prior_scale_tril: ArrayLike | None = None,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """KL(q ‖ p) of each row, shape (batch,), in nats; never negative, and exactly 0 for q = p.

    With X = L₂⁻¹(L₁ − L₂), x its diagonal and y = L₂⁻¹(loc − prior_loc): ½ [Σ X² + 2 Σ (x − ln(1 + x)) + Σ y²], since
    L₂⁻¹ L₁ = I + X. X is substituted for as the small thing it is where q is near p, so the result keeps its relative
    accuracy down to 0.

    Parameters
    ----------
    loc : array_like, shape (batch, latent)
        float32 or float64, of one dtype with all others.
    scale_tril : array_like, shape (batch, latent, latent) or (latent, latent)
        L₁, lower triangular.
    prior_loc : array_like, shape (latent,) or (batch, latent), optional
        0 by default.
    prior_scale_tril : array_like, shape (latent, latent) or (batch, latent, latent), optional
        L₂; I by default.
    out : ndarray, optional
        Where to write.

    Returns
    -------
    ndarray, shape (batch,)

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, SupportError

    Notes
    -----
    The error is at most 4e-15 (float32: 4e-7) of the result, and (latent + 4) · 2⁻⁵³ of
    Σ |X| |L₂⁻¹| (|L₂| |X| + |L₁ − L₂|) and of the same for y. Asserted in the core's ``tests/mvn``; the largest
    measured there is 0.053 of that (float32: 0.134), and near the prior 3.7e-16 (5.6e-8) of the result.

    References
    ----------
    Higham (2002), "Accuracy and stability of numerical algorithms", theorem 8.5.

    Examples
    --------
    >>> import numpy as np
    >>> kl([[0.0, 0.0]], np.array([[1.0, 0.0], [1e-8, 1.0]]))  # ½ · 1e-16, not 0
    array([5.e-17])
    """
    return _core.mvn_kl(*_kl_arguments(loc, scale_tril, prior_loc, prior_scale_tril), out)


def kl_grad(
    loc: ArrayLike,
    scale_tril: ArrayLike,
    prior_loc: ArrayLike | None = None,
    prior_scale_tril: ArrayLike | None = None,
) -> tuple[NDArray[Any], ...]:
    """`kl` and its gradient by row: (kl, d_loc, d_scale_tril[, d_prior_loc, d_prior_scale_tril]).

    With G = tril(L₂⁻ᵀ X) and w = L₂⁻ᵀ y: ∂/∂loc = w, ∂/∂L₁ = G + diag(x / L₁), ∂/∂prior_loc = −w and
    ∂/∂L₂ = −tril(G (I + X)ᵀ + w yᵀ) − diag(x / L₂); of shape (batch, latent) and (batch, latent, latent), by row even
    where a triangle is shared. Like X they vanish at q = p without cancellation.

    Largest error measured: 6.0e-08 (float32) and 5.5e-15 (float64), relative to a row's largest number of each result,
    at 1 to 17 latents; 98 % of the float64 results are within 4.6e-16.

    Parameters and errors are those of `kl`.

    Examples
    --------
    >>> value, d_loc, d_scale_tril = kl_grad([[1.0]], [[[2.0]]])
    >>> d_loc, d_scale_tril  # loc, and L − 1 / L
    (array([[1.]]), array([[[1.5]]]))
    """
    return _core.mvn_kl_grad(*_kl_arguments(loc, scale_tril, prior_loc, prior_scale_tril))


def _kl_arguments(
    loc: ArrayLike, scale_tril: ArrayLike, prior_loc: ArrayLike | None, prior_scale_tril: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    a, b = pair("loc", loc, "scale_tril", scale_tril)
    if prior_loc is None and prior_scale_tril is None:
        return a, b, None, None
    # The one that is left out is the standard normal's.
    latent = a.shape[-1:]
    c = np.zeros(latent, a.dtype) if prior_loc is None else floats("prior_loc", prior_loc)
    d = np.eye(*latent, dtype=a.dtype) if prior_scale_tril is None else floats("prior_scale_tril", prior_scale_tril)
    agree("loc", a, "prior_loc", c)
    agree("loc", a, "prior_scale_tril", d)
    return a, b, c, d
