"""Data sets that come a batch at a time, larger than memory: what `Batches` makes of a stream, and how it is kept.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> def read():
    ...     for block in range(3):
    ...         yield ek.random.normal((100, 4), key=block)
    >>> rows = ek.Batches(read)
    >>> vae = ek.VAE(2, hidden=(8,))
    >>> history = vae.fit(rows, epochs=2, progress=False)
    >>> vae.elbo(rows).elbo.shape
    (300,)

Training visits the rows in a new random order in every epoch, so a stream is written once to a temporary file, which is
then read as a memory map: memory does not grow with the rows, the order is that of the same rows in an array, and so
are the bits. A score depends on its row alone, so scores are taken from the stream itself, without a file.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit._arrays import Stream, count, float_type, rows_of
from elbokit._condition import condition_of
from elbokit.errors import ArgumentError, DtypeError, ElbokitError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["Batches"]

# As many columns of a wide frame as an error names.
_MOST_NAMED = 12


class Batches(Stream):
    """Rows that come a batch at a time, wherever a model takes X, held-out rows or a condition.

    Parameters
    ----------
    source : callable or iterable
        Batches one after another: a function that returns an iterator of them, or an object that can be iterated. A
        batch is an array (rows, columns), or a DataFrame of polars or pandas, or a RecordBatch or Table of pyarrow. It
        is read once by each call of a model, so an iterator that is spent after one pass serves one call.
    columns : sequence of str or int, optional
        The columns to take, in this order: of a frame by name, of an array by number; all by default.
    dtype : {"float32", "float64"}, optional
        What every batch is converted to. By default arrays stay as they are, and must be of one dtype; frames become
        float32 where that holds every value of all their columns' types, else float64, with NaN for an empty cell.
    folder : path-like, optional
        Where `spool` puts its file: the system's folder for temporary files by default. On systems where that is kept
        in memory, name one on a disk.

    Raises
    ------
    ShapeError
        For a batch of another width, and for a stream without a batch.
    DtypeError
        For a batch of another dtype, or that holds something other than numbers.
    ArgumentError
        For columns that a batch does not have.

    Notes
    -----
    `VAE.fit` spools; `elbo`, `log_evidence`, `encode`, `calibrate` and `p_value` read the stream itself, a batch at a
    time, and return what they say of all rows in one array. Methods whose results are as large as the rows
    (`reconstruct`, `impute`, `elbo_per_column`) spool too; a loop over the batches keeps only one result at a time.

    Examples
    --------
    >>> import polars as pl
    >>> import elbokit as ek
    >>> frames = [pl.DataFrame({"a": [1, None], "b": [0.5, 2.0]}), pl.DataFrame({"a": [3], "b": [4.0]})]
    >>> for rows in ek.Batches(frames):
    ...     print(rows.tolist(), rows.dtype)
    [[1.0, 0.5], [nan, 2.0]] float64
    [[3.0, 4.0]] float64
    """

    def __init__(
        self,
        source: Callable[[], Iterable[Any]] | Iterable[Any],
        *,
        columns: Sequence[str] | Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if not (callable(source) or hasattr(source, "__iter__")):
            raise DtypeError(
                f"source: expected an iterable of batches, or a function that returns one, got {source!r}; give one",
                argument="source",
            )
        self.source = source
        try:
            self.columns = None if columns is None else list(columns)
        except TypeError:
            raise ArgumentError(
                f"columns: expected a sequence of names or numbers, got {columns!r}; give [{columns!r}]"
            ) from None
        self.dtype: np.dtype[Any] | None = None if dtype is None else float_type(dtype)
        self.folder = folder

    @classmethod
    def parquet(
        cls,
        path: Any,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = 1 << 16,
        dtype: DTypeLike | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> Batches:
        """The rows of a Parquet file, of which only the row groups of one batch are in memory at a time.

        Parameters
        ----------
        path : path-like or pyarrow.parquet.ParquetFile
            A path is read by polars, which is imported then, an open file by its own library.
        columns : sequence of str, optional
            The columns to read; all by default.
        batch_rows : int
            Rows of a batch, at most.
        dtype, folder
            As of `Batches`.

        Raises
        ------
        ImportError
            When it is iterated, where the library is not installed.
        OSError
            Then, where the file cannot be opened.
        ArgumentError
            Then, where it is no Parquet file, or lacks one of the columns.
        DtypeError
            For a path that is none.

        Examples
        --------
        >>> import polars as pl, tempfile, pathlib
        >>> import elbokit as ek
        >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.parquet")
        >>> pl.DataFrame({"a": range(1000), "b": range(1000)}).write_parquet(path, row_group_size=100)
        >>> [len(rows) for rows in ek.Batches.parquet(path, columns=["b"], batch_rows=400)]
        [400, 400, 200]
        """
        size = count("batch_rows", batch_rows, 1)
        if hasattr(path, "iter_batches"):
            return cls(
                lambda: path.iter_batches(batch_size=size, columns=columns), columns=columns, dtype=dtype, folder=folder
            )
        try:
            place = os.fspath(path)
        except TypeError:
            raise DtypeError(
                f"path: expected a path or an open Parquet file, got {path!r}; give one", argument="path"
            ) from None
        return cls(lambda: _row_groups(place, columns, size), columns=columns, dtype=dtype, folder=folder)

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in ("columns", "dtype", "folder")}
        given = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
        return f"Batches({self.source!r}{given})"

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each batch as a C-contiguous array (rows, columns), of one width and dtype."""
        first: NDArray[Any] | None = None
        for number, batch in enumerate(self._batches()):
            rows = self._rows(batch, f"batch {number}")
            if first is None:
                first = rows[:0]
            if rows.shape[1] != first.shape[1]:
                raise ShapeError(
                    f"batch {number}: expected {first.shape[1]} columns like batch 0, got {rows.shape[1]}; "
                    "give batches of one width",
                    argument="source",
                )
            if rows.dtype != first.dtype:
                raise DtypeError(
                    f"batch {number}: expected {first.dtype} like batch 0, got {rows.dtype}; give dtype= to convert "
                    "every batch",
                    argument="source",
                )
            yield rows
        if first is None:
            raise ShapeError(
                "source: expected at least one batch, got none; an iterator is spent after one pass, give a function "
                "that returns a new one",
                argument="source",
            )

    def spool(self) -> NDArray[Any]:
        """All rows as a memory map of a temporary file, (rows, columns), in the batches' own dtype.

        The file is as large as the rows and has no name: its space is free again when the array is gone, or the
        process.
        """
        with tempfile.TemporaryFile(prefix="elbokit-", dir=self.folder) as file:
            total, rows = 0, None
            for rows in self:
                file.write(rows.data)
                total += len(rows)
            assert rows is not None  # a stream without a batch was refused
            shape = total, rows.shape[1]
            if not total * rows.shape[1]:
                return np.empty(shape, rows.dtype)
            file.flush()
            return np.asarray(np.memmap(file, rows.dtype, "r", shape=shape))

    def _batches(self) -> Iterable[Any]:
        if not callable(self.source):
            return self.source
        made = self.source()
        if not (hasattr(made, "__iter__") or hasattr(made, "__getitem__")):
            raise DtypeError(
                f"source: expected a function that returns an iterable of batches, got {made!r} from it; return or "
                "yield them",
                argument="source",
            )
        return made

    def _rows(self, batch: Any, name: str) -> NDArray[Any]:
        cells = _of_frame(batch, self.columns, self.dtype, name)
        if cells is None:
            try:
                cells = rows_of(name, batch)
            except ElbokitError as error:
                error.argument = "source"
                raise
            try:
                cells = cells if self.columns is None else cells[:, np.asarray(self.columns)]
            except (IndexError, ValueError):
                raise ArgumentError(
                    f"columns: expected numbers of the {cells.shape[1]} columns of {name}, an array, got "
                    f"{self.columns}; count from 0"
                ) from None
        return np.ascontiguousarray(cells, dtype=self.dtype)


