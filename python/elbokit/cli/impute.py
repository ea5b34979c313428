"""``elbokit impute``: a table with its missing cells filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import elbokit as ek
from elbokit.cli import options, rows, writing

if TYPE_CHECKING:
    import argparse

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
    with given.worded(args.data):
        filled = given.together(
            vae.impute(given.table.rows, condition=given.condition, key=args.key, num_particles=args.num_particles)
        )
    source = given.source
    # A column without a missing cell has lost nothing on its way through the table's one dtype.
    kinds = source.dtypes or (filled.dtype,) * filled.shape[1]
    columns = {name: filled[:, j].astype(kinds[j]) for j, name in enumerate(source.columns)}
    writing.write(args.out, columns, {"X": filled})
    if args.out is not None:
        holes = int(np.isnan(source.rows).sum())
        print(f"{args.data}, {len(filled)} rows: {holes} cells filled; wrote {args.out}")
