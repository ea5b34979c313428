"""Which estimator of the gradient is the least noisy on a model: `compare_estimators` measures, a table shows.

>>> import numpy as np
>>> import elbokit as ek
>>> x = np.array([[0.3], [1.0]])  # p(z) = N(0, 1), p(x|z) = N(z, 1)
>>> exact = ek.GaussianParams(x / 2, np.full((2, 1), np.log(0.5)))
>>> identity = lambda z: (z, lambda d_params: d_params)
>>> comparison = ek.compare_estimators(x, exact, identity, ek.likelihood.Gaussian(1.0), key=0, num_particles=2)
>>> bool(comparison["stl"].variance[0].max() < 1e-24 < comparison["pathwise"].variance[0].min())
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import _core
from elbokit._arrays import choice, count, observed
from elbokit.errors import ArgumentError, ShapeError
from elbokit.evidence import GaussianParams, MvnParams, _coerced, _divergence, _is_full
from elbokit.gradients import _ESTIMATORS, _OBJECTIVES, elbo_grad
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from elbokit.likelihood import Likelihood
    from elbokit.mixture import GaussianMixture

__all__ = ["EstimatorComparison", "EstimatorMoments", "compare_estimators"]

# Numbers of z that one call draws over all its repeats.
_BLOCK = 1 << 18


class EstimatorMoments(NamedTuple):
    """Moments of one estimator's gradient, each a pair: in loc and in the posterior's other array, of their shapes.

    Attributes
    ----------
    mean : pair of ndarray
    variance : pair of ndarray
        That of one gradient (ddof 1).
    standard_error : pair of ndarray
        That of mean.
    """

    mean: tuple[NDArray[Any], NDArray[Any]]
    variance: tuple[NDArray[Any], NDArray[Any]]
    standard_error: tuple[NDArray[Any], NDArray[Any]]

    @property
    def snr(self) -> tuple[float, float]:
        """|mean| / standard deviation, averaged over coordinates that are drawn, in loc and in the other array.

        One that is the same in every repeat to 1e-6 of it, such as those above a triangle's diagonal or of a row
        without an observed cell, has no ratio; where all are, it is +inf, or 0 where their means are 0.
        """
        return _snr(self.mean[0], self.variance[0]), _snr(self.mean[1], self.variance[1])


class EstimatorComparison:
    """Moments by estimator, in order; prints as a table.

    Attributes
    ----------
    objective : str
    num_particles, num_repeats : int
    names : tuple of str
        Of the posterior's two arrays.
    """

    def __init__(
        self,
        moments: dict[str, EstimatorMoments],
        objective: str,
        num_particles: int,
        num_repeats: int,
        names: tuple[str, str],
    ) -> None:
        self._moments = moments
        self.objective, self.num_particles, self.num_repeats, self.names = objective, num_particles, num_repeats, names

    def __getitem__(self, estimator: str) -> EstimatorMoments:
        return self._moments[estimator]

    def __iter__(self) -> Iterator[str]:
        return iter(self._moments)

    def __len__(self) -> int:
        return len(self._moments)

    def __str__(self) -> str:
        """Of each array |mean|, variance and signal to noise, averaged over its coordinates."""
        columns = ("mean", "variance", "snr")
        lines = [
            f"gradient of {self.objective}, {self.num_particles} particles, {self.num_repeats} repeats",
            " " * 10 + "".join(f"{name:^33}" for name in self.names).rstrip(),
            f"{'estimator':10}" + "".join(f"{column:>11}" for _ in self.names for column in columns),
        ]
        for estimator, moments in self._moments.items():
            parts = zip(moments.mean, moments.variance, moments.snr, strict=True)
            cells = [cell for mean, variance, snr in parts for cell in (_average(abs(mean)), _average(variance), snr)]
            lines.append(f"{estimator:10}" + "".join(f"{cell:11.3g}" for cell in cells))
        return "\n".join(lines)

    __repr__ = __str__


def compare_estimators(
    x: ArrayLike,
    post: GaussianParams | MvnParams,
    decoder_vjp: Callable[[NDArray[Any]], tuple[ArrayLike, Callable[[NDArray[Any]], ArrayLike]]],
    likelihood: Likelihood,
    *,
    key: Key | int,
    num_particles: int = 1,
    objective: str = "elbo",
    estimators: Sequence[str] | None = None,
    num_repeats: int = 200,
    kl: str = "analytic",
    prior: GaussianParams | MvnParams | GaussianMixture | None = None,
    mask: ArrayLike | None = None,
) -> EstimatorComparison:
    """The mean, variance and signal to noise of each estimator's gradient on a model and data, as a table.

    `elbo_grad` of the rows num_repeats times, by draws of their own that all estimators share.

    Parameters
    ----------
    x, post, decoder_vjp, likelihood, num_particles, objective, kl, prior, mask
        As in `elbo_grad`. decoder_vjp gets the rows repeated, as many as fit a block; its pullback is called, so it
        should not gather the decoder's own gradients here.
    key : Key or int
    estimators : sequence of str, optional
        Those that the objective and the particles allow, by default.
    num_repeats : int
        At least 2. The error of a signal to noise ratio is about 1 / √num_repeats a coordinate.

    Returns
    -------
    EstimatorComparison

    Raises
    ------
    ValueError, ShapeError, DtypeError, NonFiniteError, SupportError

    Notes
    -----
    Means agree where the estimators are unbiased: compare them by standard_error. A ratio of a coordinate whose mean is
    0 is noise of about 1 / √num_repeats; |mean| and so the ratio are biased upward by as much.

    References
    ----------
    Rainforth et al. (2018), "Tighter variational bounds are not necessarily better", equation 5.
    """
    choice("objective", objective, _OBJECTIVES)
    particles, repeats = count("num_particles", num_particles, 1), count("num_repeats", num_repeats, 2)
    try:
        chosen = tuple(_allowed(objective, particles) if estimators is None else estimators)
    except TypeError:
        chosen = ()
    if isinstance(estimators, str) or not chosen:
        raise ArgumentError(f'estimators: expected names, got {estimators!r}; give ["pathwise", "dreg"]')
    for estimator in chosen:
        choice("estimators", estimator, _ESTIMATORS)
    # All that has rows is checked before it is repeated.
    post = _coerced("post", post)
    cells = observed(x, post[0].dtype, mask)
    if cells.ndim != 2 or post[0].ndim != 2 or len(cells) != len(post[0]):
        raise ShapeError(
            f"x: expected (batch, features) with loc (batch, latent), got {cells.shape} with {post[0].shape}; "
            "give x and post the same rows",
            argument="x",
        )
    known = _coerced("prior", prior, "prior_") if isinstance(prior, tuple) else None
    _divergence(post, known)
    batch = len(cells)
    each = min(repeats, max(1, _BLOCK // (post[0].size * particles or 1)))
    root = Key(seed_of(key))
    shapes = [(batch, *post[0].shape[1:]), (batch, *post[1].shape[1 - _is_shared(post) :])]
    sizes = [int(np.prod(shape)) for shape in shapes]
    moments = {}
    for estimator in chosen:
        sums = [_core.RunningTerms(size, True) for size in sizes]
        for call, first in enumerate(range(0, repeats, each)):
            copies = min(each, repeats - first)
            _, *gradients = elbo_grad(
                np.tile(cells, (copies, 1)),
                _repeated(post, batch, copies),
                decoder_vjp,
                likelihood,
                key=root.fold_in(call),
                num_particles=particles,
                estimator=estimator,
                objective=objective,
                kl=kl,
                prior=prior if known is None else _repeated(known, batch, copies),
            )
            for part, gradient, size in zip(sums, gradients, sizes, strict=True):
                part.push(gradient.reshape(copies, size))
        moments[estimator] = _moments(sums, shapes, repeats)
    names = ("loc", "scale_tril" if _is_full(post) else "log_var")
    return EstimatorComparison(moments, objective, particles, repeats, names)


def _allowed(objective: str, particles: int) -> list[str]:
    refused = {"stl"} if objective == "iwae" else set()
    return [e for e in _ESTIMATORS if e not in refused and not (e == "score" and particles == 1)]


def _is_shared(params: GaussianParams | MvnParams) -> bool:
    """Whether the second array is one row's, for all."""
    return _is_full(params) and params.scale_tril.ndim == 2


