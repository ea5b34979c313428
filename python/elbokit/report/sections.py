"""What the numbers of a report mean, and what to do about them: sections of a table and sentences each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elbokit.report.collapse import collapse
from elbokit.report.latents import ACTIVE
from elbokit.report.measured import mean_and_error, trusted_khat
from elbokit.report.words import nats, share, small, with_error
from elbokit.report.words import of_likelihood as words_of_likelihood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from elbokit.report.measured import Measured

__all__ = ["OPENING", "Section", "sections"]

OPENING = "A gap of 0 says that q is right, not that the model is."


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    head : tuple of str
        The table's columns; empty where there is no table.
    rows : tuple of tuple of str
    text : tuple of str
        Sentences that say what the numbers mean, then what to do.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: tuple[str, ...]


def sections(m: Measured) -> tuple[Section, ...]:
    """All parts in their order; of no rows there is nothing to tell but that."""
    if not m.rows:
        return (Section("Rows", (), (), ("There are no rows, so there is nothing to tell. Give rows.",)),)
    return tuple(part(m) for part in (_bounds, _ladder, _khat, _rate, _latents, _hardest, _unit))


# Evidence


def _bounds(m: Measured) -> Section:
    evidence, elbo = m.evidence, m.elbo
    bounded = np.isfinite(evidence.upper)
    n = m.rows
    lines: list[tuple[str, NDArray[np.floating]]] = [
        ("ELBO", elbo.elbo),
        ("lower bound", evidence.lower),
        ("estimate", evidence.estimate),
    ]
    rows = [(name, with_error(mean_and_error(values)), f"{np.isfinite(values).sum()}") for name, values in lines]
    for name, values in (("lower bound", evidence.lower), ("upper bound", evidence.upper)):
        held = values[bounded]
        rows.append((f"{name}, where both stand", with_error(mean_and_error(held)), f"{np.isfinite(held).sum()}"))
    text = [
        f"Each row's log evidence lies between its lower and its upper bound in expectation, by {m.num_particles} "
        "particles around the mode of log p(x, z); report.interval has both of each row, two standard errors further "
        "out. A mean's ± is its standard error over the rows: how far other rows of the same kind would move it.",
        *_noise(m, bounded),
        *_gap(m),
    ]
    for name, values in lines[:3]:
        if (lost := n - int(np.isfinite(values).sum())) and name != "estimate":
            text.append(
                f"{lost} of {n} rows have no finite {name}: the model leaves the floats' range there, and means are "
                "without them. Look at these rows first: a cell in other units, or far from what was trained on."
            )
    if m.without_mode:
        text.append(
            f"Of {m.without_mode} rows no mode was found: they were drawn from the encoder's q, their bounds hold and "
            "are wider."
        )
    return Section("Log evidence, nats a row", ("", "mean ± standard error", "rows"), tuple(rows), tuple(text))


def _noise(m: Measured, bounded: NDArray[np.bool_]) -> Iterator[str]:
    """What importance sampling leaves open."""
    n = m.rows
    if not bounded.any():
        yield (
            "No row has an upper bound, since no k-hat allows one"
            + (" (which needs 25 particles)." if m.num_particles < 25 else ".")
            + f" Give more than {m.num_particles} particles, and read the lower bound alone until then."
        )
        return
    width = m.evidence.upper[bounded].astype(np.float64) - m.evidence.lower[bounded]
    yield (
        f"{share(bounded.mean())} of the rows have an upper bound. There the bounds are up to "
        f"{small(np.median(width))} nats apart in half of the rows, up to {small(np.quantile(width, 0.95))} in 95 %"
        + (": smaller differences between rows mean nothing." if n > 1 else ".")
    )


def _gap(m: Measured) -> Iterator[str]:
    """What q loses."""
    both = np.isfinite(m.evidence.estimate) & np.isfinite(m.elbo.elbo)
    value, error = mean_and_error(m.evidence.estimate[both].astype(np.float64) - m.elbo.elbo[both])
    if not np.isfinite(value):
        return
    yield (
        f"The gap, estimate less ELBO, is {with_error((value, error))} nats a row: what q loses against the true "
        "posterior, no fault of the model. The estimate is free of it: rank models and rows by the estimate."
    )
    if value > 1.0:
        yield ("To close it give the encoder more hidden units or epochs; what is left is the diagonal Gaussian's own.")


def _ladder(m: Measured) -> Section:
    rows = tuple(
        (r.proposal, f"{r.num_particles}", with_error(r.lower), with_error(r.estimate), share(r.bounded))
        for r in m.ladder
    )
    head = ("drawn from", "particles", "lower bound", "estimate", "rows with an upper bound")
    text = [
        "The lower bound rises with the particles toward the log evidence, whatever z is drawn from; at one particle "
        'of "posterior" it is the ELBO by its definition. "laplace" draws around the mode of each row.'
    ]
    if m.ladder_rows < m.rows:
        text.append(f"By the {m.ladder_rows} rows of {m.rows} that have the smallest hashes, a random choice.")
    lower = {name: [r.lower[0] for r in m.ladder if r.proposal == name] for name in ("laplace", "posterior")}
    rises = [values[-1] - values[-2] for values in lower.values() if len(values) > 1]
    if len(rises) == 2 and np.isfinite(rises).all():
        text.append(
            f"The last step brought {nats(rises[0])} nats around the modes and {nats(rises[1])} from q: "
            + (
                "more particles would bring little."
                if rises[0] < 0.1
                else "the ladder still rises, so give more particles before two models are told apart."
            )
        )
    difference = lower["laplace"][-1] - lower["posterior"][-1]
    if np.isfinite(difference):
        better = "laplace" if difference >= 0 else "posterior"
        text.append(
            f'At {m.num_particles} particles "{better}" has the higher bound, by {nats(abs(difference))} nats: read '
            "that one."
            if abs(difference) >= 0.005
            else f"At {m.num_particles} particles both proposals agree, as two ways to one number should."
        )
    return Section("The ladder: bounds over particles", head, rows, tuple(text))


def _khat(m: Measured) -> Section:
    limit = trusted_khat(m.num_particles)
    tops = [r for r in m.ladder if r.num_particles == m.num_particles]
    # By 100 particles and fewer the limit is not above ½, and there is no second class.
    half = min(0.5, limit)
    classes = (
        (f"up to {half:.2f}", -np.inf, half, "the weights' variance is finite: all as it should be"),
        *([(f"to {limit:.2f}", half, limit, "usable, slower to settle")] if half < limit else []),
        ("to 1", limit, 1.0, "lower bound only: these particles have not shown the weights' mean"),
        ("above 1, or unknown", 1.0, np.inf, "the weights' mean looks infinite: lower bound only, and a loose one"),
    )
    if m.num_particles < 25:
        few = (
            f"A k-hat needs 25 particles, and there are {m.num_particles}: give more to learn how far to trust bounds."
        )
        return Section("k-hat", (), (), (few,))
    rows = []
    for name, low, high, meaning in classes:
        shares = (share(((r.khat > low) & (r.khat <= high)).mean()) for r in tops)
        rows.append((name, *shares, meaning))
    trusted = float((tops[-1].khat <= limit).mean())
    text = [
        "k-hat is the shape of the weights' tail, by row: moments above its inverse do not exist. A row without an "
        f"upper bound is one whose k-hat is above {limit:.2f}."
    ]
    if trusted < 0.9:
        text.append(
            f"Only {share(trusted)} of the rows are trusted around their modes: their posteriors have several modes or "
            "heavy tails. Give ten times the particles, and look whether the estimate moves."
        )
    if (own := float((tops[0].khat <= limit).mean())) < 0.5 <= trusted:
        text.append(
            f"From the encoder's q {share(own)} of the rows are trusted: trained by the ELBO, q is narrower than the "
            "true posterior where it errs. Draw around the mode, the default, for any number that matters."
        )
    head = ("k-hat", *(r.proposal for r in tops), "what it means")
    return Section("k-hat: how far to trust the bounds", head, tuple(rows), tuple(text))


# Latents


def _rate(m: Measured) -> Section:
    rate, index = mean_and_error(m.elbo.kl), m.index_information
    rows = [
        ("reconstruction", with_error(mean_and_error(m.elbo.reconstruction))),
        ("rate, the mean KL(q ‖ p(z))", with_error(rate)),
    ]
    text = []
    if np.isfinite(rate[0]):
        text.append(
            f"The rate is what a row's latents cost: {nats(rate[0])} nats, {nats(rate[0] / np.log(2))} bits a row. "
            "Near 0 it says that latents tell nothing of rows; see the next section."
        )
    if index.rows > 1 and np.isfinite(index.value):
        rows.append(("index information", with_error((index.value, index.standard_error))))
        rows.append((f"its ceiling, ln {index.rows}", nats(index.ceiling)))
        if index.reached:
            text.append(
                f"Index information, what z tells of which row it came from, has reached its ceiling ln {index.rows} = "
                f"{nats(index.ceiling)}: every row has a place of its own, and the true value may be any above. More "
                "rows would raise the ceiling."
            )
        else:
            text.append(
                f"Index information, what z tells of which row it came from, is {nats(index.value)} of at most ln "
                f"{index.rows} = {nats(index.ceiling)}: rows share places in the latent space."
            )
        rest = index.rate - index.value
        rows.append(("rate less index information", nats(rest)))
        text.append(
            "The rate less it is KL(aggregate posterior ‖ p(z)) (Hoffman and Johnson 2016)"
            + (", from above, since the ceiling cuts the information off" if index.reached else "")
            + f": {nats(rest)} nats. "
            + (
                "If much of it is real, samples from the prior fall where no row was seen: "
                + ('prior="vamp" or "mixture"' if m.vae.prior == "standard" else "more prior_components")
                + ", or a kl_weight above 1, brings the two together."
                if rest > 1.0
                else "The prior and the rows' latents cover the same places, so samples are drawn where rows are."
            )
        )
    elif index.rows < 2:
        text.append("Index information needs two rows with a finite posterior.")
    return Section("Rate and information, nats a row", ("", "mean ± standard error"), tuple(rows), tuple(text))


def _latents(m: Measured) -> Section:
    kl, variance = m.latents.kl, m.latents.variance
    if m.latents.rows < 2:
        text = ("Which latents are active is seen by two rows with a finite posterior or more, and there are not.",)
        return Section("Latents", (), (), text)
    order = np.argsort(-kl, kind="stable")
    shown = order if len(order) <= 20 else np.concatenate([order[:15], order[-5:]])
    rows = [(f"{j}", nats(kl[j]), nats(variance[j]), "active" if variance[j] > ACTIVE else "collapsed") for j in shown]
    if len(shown) < len(order):
        rows.insert(15, ("…", "", "", f"{len(order) - 20} more"))
    head = ("latent", "KL", "variance of loc", "")
    title = "Latents, by their KL in nats a row"
    if m.vae.prior != "standard":
        title += ", to the Gaussian of the learned prior's mean and variance"
    return Section(title, head, tuple(rows), collapse(m))


# Rows and units


def _hardest(m: Measured) -> Section:
    rows = []
    for h in m.hardest:
        interval = f"{nats(h.interval[0])} to {nats(h.interval[1])}"
        columns = ", ".join(f"{name} ({nats(below)})" for name, below in h.columns)
        rows.append((f"{h.row}", nats(h.estimate), interval, nats(h.khat), columns or "none stands out"))
    text = [
        "Rows of the lowest estimates, and the columns whose part of the reconstruction is furthest below that "
        "column's mean, by so many nats. Look there for wrong units, codes and typing before the model is blamed; if "
        "the cells are right, such rows are too rare in training, or the likelihood's tails too light (StudentT and "
        "NegativeBinomial have heavier ones)."
    ]
    if m.patterns_differ:
        text.append(
            "Rows lack different cells, so their evidences are of different things: a row with more observed cells "
            "stands lower for that alone. Compare rows of one pattern."
        )
    head = ("row", "estimate", "interval", "k-hat", "columns (nats below their mean)")
    return Section("Rows hardest to explain", head, tuple(rows), tuple(text))


def _unit(m: Measured) -> Section:
    return Section("What these numbers are", (), (), tuple(words_of_likelihood(m.vae.likelihood, m.missing)))
