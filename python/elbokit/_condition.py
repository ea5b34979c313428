"""The condition of a conditional model: refused by name where it is not what the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit._arrays import Stream, rank, rows_of
from elbokit.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["beside", "condition_of", "for_latents"]


def condition_of(
    condition: ArrayLike | Stream, rows: int | None, width: int | None, argument: str = "condition", of: str = "X"
) -> NDArray[Any]:
    """A condition in any real dtype, (rows, columns), as many as asked for."""
    if not isinstance(condition, Stream) and rank(condition) == 1:
        raise ShapeError(
            f"{argument}: expected an array (rows, columns), got shape {np.shape(condition)}; give one column as "
            "condition[:, None]",
            argument="condition",
        )
    given = rows_of(argument, condition)
    if given.shape[1] == 0:
        raise ShapeError(f"{argument}: expected at least one column, got none; leave it out", argument="condition")
    if width is not None and given.shape[1] != width:
        raise ShapeError(
            f"{argument}: expected {width} columns, got {given.shape[1]}; give the columns of the fit",
            argument="condition",
        )
    if rows is not None and len(given) != rows:
        raise ShapeError(
            f"{argument}: expected {rows} rows like {of}, got {len(given)}; give one for each row", argument="condition"
        )
    return given


def beside(condition: ArrayLike | Stream | None, rows: int | None, width: int, of: str = "X") -> NDArray[Any] | None:
    """The condition of some rows for a model that takes one of `width` columns, or none."""
    if width == 0:
        if condition is not None:
            raise ShapeError(
                "condition: expected none, got one; the model was fitted without, leave it out", argument="condition"
            )
        return None
    if condition is None:
        raise ShapeError(
            f"condition: expected an array (rows, {width}), got none; the model was fitted with one, give condition=",
            argument="condition",
        )
    return condition_of(condition, rows, width, of=of)


def for_latents(condition: ArrayLike | None, rows: int, width: int, of: str) -> NDArray[Any] | None:
    """The same, where one row may stand for all."""
    given = beside(condition, None, width, of)
    if given is None or len(given) == rows:
        return given
    if len(given) != 1:
        raise ShapeError(
            f"condition: expected {rows} rows like {of}, or one for all, got {len(given)}; give one for each row",
            argument="condition",
        )
    return np.repeat(given, rows, axis=0)