def streamed(
    X: Batches, condition: ArrayLike | Batches | None, of: Callable[[Any, Any], Sequence[NDArray[Any]]]
) -> list[NDArray[Any]]:
    """What `of` says of each batch and its condition, put together; an error says where its batch begins."""
    parts: list[Sequence[NDArray[Any]]] = []
    beside = iter(condition) if isinstance(condition, Batches) else None
    whole = None if condition is None or beside is not None else condition_of(condition, None, None)
    first = 0
    for rows in X:
        last = first + len(rows)
        given = next(beside, None) if beside is not None else None if whole is None else whole[first:last]
        try:
            parts.append(of(rows, given))
        except ElbokitError as error:
            error.args = (f"in the batch that begins with row {first}: {error}",)
            if error.row is not None:
                error.row += first
            raise
        first = last
    if (beside is not None and next(beside, None) is not None) or (whole is not None and len(whole) != first):
        raise ShapeError(
            f"condition: expected {first} rows like X, got more; give one for each row", argument="condition"
        )
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _of_frame(frame: Any, columns: list[Any] | None, dtype: np.dtype[Any] | None, name: str) -> NDArray[Any] | None:
    """The numbers of a frame, NaN for an empty cell; None for what is no frame."""
    kinds = {(base.__module__.partition(".")[0], base.__name__) for base in type(frame).__mro__}
    of: Callable[[Any, np.dtype[Any] | None, str], NDArray[Any]]
    if ("polars", "DataFrame") in kinds:
        of, select, names = _of_polars, frame.select, frame.columns
    elif ("pandas", "DataFrame") in kinds:
        of, select, names = _of_pandas, frame.__getitem__, frame.columns
    elif ("pyarrow", "RecordBatch") in kinds or ("pyarrow", "Table") in kinds:
        of, select, names = _of_arrow, frame.select, frame.schema.names
    else:
        return None
    return of(frame if columns is None else _chosen(select, columns, names, name), dtype, name)


