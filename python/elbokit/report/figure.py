"""The picture of a report: rows' bounds, the ladder, k-hat and latents on one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elbokit import plot
from elbokit.report.latents import ACTIVE
from elbokit.report.measured import trusted_khat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elbokit.report.measured import Measured

__all__ = ["figure"]

_COLOURS = {"laplace": "#1f6fb4", "posterior": "#d1552c"}
_MUTED = "#8a8f98"
# More rows than this hide each other.
_MOST_ROWS = 1000
# Of k-hat, beyond which values stand in the last bar.
_KHATS = [-0.2 + 0.05 * i for i in range(37)]


def figure(m: Measured) -> Figure:
    """Four panels; one without anything to show says so."""
    made = plot._figure((12.0, 8.0), None)
    panels = made.subplots(2, 2).ravel()
    for draw, axes in zip((_rows, _ladder, _khat, _latents), panels, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        if not draw(axes, m):
            axes.set_axis_off()
            axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", color=_MUTED)
    return made


def _rows(axes: Axes, m: Measured) -> bool:
    axes.set_title("bounds of each row, in the order of the estimate")
    lower, estimate, upper = m.evidence.lower, m.evidence.estimate, m.evidence.upper
    order = np.flatnonzero(np.isfinite(lower))
    order = order[np.argsort(estimate[order], kind="stable")]
    if not len(order):
        return False
    kept = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_ROWS)).round().astype(int))]
    at = (np.searchsorted(estimate[order], estimate[kept]) + 0.5) / len(order)
    bounded = np.isfinite(upper[kept])
    finite = np.isfinite(m.elbo.elbo[kept])
    axes.scatter(at[finite], m.elbo.elbo[kept][finite], s=3, color=_COLOURS["posterior"], linewidths=0, label="ELBO")
    # Where the bounds meet, the line between them has no length; the point is then all there is to see.
    axes.scatter(at[bounded], lower[kept][bounded], s=5, color=_COLOURS["laplace"], linewidths=0)
    axes.vlines(
        at[bounded], lower[kept][bounded], upper[kept][bounded], color=_COLOURS["laplace"], linewidth=1.2,
        label="lower to upper bound",
    )  # fmt: skip
    if not bounded.all():
        axes.scatter(
            at[~bounded], lower[kept][~bounded], s=9, marker="^", color=_MUTED, linewidths=0,
            label="lower bound, no upper one",
        )  # fmt: skip
    axes.set_xlabel("share of the rows")
    axes.set_ylabel("nats")
    axes.legend(frameon=False, fontsize="small")
    return True


def _ladder(axes: Axes, m: Measured) -> bool:
    axes.set_title("the ladder: lower bound over particles, mean of the rows")
    shown = False
    for proposal, colour in _COLOURS.items():
        rungs = [r for r in m.ladder if r.proposal == proposal and np.isfinite(r.lower[0])]
        if not rungs:
            continue
        shown = True
        particles = [r.num_particles for r in rungs]
        axes.semilogx(particles, [r.lower[0] for r in rungs], color=colour, marker="o", markersize=4, label=proposal)
        axes.semilogx(particles, [r.estimate[0] for r in rungs], color=colour, linestyle=":", linewidth=1)
    if not shown:
        return False
    axes.plot([], [], color=_MUTED, linestyle=":", linewidth=1, label="its jackknife, the estimate")
    axes.set_xlabel("particles")
    axes.set_ylabel("nats a row")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    return True


def _khat(axes: Axes, m: Measured) -> bool:
    axes.set_title("k-hat of the rows")
    tops = [r for r in m.ladder if r.num_particles == m.num_particles]
    if m.num_particles < 25 or not tops:
        return False
    for r in tops:
        values = np.clip(r.khat, _KHATS[0], _KHATS[-1] - 1e-9)
        axes.hist(values, _KHATS, color=_COLOURS[r.proposal], alpha=0.6, label=r.proposal)
    limit = trusted_khat(m.num_particles)
    axes.axvline(limit, color="black", linewidth=0.8, linestyle="--", label=f"trusted to {limit:.2f}")
    axes.set_xlabel(f"k-hat by {m.num_particles} particles; {_KHATS[-1]:.1f} and above in the last bar")
    axes.set_ylabel("rows")
    axes.legend(frameon=False, fontsize="small")
    return True


def _latents(axes: Axes, m: Measured) -> bool:
    axes.set_title("KL of each latent, mean of the rows")
    kl = m.latents.kl
    order = np.argsort(-kl, kind="stable")
    if not np.isfinite(kl).all():
        return False
    active = m.latents.variance[order] > ACTIVE
    axes.bar(np.arange(len(kl)), kl[order], color=np.where(active, _COLOURS["laplace"], _MUTED))
    if len(kl) <= 32:
        axes.set_xticks(np.arange(len(kl)), [f"{j}" for j in order], fontsize="small")
    axes.set_xlabel("latent, by its KL; grey ones have collapsed" if not active.all() else "latent, by its KL")
    axes.set_ylabel("nats a row")
    return True
