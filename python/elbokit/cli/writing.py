"""Tables that commands write: .csv, .npy, .npz or .parquet by the file's name, or CSV on standard output."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import tables
from elbokit._files import whole
from elbokit.cli.outputs import check_ending, check_outputs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import TextIO

    from numpy.typing import NDArray

__all__ = ["add_out", "check_out", "write"]

_ENDINGS = [".csv", ".npy", ".parquet", ".npz"]


def add_out(parser: argparse.ArgumentParser, npy: str, npz: str) -> None:
    """The option --out, with what is said of NumPy's formats."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f".csv, .npy ({npy}), .npz ({npz}) or .parquet file to write (CSV on standard output)",
    )


def check_out(out: Path | None, inputs: list[str]) -> None:
    """Refuse, before any work, a place or a format that cannot be written."""
    if out is None:
        return
    check_outputs({"--out": out}, inputs=inputs)
    check_ending(out, _ENDINGS, "--out")
    if out.suffix.lower() == ".parquet":
        tables.import_polars(out)


def write(out: Path | None, columns: dict[str, Any], arrays: dict[str, NDArray[Any]] | None = None) -> None:
    """Write columns by their names, each (rows,).

    Parameters
    ----------
    out : Path or None
        None is CSV on standard output.
    columns : dict of ndarray, or of Series of polars beside `arrays`
        What a .csv and a .parquet file hold.
    arrays : dict of ndarray, optional
        What an .npz file holds, by default the columns; where it is one array, a .npy file holds that one, otherwise
        the columns as one structured array.
    """
    if out is None:
        _write_csv(columns, sys.stdout)
        return
    arrays = columns if arrays is None else arrays
    with whole(out) as path:
        if path.suffix.lower() == ".csv":
            with path.open("w", encoding="utf-8", newline="\n") as file:
                _write_csv(columns, file)
        elif path.suffix.lower() == ".parquet":
            tables.import_polars(path).DataFrame(columns).write_parquet(path)
        else:
            _write_numpy(columns, arrays, path)


def _write_numpy(columns: dict[str, Any], arrays: dict[str, NDArray[Any]], path: Path) -> None:
    with path.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for its own options
        else:
            np.save(file, next(iter(arrays.values())) if len(arrays) == 1 else _structured(columns))


def _structured(columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    rows = len(next(iter(columns.values())))
    table = np.empty(rows, dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


def _write_csv(columns: dict[str, Any], file: TextIO) -> None:
    csv.writer(file, lineterminator="\n").writerow(columns)
    file.writelines(",".join(cells) + "\n" for cells in zip(*map(_texts, columns.values()), strict=True))


def _texts(values: Any) -> Iterator[str]:
    """Each number in as few digits as bring it back; a whole one without a point."""
    if values.dtype == bool:
        return ("true" if value else "false" for value in values)
    return (str(value).removesuffix(".0") for value in values)
