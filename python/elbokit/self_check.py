"""A trained model checked on rows that it simulated itself, whose latent is an exact posterior draw.

>>> import elbokit as ek
>>> X = ek.random.normal((300, 1), key=0) + 0.5 * ek.random.normal((300, 3), key=1)
>>> vae = ek.VAE(1, hidden=(8,))
>>> history = vae.fit(X, epochs=50, learning_rate=1e-2, progress=False)
>>> check = vae.self_check(100)
>>> check.held, check.gap < 0.1
(True, True)
"""

from __future__ import annotations

import contextlib
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import gaussian
from elbokit._arrays import choice, count
from elbokit.errors import NonFiniteError
from elbokit.likelihood import Columns, Gaussian, Laplace, StudentT
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from elbokit.likelihood import Likelihood
    from elbokit.vae import VAE

__all__ = ["SelfCheck", "self_check"]

# Draws of q among which a rank is taken: 0 … 99, so that a tenth of the ranks is a tenth of the draws.
_RANKED = 99
_LINE = 100
# Rows whose standard error is itself uncertain by a sixth or more.
_FEW = 20
# Ranks of the central nine tenths.
_CENTRAL = (5, 94)
# Nats of evidence at which the bounds are called wrong: of right ones less than two runs in a million have more, as
# each of two tests has with probability exp(−14) at most.
_MOST_AGAINST = 14.0
# In which log weights are sums, of numbers that may be some times as large.
_ROUNDED = 8
# Densities over all real numbers, whose cells are rounded.
_REAL = (Gaussian, Laplace, StudentT)
# Nats a row at which the rounding of cells is no longer small beside what the bounds are judged by.
_COARSE = 0.05
_RANGE = (
    "the model's numbers have left the range of its floats, as those of a training that diverged; fit it again with a "
    "smaller learning_rate, and look for extreme values in X"
)


