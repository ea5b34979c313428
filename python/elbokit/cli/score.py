"""``elbokit score``: the bounds of every row, as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import elbokit as ek
from elbokit import tables
from elbokit._files import whole
from elbokit.cli.bounds import Bounds, bounds_of
from elbokit.cli.outputs import TABLES, check_ending, check_outputs

if TYPE_CHECKING:
    import argparse
    from typing import TextIO

__all__ = ["add"]


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    score: argparse.ArgumentParser = commands.add_parser(
        "score",
        help="write the bounds of every row",
        description="Write, for every row of DATA under MODEL and in nats: the ELBO, its reconstruction and KL, and "
        "its standard error (16 particles); then the lower bound, estimate and upper bound of the log evidence.",
    )
    score.set_defaults(run=_score)
    score.add_argument("model", metavar="MODEL", help="file that elbokit fit wrote")
    score.add_argument("data", metavar="DATA", help=TABLES)
    score.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv, .npy (a structured array) or .parquet file to write (CSV on standard output)",
    )
    return score


def _score(args: argparse.Namespace) -> None:
    writers = {".csv": _write_csv, ".npy": _write_npy, ".parquet": _write_parquet}
    if args.out is not None:
        check_outputs({"--out": args.out}, inputs=[args.model, args.data])
        check_ending(args.out, list(writers), "--out")
        if args.out.suffix.lower() == ".parquet":
            tables.import_polars(args.out)
    if args.num_threads is not None:
        ek.set_num_threads(args.num_threads)
    vae = ek.VAE.load(args.model)
    table = tables.read(args.data)
    bounds = bounds_of(vae, table.rows, args)
    if args.out is None:
        _print_csv(bounds, sys.stdout)
        return
    with whole(args.out) as path:
        writers[args.out.suffix.lower()](bounds, path)
    scored = f"{args.data}, {len(table.rows)} rows"
    if len(table.rows):
        scored += f": {bounds.title(args.num_particles)}"
    print(f"{scored}; wrote {args.out}")


def _print_csv(bounds: Bounds, file: TextIO) -> None:
    values = np.stack(bounds, axis=1)
    # As many digits as bring back the same number.
    digits = 9 if bounds.elbo.dtype == np.float32 else 17
    np.savetxt(file, values, fmt=f"%.{digits}g", delimiter=",", header=",".join(bounds._fields), comments="")


def _write_csv(bounds: Bounds, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        _print_csv(bounds, file)


def _write_npy(bounds: Bounds, path: Path) -> None:
    table = np.empty(len(bounds.elbo), dtype=[(name, a.dtype) for name, a in bounds._asdict().items()])
    for name, values in bounds._asdict().items():
        table[name] = values
    with path.open("wb") as file:
        np.save(file, table)


def _write_parquet(bounds: Bounds, path: Path) -> None:
    tables.import_polars(path).DataFrame(bounds._asdict()).write_parquet(path)
