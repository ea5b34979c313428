"""Gradients of the bound with respect to the posterior's parameters, by four estimators, for a decoder with a pullback.

>>> import numpy as np
>>> import elbokit as ek
>>> x = np.array([[0.3], [1.0]])
>>> exact = ek.GaussianParams(x / 2, np.full((2, 1), np.log(0.5)))  # p(z) = N(0, 1), p(x|z) = N(z, 1)
>>> identity = lambda z: (z, lambda d_params: d_params)
>>> lik = ek.likelihood.Gaussian(1.0)
>>> terms, d_loc, d_log_var = ek.elbo_grad(x, exact, identity, lik, key=0, estimator="stl")
>>> bool(abs(d_loc).max() < 1e-12 and abs(d_log_var).max() < 1e-12)  # at the exact posterior, of every draw
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core, gaussian, mvn
from elbokit._arrays import agree, floats
from elbokit.errors import NonFiniteError, ShapeError
from elbokit.evidence import (
    ElboTerms,
    GaussianParams,
    MvnParams,
    _by_row,
    _check_form,
    _divergence,
    _is_full,
    _Means,
    _Terms,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from elbokit.likelihood import Likelihood
    from elbokit.mixture import GaussianMixture
    from elbokit.random import Key

__all__ = ["elbo_grad"]

_ESTIMATORS = ("pathwise", "stl", "dreg", "score")
_OBJECTIVES = ("elbo", "iwae")


def elbo_grad(
    x: ArrayLike,
    post: GaussianParams | MvnParams,
    decoder_vjp: Callable[[NDArray[Any]], tuple[ArrayLike, Callable[[NDArray[Any]], ArrayLike]]],
    likelihood: Likelihood,
    *,
    key: Key | int,
    num_particles: int = 1,
    estimator: str = "pathwise",
    objective: str = "elbo",
    kl: str = "analytic",
    prior: GaussianParams | MvnParams | GaussianMixture | None = None,
    mask: ArrayLike | None = None,
) -> tuple[ElboTerms, NDArray[Any], NDArray[Any]]:
    """The terms of `elbo`, and the gradient of each row's objective: (terms, d_loc, d_log_var).

    With ln w = log p(x, z) − log q(z), z = loc + scale · ε, and w̃ = 1/K ("elbo") or w / Σ w ("iwae") the share of a
    particle, the gradient is Σ over particles of:

    ============ ======================================================================================
    "pathwise"   w̃ · d ln w / d(loc, log_var) along z at a fixed ε: the gradient of what was drawn
    "stl"        the same with log q's parameters held still: w̃ · ∂ln w/∂z · ∂z/∂(loc, log_var)
    "dreg"       w̃² · ∂ln w/∂z · ∂z/∂(loc, log_var); of "elbo" it is "stl", the bound being of one particle
    "score"      c · ∂log q(z)/∂(loc, log_var), c what the particle adds to the objective over the others
    ============ ======================================================================================

    c is (ln w − mean ln w) / (K − 1) for "elbo" and ℓ − ℓ₋ₖ − w̃ for "iwae", ℓ₋ₖ the bound of the other particles.

    Parameters
    ----------
    x : array_like, shape (batch, features)
        Any real dtype; NaN is a missing cell.
    post : GaussianParams or MvnParams
        loc and log_var, (batch, latent), or loc and scale_tril; float32 or float64.
    decoder_vjp : callable
        z (rows, latent) -> (params (rows, num_params), pullback), of z's dtype; rows are those of `elbo`'s decoder.
        pullback(d_params) -> d_z (rows, latent) receives w̃ · ∂log p(x | z)/∂params, the cotangent that is right for the
        decoder's own parameters whatever the estimator; it is called once a block of particles. What an estimator
        asks for beyond w̃ is applied to the returned d_z by row. Where the particles are more than one block and the
        weights are needed first, z is drawn and decoded twice, the first time without a pullback.
    likelihood : Likelihood
    key : Key or int
        The draws are those of `elbo`.
    num_particles : int
    estimator : {"pathwise", "stl", "dreg", "score"}
    objective : {"elbo", "iwae"}
        The ELBO, or the K-particle bound ln (1/K Σ w).
    kl : {"analytic", "monte_carlo"}
        The form of the terms, and of the pathwise gradient of "elbo". Everything else differentiates the Monte Carlo
        form.
    prior : GaussianParams, MvnParams or GaussianMixture, optional
        As in `elbo`.
    mask : array_like of bool, shape (batch, features), optional
        True = observed.

    Returns
    -------
    terms : ElboTerms
        Those of `elbo` with the same key and kl, bit for bit, whatever the estimator and objective.
    d_loc : ndarray, shape (batch, latent)
    d_log_var : ndarray, shape (batch, latent)
        For MvnParams d_scale_tril, (batch, latent, latent) by row, 0 above the diagonal.

    Raises
    ------
    ValueError
        Also for "stl" with "iwae", which is biased, and for "score" with one particle, which has no baseline.
    ShapeError, DtypeError, NonFiniteError, SupportError

    Notes
    -----
    All but "stl" of "iwae" are unbiased. At q = p(z | x) "stl" and "dreg" are 0 for every draw (1e-12 in float64),
    pathwise is not. No estimator is the best everywhere: with target N(2, 3²), q = N(−3, 1) and 10 particles "dreg"
    deviates 6.7 times as much as "pathwise" in loc, at q = N(1.8, 2.8²) 50 times less. The signal to noise of
    "pathwise" falls with the particles of "iwae" like 1/√K, that of "dreg" rises like √K. `compare_estimators` measures
    them on a model. Sums over particles are in float64. A gradient whose parts leave the range is ±inf, +inf where
    its sign is lost.

    References
    ----------
    Roeder, Wu and Duvenaud (2017), "Sticking the landing". Tucker, Lawson, Gu and Maddison (2019), "Doubly
    reparameterized gradient estimators". Mnih and Rezende (2016), "Variational inference for Monte Carlo objectives".
    Rainforth et al. (2018), "Tighter variational bounds are not necessarily better".
    """
    if not callable(decoder_vjp):
        raise ValueError(
            f"decoder_vjp: expected a function from z to (params, pullback), got {decoder_vjp!r}; give one"
        )
    _check_choice("estimator", estimator, _ESTIMATORS)
    _check_choice("objective", objective, _OBJECTIVES)
    _check_form(kl, prior)
    if (estimator, objective) == ("stl", "iwae"):
        raise ValueError(
            'estimator: expected "pathwise", "dreg" or "score" with objective="iwae", of which "stl" is biased, '
            'got "stl"; give estimator="dreg"'
        )
    # The one combination whose gradient needs no weight of a draw.
    exact = estimator == "pathwise" and objective == "elbo" and kl == "analytic"
    terms = _Terms(
        x,
        post,
        lambda z: _decoded(decoder_vjp, z)[0],
        likelihood,
        key,
        num_particles,
        prior,
        mask,
        0,
        weigh=not exact,
    )
    if estimator == "score" and terms.num_particles == 1:
        raise ValueError(
            'num_particles: expected at least 2 with estimator="score", whose baseline is the other particles, got 1; '
            'give more particles, or estimator="pathwise"'
        )
    means = _Means(terms, _divergence(terms.post, terms.known) if kl == "analytic" else None)
    weights = _Shares(terms) if objective == "iwae" else _Equal(terms)
    proposal = _Full(terms) if _is_full(terms.post) else _Diagonal(terms)
    # Whether every weight must be known before the first is used.
    waits = objective == "iwae" or estimator == "score"
    twice = waits and terms.num_particles > terms.block
    if twice:
        for log_ratio, log_likelihood in terms.particles():
            weights.push(log_likelihood - log_ratio)
    # Of parts that leave the range the end makes what it can.
    with np.errstate(over="ignore", invalid="ignore"):
        for first, z, log_ratio in terms.draws():
            # Before the decoder has z, which is the decoder's to write over.
            pull = (
                None if exact or estimator == "score" else _prior_pull(terms, z.reshape(*log_ratio.shape, terms.latent))
            )
            params, pullback = _decoded(decoder_vjp, z)
            log_likelihood, d_params = likelihood.log_prob_grad(terms.x, terms.params(params, z))
            log_likelihood = log_likelihood.reshape(log_ratio.shape)
            log_weights = log_likelihood - log_ratio
            means.push(log_ratio, log_likelihood)
            if waits and not twice:
                weights.push(log_weights)
            share = weights.shares(log_weights)
            d_z = _pulled(pullback, _by_share(share, d_params.reshape(*log_ratio.shape, d_params.shape[1])), z)
            proposal.draw(first, len(log_ratio))
            if estimator == "score":
                proposal.add_scores(weights.contributions(log_weights))
                continue
            if pull is not None:
                # Along z alone, log q counts too; at a fixed ε it does not change with z.
                d_z += _by_share(share, pull if estimator == "pathwise" else pull + proposal.outward())
            if estimator == "dreg":
                d_z = weights.again(share, d_z)
            proposal.add(d_z)
        return (means.result(), *proposal.result(entropy=estimator == "pathwise" and not exact, divergence=exact))


def _check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        named = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{argument}: expected one of {named}, got {value!r}; use one of them")


# The decoder's two ways.


def _decoded(decoder_vjp: Callable[[NDArray[Any]], Any], z: NDArray[Any]) -> tuple[ArrayLike, Callable[..., ArrayLike]]:
    returned = decoder_vjp(z)
    if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
        raise ValueError(
            f"decoder_vjp: expected a pair (params, pullback) of what it returns, got {type(returned).__name__}; "
            "return params and a function from d_params to d_z"
        )
    return returned


def _pulled(pullback: Callable[..., ArrayLike], d_params: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float64]:
    """What the pullback makes of d_params (particles, batch, num_params), checked: (particles, batch, latent)."""
    d_z = floats("d_z", pullback(d_params.reshape(len(z), d_params.shape[2])))
    agree("z", z, "d_z", d_z)
    if d_z.shape != z.shape:
        raise ShapeError(
            f"d_z: expected shape {z.shape} like z from the pullback, got shape {d_z.shape}; "
            "return the cotangent of z for each row",
            argument="d_z",
        )
    if np.isnan(d_z).any():
        row, column = (int(at) for at in np.argwhere(np.isnan(d_z))[0])
        raise NonFiniteError(
            f"d_z: expected finite numbers from the pullback, got nan at row {row}, column {column}; "
            "look at the decoder's derivative there",
            argument="d_z",
            row=row,
            column=column,
            value=float("nan"),
        )
    return d_z.astype(np.float64).reshape(*d_params.shape[:2], z.shape[1])


# Shares of the particles in the objective, and what each adds to it.


def _by_share(share: Any, array: NDArray[Any]) -> NDArray[Any]:
    """An array (particles, batch, …) by the particles' shares; a share of 0 makes nothing of an infinity."""
    by = np.asarray(share)[..., None]
    product = array * by
    return product if by.all() else np.where(by == 0, by, product)