def _chosen(select: Callable[[list[Any]], Any], columns: list[Any], names: Iterable[Any], name: str) -> Any:
    """The columns of a batch, whose library says in its own way that it lacks one."""
    polars = sys.modules.get("polars")
    foreign = () if polars is None else (polars.exceptions.PolarsError,)
    try:
        return select(columns)
    except (LookupError, TypeError, ValueError, *foreign) as error:
        there = list(names)
        lacking = [column for column in columns if isinstance(column, (str, Integral)) and column not in there]
        if not lacking:
            said = str(error).strip().partition("\n")[0]
            raise ArgumentError(
                f"columns: expected columns that {name} gives, got {columns!r} ({said}); give names"
            ) from error
        known = ", ".join(map(repr, there[:_MOST_NAMED])) + (", …" if len(there) > _MOST_NAMED else "")
        raise ArgumentError(f"columns: expected columns of {name}, got {lacking[0]!r}; use some of {known}") from error


def _of_polars(frame: Any, dtype: np.dtype[Any] | None, name: str) -> NDArray[Any]:
    pl = sys.modules["polars"]
    for column, kind in frame.schema.items():
        if not (kind.is_numeric() or kind == pl.Boolean):
            _refuse(name, column, kind)
    exact = {pl.Boolean, pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.Float32}
    to = _common(frame.dtypes, exact, dtype)
    single = pl.Float32 if to == np.float32 else pl.Float64
    return np.asarray(frame.select(pl.all().cast(single)).to_numpy(), dtype=to)


def _of_pandas(frame: Any, dtype: np.dtype[Any] | None, name: str) -> NDArray[Any]:
    types = sys.modules["pandas"].api.types
    for column, kind in zip(frame.columns, frame.dtypes, strict=True):
        if not types.is_numeric_dtype(kind) or types.is_complex_dtype(kind):
            _refuse(name, column, kind)
    exact = {"bool", "int8", "int16", "uint8", "uint16", "float32"}
    to = _common([str(kind).lower().removesuffix("ean") for kind in frame.dtypes], exact, dtype)
    cells = np.empty(frame.shape, dtype=to)
    for j in range(frame.shape[1]):
        cells[:, j] = frame.iloc[:, j].to_numpy(dtype=to, na_value=np.nan)
    return cells


def _of_arrow(table: Any, dtype: np.dtype[Any] | None, name: str) -> NDArray[Any]:
    types = sys.modules["pyarrow"].types
    kinds = [field.type for field in table.schema]
    for field in table.schema:
        if not any(
            holds(field.type) for holds in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        ):
            _refuse(name, field.name, field.type)
    to = _common(
        [str(kind) for kind in kinds], {"bool", "int8", "int16", "uint8", "uint16", "halffloat", "float"}, dtype
    )
    single = "float32" if to == np.float32 else "float64"
    cells = np.empty((table.num_rows, len(kinds)), dtype=to)
    for j, column in enumerate(table.columns):
        # Arrow refuses a whole number that a float has no place for, where NumPy rounds it.
        cells[:, j] = column.cast(single, safe=False).to_numpy(zero_copy_only=False)
    return cells


def _common(kinds: Iterable[Any], exact: set[Any], dtype: np.dtype[Any] | None) -> np.dtype[Any]:
    """float32 where that holds all values of the columns' types, else float64; by the types alone, not by the cells."""
    if dtype is not None:
        return dtype
    return np.dtype(np.float32 if all(kind in exact for kind in kinds) else np.float64)


def _refuse(name: str, column: Any, kind: Any) -> None:
    raise DtypeError(
        f"{name}: column {column!r}: expected numbers, got {kind}; leave it out with columns=, or encode it",
        argument="source",
    )


def _row_groups(path: str, columns: Sequence[str] | None, size: int) -> Iterator[Any]:
    """Frames of at most `size` rows of the file; polars reads no row group that a slice has no row of."""
    try:
        import polars as pl  # noqa: PLC0415 -- optional
    except ImportError as error:
        raise ImportError(f'{path} needs polars ({error}): pip install "elbokit[cli]"') from error
    # Opened here once, so that a missing file is the same OSError for every format.
    with open(path, "rb"):  # noqa: PTH123
        pass
    try:
        lazy = pl.scan_parquet(path, hive_partitioning=False)
        names = lazy.collect_schema().names()
        if columns is not None:
            lazy = _chosen(lambda wanted: _resolved(lazy.select(wanted)), list(columns), names, path)
        rows = lazy.select(pl.len()).collect().item()
        for first in range(0, rows, size):
            yield lazy.slice(first, size).collect()
    except pl.exceptions.PolarsError as error:
        said = str(error).strip().partition("\n")[0]
        raise ArgumentError(
            f"path: expected a readable Parquet file, got {path!r} ({said}); give one, or write it again"
        ) from error


def _resolved(lazy: Any) -> Any:
    """The query, of which it is known by now that its columns are there."""
    lazy.collect_schema()
    return lazy
