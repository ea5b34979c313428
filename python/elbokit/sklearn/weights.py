"""Rows' weights, and quantiles by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["quantile", "weights_of"]


def weights_of(sample_weight: ArrayLike | None, rows: NDArray[Any]) -> NDArray[np.float64] | None:
    """One weight a row, where there are any."""
    if sample_weight is None:
        return None
    weights: NDArray[np.float64] = _check_sample_weight(sample_weight, rows, dtype=np.float64)
    return weights


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
