"""The columns of X that a model is conditioned on, found by place, mask or name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit.errors import ArgumentError, NonFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["parts", "places", "together"]


def places(condition_columns: Any, num_features: int, names: ArrayLike | None) -> NDArray[np.intp]:
    """Places of these columns among those of X, in the order in which they were asked for.

    Raises
    ------
    ValueError
        For what names no column, or one twice, or all of them.
    """
    if condition_columns is None:
        return np.zeros(0, dtype=np.intp)
    asked = np.atleast_1d(np.asarray(condition_columns))
    if asked.size == 0:
        return np.zeros(0, dtype=np.intp)
    if asked.ndim != 1 or asked.dtype.kind not in "biuUO":
        raise ArgumentError(
            f"condition_columns: expected places, a mask or names of columns, got {condition_columns!r}; give a list "
            "such as [0, 3]"
        )
    if asked.dtype.kind == "b":
        found = _of_mask(asked, num_features)
    elif asked.dtype.kind in "iu":
        found = _of_places(asked, num_features)
    else:
        found = _of_names(asked, names)
    if len(np.unique(found)) < len(found):
        raise ArgumentError(
            f"condition_columns: expected different columns, got one twice in {condition_columns!r}; give it once"
        )
    if len(found) == num_features:
        raise ArgumentError(
            f"condition_columns: expected fewer than all columns of X, which has {num_features} feature(s), got "
            f"{condition_columns!r}; leave one to be modelled"
        )
    return found


def _of_mask(mask: NDArray[np.bool_], num_features: int) -> NDArray[np.intp]:
    if len(mask) != num_features:
        raise ArgumentError(
            f"condition_columns: expected a mask of {num_features} columns, got one of {len(mask)}; give one flag a "
            "column of X"
        )
    return np.flatnonzero(mask)


def _of_places(numbers: NDArray[Any], num_features: int) -> NDArray[np.intp]:
    for number in numbers.tolist():
        if not -num_features <= number < num_features:
            raise ArgumentError(
                f"condition_columns: expected places from {-num_features} to {num_features - 1}, as X has "
                f"{num_features} feature(s), got {number}; negative ones count from the end"
            )
    return numbers.astype(np.intp) % num_features


def _of_names(asked: NDArray[Any], names: ArrayLike | None) -> NDArray[np.intp]:
    if names is None:
        raise ArgumentError(
            f"condition_columns: expected places, as the columns of X have no names, got {asked.tolist()}; give X as "
            "a DataFrame, or numbers of columns"
        )
    known = np.asarray(names).tolist()
    for name in asked.tolist():
        if name not in known:
            raise ArgumentError(f"condition_columns: expected columns of X, got {name!r}; use some of {known}")
    return np.array([known.index(name) for name in asked.tolist()], dtype=np.intp)


def parts(rows: NDArray[Any], beside: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Rows as the model takes them: the columns that it models, and its condition.

    Raises
    ------
    NonFiniteError
        For a missing cell of the condition.
    """
    if not len(beside):
        return rows, None
    condition = rows[:, beside]
    finite = np.isfinite(condition)
    if not finite.all():
        row, column = (int(at) for at in np.argwhere(~finite)[0])
        raise NonFiniteError(
            f"X: expected finite numbers in the columns of condition_columns, got {condition[row, column]} in row "
            f"{row}, column {beside[column]}; fill it first, since a condition has no missing cells",
            argument="X",
            row=row,
            column=int(beside[column]),
            value=float(condition[row, column]),
        )
    return np.delete(rows, beside, axis=1), condition


def together(cells: NDArray[Any], condition: NDArray[Any] | None, beside: NDArray[np.intp]) -> NDArray[Any]:
    """Rows of X again, from the columns that are modelled and the condition; neither loses a digit."""
    if condition is None:
        return cells
    rows = np.empty((len(cells), cells.shape[1] + len(beside)), np.result_type(cells, condition))
    rows[:, beside] = condition
    rows[:, np.delete(np.arange(rows.shape[1]), beside)] = cells
    return rows