@dataclass(frozen=True, repr=False)
class SelfCheck:
    """What `VAE.self_check` found, in nats a row; prints as sentences.

    Attributes
    ----------
    lower, upper, gap : float
        Means over the simulated rows of the lower bound, of the upper bound and of their difference.
    lower_error, upper_error, gap_error : float
        Their standard errors over the rows; NaN for one row, and where a row's bound is no finite number.
    by_row : ndarray, shape (rows, 2)
        Each row's lower and upper bound.
    ranks : ndarray of int64, shape (rows, latent_dim)
        How many of 99 draws of the encoder's q lie below the latent that made the row: uniform on 0 … 99 where q is the
        posterior, piled up at both ends where it is too narrow, in the middle where too wide. Rows whose q is no
        number are left out.
    coverage, coverage_error : float
        The share of ranks from 5 to 94, 0.9 for the right q, and its standard error over the rows.
    num_particles : int
    left_out : int
        Simulated rows with a cell that is not finite, which the bounds are without.
    distinct : float
        The rows over the most that are equal, whose bounds share their draws: as many rows tell of the bounds apart.
    excess : float
        By how many nats a row, on average, the lower bound lies above the log weight of the latent that made the row,
        less 8 ε of both and twice `coarse`.
    coarse : float
        By how many nats a row, on average, log p(x | z) may differ because cells are rounded to the model's dtype. The
        rows are draws of the model but for that, so above 0.05 the bounds are not judged.
    """

    lower: float
    lower_error: float
    upper: float
    upper_error: float
    gap: float
    gap_error: float
    by_row: NDArray[np.float64]
    ranks: NDArray[np.int64]
    coverage: float
    coverage_error: float
    num_particles: int
    left_out: int
    distinct: float = 0.0
    excess: float = 0.0
    coarse: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """lower − 2 standard errors and upper + 2: where the true mean log evidence lies."""
        errors = (0.0 if np.isnan(error) else error for error in (self.lower_error, self.upper_error))
        low, high = errors
        return self.lower - 2 * low, self.upper + 2 * high

    @property
    def against(self) -> float:
        """The evidence that the bounds are out of order, in nats: of right ones above t with probability ≤ 2 exp(−t).

        With the weight w* of a row's own latent, the mean w̄ of the others and K of them, E[w̄ / w*] ≤ 1 and
        E[exp(lower − upper)] ≤ 1: both expectations over a draw w* of the posterior are at most w̄ / p(x) and
        (w̄ + K w₀) / ((K + 1) p(x)) ones over draws of the proposal. So products over independent rows exceed exp(t)
        with a probability of exp(−t) at most (Markov), for any number of rows and whatever their spread is: a standard
        error of few rows, or of weights with a heavy tail, promises no such thing. −∞ where rows are too `coarse`.
        """
        return -np.inf if self.coarse > _COARSE else float(self.distinct * max(self.excess, -self.gap))

    @property
    def held(self) -> bool:
        """Whether the bounds are in order: False where `against` is above 14, and where a mean bound is no number."""
        return not np.isnan(self.gap) and self.against <= _MOST_AGAINST

    def __str__(self) -> str:
        if not len(self.by_row):
            said = [f"Each of {self.left_out} simulated rows holds a cell that is not finite: {_RANGE}."]
        else:
            said = self._bounds()
            if np.isfinite(self.by_row).all():
                said += self._calibration()
        return "\n".join(line for sentence in said for line in textwrap.wrap(sentence, _LINE))

    __repr__ = __str__

    def _bounds(self) -> list[str]:
        rows = len(self.by_row)
        said = [
            f"{rows} row{'s' * (rows > 1)} simulated from the model, {self.num_particles} particles each; nats a row, "
            "mean ± standard error"
        ]
        if self.left_out:
            said.append(f"{self.left_out} more rows hold a cell that is not finite, and are left out: {_RANGE}.")
        if beyond := int((~np.isfinite(self.by_row)).any(axis=1).sum()):
            return [*said, f"In {beyond} of {rows} rows a bound is no finite number, so there is no mean: {_RANGE}."]
        low, high = self.interval
        said += [
            f"lower bound {_number(self.lower, self.lower_error)}",
            f"upper bound {_number(self.upper, self.upper_error)}",
            f"difference {_number(self.gap, self.gap_error)}",
        ]
        if rows > 1:
            said.append(
                f"The true mean log evidence of the model's own rows lies within [{low:.3f}, {high:.3f}], the bounds "
                "and two standard errors."
            )
        if 1 < rows < _FEW:
            said.append(f"Standard errors of {rows} rows are rough themselves: give more rows, such as 200.")
        if not self.held:
            said.append(
                "FAILED: the upper bound lies below the lower one, or the lower one above what it may be at most, by "
                "more than chance explains in two runs of a million: a fault of elbokit; please report it."
            )
        elif self.coarse > _COARSE:
            said.append(
                f"The rounding of cells changes log p(x | z) by up to {self.coarse:.2g} nats a row, so that the bounds "
                "of these rows are not judged: a column's numbers are large beside its scale. Subtract an offset from "
                'it, or use dtype="float64".'
            )
        elif rows == 1:
            said.append("One row has no standard error, and says nothing of the mean: give more rows, such as 200.")
        elif self.gap < 0.1:
            said.append(
                "Both bounds agree: on rows like the model's, log_evidence with so many particles is what it says. "
                "It says nothing of rows unlike them, nor whether the model is right."
            )
        else:
            apart = int((self.by_row[:, 1] - self.by_row[:, 0] > 1).sum())
            said.append(
                f"In {apart} of {rows} rows the bounds are more than 1 nat apart: there the draws miss the "
                "latent that made the row, as in a posterior of several modes. Of real rows k-hat tells such ones."
            )
            said.append(
                f"log_evidence may fall short by {self.gap:.2f} nats a row: give more particles, or rank rows only "
                "where they differ by more."
            )
        return said

    def _calibration(self) -> list[str]:
        if not len(self.ranks):
            return ["The encoder's q is no number of its range in any row, so that its width is not judged."]
        share = f"{100 * self.coverage:.1f}"
        error = "" if np.isnan(self.coverage_error) else f" ± {100 * self.coverage_error:.1f}"
        # That of a right q, whose latents are independent, where the rows' own is smaller.
        right = (0.09 / self.ranks.size) ** 0.5
        off = (self.coverage - 0.9) / (right if np.isnan(self.coverage_error) else max(self.coverage_error, right))
        verdict = "is right about its own width"
        if off < -3:
            verdict = "is too narrow, so draw around modes, the default, and take its widths for no error bars"
        elif off > 3:
            verdict = "is too wide"
        return [f"The encoder's q holds {share}{error} % of the latents in its central 90 %: it {verdict}."]


def _number(value: float, error: float) -> str:
    return f"{value:.3f}" if np.isnan(error) else f"{value:.3f} ± {error:.3f}"


