"""The way from the cotangent of z to the posterior's parameters, and from the prior's density to z.

ε is drawn again from its counter, so that nothing of a draw is kept. Only elementwise operations and sums particle by
particle are used: a row has the same bits whatever rows are beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core, gaussian, mvn
from elbokit.evidence import GaussianParams, MvnParams, _by_row, _is_full

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elbokit.evidence import _Terms


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


class Diagonal:
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


class Full:
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


def prior_pull(terms: _Terms, z: NDArray[Any]) -> NDArray[np.float64]:
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
