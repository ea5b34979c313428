"""A likelihood's means as cells: classes' probabilities become the likeliest class's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit.likelihood import Categorical, Columns, Likelihood

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["likeliest"]


def likeliest(means: NDArray[Any], likelihood: Likelihood, width: int) -> NDArray[Any]:
    """Cells (rows, width) of means as `Likelihood.mean` lays them out; the first code of those that are as likely."""
    classes = _num_classes(likelihood, width)
    if not classes.any():
        return means
    ends = np.cumsum(np.maximum(classes, 1))
    cells = [
        means[:, end - many : end].argmax(axis=1).astype(means.dtype) if many else means[:, end - 1]
        for end, many in zip(ends, classes, strict=True)
    ]
    return np.ascontiguousarray(np.stack(cells, axis=1))


def _num_classes(likelihood: Likelihood, width: int) -> NDArray[np.int64]:
    """The number of classes of a column of codes, 0 of another."""
    if isinstance(likelihood, Categorical):
        return np.full(width, likelihood.num_classes)
    classes = np.zeros(width, dtype=np.int64)
    if isinstance(likelihood, Columns):
        for columns, member in likelihood.members:
            classes[list(columns)] = _num_classes(member, len(columns))
    return classes