def self_check(
    vae: VAE, n: int, *, condition: ArrayLike | None, key: Key | int, num_particles: int, proposal: str
) -> SelfCheck:
    """`VAE.self_check`."""
    rows, particles = count("n", n, 1), count("num_particles", num_particles, 1)
    choice("proposal", proposal, ("laplace", "posterior"))
    latents, cells, noise, ranking = Key(seed_of(key)).split(4)
    z = vae.core.sample_prior(rows, latents.seed)
    beside = vae._condition_of_latents(condition, z, "n")
    x, params, kept = _simulated(vae, z, beside, cells)
    left_out, x, params, z = int(rows - kept.sum()), x[kept], params[kept], z[kept]
    beside = None if beside is None else beside[kept]
    if not len(x):
        nothing = (np.nan,) * 6
        return SelfCheck(
            *nothing, np.empty((0, 2)), np.empty((0, vae.latent_dim), np.int64), np.nan, np.nan, particles, left_out
        )
    laplace = proposal == "laplace"
    (lower, *_), _ = vae.core.log_evidence(x, noise.seed, particles, laplace, beside)
    exact, _ = vae.core.weigh(x, z, laplace, beside)
    lower, exact = lower.astype(np.float64), exact.astype(np.float64)
    # One weight more than the lower bound has, that of the posterior draw.
    upper = np.logaddexp(np.log(particles) + lower, exact) - np.log(particles + 1)
    # ∞ − ∞ of a model that has left its range.
    with np.errstate(invalid="ignore"):
        gap = upper - lower
    encoded, (loc, log_var) = _encoded(vae, x, beside)
    coarse = _rounding(vae.likelihood_, x, params)
    drawn = gaussian.rsample(loc, log_var, key=ranking, num_particles=_RANKED)
    ranks = (drawn < z[encoded]).sum(axis=0)
    central = ((ranks >= _CENTRAL[0]) & (ranks <= _CENTRAL[1])).mean(axis=1)
    _, equal = np.unique(vae.core.hashes(x, beside), return_counts=True)
    return SelfCheck(
        *_mean(lower),
        *_mean(upper),
        *_mean(gap),
        np.stack([lower, upper], axis=1),
        ranks,
        *_mean(central),
        particles,
        left_out,
        len(x) / int(equal.max()),
        _excess(lower, exact, 2 * coarse, float(np.finfo(vae.dtype).eps)),
        float(coarse.mean()),
    )


def _encoded(
    vae: VAE, x: NDArray[Any], condition: NDArray[Any] | None
) -> tuple[NDArray[np.intp], tuple[NDArray[Any], NDArray[Any]]]:
    """The rows whose q the encoder has in its range, and loc and log_var of them."""
    with contextlib.suppress(NonFiniteError):
        return np.arange(len(x)), vae.encode(x, condition=condition)
    found = {}
    # A row's q is the same bits alone.
    for row in range(len(x)):
        with contextlib.suppress(NonFiniteError):
            beside = None if condition is None else condition[row : row + 1]
            found[row] = vae.encode(x[row : row + 1], condition=beside)
    nothing = np.empty((0, vae.latent_dim), vae.dtype)
    parts = [np.concatenate([nothing, *(q[part] for q in found.values())]) for part in (0, 1)]
    return np.array(list(found), dtype=np.intp), (parts[0], parts[1])


def _excess(lower: NDArray[np.float64], exact: NDArray[np.float64], coarse: NDArray[np.float64], eps: float) -> float:
    """The mean of the lower bound less the log weight of the row's own latent, and less what rounding may be."""
    if not (np.isfinite(lower).all() and np.isfinite(exact).all()):
        return -np.inf
    return float((lower - exact - coarse - _ROUNDED * eps * (np.abs(lower) + np.abs(exact))).mean())


def _rounding(likelihood: Likelihood, x: NDArray[Any], params: NDArray[Any]) -> NDArray[np.float64]:
    """By how much log p(x | z) of each row may have changed as its real cells were rounded to the model's dtype.

    Half a unit in the last place times the steepest slope within one: that in x is that in loc with its sign turned.
    """
    params = params.astype(np.float64)
    members = likelihood.members if isinstance(likelihood, Columns) else [(range(x.shape[1]), likelihood)]
    unit = np.zeros(x.shape)
    places, first = [], 0
    for columns, member in members:
        if isinstance(member, _REAL):
            at = list(columns)
            unit[:, at] = np.abs(np.spacing(x[:, at]))
            places += [(column, first + i) for i, column in enumerate(at)]
        first += member.num_params(len(columns))
    slope = np.zeros(params.shape)
    for step in (-1, 0, 1):
        _, d_params = likelihood.log_prob_grad(x + step * unit, params)
        slope = np.maximum(slope, np.abs(d_params))
    cells, locs = np.array(places, dtype=np.intp).reshape(-1, 2).T
    changes: NDArray[np.float64] = (0.5 * unit[:, cells] * slope[:, locs]).sum(axis=1)
    return changes


def _simulated(
    vae: VAE, z: NDArray[Any], condition: NDArray[Any] | None, key: Key
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """A row of each z, its params, and whether all its cells are finite."""
    kept = np.isfinite(z).all(axis=1)
    # A draw is addressed by its row, so what stands in the place of bad latents or params touches no other.
    params = vae.core.decode(np.where(kept[:, None], z, z.dtype.type(0)), condition, finite=False)
    kept &= np.isfinite(params).all(axis=1)
    x = vae.likelihood_.sample(np.where(kept[:, None], params, 0), key=key)
    return x, params, kept & np.isfinite(x).all(axis=1)


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    with np.errstate(invalid="ignore"):
        error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan
        return float(values.mean()), error
