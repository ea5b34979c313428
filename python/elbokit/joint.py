"""The bound of any model at all: a function log p(x, z) of draws, and a Gaussian q.

>>> import numpy as np
>>> import elbokit as ek
>>> def log_joint(z):  # μ ~ N(1.5, 1), and 1.6 and 1.4 drawn from N(μ, 1)
...     squares = (z - 1.5) ** 2 + (z - 1.6) ** 2 + (z - 1.4) ** 2
...     return -0.5 * squares.sum(axis=1) - 1.5 * np.log(2 * np.pi)
>>> exact = ek.GaussianParams(np.array([[1.5]]), np.array([[-np.log(3.0)]]))
>>> ek.elbo_joint(log_joint, exact, key=0, num_particles=4).elbo  # every draw is the log evidence
array([-2.39718321])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import _core, gaussian
from elbokit._arrays import agree, count, floats
from elbokit.errors import ArgumentError, NonFiniteError, ShapeError
from elbokit.evidence import GaussianParams, MvnParams, _coerced, _divergence, _is_full
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = ["JointTerms", "elbo_joint", "log_weights_joint"]

# Numbers of z that one call of the model gets, as in `elbo`.
_BLOCK = 1 << 18


class JointTerms(NamedTuple):
    """The evidence lower bound of each row by draws of q, and its parts, in nats.

    Attributes
    ----------
    elbo : ndarray, shape (batch,)
        log_joint + entropy: the mean over particles of log p(x, z) − log q(z).
    log_joint : ndarray, shape (batch,)
        The mean over particles of log p(x, z).
    entropy : ndarray, shape (batch,)
        The mean over particles of −log q(z).
    standard_error : ndarray, shape (batch,)
        That of elbo: sd (ddof 1) / √particles, +inf for one particle.
    """

    elbo: NDArray[Any]
    log_joint: NDArray[Any]
    entropy: NDArray[Any]
    standard_error: NDArray[Any]


def elbo_joint(
    log_joint: Callable[[NDArray[Any]], ArrayLike],
    post: GaussianParams | MvnParams,
    *,
    key: Key | int,
    num_particles: int = 1,
    first_row: int = 0,
) -> JointTerms:
    """The evidence lower bound of each row of q for any model, and its parts, each of shape (batch,), in nats.

    E_q[log p(x, z) − log q(z)] by draws, both terms by the same ones: with q the exact posterior every draw is the log
    evidence.

    Parameters
    ----------
    log_joint : callable
        z (rows, latent) -> log p(x, z) of each row, (rows,), of z's dtype, or any log density without its constant.
        Rows are particle-major: row r is particle r // batch of batch row r % batch. It may be called several times.
        −inf is a draw that the model rules out.
    post : GaussianParams or MvnParams
        q: loc and log_var, (batch, latent), or loc and scale_tril; float32 or float64.
    key : Key or int
        The draws are those of `gaussian.rsample` or `mvn.rsample` with this key, num_particles and first_row.
    num_particles : int
    first_row : int
        The number of the first row, so that partitions score as the whole does.

    Returns
    -------
    JointTerms
        Of loc's dtype.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ValueError

    Notes
    -----
    The expectation of elbo is at most log p(x). A draw that leaves the float's range has density 0, and where p(x, z)
    is 0 elbo is −inf, whatever q(z) is. Particles stream: memory does not grow with their number.

    References
    ----------
    Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), "Automatic differentiation variational inference", equation 7.
    """
    draws = _Draws(log_joint, post, key, num_particles, first_row)
    parts = [_core.RunningTerms(draws.batch, draws.dtype == np.float64) for _ in range(3)]
    for log_density, log_q in draws.particles():
        parts[1].push(log_density)
        parts[2].push(-log_q)
        parts[0].push(gaussian._difference(log_density, log_q, -np.inf, out=log_q))
    (bound, error), (value, _), (entropy, _) = (part.result() for part in parts)
    return JointTerms(gaussian._decided(bound, -np.inf), value, entropy, error)


def log_weights_joint(
    log_joint: Callable[[NDArray[Any]], ArrayLike],
    post: GaussianParams | MvnParams,
    *,
    key: Key | int,
    num_particles: int,
) -> NDArray[Any]:
    """log p(x, z) − log q(z) of each draw, shape (particles, batch), in nats: what `bounds` takes, for any model.

    Parameters and errors are those of `elbo_joint`.

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> wide = ek.GaussianParams(np.zeros((1, 2)), np.ones((1, 2)))
    >>> weights = log_weights_joint(lambda z: -0.5 * (z**2).sum(axis=1), wide, key=0, num_particles=10_000)
    >>> ek.bounds.iwae(weights).round(2)  # ln 2π, what the density lacks
    array([1.84])
    """
    draws = _Draws(log_joint, post, key, num_particles, 0)
    blocks = [gaussian._difference(log_density, log_q, -np.inf, out=log_q) for log_density, log_q in draws.particles()]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


class _Draws:
    """Checked arguments, and the draws of q in blocks of bounded memory."""

    def __init__(
        self,
        log_joint: Callable[[NDArray[Any]], ArrayLike],
        post: GaussianParams | MvnParams,
        key: Key | int,
        num_particles: int,
        first_row: int,
    ) -> None:
        if not callable(log_joint):
            raise ArgumentError(f"log_joint: expected a function from z to log p(x, z), got {log_joint!r}; give one")
        self.log_joint = log_joint
        self.post = post = _coerced("post", post)
        # Whatever is wrong with post is found before the model runs.
        _divergence(post, None)
        self.dtype = post[0].dtype
        self.batch, self.latent = post[0].shape
        self.seed, self.first_row = seed_of(key), count("first_row", first_row)
        self.num_particles = count("num_particles", num_particles, 1)

    def particles(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Blocks of particles (particles, batch): log p(x, z) and log q(z)."""
        draw = _core.mvn_rsample_and_log_prob if _is_full(self.post) else _core.gaussian_rsample_and_log_prob
        loc, spread = self.post
        block = _BLOCK // (self.batch * self.latent or 1) or 1
        for first in range(0, self.num_particles, block):
            number = min(block, self.num_particles - first)
            z, log_q = draw(loc, spread, self.seed, number, self.first_row, first)
            yield gaussian._log_density_of_draws(z, self._density), log_q

    def _density(self, z: NDArray[Any]) -> NDArray[Any]:
        rows = z.reshape(z.shape[0] * self.batch, self.latent)
        return _log_density("log_joint", self.log_joint(rows), rows).reshape(z.shape[:2])


def _log_density(argument: str, values: ArrayLike, z: NDArray[Any]) -> NDArray[Any]:
    """What a function of the draws z (rows, latent) returned for their log density, checked: (rows,)."""
    density = floats(argument, values)
    agree("z", z, argument, density)
    if density.shape != z.shape[:1]:
        raise ShapeError(
            f"{argument}: expected shape {z.shape[:1]}, one number for each row of z, got shape {density.shape}; "
            "sum over the latents, axis 1",
            argument=argument,
        )
    bad = np.isnan(density) | (density == np.inf)
    if bad.any():
        row = int(np.argmax(bad))
        raise NonFiniteError(
            f"{argument}: expected finite numbers or −inf, got {density[row]} for row {row} of z; "
            "look at the model there",
            argument=argument,
            row=row,
            value=float(density[row]),
        )
    return density