class _Equal:
    """Those of the ELBO."""

    def __init__(self, terms: _Terms) -> None:
        self.count = terms.num_particles
        self.share = terms.dtype.type(1 / self.count)
        self.mean = _core.RunningTerms(terms.batch, True)

    def push(self, log_weights: NDArray[Any]) -> None:
        self.mean.push(log_weights)

    def shares(self, _: NDArray[Any]) -> Any:
        return self.share

    def again(self, _: Any, d_z: NDArray[Any]) -> NDArray[Any]:
        return d_z

    def contributions(self, log_weights: NDArray[Any]) -> NDArray[Any]:
        """The log weight over the mean of the others', over K."""
        above: NDArray[Any] = log_weights - self.mean.result()[0]
        return above / (self.count - 1)


class _Shares:
    """Those of the importance-weighted bound."""

    def __init__(self, terms: _Terms) -> None:
        self.inner = _core.Shares(terms.batch)

    def push(self, log_weights: NDArray[Any]) -> None:
        self.inner.push(log_weights)

    def shares(self, log_weights: NDArray[Any]) -> Any:
        return self.inner.shares(log_weights)

    def again(self, share: Any, d_z: NDArray[Any]) -> NDArray[Any]:
        return _by_share(share, d_z)

    def contributions(self, log_weights: NDArray[Any]) -> NDArray[Any]:
        return self.inner.contributions(log_weights)


