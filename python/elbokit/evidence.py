"""The evidence lower bound of any model: a posterior's arrays, a decoder that is any Python function, and a likelihood.

>>> import numpy as np
>>> import elbokit as ek
>>> x = np.array([[0.3], [1.0]])
>>> post = ek.GaussianParams(loc=x / 2, log_var=np.full((2, 1), np.log(0.5)))  # p(z) = N(0, 1), p(x|z) = N(z, 1): exact
>>> terms = ek.elbo(x, post, lambda z: z, ek.likelihood.Gaussian(1.0), key=0, kl="monte_carlo")
>>> np.allclose(terms.elbo, -0.5 * (x[:, 0] ** 2 / 2 + np.log(4 * np.pi)))  # log p(x), for every draw
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import _core, gaussian, mvn
from elbokit._arrays import agree, choice, count, floats, observed, pair
from elbokit.errors import ArgumentError, NonFiniteError, ShapeError
from elbokit.likelihood import Likelihood
from elbokit.mixture import GaussianMixture
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeGuard, TypeVar

    from numpy.typing import ArrayLike, NDArray

    _Weighed = TypeVar("_Weighed")

__all__ = ["ElboTerms", "GaussianParams", "MvnParams", "elbo", "log_weights"]

# Numbers of z that one call of the decoder gets: enough to amortise the call, little enough that params, which may be
# far wider, stay in memory.
_BLOCK = 1 << 18


class GaussianParams(NamedTuple):
    """A diagonal Gaussian for each row.

    Attributes
    ----------
    loc : ndarray, shape (batch, latent)
    log_var : ndarray, shape (batch, latent)
        ln of the variance.
    """

    loc: Any
    log_var: Any


class MvnParams(NamedTuple):
    """A Gaussian with a full covariance for each row.

    Attributes
    ----------
    loc : ndarray, shape (batch, latent)
    scale_tril : ndarray, shape (batch, latent, latent) or (latent, latent)
        The covariance's lower triangular factor, of positive diagonal; (latent, latent) is that of every row.
    """

    loc: Any
    scale_tril: Any


class ElboTerms(NamedTuple):
    """The evidence lower bound of each row and its parts, in nats.

    Attributes
    ----------
    elbo : ndarray, shape (batch,)
        reconstruction − kl.
    reconstruction : ndarray, shape (batch,)
        The mean over particles of log p(x | z).
    kl : ndarray, shape (batch,)
        KL(q ‖ p(z)), exact or the particles' mean of log q(z | x) − log p(z).
    standard_error : ndarray, shape (batch,)
        That of elbo: sd (ddof 1) / √particles, +inf for one particle.
    """

    elbo: NDArray[Any]
    reconstruction: NDArray[Any]
    kl: NDArray[Any]
    standard_error: NDArray[Any]


def elbo(
    x: ArrayLike,
    post: GaussianParams | MvnParams,
    decoder: Callable[[NDArray[Any]], ArrayLike],
    likelihood: Likelihood,
    *,
    key: Key | int,
    num_particles: int = 1,
    kl: str = "analytic",
    prior: GaussianParams | MvnParams | GaussianMixture | None = None,
    mask: ArrayLike | None = None,
    first_row: int = 0,
) -> ElboTerms:
    """The evidence lower bound of each row and its parts, each of shape (batch,), in nats.

    E_q[log p(x | z)] − KL(q ‖ p(z)) with the divergence in closed form (``kl="analytic"``), or the definition
    E_q[log p(x | z) + log p(z) − log q(z | x)] by the same draws (``kl="monte_carlo"``).

    Parameters
    ----------
    x : array_like, shape (batch, features)
        Any real dtype; NaN is a missing cell, and the bound is then of the observed cells.
    post : GaussianParams or MvnParams
        loc and log_var, (batch, latent), or loc and scale_tril; float32 or float64.
    decoder : callable
        z (rows, latent) -> params (rows, num_params), of z's dtype. Rows are particle-major: row r is particle r //
        batch of batch row r % batch. It may be called several times and must treat rows independently.
    likelihood : Likelihood
    key : Key or int
        The draws are those of `gaussian.rsample` or `mvn.rsample` with this key, num_particles and first_row.
    num_particles : int
    kl : {"analytic", "monte_carlo"}
    prior : GaussianParams, MvnParams or GaussianMixture, optional
        Of either Gaussian kind, whatever post is: loc and log_var (latent,) or (batch, latent), scale_tril (latent,
        latent) or (batch, latent, latent); N(0, I) by default. A mixture needs ``kl="monte_carlo"``.
    mask : array_like of bool, shape (batch, features), optional
        True = observed.
    first_row : int
        The number of the first row, so that partitions of a data set score as the whole does.

    Returns
    -------
    ElboTerms
        Of loc's dtype.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, SupportError, ValueError

    Notes
    -----
    A draw that has left the float's range has probability 0 where the decoder's params of it are no numbers, and with
    ``kl="monte_carlo"`` density 0 under the prior: its row's elbo is −inf. Where infinities of both signs meet, in a
    difference or a mean, the one that lowers the bound stands: of log q(z | x) and log p(z) both at −inf, log p(z).

    The expectation of elbo is at most log p(x). With the exact posterior and ``kl="monte_carlo"`` every draw equals it.

    Of a diagonal posterior and a diagonal prior, log q(z | x) − log p(z) is ½ Σ [δ² − ε² + prior_log_var − log_var],
    δ = (z − prior_loc) / prior scale and ε what z was made of; to N(0, I) δ² − ε² is (z − ε)(z + ε). Its largest error
    measured is 2.7e-07 (float32) and 5.9e-16 (float64), relative to the sum of the terms' magnitudes; the core's
    tests assert 4e-7 and 4e-15. Any other pair is two densities and their difference.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes", equations 2 and 3.
    """
    _check_form(kl, prior)
    terms = _Terms(x, post, decoder, likelihood, key, num_particles, prior, mask, first_row, weigh=kl == "monte_carlo")
    means = _Means(terms, None if terms.weigh else terms.divergence)
    for log_ratio, log_likelihood in terms.particles():
        means.push(log_ratio, log_likelihood)
    return means.result()


def log_weights(
    x: ArrayLike,
    post: GaussianParams | MvnParams,
    decoder: Callable[[NDArray[Any]], ArrayLike],
    likelihood: Likelihood,
    *,
    key: Key | int,
    num_particles: int,
    prior: GaussianParams | MvnParams | GaussianMixture | None = None,
    mask: ArrayLike | None = None,
) -> NDArray[Any]:
    """log p(x, z) − log q(z | x) of each draw, shape (particles, batch), in nats: what `bounds` takes.

    Parameters, errors and what leaves the range are as in `elbo`.

    Examples
    --------
    >>> import numpy as np
    >>> import elbokit as ek
    >>> post = GaussianParams(np.zeros((2, 1)), np.zeros((2, 1)))
    >>> log_weights([[0.0], [1.0]], post, lambda z: z, ek.likelihood.Gaussian(), key=0, num_particles=3).shape
    (3, 2)
    """
    terms = _Terms(x, post, decoder, likelihood, key, num_particles, prior, mask, 0, weigh=True)
    blocks = [
        gaussian._difference(log_likelihood, log_ratio, -np.inf, out=log_ratio)
        for log_ratio, log_likelihood in terms.particles()
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _check_form(kl: Any, prior: GaussianParams | MvnParams | GaussianMixture | None) -> None:
    choice("kl", kl, ("analytic", "monte_carlo"))
    if kl == "analytic" and isinstance(prior, GaussianMixture):
        raise ArgumentError(
            'kl: expected "monte_carlo" with a GaussianMixture as prior, which has no closed form, got "analytic"; '
            'give kl="monte_carlo"'
        )


class _Terms:
    """What every estimator of the bound needs: checked arrays, and its particles in blocks of bounded memory."""

    def __init__(
        self,
        x: ArrayLike,
        post: GaussianParams | MvnParams,
        decoder: Callable[[NDArray[Any]], ArrayLike],
        likelihood: Likelihood,
        key: Key | int,
        num_particles: int,
        prior: GaussianParams | MvnParams | GaussianMixture | None,
        mask: ArrayLike | None,
        first_row: int,
        *,
        weigh: bool,
    ) -> None:
        if not isinstance(likelihood, Likelihood):
            raise ArgumentError(f"likelihood: expected one of elbokit.likelihood, got {likelihood!r}; make one")
        if not callable(decoder):
            raise ArgumentError(f"decoder: expected a function from z to params, got {decoder!r}; give one")
        self.post = post = _coerced("post", post)
        loc = post[0]
        self.dtype = dtype = loc.dtype
        self.x = x = observed(x, dtype, mask)
        if loc.ndim != 2 or x.ndim != 2 or len(x) != len(loc):
            raise ShapeError(
                f"x: expected (batch, features) with loc (batch, latent), got {x.shape} with {loc.shape}; "
                "give x and post the same rows",
                argument="x",
            )
        self.batch, self.latent = loc.shape
        self.decoder, self.likelihood, self.weigh = decoder, likelihood, weigh
        self.seed, self.first_row = seed_of(key), count("first_row", first_row)
        self.num_particles = count("num_particles", num_particles, 1)
        known = self.mixture = self.prior_mixture = None
        if isinstance(prior, GaussianMixture):
            self.prior_mixture = prior
            self.mixture = gaussian._mixture_density(prior, self.latent)
        elif prior is not None:
            known = _coerced("prior", prior, "prior_")
        self.known = known
        diagonal = not (_is_full(post) or self.mixture or isinstance(known, MvnParams))
        self.proposal = _core.Proposal(*post, *(known or ())) if diagonal else None
        # Either checks posterior and prior before any decoder runs.
        if not (diagonal and weigh):
            self.divergence = _divergence(post, known)
        if not diagonal:
            self.prior = _by_row(known, loc)

    @property
    def block(self) -> int:
        """Particles that one call of the decoder gets."""
        return _BLOCK // (self.batch * self.latent or 1) or 1

    def draws(self) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Blocks of particles: the first one's number, z (rows, latent) and log q(z | x) − log p(z), where weighed."""
        for first in range(0, self.num_particles, self.block):
            yield (first, *self._draw(min(self.block, self.num_particles - first), first))

    def params(self, decoded: ArrayLike, z: NDArray[Any]) -> NDArray[Any]:
        """What the decoder made of z, checked."""
        params = floats("params", decoded)
        agree("z", z, "params", params)
        if params.ndim != 2 or len(params) != len(z):
            raise ShapeError(
                f"params: expected {len(z)} rows from the decoder, got shape {params.shape}; "
                "return one row of params for each row of z",
                argument="params",
            )
        return params

    def particles(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Blocks of particles (particles, batch): log q(z | x) − log p(z), where they are weighed, and log p(x | z)."""
        # A draw is weighed before the decoder has z, which is the decoder's to write over.
        for first, z, log_ratio in self.draws():
            params = self.params(self.decoder(z), z)
            log_likelihood, lost = self.weighed(self.likelihood.log_prob, params, len(log_ratio), first)
            if lost is not None:
                log_likelihood[lost] = -np.inf
            yield log_ratio, log_likelihood.reshape(log_ratio.shape)

    def weighed(
        self, of: Callable[[Any, Any], _Weighed], params: NDArray[Any], number: int, first: int
    ) -> tuple[_Weighed, NDArray[np.bool_] | None]:
        """What `of` makes of x and params, and which rows' z have left the float's range, if their params have too."""
        try:
            return of(self.x, params), None
        except NonFiniteError as error:
            if error.argument != "params" or not (lost := self._lost(number, first)).any():
                raise
            return of(self.x, np.where(lost[:, None], self.dtype.type(0), params)), lost

    def _lost(self, number: int, first: int) -> NDArray[np.bool_]:
        """Which rows of a block's z have left the float's range; drawn again, as the decoder may write over them."""
        z, _ = self._draw(number, first)
        return np.isinf(z).any(axis=1)  # type: ignore[no-any-return]

    def _draw(self, number: int, first: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Particles `first` and on; what `Proposal` does not know is drawn first and weighed after."""
        if self.proposal:
            return self.proposal.draw(self.seed, number, self.first_row, first)
        draw = _core.mvn_rsample_and_log_prob if _is_full(self.post) else _core.gaussian_rsample_and_log_prob
        loc, spread = self.post
        z, log_ratio = draw(loc, spread, self.seed, number, self.first_row, first)
        if self.weigh:
            # ∞ − ∞ stays NaN until all that it enters is known.
            gaussian._difference(log_ratio, self._log_prior(z), None, out=log_ratio)
        return z.reshape(number * self.batch, self.latent), log_ratio

    def _log_prior(self, z: NDArray[Any]) -> NDArray[Any]:
        """log p(z), (particles, batch); a draw that has left the float's range has density 0."""
        return gaussian._log_density_of_draws(z, self.mixture or (lambda draws: _log_prob(draws, self.prior)))


class _Means:
    """The terms of `elbo` from particles that come in blocks, with the exact divergence where it is given."""

    def __init__(self, terms: _Terms, divergence: NDArray[Any] | None) -> None:
        self.dtype, self.divergence = terms.dtype, divergence
        # A float64 mean becomes one of loc's dtype by one rounding, here or below.
        double = terms.dtype == np.float64 or divergence is not None
        self.means = [_core.RunningTerms(terms.batch, double) for _ in range(3 if divergence is None else 1)]

    def push(self, log_ratio: NDArray[Any], log_likelihood: NDArray[Any]) -> None:
        """Takes a block (particles, batch); without a divergence log_ratio becomes the log weights."""
        self.means[0].push(log_likelihood)
        if self.divergence is None:
            self.means[1].push(log_ratio)
            # ∞ − ∞ may stay NaN here: so is then the mean, and `result` decides it.
            self.means[2].push(gaussian._difference(log_likelihood, log_ratio, None, out=log_ratio))

    def result(self) -> ElboTerms:
        value, error = self.means[0].result()
        divergence = self.divergence
        if divergence is None:
            (divergence, _), (bound, error) = (mean.result() for mean in self.means[1:])
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                bound, value, error = (part.astype(self.dtype) for part in (value - divergence, value, error))
        # Infinities have met nowhere where the bound is a number above −∞; NaN counts as the least.
        if bound.size and not bound.item(bound.argmin()) > -np.inf:
            bound, value = (gaussian._decided(part, -np.inf) for part in (bound, value))
            divergence = gaussian._decided(divergence, np.inf)
        return ElboTerms(bound, value, divergence, error)


# What depends on the kind of a posterior or a prior.


def _is_full(params: GaussianParams | MvnParams) -> TypeGuard[MvnParams]:
    # A plain pair is loc and log_var.
    return isinstance(params, MvnParams)


def _coerced(argument: str, params: Any, prefix: str = "") -> GaussianParams | MvnParams:
    if not (isinstance(params, tuple) and len(params) == 2):
        size = f" of {len(params)}" if isinstance(params, tuple) else ""
        raise ArgumentError(
            f"{argument}: expected GaussianParams(loc, log_var) or MvnParams(loc, scale_tril), "
            f"got {type(params).__name__}{size}; make one"
        )
    kind, second = (MvnParams, "scale_tril") if isinstance(params, MvnParams) else (GaussianParams, "log_var")
    loc, spread = params
    ready = pair(prefix + "loc", loc, prefix + second, spread)
    return params if type(params) is kind and ready[0] is loc and ready[1] is spread else kind(*ready)


def _divergence(post: GaussianParams | MvnParams, prior: GaussianParams | MvnParams | None) -> NDArray[Any]:
    """KL(q ‖ p(z)) of each row; whatever is wrong with either is an error that names it."""
    if prior is None:
        return mvn.kl(*post) if _is_full(post) else gaussian.kl(*post)
    if _is_full(post) == _is_full(prior):
        return mvn.kl(*post, *prior) if _is_full(post) else gaussian.kl(*post, *prior)
    # A mixed pair: the diagonal one is checked under its own names.
    if _is_full(post):
        gaussian.kl(post.loc, np.zeros_like(post.loc), *prior)
        return _core.mvn_kl_to_diagonal(*post, *prior)
    gaussian.kl(*post)
    return _core.mvn_kl_of_diagonal(*post, *prior)


def _by_row(prior: GaussianParams | MvnParams | None, like: NDArray[Any]) -> GaussianParams | MvnParams:
    """A prior whose vectors have the rows of `like`, as `log_prob` takes them."""
    if prior is None:
        return GaussianParams(np.zeros_like(like), np.zeros_like(like))
    loc = np.ascontiguousarray(np.broadcast_to(prior.loc, like.shape))
    if _is_full(prior):
        return MvnParams(loc, prior.scale_tril)
    return GaussianParams(loc, np.ascontiguousarray(np.broadcast_to(prior[1], like.shape)))


def _log_prob(z: NDArray[Any], params: GaussianParams | MvnParams) -> NDArray[Any]:
    return mvn.log_prob(z, *params) if _is_full(params) else gaussian.log_prob(z, *params)
