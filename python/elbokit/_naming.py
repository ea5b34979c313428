"""Errors in the caller's words: its argument, rows and columns, where the model saw a part under a name of its own.

The core calls a data set "x" and counts the columns that it is given; a caller may have called it "validation", and
have given a frame of which the model sees three columns. Whoever takes the data apart says so with `Worded`, and an
error that passes by is put right: nothing is done, and nothing is known further down, while all goes well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from elbokit.errors import ElbokitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["AS_GIVEN", "FOREIGN", "Worded", "Words"]


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
