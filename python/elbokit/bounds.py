"""Bounds on the log evidence from log weights log p(x, z) − log q(z | x).

    >>> import numpy as np
    >>> import elbokit as ek
    >>> log_weights = np.log([[1.0], [3.0]])  # (particles, batch)
    >>> ek.bounds.elbo(log_weights), ek.bounds.iwae(log_weights)  # mean log, log mean
    (array([0.54930614]), array([0.69314718]))

Log weights are (particles, batch), as `elbokit.log_weights` gives them; a bound is one number a batch row, in nats,
of the same dtype, computed in float64. A weight may be −inf; NaN or +inf is an error that names its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from elbokit import _core
from elbokit._arrays import floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["elbo", "iwae"]


@overload
def elbo(log_weights: ArrayLike, return_error: Literal[False] = False) -> NDArray[Any]: ...
@overload
def elbo(log_weights: ArrayLike, return_error: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...
def elbo(log_weights: ArrayLike, return_error: bool = False) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The evidence lower bound of each row, the mean log weight: shape (batch,), in nats.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error sd (ddof 1) / √particles, +inf for one particle.

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
    value, error = _core.bound_elbo(floats("log_weights", log_weights))
    return (value, error) if return_error else value


@overload
def iwae(log_weights: ArrayLike, return_error: Literal[False] = False) -> NDArray[Any]: ...
@overload
def iwae(log_weights: ArrayLike, return_error: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...
def iwae(log_weights: ArrayLike, return_error: bool = False) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The importance-weighted bound of each row, the log of the mean weight: shape (batch,), in nats.

    Parameters
    ----------
    log_weights : array_like, shape (particles, batch)
    return_error : bool
        Also return the standard error by the delta method, sd(weight) / (mean(weight) √particles), +inf for one
        particle.

    Returns
    -------
    ndarray, shape (batch,), or a pair of them

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Its expectation is at most log p(x), rises with the number of particles, and is the ELBO for one. The standard
    error says nothing where the weights' variance is infinite, which no sample shows.

    References
    ----------
    Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders", equation 8.
    """
    value, error = _core.bound_iwae(floats("log_weights", log_weights))
    return (value, error) if return_error else value
