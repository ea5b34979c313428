"""``elbokit score``: the bounds of every row, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import elbokit as ek
from elbokit.cli import options, rows, writing
from elbokit.cli.bounds import bounds_of

if TYPE_CHECKING:
    import argparse

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
    rows.add_model_and_data(score)
    writing.add_out(score, "a structured array", "an array a column")
    options.add_particles(score, "of the log evidence, a row")
    options.add_key(score)
    return score


def _score(args: argparse.Namespace) -> None:
    writing.check_out(args.out, [args.model, args.data])
    vae = ek.VAE.load(args.model)
    given = rows.of_model(args, vae)
    with given.worded(args.data):
        bounds = bounds_of(vae, given.table.rows, args, given.condition)
    writing.write(args.out, bounds._asdict())
    if args.out is None:
        return
    scored = f"{args.data}, {len(given.table.rows)} rows"
    if len(given.table.rows):
        scored += f": {bounds.title(args.num_particles)}"
    print(f"{scored}; wrote {args.out}")
