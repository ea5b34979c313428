"""Coercion, in one place: what a user hands over becomes C-contiguous, native float32 or float64 arrays.

An array that already is one passes through untouched. Lists become float64. Arrays of integers and booleans are taken
as observations, in the parameters' type, and refused as parameters; float16, complex and object arrays are refused.
"""

from __future__ import annotations

import contextlib
import operator
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit.errors import ArgumentError, DtypeError, NonFiniteError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

_F32 = np.dtype(np.float32)
_F64 = np.dtype(np.float64)


class Stream(ABC):
    """Rows that do not lie in one array until they are asked to: what `batches` makes, known here without it."""

    @abstractmethod
    def spool(self) -> NDArray[Any]:
        """All of them."""


def floats(argument: str, array: ArrayLike) -> NDArray[Any]:
    """A contiguous native float32 or float64 array; the input itself where it is one."""
    if type(array) is np.ndarray and (array.dtype is _F32 or array.dtype is _F64):
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array
    given = _asarray(argument, array)
    if given.dtype.kind in "biuf" and isinstance(array, (list, tuple)):
        given = given.astype(np.float64)
    if given.dtype.kind != "f" or given.dtype.itemsize not in (4, 8):
        _refuse(argument, given.dtype, "float32 or float64")
    return _laid_out(given, given.dtype.newbyteorder("="))


def rows_of_floats(argument: str, array: ArrayLike) -> NDArray[Any]:
    """Observations that say the result's type: as `floats`, and whole numbers and booleans as float64."""
    given = array if type(array) is np.ndarray else _asarray(argument, array)
    return _laid_out(given, _F64) if given.dtype.kind in "biu" else floats(argument, given)


def agree(first: str, a: NDArray[Any], second: str, b: NDArray[Any]) -> None:
    """Refuse two parameter arrays of different element types."""
    if a.dtype is not b.dtype and a.dtype != b.dtype:
        raise DtypeError(
            f"{second}: expected {a.dtype} like {first}, got {b.dtype}; convert one with .astype", argument=second
        )


def pair(first: str, a: ArrayLike, second: str, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two arrays of parameters, of one element type."""
    x, y = floats(first, a), floats(second, b)
    agree(first, x, second, y)
    return x, y


def observed(x: ArrayLike, dtype: np.dtype[Any], mask: ArrayLike | None, argument: str = "x") -> NDArray[Any]:
    """Observations of any real type as `dtype`, with NaN where `mask` is False."""
    if mask is None and type(x) is np.ndarray and x.dtype is dtype and x.flags.c_contiguous and x.flags.aligned:
        return x
    given = _asarray(argument, x)
    if given.dtype.kind not in "biuf" or given.dtype.itemsize > 8 or given.dtype == np.float16:
        _refuse(argument, given.dtype, "booleans, integers, float32 or float64")
    # A whole number rounds to the nearest float; a float64 past float32's range is named, if it is observed.
    try:
        with np.errstate(over="raise"):
            cells, beyond = _laid_out(given, dtype), None
    except FloatingPointError:
        with np.errstate(over="ignore"):
            cells = _laid_out(given, dtype)
        beyond = np.isinf(cells) & np.isfinite(given)
    if mask is None:
        _check_beyond(argument, given, dtype, beyond)
        return cells
    seen = np.asarray(mask)
    if seen.dtype != np.bool_:
        _refuse("mask", seen.dtype, "booleans (True = observed)")
    if seen.shape != cells.shape:
        raise ShapeError(
            f"mask: expected shape {cells.shape} like {argument}, got shape {seen.shape}; give one flag a cell",
            argument="mask",
        )
    _check_beyond(argument, given, dtype, None if beyond is None else beyond & seen)
    return np.where(seen, cells, dtype.type(np.nan))


def _check_beyond(argument: str, given: NDArray[Any], dtype: np.dtype[Any], beyond: NDArray[np.bool_] | None) -> None:
    """Name the first finite number that `dtype` has none for."""
    if beyond is None or not beyond.any():
        return
    at = int(beyond.argmax())
    row, column = divmod(at, beyond.shape[-1] if beyond.ndim else 1)
    value = float(given.flat[at])
    raise NonFiniteError(
        f"{argument}: expected numbers within {dtype}'s range, got {value:g} at row {row}, column {column}; "
        "compute in float64, or scale the column",
        argument=argument,
        row=row,
        column=column,
        value=value,
    )


def count(argument: str, value: Any, least: int = 0) -> int:
    """A whole number not below `least` and below 2⁶⁴."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{argument}: expected a whole number, got {value!r}; give an int") from None
    if number < least:
        raise ArgumentError(f"{argument}: expected at least {least}, got {number}; give a larger number")
    if number >= 1 << 64:
        raise ArgumentError(f"{argument}: expected less than 2**64, got {number}; give a smaller number")
    return number


