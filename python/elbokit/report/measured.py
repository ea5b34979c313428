"""The numbers of a report, without a word about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit.random import Key
from elbokit.report.latents import ACTIVE, DRAWS, IndexInformation, Latents, index_information, latents, use_by_decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elbokit.evidence import ElboTerms
    from elbokit.report.asked import Asked
    from elbokit.vae import VAE, Evidence

__all__ = ["HardRow", "Measured", "Rung", "intervals_of", "mean_and_error", "measure", "trusted_khat"]

# Rows for what takes two proposals at every rung, or a number for each pair of rows.
MOST_ROWS = 2000
# The hardest rows that are shown, and of each the columns that cost most.
_HARDEST, _COLUMNS = 5, 3


class Rung(NamedTuple):
    """Bounds by one number of particles from one proposal; means over the ladder's rows with their standard errors.

    Attributes
    ----------
    proposal : {"posterior", "laplace"}
    num_particles : int
    lower, estimate : tuple of float
        Mean and standard error over the rows where they are finite.
    bounded : float
        The share of rows with an upper bound.
    khat : ndarray, shape (rows of the ladder,)
    """

    proposal: str
    num_particles: int
    lower: tuple[float, float]
    estimate: tuple[float, float]
    bounded: float
    khat: NDArray[np.float64]


class HardRow(NamedTuple):
    """A row that the model finds hard to explain.

    Attributes
    ----------
    row : int
    estimate, khat : float
        Of its log evidence.
    interval : tuple of float
        Its line of `EvidenceReport.interval`.
    columns : tuple of (name, nats)
        Those whose part of the reconstruction is furthest below the column's mean, and by how much.
    """

    row: int
    estimate: float
    interval: tuple[float, float]
    khat: float
    columns: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Measured:
    """All numbers of a report, which holds no rows; `EvidenceReport` says what each is."""

    vae: VAE
    rows: int
    seed: int
    num_particles: int
    elbo: ElboTerms
    evidence: Evidence
    without_mode: int
    ladder: tuple[Rung, ...]
    ladder_rows: int
    latents: Latents
    decoder_use: NDArray[np.float64]
    index_information: IndexInformation
    hardest: tuple[HardRow, ...]
    patterns_differ: bool
    missing: int


def trusted_khat(num_particles: int) -> float:
    """The k-hat up to which a mean of so many weights can be trusted (Vehtari et al. 2024); −inf where none can."""
    return min(1 - 1 / np.log10(num_particles), 0.7) if num_particles > 1 else -np.inf


def intervals_of(evidence: Evidence) -> NDArray[Any]:
    """(rows, 2): lower − 2 standard errors and upper + 2."""
    lower, upper, error = evidence.lower, evidence.upper, evidence.standard_error
    # An infinite bound has no error that counts, and ∞ − ∞ would be no number.
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(lower), lower - 2 * error, lower)
    return np.stack([low, upper + 2 * error], axis=1)


def mean_and_error(values: NDArray[Any]) -> tuple[float, float]:
    """Mean over the rows where a value is finite, and its standard error; NaN where there are too few."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return np.nan, np.nan
    return float(finite.mean()), float(finite.std(ddof=1) / len(finite) ** 0.5) if len(finite) > 1 else np.nan


def measure(asked: Asked, num_particles: int) -> Measured:
    """Everything that the report tells."""
    elbo = asked("elbo", key=asked.seed)
    evidence, without = asked.evidence(num_particles, "laplace")
    hashes = asked.hashes()
    sound = np.flatnonzero(np.isfinite(elbo.kl))
    order = np.argsort(hashes, kind="stable")
    chosen = np.sort(order[:MOST_ROWS])
    of_latents = latents(asked, sound)
    keys = Key(asked.seed).split(2)
    use = np.full(asked.vae.latent_dim, np.nan)
    if len(idle := np.flatnonzero(of_latents.variance <= ACTIVE)):
        use[idle] = use_by_decoder(asked.vae, keys[1], idle, asked.beside(np.resize(order, DRAWS)))
    observed = evidence.num_observed
    return Measured(
        vae=asked.vae,
        rows=len(asked),
        seed=asked.seed,
        num_particles=num_particles,
        elbo=elbo,
        evidence=evidence,
        without_mode=without,
        ladder=tuple(_ladder(asked, num_particles, evidence, chosen)),
        ladder_rows=len(chosen),
        latents=of_latents,
        decoder_use=use,
        index_information=index_information(asked, np.intersect1d(chosen, sound), hashes, elbo.kl),
        hardest=_hardest(asked, evidence),
        patterns_differ=_patterns_differ(asked),
        missing=int(len(asked) * asked.vae.num_features - observed.sum()),
    )


def _ladder(asked: Asked, num_particles: int, evidence: Evidence, rows: NDArray[np.int64]) -> list[Rung]:
    """Particle k of a row is the same on every rung, so that rungs differ by what more particles bring."""
    if not len(rows):
        return []
    rungs = []
    counts = [10**power for power in range(18) if 10**power < num_particles]
    for proposal in ("posterior", "laplace"):
        for count in [*counts, num_particles]:
            if proposal == "laplace" and count == num_particles:
                lower, estimate, upper, khat = (
                    part[rows] for part in (evidence.lower, evidence.estimate, evidence.upper, evidence.khat)
                )
            else:
                found, _ = asked.evidence(count, proposal, rows)
                lower, estimate, upper, khat = found.lower, found.estimate, found.upper, found.khat
            bounded = float(np.isfinite(upper).mean())
            rungs.append(
                Rung(proposal, count, mean_and_error(lower), mean_and_error(estimate), bounded, khat.astype(np.float64))
            )
    return rungs


def _hardest(asked: Asked, evidence: Evidence) -> tuple[HardRow, ...]:
    order = np.argsort(evidence.estimate, kind="stable")[:_HARDEST]
    total, count = np.zeros(asked.vae.num_features), np.zeros(asked.vae.num_features)
    for block in asked.blocks(np.arange(len(asked))):
        parts = asked("elbo_per_column", block, key=asked.seed).astype(np.float64)
        # A missing cell adds nothing to its column, and neither does one outside the range.
        counted = np.isfinite(parts) & ~_missing(asked.rows[block])
        total += np.where(counted, parts, 0.0).sum(axis=0)
        count += counted.sum(axis=0)
    mean = total / np.maximum(count, 1)
    intervals = intervals_of(evidence)
    hard = []
    for row in order:
        parts = asked("elbo_per_column", [row], key=asked.seed)[0].astype(np.float64)
        below = np.where(_missing(asked.rows[[row]])[0], -np.inf, mean - parts)
        worst = np.argsort(-below, kind="stable")[:_COLUMNS]
        columns = tuple((asked.columns[j], float(below[j])) for j in worst if below[j] > 0)
        low, high = (float(end) for end in intervals[row])
        hard.append(HardRow(int(row), float(evidence.estimate[row]), (low, high), float(evidence.khat[row]), columns))
    return tuple(hard)


def _missing(rows: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)


def _patterns_differ(asked: Asked) -> bool:
    """Whether rows lack different cells."""
    first = _missing(asked.rows[:1])
    return any((_missing(asked.rows[block]) != first).any() for block in asked.blocks(np.arange(len(asked))))
