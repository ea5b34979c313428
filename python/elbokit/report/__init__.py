"""The evidence report: what a model's bounds say, how far to trust them, and what to do about it.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> X = ek.random.normal((200, 1), key=0) + 0.3 * ek.random.normal((200, 4), key=1)
    >>> vae = ek.VAE(2, hidden=(16,))
    >>> history = vae.fit(X, epochs=60, learning_rate=5e-3, progress=False)
    >>> report = vae.report(X)
    >>> print(report)
    A gap of 0 says that q is right, not that the model is...
    >>> bool((report.evidence.lower <= report.evidence.upper).all()), report.interval.shape
    (True, (200, 2))

`VAE.report` makes one. It prints, shows itself in a notebook, and `save` writes it as one HTML file. All that it says
stands in its attributes as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit._arrays import count
from elbokit._files import whole
from elbokit.report.asked import Asked
from elbokit.report.collapse import warn_of_collapse
from elbokit.report.figure import figure
from elbokit.report.latents import ACTIVE, IndexInformation
from elbokit.report.measured import HardRow, Measured, Rung, intervals_of, measure
from elbokit.report.render import as_html, as_page, as_text
from elbokit.report.sections import OPENING, Section, sections

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from elbokit.evidence import ElboTerms
    from elbokit.random import Key
    from elbokit.vae import VAE, Evidence

__all__ = ["OPENING", "EvidenceReport", "HardRow", "IndexInformation", "Rung", "Section", "report"]


class EvidenceReport:
    """What `VAE.report` found of some rows; nats throughout.

    Attributes
    ----------
    evidence : Evidence
        Of each row, by draws around the mode: lower, estimate, upper, standard_error, khat, ess, num_observed.
    elbo : ElboTerms
        Of each row.
    interval : ndarray, shape (rows, 2)
        lower − 2 standard errors and upper + 2: where a row's log evidence lies, its bounds' own noise included; the
        second is +inf where there is no upper bound.
    num_particles : int
    ladder : tuple of Rung
        Bounds over the numbers of particles, first drawn from "posterior", then from "laplace"; of `ladder_rows` rows.
    rate : float
        The mean KL(q ‖ p(z)) of the rows where it is finite; NaN where there is none.
    kl_per_latent, loc_variance : ndarray, shape (latent_dim,)
        Means of each latent's KL, and the variance of its loc over the rows.
    active : ndarray of bool, shape (latent_dim,)
        Where that variance is above 0.01.
    index_information : IndexInformation
        What a latent tells of which row it came from: value, standard_error, ceiling, reached.
    hardest : tuple of HardRow
        The rows of the lowest estimates, with the columns that cost most.
    sections : tuple of Section
        The text, as it is printed.
    """

    def __init__(self, measured: Measured) -> None:
        self._measured = m = measured
        self.evidence: Evidence = m.evidence
        self.elbo: ElboTerms = m.elbo
        self.num_particles = m.num_particles
        self.ladder, self.ladder_rows = m.ladder, m.ladder_rows
        finite = m.elbo.kl[np.isfinite(m.elbo.kl)]
        self.rate = float(finite.mean(dtype=np.float64)) if len(finite) else np.nan
        self.kl_per_latent: NDArray[np.float64] = m.latents.kl
        self.loc_variance: NDArray[np.float64] = m.latents.variance
        self.active: NDArray[np.bool_] = m.latents.variance > ACTIVE
        self.index_information = m.index_information
        self.hardest = m.hardest
        self.sections = sections(m)

    @property
    def interval(self) -> NDArray[Any]:
        """(rows, 2): lower − 2 standard errors, upper + 2."""
        return intervals_of(self.evidence)

    @property
    def about(self) -> str:
        """The rows and the model in a sentence."""
        m = self._measured
        vae = m.vae
        return (
            f"{m.rows} rows of {vae.num_features} columns, {m.missing} cells missing; {vae.likelihood!r}, "
            f"{vae.latent_dim} latents; {m.num_particles} particles, key {m.seed}."
        )

    def __str__(self) -> str:
        return as_text(self.about, self.sections)

    def __repr__(self) -> str:
        return f"<EvidenceReport: {self.about} print() shows it, save() writes it>"

    def _repr_html_(self) -> str:
        return as_html(self.about, self.sections, self.plot)

    def plot(self) -> Figure:
        """A matplotlib figure: rows' bounds, the ladder, k-hat and latents.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        return figure(self._measured)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one HTML file that needs nothing beside it, whole or not at all.

        Without matplotlib it says so where the picture would be.
        """
        page = as_page(self.about, self.sections, self.plot)
        with whole(path) as draft:
            draft.write_text(page, encoding="utf-8", newline="\n")


def report(
    vae: VAE,
    X: ArrayLike,
    *,
    condition: ArrayLike | None = None,
    key: Key | int,
    num_particles: int = 1000,
    columns: Sequence[Any] | None = None,
    stacklevel: int = 1,
) -> EvidenceReport:
    """The report of a model on rows, whose columns may have names; `VAE.report` calls it."""
    asked = Asked(vae, X, condition, key, columns)
    measured = measure(asked, count("num_particles", num_particles, 1))
    warn_of_collapse(measured, stacklevel + 1)
    return EvidenceReport(measured)
