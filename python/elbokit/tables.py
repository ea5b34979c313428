"""Rows from where people keep them: ``digits``, .npy, .npz, .csv and .parquet.

    >>> import numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.npy")
    >>> np.save(path, np.zeros((3, 2), np.float32))
    >>> read(str(path)).rows.shape
    (3, 2)

The command line reads its DATA here. What comes back is what the file holds, with its own dtype and with NaN for an
empty cell: nothing is scaled, dropped or encoded. A file that is not a table of numbers is refused in one line that
names it. The libraries behind the formats are imported when a file asks for them; only .npy and .npz need none.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit.errors import ElbokitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["Table", "TableError", "import_polars", "read"]

# How an empty cell is written in files that people exchange; NaN itself is read as the number it is.
_EMPTY = ["", "NA", "N/A", "null"]


class TableError(ElbokitError, ValueError):
    """A file is there but holds no table of numbers."""


class Table(NamedTuple):
    """Rows of observations and what is known of them.

    Attributes
    ----------
    rows : ndarray, shape (rows, columns)
        Booleans, integers or floats, as the source has them; an empty cell is NaN.
    columns : tuple of str
        One name a column.
    labels : ndarray, shape (rows,), or None
        The class of each row where the source knows it. No model sees it.
    image_shape : tuple of int, or None
        (height, width) where a row is an image.
    dtypes : tuple of dtype, or None
        Of each column by itself, where the source has one for each; `rows` has the one that holds them all.
    named : bool
        Whether the source itself names its columns, otherwise than by numbers from 0.
    wholes : mapping of int to Series of polars, or None
        By their places, columns of whole numbers that `rows` rounds, null for an empty cell.
    """

    rows: NDArray[Any]
    columns: tuple[str, ...]
    labels: NDArray[Any] | None = None
    image_shape: tuple[int, int] | None = None
    dtypes: tuple[np.dtype[Any], ...] | None = None
    named: bool = False
    wholes: Mapping[int, pl.Series] | None = None


def read(source: str) -> Table:
    """Table of the rows in a file, or of scikit-learn's digits.

    Parameters
    ----------
    source : str
        ``digits``, or the path of a .npy, .npz (the array named ``X``, or the only one), .csv or .parquet file. A .csv
        has commas, and a header unless every cell of its first line is a number.

    Returns
    -------
    Table
        rows of shape (rows, columns).

    Raises
    ------
    TableError
        The file is none of these, is damaged, or holds something other than rows and columns of numbers.
    OSError
        The file cannot be opened.
    ImportError
        The library that reads this format is not installed; the message says how to get it.
    """
    if source == "digits":
        return _digits()
    path = Path(source)
    reader = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"cannot read {source!r}: expected digits, or a .npy, .npz, .csv or .parquet file")
    # Opened here once, so that a missing file is the same OSError for every format.
    with path.open("rb"):
        pass
    return reader(path)


def _digits() -> Table:
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f'the digits come with scikit-learn ({error}): pip install "elbokit[cli]"') from error
    digits = load_digits()
    return Table(digits.data, tuple(digits.feature_names), digits.target, image_shape=(8, 8), named=True)


def _npy(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise TableError(f"{path} is not a readable .npy file: {error}") from error
    return _from_array(array, str(path))


def _npz(path: Path) -> Table:
    # NumPy takes whatever is no archive for a pickle, and would say so.
    if not zipfile.is_zipfile(path):
        raise TableError(f"{path} is not a readable .npz file: it is no zip archive")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "X" in arrays.files:
                name = "X"
            elif len(arrays.files) == 1:
                name = arrays.files[0]
            else:
                held = ", ".join(arrays.files) or "none"
                raise TableError(f"{path}: expected an array named X, or only one array; it holds {held}")
            array = arrays[name]
    except TableError:
        raise
    # A damaged archive shows as any of these, by where the damage is.
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TableError(f"{path} is not a readable .npz file: {error}") from error
    return _from_array(array, f"{path}, array {name}")


def _from_array(array: NDArray[Any], source: str) -> Table:
    if array.ndim != 2:
        raise TableError(f"{source}: expected (rows, columns), got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise TableError(f"{source}: expected booleans, integers or floats, got dtype {array.dtype}")
    return Table(array, tuple(f"column_{j}" for j in range(array.shape[1])))


def _csv(path: Path) -> Table:
    pl = import_polars(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next(csv.reader(file), [])
        if not first:
            raise TableError(f"{path} starts with an empty line; expected the columns' names or the first row")
        # The whole file decides a column's type: the first fraction may stand in its last line.
        header = _is_header(first)
        frame = pl.read_csv(path, has_header=header, null_values=_EMPTY, infer_schema_length=None)
        # polars takes the cells that a line lacks for empty ones, of which the last column is then one.
        if frame.width > 1 and frame[:, -1].null_count():
            frame = frame.head(frame.height - _empty_at_end(path, frame.width))
    except (pl.exceptions.PolarsError, csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path} is not a readable .csv file: {_first_line(error)}") from error
    return _from_frame(frame, path, header and not _is_counted(first))


def _empty_at_end(path: Path, width: int) -> int:
    """How many empty lines a file ends with; any other line with fewer cells than there are columns is refused."""
    empty = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        first = 1
        for cells in lines:
            if not cells:
                empty.append(first)
            elif empty or len(cells) < width:
                line, count = (empty[0], 0) if empty else (first, len(cells))
                raise TableError(
                    f"{path}, line {line}: expected {width} cells, as there are columns, got {count}; write a comma "
                    "where a cell is missing, and no empty line"
                )
            # A cell in quotes may hold an end of line.
            first = lines.line_num + 1
    return len(empty)


def _is_header(cells: list[str]) -> bool:
    """Whether the first line of a .csv names the columns instead of holding the first row."""
    return (len(cells) > 1 and _is_counted(cells)) or not all(_is_number(cell) for cell in cells)


def _is_counted(names: Sequence[str]) -> bool:
    """Whether names are those of unnamed columns in pandas, 0, 1, 2, …: numbers, but no row."""
    return list(names) == [str(j) for j in range(len(names))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in _EMPTY
    return True


def _parquet(path: Path) -> Table:
    pl = import_polars(path)
    try:
        frame = pl.read_parquet(path, hive_partitioning=False)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path} is not a readable .parquet file: {_first_line(error)}") from error
    return _from_frame(frame, path, not _is_counted(frame.columns))


def import_polars(path: Path) -> Any:
    """Module `polars`, for the sake of the file named.

    Raises
    ------
    ImportError
        It is not installed; the message names the file and the cure.
    """
    try:
        import polars as pl  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f'{path} needs polars ({error}): pip install "elbokit[cli]"') from error
    return pl


def _from_frame(frame: pl.DataFrame, path: Path, named: bool) -> Table:
    columns = [_numbers(series, path) for series in frame]
    if not columns:
        raise TableError(f"{path} holds no columns")
    pl = import_polars(path)
    truths = [series.dtype == pl.Boolean and not series.null_count() for series in frame]
    dtypes = tuple(np.dtype(bool) if truth else c.dtype for truth, c in zip(truths, columns, strict=True))
    names = tuple(name.strip() for name in frame.columns)
    if len(set(names)) < len(names):
        names = tuple(frame.columns)
    rows = np.stack(columns, axis=1)
    wholes = {}
    if rows.dtype.kind == "f":
        found = ((j, _wholes(series, pl)) for j, series in enumerate(frame))
        wholes = {j: whole for j, whole in found if whole is not None}
    return Table(rows, names, dtypes=dtypes, named=named, wholes=wholes)


def _wholes(series: Any, pl: Any) -> pl.Series | None:
    """The column's whole numbers, where a float64 has no place for one of them."""
    if series.dtype == pl.String:
        numbers = _stripped(series).cast(pl.Int64, strict=False)
        series = numbers if numbers.null_count() == _stripped(series).null_count() else series
    if not (series.dtype.is_integer() or (series.dtype.is_decimal() and not series.dtype.scale)):
        return None
    back = series.cast(pl.Float64).cast(series.dtype, strict=False)
    return series if back.ne_missing(series).any() else None