# The way from z to the posterior's parameters. ε is drawn again from its counter, so that nothing of a draw is kept.


class _Sum:
    """Σ over particles of an array (particles, *shape), in float64."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.count = shape, 0
        self.mean = _core.RunningTerms(int(np.prod(shape)), True)

    def add(self, array: NDArray[Any]) -> None:
        self.count += len(array)
        self.mean.push(array.reshape(len(array), int(np.prod(self.shape))))

    def total(self) -> NDArray[np.float64]:
        return (self.mean.result()[0] * self.count).reshape(self.shape)


class _Diagonal:
    """loc and log_var."""

    def __init__(self, terms: _Terms) -> None:
        self.terms = terms
        shape = (terms.batch, terms.latent)
        self.zero = np.zeros(shape, terms.dtype)
        self.first = self.number = 0
        self.sums = _Sum(*shape), _Sum(*shape)

    def draw(self, first: int, number: int) -> None:
        self.first, self.number = first, number

    def _noise(self, log_var: NDArray[Any]) -> NDArray[np.float64]:
        """exp(log_var / 2) · ε of these particles."""
        seed = self.terms.seed
        draws = _core.gaussian_rsample_and_log_prob(self.zero, log_var, seed, self.number, 0, self.first)[0]
        return draws.astype(np.float64)

    def outward(self) -> NDArray[np.float64]:
        """−∂log q/∂z = ε / scale."""
        return self._noise(-self.terms.post[1])

    def add(self, d_z: NDArray[np.float64]) -> None:
        self.sums[0].add(d_z)
        self.sums[1].add(0.5 * d_z * self._noise(self.terms.post[1]))

    def add_scores(self, by: NDArray[Any]) -> None:
        """By each particle's factor, ∂log q/∂loc = ε / scale and ∂log q/∂log_var = (ε² − 1) / 2."""
        eps = self._noise(self.zero)
        self.sums[0].add(by[..., None] * self.outward())
        self.sums[1].add(by[..., None] * (0.5 * (eps * eps - 1)))

    def result(self, *, entropy: bool, divergence: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """The gradients, with the entropy's, ½ of each log_var, and less the divergence's where asked for."""
        d_loc, d_log_var = (part.total() for part in self.sums)
        if entropy:
            d_log_var += 0.5
        return _finished(self.terms, d_loc, d_log_var, divergence=divergence)


class _Full:
    """loc and scale_tril."""

    def __init__(self, terms: _Terms) -> None:
        self.terms = terms
        batch, latent = terms.batch, terms.latent
        self.zero = np.zeros((batch, latent), terms.dtype)
        self.scale_tril = terms.post[1].astype(np.float64)
        self.eps = np.zeros((0, batch, latent))
        self.factors = _Sum(batch)
        self.sums = _Sum(batch, latent), _Sum(batch, latent, latent)

    def draw(self, first: int, number: int) -> None:
        seed = self.terms.seed
        eps = _core.gaussian_rsample_and_log_prob(self.zero, self.zero, seed, number, 0, first)[0]
        self.eps = eps.astype(np.float64)

    def outward(self) -> NDArray[np.float64]:
        """−∂log q/∂z = L⁻ᵀ ε."""
        return _solve_transposed(self.scale_tril, self.eps.copy())

    def add(self, d_z: NDArray[np.float64]) -> None:
        self.sums[0].add(d_z)
        # One particle at a time: the products are latent times as many numbers as its draw has.
        for one, eps in zip(d_z, self.eps, strict=True):
            self.sums[1].add(np.tril(one[:, :, None] * eps[:, None, :])[None])

    def add_scores(self, by: NDArray[Any]) -> None:
        """By each particle's factor, ∂log q/∂loc = L⁻ᵀ ε and ∂log q/∂L = tril(L⁻ᵀ ε εᵀ) − diag(1 / L)."""
        self.add(by[..., None] * self.outward())
        # The factors add up to what the entropy's part is taken by.
        self.factors.add(by)

    def result(self, *, entropy: bool, divergence: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """The gradients, with the entropy's, 1 / L on the diagonal, and less the divergence's where asked for."""
        d_loc, d_scale_tril = (part.total() for part in self.sums)
        by = 1.0 if entropy else -self.factors.total()[:, None]
        place = np.arange(self.terms.latent)
        d_scale_tril[:, place, place] += by / self.scale_tril[..., place, place]
        return _finished(self.terms, d_loc, d_scale_tril, divergence=divergence)


def _finished(
    terms: _Terms, d_loc: NDArray[np.float64], d_spread: NDArray[np.float64], *, divergence: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    if divergence:
        by_loc, by_spread = _divergence_grad(terms.post, terms.known)
        d_loc, d_spread = d_loc - by_loc, d_spread - by_spread
    d_loc, d_spread = (np.where(np.isnan(part), np.inf, part).astype(terms.dtype) for part in (d_loc, d_spread))
    return d_loc, d_spread


def _divergence_grad(
    post: GaussianParams | MvnParams, prior: GaussianParams | MvnParams | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """∂KL(q ‖ p(z)) with respect to q's two parameters, by row."""
    if prior is None or _is_full(post) == _is_full(prior):
        kl_grad = mvn.kl_grad if _is_full(post) else gaussian.kl_grad
        _, d_loc, d_spread, *_ = kl_grad(*post, *(prior or ()))
        return d_loc, d_spread
    if _is_full(post):
        _, d_loc, d_spread, *_ = mvn.kl_grad(*post, prior[0], _core.mvn_diagonal(prior[1]))
        return d_loc, d_spread
    scales = _core.mvn_diagonal(post[1])
    _, d_loc, d_scales, *_ = mvn.kl_grad(post[0], scales, *prior)
    place = np.arange(scales.shape[-1])
    # scale = exp(log_var / 2).
    return d_loc, 0.5 * d_scales[:, place, place] * scales[:, place, place]


# ∂log p(z)/∂z.


def _prior_pull(terms: _Terms, z: NDArray[Any]) -> NDArray[np.float64]:
    """∂log p(z)/∂z of draws (particles, batch, latent)."""
    if terms.prior_mixture is None and terms.known is None:
        return -z.astype(np.float64)
    inside = np.isfinite(z).all(axis=-1, keepdims=True)
    point = np.where(inside, z, z.dtype.type(0))
    if terms.prior_mixture is not None:
        pull = terms.prior_mixture.grad_log_prob(point.reshape(-1, terms.latent)).reshape(z.shape).astype(np.float64)
    else:
        known = _by_row(terms.known, terms.post[0])
        if _is_full(known):
            scale_tril = known.scale_tril.astype(np.float64)
            pull = -_solve_transposed(scale_tril, _solve(scale_tril, point.astype(np.float64) - known.loc))
        else:
            pull = gaussian.log_prob_grad(point, *known)[1].astype(np.float64)
    # Past the range the density falls as steeply as can be.
    return np.where(inside, pull, -z)


def _solve(scale_tril: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """L⁻¹ v in v's place, by columns: the same operations of each row whatever rows are beside it."""
    for j in range(v.shape[-1]):
        v[..., j] /= scale_tril[..., j, j]
        v[..., j + 1 :] -= v[..., j, None] * scale_tril[..., j + 1 :, j]
    return v


def _solve_transposed(scale_tril: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """L⁻ᵀ v in v's place."""
    for j in reversed(range(v.shape[-1])):
        v[..., j] /= scale_tril[..., j, j]
        v[..., :j] -= v[..., j, None] * scale_tril[..., j, :j]
    return v
