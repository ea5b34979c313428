"""Errors in the caller's words: its argument, rows and columns, where the model saw a part under a name of its own.

The core calls a data set "x" and counts the columns that it is given; a caller may have called it "validation", and
have given a frame of which the model sees three columns. Whoever takes the data apart says so with `Worded`, and an
error that passes by is put right: nothing is done, and nothing is known further down, while all goes well. Likewise
`say_given`, which knows the numbers themselves, where the core has seen them in the model's own dtype.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit.errors import ElbokitError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["AS_GIVEN", "FOREIGN", "Worded", "Words", "say_given"]

# Whose output the core checks under which name.
_NETWORKS = {"loc": "encoder", "log_var": "encoder", "z": "prior", "params": "decoder"}


class Words(NamedTuple):
    """What the caller calls a data set, and where its rows and columns stand there.

    Attributes
    ----------
    label : str
        What messages begin with; up to the first colon and space in it it is the argument.
    rows, columns : sequence of int, optional
        The caller's number of each row and column of the data set; by default they are the same.
    names : sequence, optional
        Names of the caller's columns, all of them.
    """

    label: str
    rows: Sequence[int] | NDArray[Any] | None = None
    columns: Sequence[int] | NDArray[Any] | None = None
    names: Sequence[Any] | None = None


class Worded:
    """A block of code whose errors about certain data sets are said in the caller's words.

    Parameters
    ----------
    words : mapping of str to Words
        By what messages inside begin with; "validation" stands behind "validation: condition".
    """

    __slots__ = ("_words",)

    def __init__(self, words: Mapping[str, Words]) -> None:
        self._words = words

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ElbokitError):
            for label, words in self._words.items():
                if _reword(error, label, words):
                    return


class _Foreign:
    """A block of the user's own code: its errors are about other data, whatever they call it."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ElbokitError):
            error.said = True


FOREIGN = _Foreign()
# The core's own word for the rows.
AS_GIVEN = Worded({"x": Words("X")})


def say_given(error: ElbokitError, dtype: np.dtype[Any], of: str = "X", **given: NDArray[Any] | None) -> None:
    """Put an error right that a model of this dtype raised of what the caller gave, as `AS_GIVEN` does.

    Of a finite number past the dtype's range the core sees an infinity: the number itself is said. Where a network
    leaves the range, the row that led it out is named, and not the network's output, which the caller has not.

    To be called in an `except`, which costs a small call less than a `with`.

    Parameters
    ----------
    error : ElbokitError
    dtype : dtype
    of : {"X", "z", "n"}
        The argument that tells the rows of what the networks make.
    **given : ndarray or None
        What the core read, by its own names.
    """
    if isinstance(error, NonFiniteError) and not error.said and error.row is not None:
        if error.argument in given:
            _say_number(error, given[error.argument], dtype)
        elif error.argument in _NETWORKS:
            _say_row(error, of, dtype)
    AS_GIVEN.__exit__(None, error, None)


def _say_number(error: NonFiniteError, given: NDArray[Any] | None, dtype: np.dtype[Any]) -> None:
    if given is None or error.column is None:
        return
    number = float(given[error.row, error.column])
    if np.isfinite(number):
        error.value = number
        error.args = (
            f"{error.argument}: expected numbers within {dtype}'s range, got {number:g} at row {error.row}, column "
            f'{error.column}; scale the column, or use dtype="float64"',
        )


def _say_row(error: NonFiniteError, of: str, dtype: np.dtype[Any]) -> None:
    rows = "draws" if of == "n" else "rows"
    cure = "scale the columns, or fit with a smaller learning_rate"
    if dtype == np.float32:
        cure += ', or with dtype="float64"'
    error.args = (
        f"{of}: expected {rows} for which the model's {_NETWORKS[str(error.argument)]} stays within {dtype}'s range, "
        f"got row {error.row}, for which it does not; {cure}",
    )
    error.argument, error.column, error.value = of, None, None


def _known(place: int | None, places: Sequence[int] | NDArray[Any] | None) -> bool:
    """Whether a place is one of the data set's; an error of other data may name one that is not."""
    return place is None or places is None or place < len(places)


def _reword(error: ElbokitError, label: str, words: Words) -> bool:
    """Whether the error is about the data set of this label; it is then said in these words."""
    if error.said:
        return False
    text = str(error)
    # What comes in batches says first which one.
    found = re.match(rf"(|in the batch [^:]*: ){re.escape(label)}: ", text)
    if found is None:
        return False
    if not (_known(error.row, words.rows) and _known(error.column, words.columns)):
        return False
    said = text[found.end() :]
    if error.row is not None and words.rows is not None:
        row = int(words.rows[error.row])
        said = said.replace(f"row {error.row},", f"row {row},", 1)
        error.row = row
    if error.column is not None:
        column = error.column if words.columns is None else int(words.columns[error.column])
        said = re.sub(rf"\bcolumn {error.column}\b", f"column {column}", said)
        if words.names is not None:
            named = f"column {column} ({words.names[column]!r})"
            said = re.sub(rf"\bcolumn {column}\b", lambda _: named, said, count=1)
        error.column = column
    error.args = (f"{found[1]}{words.label}: {said}",)
    error.argument = words.label.partition(": ")[0]
    return True