def _repeated(params: GaussianParams | MvnParams, batch: int, copies: int) -> GaussianParams | MvnParams:
    """The rows of a posterior or a prior again and again; what all rows share stays as it is."""
    # A row's own arrays have one axis more than what all rows share: loc (latent,), scale_tril (latent, latent).
    axes = (2, 3) if _is_full(params) else (2, 2)
    parts = [np.asarray(part) for part in params]
    tiled = [
        np.tile(part, (copies, *[1] * (axis - 1))) if part.ndim == axis and len(part) == batch else part
        for part, axis in zip(parts, axes, strict=True)
    ]
    return MvnParams(*tiled) if _is_full(params) else GaussianParams(*tiled)


def _moments(sums: list[_core.RunningTerms], shapes: list[tuple[int, ...]], repeats: int) -> EstimatorMoments:
    results = [part.result() for part in sums]
    means = [mean.reshape(shape) for (mean, _), shape in zip(results, shapes, strict=True)]
    errors = [error.reshape(shape) for (_, error), shape in zip(results, shapes, strict=True)]
    variances = [error**2 * repeats for error in errors]
    return EstimatorMoments((means[0], means[1]), (variances[0], variances[1]), (errors[0], errors[1]))


def _average(array: NDArray[Any]) -> float:
    return float(array.mean()) if array.size else 0.0


def _snr(mean: NDArray[Any], variance: NDArray[Any]) -> float:
    # Less is what rounding makes of a constant in float32.
    drawn = variance > (1e-6 * mean) ** 2
    if not drawn.any():
        return float("inf") if (mean != 0).any() else 0.0
    return _average(np.abs(mean[drawn]) / np.sqrt(variance[drawn]))
