"""What a model's latents tell of rows: their KL, how many are active, and how much of a row they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import gaussian, random
from elbokit.errors import ElbokitError, NonFiniteError
from elbokit.mixture import GaussianMixture
from elbokit.random import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elbokit.report.asked import Asked
    from elbokit.vae import VAE

__all__ = ["ACTIVE", "DRAWS", "IndexInformation", "Latents", "index_information", "latents", "use_by_decoder"]

# Variance of loc over the rows above which a latent is active (Burda, Grosse and Salakhutdinov 2016, section 5.2).
ACTIVE = 0.01
# Draws of the prior by which the decoder's use of a latent is measured.
DRAWS = 64
# Of log variances, so that neither a variance nor its inverse leaves float64's range.
_WIDEST = 600.0


class Latents(NamedTuple):
    """Of each latent, (latent_dim,).

    Attributes
    ----------
    kl : ndarray
        The mean over rows of KL(q(z_j | x) ‖ p(z_j)), in nats; of a learned prior, whose own has no closed form, to the
        Gaussian of p(z_j)'s mean and variance.
    variance : ndarray
        Of loc over the rows (ddof 0); NaN for fewer than two.
    rows : int
        How many rows entered: those whose posterior is finite.
    """

    kl: NDArray[np.float64]
    variance: NDArray[np.float64]
    rows: int


class IndexInformation(NamedTuple):
    """How much a latent tells of which row it came from.

    Attributes
    ----------
    value, standard_error : float
        Mean of log q(z | x) − log 1/m Σ q(z | x'), one z a row, in nats.
    rate : float
        The mean KL of the same rows.
    rows : int
        m.
    """

    value: float
    standard_error: float
    rate: float
    rows: int

    @property
    def ceiling(self) -> float:
        """ln m, above which no value can be."""
        return float(np.log(self.rows))

    @property
    def reached(self) -> bool:
        """Whether the value stands at its ceiling, and would be larger with more rows."""
        return self.rows > 1 and self.value > self.ceiling - 0.1


def latents(asked: Asked, rows: NDArray[np.int64]) -> Latents:
    """KL and spread of each latent over these rows, in blocks."""
    width, prior = asked.vae.latent_dim, _gaussian_prior(asked.vae)
    count, kl, mean, squares = 0, np.zeros(width), np.zeros(width), np.zeros(width)
    for block in asked.blocks(rows):
        loc, log_var = asked("encode", block)
        kl += np.nan if prior is None else gaussian.kl_per_dim(loc, log_var, *prior).sum(axis=0, dtype=np.float64)
        # Moments of two parts join about their own means (Chan, Golub and LeVeque 1983).
        loc = loc.astype(np.float64)
        of_block = loc.mean(axis=0)
        step = of_block - mean
        squares += ((loc - of_block) ** 2).sum(axis=0) + step**2 * (count * len(loc) / (count + len(loc)))
        count += len(loc)
        mean += step * (len(loc) / count)
    variance = squares / count if count > 1 else np.full(width, np.nan)
    return Latents(kl / count if count else np.full(width, np.nan), variance, count)


def _gaussian_prior(vae: VAE) -> tuple[NDArray[Any], ...] | None:
    """loc and log_var of each latent under a learned prior; () for N(0, I), None for one that has left the range."""
    if vae.prior == "standard":
        return ()
    try:
        mixture = vae.prior_
    except NonFiniteError:
        return None
    loc = mixture.weights @ mixture.locs
    variance = mixture.weights @ (mixture.variances + (mixture.locs - loc) ** 2)
    with np.errstate(over="ignore"):
        found = loc.astype(vae.dtype), np.log(variance).astype(vae.dtype)
    return found if all(np.isfinite(part).all() for part in found) else None


def index_information(
    asked: Asked, rows: NDArray[np.int64], hashes: NDArray[np.uint64], kl: NDArray[Any]
) -> IndexInformation:
    """The mutual information of these rows and their latents; a row's draw is a function of the key and the row."""
    if len(rows) < 2:
        return IndexInformation(0.0, 0.0, float(kl[rows].mean()) if len(rows) else np.nan, len(rows))
    loc, log_var = (part.astype(np.float64) for part in asked("encode", rows))
    log_var = np.clip(log_var, -_WIDEST, _WIDEST)
    key, shape = Key(asked.seed).split(1)[0], (1, loc.shape[1])
    noise = [random.normal(shape, key=key.fold_in(int(h)), dtype=np.float64) for h in hashes[rows]]
    z = loc + np.exp(log_var / 2) * np.concatenate(noise)
    together = GaussianMixture(np.full(len(rows), 1 / len(rows)), loc, np.exp(log_var))
    told = gaussian.log_prob(z, loc, log_var) - together.log_evidence(z)
    error = told.std(ddof=1) / len(rows) ** 0.5
    return IndexInformation(float(told.mean()), float(error), float(kl[rows].mean(dtype=np.float64)), len(rows))


def use_by_decoder(vae: VAE, key: Key, which: NDArray[np.int64], condition: NDArray[Any] | None) -> NDArray[np.float64]:
    """The nats by which p(x | z) differs from what it is with latent j drawn anew, for each j in `which`.

    The mean over z ~ p(z), beside these conditions in turn, of KL(p(x | z) ‖ p(x | z')), by one x ~ p(x | z) each; NaN
    where the model leaves the range.
    """
    used = np.full(len(which), np.nan)
    latent, anew, cells = key.split(3)
    likelihood = vae.likelihood_
    z, other = (vae.core.sample_prior(DRAWS, k.seed) for k in (latent, anew))
    try:
        params = vae.decode(z, condition=condition)
        x = likelihood.sample(params, key=cells)
        own = likelihood.log_prob(x, params).astype(np.float64)
        for place, j in enumerate(which):
            moved = z.copy()
            moved[:, j] = other[:, j]
            used[place] = (own - likelihood.log_prob(x, vae.decode(moved, condition=condition))).mean()
    except ElbokitError:
        return used
    return np.where(np.isfinite(used), used, np.nan)
