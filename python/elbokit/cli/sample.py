"""``elbokit sample``: rows drawn from a model."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

import elbokit as ek
from elbokit import tables
from elbokit._names import Names
from elbokit._naming import Worded, Words
from elbokit.cli import options, rows, writing
from elbokit.cli.outputs import UserError

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

__all__ = ["add"]

_ROWS = 100


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    sample: argparse.ArgumentParser = commands.add_parser(
        "sample",
        help="write rows drawn from a model",
        description="Write rows drawn from MODEL: z from its prior, then the row from p(x | z). Columns have the "
        "names of the fit's file and its order, or are column_0 and on where it had none; a model with a condition has "
        "that behind them, likewise or as condition_0 and on.",
    )
    sample.set_defaults(run=_sample)
    sample.add_argument("model", metavar="MODEL", help="file that elbokit fit wrote")
    sample.add_argument(
        "--n", type=int, metavar="N", help=f"rows to draw ({_ROWS}; with a file of conditions one for each of its rows)"
    )
    sample.add_argument(
        "--given",
        metavar="CONDITION",
        help="of a model with a condition: its numbers, such as 0.5,1, for all rows, or a file with its columns alone "
        "and a row for each row to draw",
    )
    writing.add_out(sample, "an array (rows, columns)", "the same as X")
    options.add_key(sample)
    return sample


def _sample(args: argparse.Namespace) -> None:
    writing.check_out(args.out, [args.model])
    vae = ek.VAE.load(args.model)
    condition = _condition(args, vae)
    n = args.n
    if n is None:
        n = _ROWS if condition is None or len(condition) == 1 else len(condition)
    with Worded({"condition": Words(f"--given {args.given}")}):
        X = vae.sample(n, key=args.key, condition=condition)
    names = vae._names or Names(_numbered("column", X.shape[1]), _numbered("condition", vae.condition_width))
    columns = {name: X[:, j] for j, name in enumerate(names.columns)}
    if condition is not None:
        beside = np.broadcast_to(condition, (n, condition.shape[1]))
        columns |= {name: beside[:, j] for j, name in enumerate(names.condition)}
        X = np.column_stack([X, beside])
    writing.write(args.out, columns, {"X": X})
    if args.out is not None:
        print(f"{args.model}: drew {n} rows of {X.shape[1]} columns; wrote {args.out}")


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{j}" for j in range(count))


def _condition(args: argparse.Namespace, vae: ek.VAE) -> NDArray[Any] | None:
    """The condition that the model takes: (1, width) for all rows, or one a row."""
    width = vae.condition_width
    if args.given is None:
        if width:
            raise UserError(
                f"{args.model} was fitted beside a condition of {width} column{'s' * (width > 1)}: give it, such as "
                f"--given {','.join(['0'] * width)}, or as a file"
            )
        return None
    if not width:
        raise UserError(f"--given {args.given}: {args.model} was fitted without a condition; leave it out")
    given = None
    with contextlib.suppress(ValueError):
        given = np.array([[float(number) for number in args.given.split(",")]])
    if given is None:
        table = tables.read(args.given)
        given = table.rows
        if table.named and vae._names is not None:
            rows.check_names(vae._names, vae._names._replace(condition=table.columns), args.model, args.given)
    if given.shape[1] != width:
        raise UserError(
            f"--given {args.given}: expected {width} column{'s' * (width > 1)}, as {args.model} was fitted with, got "
            f"{given.shape[1]}"
        )
    if args.n is not None and len(given) not in (1, args.n):
        raise UserError(f"--given {args.given}: expected {args.n} rows, or one for all, got {len(given)}")
    return given
