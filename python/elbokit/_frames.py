"""Columns of a pandas or polars DataFrame as arrays, and back: the one place that knows both libraries.

Neither is imported here: a frame that arrives brings its library along. Only a model from a file, whose frames were of
a library that nobody has imported yet, makes `library_module` import it.
"""

from __future__ import annotations

import importlib
import numbers
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit.errors import DtypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "FLOAT64",
    "LIBRARIES",
    "Cells",
    "Made",
    "column",
    "dtype_of",
    "exact",
    "fill",
    "frame",
    "known",
    "library_of",
    "names_of",
]

LIBRARIES = ("pandas", "polars")
FLOAT64 = {"pandas": "float64", "polars": "Float64"}
# Dtypes of columns that can be modelled, which a file may name without its library being there.
_DTYPES = {
    "pandas": r"[Ii]nt(8|16|32|64)|[Uu][Ii]nt(8|16|32|64)|[Ff]loat(32|64)|bool(ean)?|object|category|str(ing)?",
    "polars": r"U?Int(8|16|32|64|128)|Float(16|32|64)|Boolean|String|Categorical|Enum|Decimal(\(\d\d?, \d\d?\))?",
}
# Every whole number below it is a float64.
_WHOLE = 2.0**53
# A decimal's digits at most, and as many as every float64 has.
_DIGITS, _EXACT_DIGITS = 38, 15


class Cells(NamedTuple):
    """A column as it was read."""

    dtype: str
    """The library's own name for it."""
    kind: str
    """"number", "bool", "text" (or whatever has levels), or "other"."""
    values: NDArray[Any]
    """float64 with NaN for a missing cell; of "text" objects with None; of "other" empty."""
    levels: list[Any] | None = None
    """The values that the dtype declares, in order."""
    ordered: bool = False
    held: str = ""
    """Of "other" objects, the names of their types."""
    distinct: int = 0
    """How many numbers the column itself holds, where float64 may tell fewer apart; else 0."""


class Made(NamedTuple):
    """A column that is to be written: its cells, as numbers or as a list of values."""

    dtype: str
    cells: NDArray[np.float64] | list[Any]
    levels: Sequence[Any] | None = None
    ordered: bool = False


def library_of(df: Any, argument: str = "df") -> str:
    """The frame's library, one of `LIBRARIES`."""
    for base in type(df).__mro__:
        root = base.__module__.partition(".")[0]
        if base.__name__ == "DataFrame" and root in LIBRARIES:
            return root
    raise DtypeError(
        f"{argument}: expected a DataFrame of pandas or polars, got {type(df).__module__}.{type(df).__name__}; make "
        "one, or collect a lazy one, or use ek.VAE for an array",
        argument=argument,
    )


