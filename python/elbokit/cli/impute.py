"""``elbokit impute``: a table with its missing cells filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

import elbokit as ek
from elbokit import _frames
from elbokit.cli import options, rows, writing
from elbokit.cli.outputs import complain, complaining

if TYPE_CHECKING:
    import argparse

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["add"]


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    impute: argparse.ArgumentParser = commands.add_parser(
        "impute",
        help="fill the missing cells of rows",
        description="Write DATA with its missing cells filled by MODEL, given the observed cells of the row: the mean "
        "of a real or count column, the most probable value of another. Observed cells stay as they are.",
    )
    impute.set_defaults(run=_impute)
    rows.add_model_and_data(impute)
    writing.add_out(impute, "an array (rows, columns)", "the same as X")
    options.add_particles(impute, "by which cells are filled, a row")
    options.add_key(impute)
    return impute


def _impute(args: argparse.Namespace) -> None:
    writing.check_out(args.out, [args.model, args.data])
    vae = ek.VAE.load(args.model)
    given = rows.of_model(args, vae)
    with complaining(), given.worded(args.data):
        filled = given.together(
            vae.impute(given.table.rows, condition=given.condition, key=args.key, num_particles=args.num_particles)
        )
    source = given.source
    # A column without a missing cell has lost nothing on its way through the table's one dtype.
    kinds = source.dtypes or (filled.dtype,) * filled.shape[1]
    columns: dict[str, Any] = {}
    for j, name in enumerate(source.columns):
        if source.wholes and j in source.wholes:
            columns[name] = _filled(source.wholes[j], np.isnan(source.rows[:, j]), filled[:, j])
        else:
            columns[name] = filled[:, j].astype(kinds[j])
    if source.wholes and args.out is not None and args.out.suffix.lower() in (".npy", ".npz"):
        rounded = ", ".join(repr(source.columns[j]) for j in source.wholes)
        complain(f"warning: {args.out}: an array of floats rounds {rounded}; write .csv or .parquet to keep them", 0)
    writing.write(args.out, columns, {"X": filled})
    if args.out is not None:
        holes = int(np.isnan(source.rows).sum())
        print(f"{args.data}, {len(filled)} rows: {holes} cells filled; wrote {args.out}")


def _filled(wholes: pl.Series, missing: NDArray[np.bool_], cells: NDArray[Any]) -> pl.Series:
    """Whole numbers that a float has no place for, as they were read, with the missing ones rounded."""
    made = _frames.Made(_frames.dtype_of(wholes), cells.astype(np.float64))
    frame = _frames.fill(wholes.to_frame(), {wholes.name: (missing, made)})
    return cast("pl.Series", frame.to_series())
