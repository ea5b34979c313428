"""Numbers as a reader sees them, and what a sum of log probabilities is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit.likelihood import Columns, ContinuousBernoulli, Gaussian, Laplace, Likelihood, StudentT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["nats", "of_likelihood", "share", "small", "with_error"]

_DENSITIES = (ContinuousBernoulli, Gaussian, Laplace, StudentT)


def nats(value: Any) -> str:
    """A number by two digits behind the point, by four figures where it is large; – where there is none."""
    number = float(value)
    if np.isnan(number):
        return "–"
    if np.isinf(number):
        return "∞" if number > 0 else "−∞"
    text = f"{number:.2f}" if abs(number) < 1e6 else f"{number:.3e}"
    return "0.00" if text == "-0.00" else text.replace("-", "−", 1)


def small(value: Any) -> str:
    """A number from 0 up, by two figures where nats would show none."""
    number = float(value)
    return f"{number:.1g}" if 0 < number < 0.01 else nats(number)


def share(value: Any) -> str:
    """A share in per cent."""
    return "–" if np.isnan(value) else f"{100 * float(value):.1f} %"


def with_error(value: tuple[float, float]) -> str:
    """A mean with its standard error, where it has one."""
    mean, error = value
    return nats(mean) if not np.isfinite(error) else f"{nats(mean)} ± {nats(error)}"


def of_likelihood(likelihood: Likelihood, missing: int) -> Iterator[str]:
    """What a row's log evidence is: a density, a mass, or a sum of both."""
    members = [member for _, member in likelihood.members] if isinstance(likelihood, Columns) else [likelihood]
    densities = [member for member in members if isinstance(member, _DENSITIES)]
    if densities and len(densities) < len(members):
        yield (
            "A row's log evidence is a sum of log densities (of the real columns) and log masses (of counts, bits and "
            "codes): it compares rows and models of this one table. Its level means nothing by itself, and other units "
            "of a real column shift it."
        )
    elif densities:
        yield (
            "A row's log evidence is the log of a density in the columns' own units, so it may be above 0: a column in "
            "centimetres instead of metres has ln 100 = 4.61 nats less. Compare models of the same columns only."
        )
    else:
        yield (
            "A row's log evidence is the log of a probability, at most 0; divided by −ln 2 it is the bits that a "
            "code of the row would take."
        )
    if missing:
        yield f"{missing} cells are missing: every number is of the observed cells."
