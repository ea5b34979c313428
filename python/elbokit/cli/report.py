"""``elbokit report``: what the bounds of rows say, how far to trust them and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import elbokit as ek
from elbokit.cli import options, rows
from elbokit.cli.outputs import check_ending, check_outputs, complaining

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    report: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="say what the bounds of rows mean",
        description="Print what the bounds of the rows of DATA under MODEL say, how far to trust them and what to do: "
        "evidence, particles, k-hat, latents and the rows hardest to explain, each number with its meaning.",
    )
    report.set_defaults(run=_report)
    rows.add_model_and_data(report)
    report.add_argument("--out", type=Path, metavar="FILE", help=".html file to write as well, with a picture")
    options.add_particles(report, "of the log evidence, a row")
    options.add_key(report)
    return report


def _report(args: argparse.Namespace) -> None:
    from elbokit.report import report  # noqa: PLC0415 -- the other commands do without

    if args.out is not None:
        check_outputs({"--out": args.out}, inputs=[args.model, args.data])
        check_ending(args.out, [".html", ".htm"], "--out")
    vae = ek.VAE.load(args.model)
    given = rows.of_model(args, vae)
    table = given.table
    # A table of another width has other names; what is wrong with it is then said by the model.
    columns = table.columns if len(table.columns) == vae.num_features else None
    with complaining(), given.worded(args.data):
        found = report(
            vae,
            table.rows,
            condition=given.condition,
            key=args.key,
            num_particles=args.num_particles,
            columns=columns,
        )
    # A terminal of another encoding gets what it can show.
    encoding = sys.stdout.encoding or "utf-8"
    print(str(found).encode(encoding, "replace").decode(encoding), flush=True)
    if args.out is not None:
        found.save(args.out)
        print(f"\nwrote {args.out}")