def _stripped(series: pl.Series) -> pl.Series:
    """A column of text, whose numbers have spaces around them, with null for an empty cell."""
    series = series.str.strip_chars()
    return series.set(series.is_in(_EMPTY), None)


def _numbers(series: pl.Series, path: Path) -> NDArray[Any]:
    """Array of the column's numbers, in its own dtype where NumPy has that dtype and no cell is empty."""
    pl = import_polars(path)
    # Whole numbers, of a length that NumPy has no dtype for.
    long = str(series.dtype) in ("Int128", "UInt128")
    if (series.dtype.is_integer() and not long) or series.dtype.is_float():
        return series.to_numpy()
    if series.dtype == pl.String:
        series = _stripped(series)
    elif not (long or series.dtype.is_decimal() or series.dtype in (pl.Boolean, pl.Null)):
        raise TableError(f"{path}: column {series.name!r}: expected numbers, got {series.dtype}; leave it out")
    numbers = series.cast(pl.Float64, strict=False)
    lost = (numbers.is_null() & series.is_not_null()).arg_true()
    if len(lost):
        row = lost[0]
        raise TableError(
            f"{path}: column {series.name!r}, row {row} (from 0): expected a number, got {series[row]!r}; "
            "leave the column out or encode it"
        )
    return numbers.to_numpy()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
