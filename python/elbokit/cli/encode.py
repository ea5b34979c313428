"""``elbokit encode``: the posterior of every row, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import elbokit as ek
from elbokit.cli import rows, writing

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    encode: argparse.ArgumentParser = commands.add_parser(
        "encode",
        help="write the posterior of every row",
        description="Write, for every row of DATA, the posterior of its latents under MODEL, the Gaussian q(z | x): "
        "its loc in columns loc_0 and on, its variance as log_var_0 and on. Nothing is drawn.",
    )
    encode.set_defaults(run=_encode)
    rows.add_model_and_data(encode)
    writing.add_out(encode, "a structured array", "arrays loc and log_var")
    return encode


def _encode(args: argparse.Namespace) -> None:
    writing.check_out(args.out, [args.model, args.data])
    vae = ek.VAE.load(args.model)
    given = rows.of_model(args, vae)
    with given.worded(args.data):
        posterior = vae.encode(given.table.rows, condition=given.condition)._asdict()
    columns = {f"{name}_{j}": values[:, j] for name, values in posterior.items() for j in range(vae.latent_dim)}
    writing.write(args.out, columns, posterior)
    if args.out is not None:
        print(f"{args.data}, {len(given.table.rows)} rows: {vae.latent_dim} latents each; wrote {args.out}")
