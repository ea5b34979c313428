"""Rows' weights: rows that stand several times, and quantiles."""

from __future__ import annotations

import math
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from elbokit import _plan

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["distinct", "quantile", "weights_of"]

# Of a weight as it is kept: larger ones are scaled down, by a power of two.
_LARGEST_EXPONENT = 900


def weights_of(sample_weight: ArrayLike | None, rows: NDArray[Any]) -> NDArray[np.float64] | None:
    """One weight a row, where there are any."""
    if sample_weight is None:
        return None
    if not isinstance(sample_weight, Number):
        sample_weight = _plan.weights_of(sample_weight, len(rows))
    weights: NDArray[np.float64] = _check_sample_weight(sample_weight, rows, dtype=np.float64)
    # Beside such weights the 1 of `quantile` is nothing, and a sum of larger ones would leave the range.
    beyond = np.frexp(weights.max(initial=0.0))[1] - _LARGEST_EXPONENT
    return np.ldexp(weights, -beyond) if beyond > 0 else weights


def distinct(
    rows: NDArray[Any], weights: NDArray[np.float64] | None, beside: NDArray[Any] | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
    """The first of each of the different rows, in an order of their own, and what all equal to it weigh.

    Rows that weigh nothing are left out; `beside` has further columns. None if no row is left, or a weight is below 0.
    """
    found: dict[bytes, tuple[int, list[float]]] = {}
    for i, row in enumerate(rows):
        weight = 1.0 if weights is None else float(weights[i])
        if weight < 0.0:
            return None
        if weight > 0.0:
            key = row.tobytes() + (b"" if beside is None else beside[i].tobytes())
            found.setdefault(key, (i, []))[1].append(weight)
    if not found:
        return None
    first = [found[key] for key in sorted(found)]
    return np.array([i for i, _ in first], dtype=np.intp), np.array([math.fsum(same) for _, same in first])


def quantile(scores: NDArray[np.float64], share: float, weights: NDArray[np.float64] | None) -> float:
    """NumPy's linear quantile; with weights that of rows which stand as often as they weigh."""
    if weights is None:
        return float(np.quantile(scores, share))
    order = np.argsort(scores, kind="stable")
    ends = np.cumsum(weights[order])
    place = share * max(ends[-1] - 1.0, 0.0)
    below = np.floor(place)
    at = np.minimum(np.searchsorted(ends, [below, below + 1.0], side="right"), len(scores) - 1)
    low, high = scores[order[at]]
    return float(low + (place - below) * (high - low) if place > below else low)