def names_of(df: Any, argument: str = "df") -> list[str | int]:
    """The columns' names, each of which must be text or a whole number and stand once."""
    library_of(df, argument)
    names = [int(name) if isinstance(name, numbers.Integral) else name for name in df.columns]
    for name in names:
        if not isinstance(name, (str, int)):
            raise DtypeError(
                f"{argument}: expected columns named by text or whole numbers, got {name!r}; rename the columns",
                argument=argument,
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(
            f"{argument}: expected columns of different names, got {twice!r} twice; rename one", argument=argument
        )
    return names


def column(df: Any, name: str | int, argument: str = "df") -> Cells:
    """A column of the frame."""
    return _from_pandas(df[name], name, argument) if library_of(df) == "pandas" else _from_polars(df[name])


def dtype_of(series: Any) -> str:
    """The library's own name of a column's dtype, of a decimal with its digits, all and behind the point."""
    if not hasattr(series.dtype, "base_type"):
        return str(series.dtype)
    text = str(series.dtype.base_type())
    return text if text != "Decimal" else f"Decimal({series.dtype.precision or _DIGITS}, {series.dtype.scale})"


def known(library: str, dtype: str) -> bool:
    """Whether a column that is modelled may have a dtype of this name; rare ones of pandas are its own to know."""
    if re.fullmatch(_DTYPES[library], dtype):
        if "(" not in dtype:
            return True
        precision, scale = _digits(dtype)
        return scale <= precision and 0 < precision <= _DIGITS
    if library != "pandas":
        return False
    try:
        types = _module("pandas").api.types
        kind = types.pandas_dtype(dtype)
        return bool(types.is_numeric_dtype(kind) or types.is_bool_dtype(kind))
    except TypeError:
        # A sparse one with a fill of its own has a name that it does not take back.
        return dtype.startswith("Sparse[")
    # Nor has an array of Arrow's decimals: pandas itself has not implemented it, or is not there to ask.
    except (ImportError, NotImplementedError):
        return True


def frame(library: str, columns: dict[str | int, Made], like: Any = None) -> Any:
    """A frame of these columns; of pandas with the index of `like`."""
    if library == "pandas":
        pd = _module("pandas")
        index = None if like is None else like.index
        made = {name: _to_pandas(made, index) for name, made in columns.items()}
        return pd.DataFrame(made, index=index)
    pl = _module("polars")
    return pl.DataFrame([_to_polars(str(name), made) for name, made in columns.items()])


def exact(library: str, made: Made) -> Made:
    """The same column, of floats where its integer dtype would round or cut a number."""
    if isinstance(made.cells, list) or np.array_equal(_whole(made.cells, made.dtype), made.cells):
        return made
    return Made(FLOAT64[library], made.cells)


def fill(df: Any, columns: dict[str | int, tuple[NDArray[np.bool_], Made]]) -> Any:
    """A copy of the frame, in which the flagged cells of these columns are those that were made."""
    if library_of(df) == "pandas":
        filled = df.copy()
        for name, (missing, made) in columns.items():
            new = _to_pandas(made, df.index)
            old = df[name].astype(new.dtype) if made.levels is not None else df[name]
            filled[name] = old.where(~missing, new)
        return filled
    pl = _module("polars")
    return df.with_columns(
        [
            df[name].zip_with(pl.Series(~missing), _to_polars(str(name), made))
            for name, (missing, made) in columns.items()
        ]
    )


def _module(library: str) -> Any:
    """The library's module, imported where only a file has named it."""
    try:
        return sys.modules.get(library) or importlib.import_module(library)
    except ImportError as error:
        raise ImportError(f"the model's frames are of {library} ({error}): pip install {library}") from error


def _from_pandas(series: Any, name: str | int, argument: str) -> Cells:
    pd = _module("pandas")
    dtype, text = series.dtype, dtype_of(series)
    if isinstance(dtype, pd.CategoricalDtype):
        return Cells(
            "category", "text", _objects(series, series.isna()), dtype.categories.tolist(), bool(dtype.ordered)
        )
    if isinstance(dtype, pd.StringDtype):
        return Cells(text, "text", _objects(series, series.isna()))
    if text == "object":
        return _mixed(text, _objects(series, series.isna()), name, argument)
    boolean = pd.api.types.is_bool_dtype(dtype)
    if boolean or (pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        whole = not (boolean or pd.api.types.is_float_dtype(dtype))
        distinct = series.nunique() if whole and _rounded(values) else 0
        return Cells(text, "bool" if boolean else "number", values, distinct=distinct)
    return Cells(text, "other", np.empty(0))


def _rounded(values: NDArray[np.float64]) -> bool:
    """Whether whole numbers may have been rounded to these."""
    return bool((np.abs(values) >= _WHOLE).any())


def _from_polars(series: Any) -> Cells:
    pl = _module("polars")
    dtype, text = series.dtype, dtype_of(series)
    if dtype == pl.Enum:
        return Cells(text, "text", _objects(series, series.is_null()), dtype.categories.to_list())
    if dtype in (pl.String, pl.Categorical):
        return Cells(text, "text", _objects(series, series.is_null()))
    if dtype == pl.Boolean or dtype.is_numeric():
        values = series.cast(pl.Float64).to_numpy()
        distinct = series.drop_nulls().n_unique() if not dtype.is_float() and _rounded(values) else 0
        return Cells(text, "bool" if dtype == pl.Boolean else "number", values, distinct=distinct)
    return Cells(text, "other", np.empty(0))


def _objects(series: Any, missing: Any) -> NDArray[Any]:
    """The cells as Python's own objects, None for a missing one."""
    # Item by item: lists of one length would be taken for rows.
    objects = np.fromiter(series.to_list(), dtype=object, count=len(series))
    objects[np.asarray(missing, dtype=bool)] = None
    return objects


def _mixed(dtype: str, cells: NDArray[Any], name: str | int, argument: str) -> Cells:
    """A column of any objects, by what it holds."""
    held = {type(cell) for cell in cells if cell is not None}
    if all(issubclass(kind, (bool, np.bool_)) for kind in held):
        return Cells(dtype, "bool", cells.astype(np.float64))
    if all(issubclass(kind, numbers.Real) for kind in held):
        values = cells.astype(np.float64)
        return Cells(dtype, "number", values, distinct=len({*cells} - {None}) if _rounded(values) else 0)
    if all(issubclass(kind, str) for kind in held):
        return Cells(dtype, "text", cells)
    kinds = ", ".join(sorted(kind.__name__ for kind in held))
    if not all(issubclass(kind, (np.bool_, numbers.Real, str)) for kind in held):
        return Cells(dtype, "other", np.empty(0), held=kinds)
    raise DtypeError(
        f"{argument}: expected column {name!r} to hold one kind of thing, got {kinds}; convert it with .astype, or "
        'leave it out with the kind "leave_out"',
        argument=argument,
    )


def _to_pandas(made: Made, index: Any) -> Any:
    pd = _module("pandas")
    if made.levels is not None:
        values = pd.Categorical(made.cells, dtype=pd.CategoricalDtype(list(made.levels), made.ordered))
        return pd.Series(values, index=index)
    cells = made.cells if isinstance(made.cells, list) else _whole(made.cells, made.dtype)
    return pd.Series(cells, index=index, dtype=made.dtype)


def _to_polars(name: str, made: Made) -> Any:
    pl = _module("polars")
    cells = made.cells if isinstance(made.cells, list) else _whole(made.cells, made.dtype)
    if made.levels is not None and made.dtype == "Enum":
        return pl.Series(name, cells, dtype=pl.Enum(list(made.levels)))
    if made.dtype.startswith("Decimal"):
        series = pl.Series(name, cells)
        # Older files do not tell the digits.
        return series.cast(pl.Decimal(*_digits(made.dtype))) if made.dtype != "Decimal" else series
    return pl.Series(name, cells, dtype=getattr(pl, made.dtype))


def _digits(dtype: str) -> tuple[int, int]:
    """Those of a decimal, all and behind the point."""
    precision, scale = map(int, re.findall(r"\d+", dtype))
    return precision, scale


def _decimal(cells: NDArray[np.float64], precision: int, scale: int) -> NDArray[np.float64]:
    """Numbers rounded to the digits of a decimal, within its range."""
    largest = (10**precision - 1) / 10**scale
    if precision > _EXACT_DIGITS:
        # So far below, that no product with a power of ten is rounded to the first number beyond.
        largest *= 1 - 2.0**-50
    return np.round(cells.clip(-largest, largest), scale).clip(-largest, largest)


def _whole(cells: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Numbers rounded into the range of an integer dtype or a decimal; of any other as they are."""
    if dtype.startswith("Decimal("):
        return _decimal(cells, *_digits(dtype))
    name = dtype.lower().partition("[")[0]
    if not name.startswith(("int", "uint")):
        return cells
    info = np.iinfo(name if name in np.sctypeDict else "int64")
    largest = float(info.max)
    if int(largest) > info.max:
        largest = float(np.nextafter(largest, 0.0))
    return np.rint(cells).clip(float(info.min), largest).astype(info.dtype)