def rows_of(argument: str, X: ArrayLike | Stream) -> NDArray[Any]:
    """Rows of a data set in any real dtype: (rows, features), laid out for the core; the array itself where it is."""
    if isinstance(X, Stream):
        return X.spool()
    if isinstance(X, Iterator):
        raise DtypeError(
            f"{argument}: expected an array (rows, features), got an iterator; give ek.Batches(…) for rows that come "
            "in batches",
            argument=argument,
        )
    given = _asarray(argument, X)
    if given.dtype.kind not in "biuf" or given.dtype.itemsize > 8 or given.dtype == np.float16:
        _refuse(argument, given.dtype, "booleans, integers, float32 or float64")
    if given.ndim != 2:
        raise ShapeError(
            f"{argument}: expected an array (rows, features), got shape {given.shape}; "
            "reshape one row with X[None, :], images with X.reshape(len(X), -1)",
            argument=argument,
        )
    return _laid_out(given, given.dtype.newbyteorder("="))


def number(argument: str, value: Any) -> float:
    """A real number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        # Of a schedule the epoch stands behind the argument's name.
        name = argument.partition(" ")[0]
        raise ArgumentError(f"{argument}: expected a number, got {value!r}; give one", argument=name) from None


def tolerance(value: Any) -> float:
    """The gain below which a fit ends; below 0 nothing but max_iter ends it."""
    gain = number("tol", value)
    if np.isnan(gain):
        raise ArgumentError("tol: expected a number, got nan; give nats a row, such as 1e-6")
    return gain


def rank(array: Any) -> int | None:
    """How many axes an array has; of rows of several lengths there is no saying."""
    try:
        return int(np.ndim(array))
    except ValueError:
        return None


def choice(argument: str, value: Any, names: Collection[str]) -> str:
    """One of these names."""
    # What is no text may not even have a hash.
    if isinstance(value, str) and value in names:
        return value
    quoted = [f'"{name}"' for name in names]
    expected = " or ".join(quoted) if len(quoted) == 2 else f"one of {', '.join(quoted)}"
    raise ArgumentError(f"{argument}: expected {expected}, got {value!r}; use one of them", argument=argument)


def out_of_range(end: str) -> ArgumentError:
    """Of rows whose variances have left the range at this end, "underflow" or "overflow"."""
    return ArgumentError(f"X: expected variances within float64's range, got an {end}; scale the columns")


def file_path(argument: str, value: Any) -> Path:
    """Where a file stands."""
    name = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ArgumentError(f"{argument}: expected a file's path, got {value!r}; give a str or a pathlib.Path")
    return Path(name)


def float_type(dtype: Any) -> np.dtype[Any]:
    """float32 or float64, of whatever names one of them."""
    got = repr(dtype)
    with contextlib.suppress(TypeError, ValueError, SyntaxError):
        kind: np.dtype[Any] = np.dtype(dtype)
        if kind in (_F32, _F64):
            return kind
        got = str(kind)
    raise DtypeError(f"dtype: expected float32 or float64, got {got}; use one of them", argument="dtype")


def _laid_out(given: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    cells = np.asarray(given, dtype=dtype, order="C")
    # A field of a packed record or a slice of a byte buffer may be contiguous and yet stand at an odd address.
    return cells if cells.flags.aligned else cells.copy()


def _asarray(argument: str, array: ArrayLike) -> NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise DtypeError(
            f"{argument}: expected a plain array, got a masked one; fill it with NaN, or give mask= (True = observed)",
            argument=argument,
        )
    try:
        return np.asarray(array)
    except ValueError as error:
        got, row = f"{type(array).__name__} ({error})", _odd_row(array)
        if row is not None:
            got = f"{len(array[0])} numbers in row 0 and {len(array[row])} in row {row}"  # type: ignore[index, arg-type]
        raise ShapeError(
            f"{argument}: expected rows of one length, got {got}; give every row as many numbers",
            argument=argument,
            row=row,
        ) from None


def _odd_row(array: Any) -> int | None:
    """The first row of a list that has another length than row 0."""
    if not isinstance(array, (list, tuple)):
        return None
    try:
        lengths = [len(row) for row in array]
    except TypeError:
        return None
    return next((row for row, length in enumerate(lengths) if length != lengths[0]), None)


def _refuse(argument: str, dtype: np.dtype[Any], expected: str) -> None:
    raise DtypeError(f"{argument}: expected {expected}, got {dtype}; convert it with .astype", argument=argument)
