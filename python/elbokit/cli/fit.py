"""``elbokit fit``: train a model on a table, save it, and say what bounds it reached."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import elbokit as ek
from elbokit import plot
from elbokit._arrays import count
from elbokit._files import whole
from elbokit.cli import options, rows
from elbokit.cli.bounds import bounds_of, print_bounds
from elbokit.cli.likelihoods import LIKELIHOODS, likelihood
from elbokit.cli.outputs import TABLES, UserError, check_ending, check_outputs, complaining

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elbokit.cli.rows import Rows

__all__ = ["add"]

# The digits' split, so that figures can be compared: the first 1500 rows of one permutation train, 297 are held out.
_DIGITS_TRAIN = 1500
# The closing table evaluates at most this many rows of each part; its standard errors say what that leaves open.
_MOST_EVALUATED = 2000
# As many points as a picture of the latent space can hold, and rows enough for the rest of it.
_MOST_DRAWN = 5000


def add(commands: Any) -> argparse.ArgumentParser:
    """Its parser."""
    fit: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="train a VAE on rows and save it",
        description="Train a VAE on the rows of DATA, save it, and print its bounds. Defaults in parentheses.",
    )
    fit.set_defaults(run=_fit)
    fit.add_argument("data", nargs="?", default="digits", metavar="DATA", help=f"{TABLES} (%(default)s)")
    fit.add_argument("--out", required=True, type=Path, metavar="MODEL", help="safetensors file to write")
    fit.add_argument(
        "--likelihood", metavar="NAME", help=f"{LIKELIHOODS} (binomial(16) for digits, else gaussian(predicted))"
    )
    fit.add_argument("--latent-dim", type=int, default=16, metavar="N", help="latent dimensions (%(default)s)")
    fit.add_argument("--hidden", type=_widths, default="256", metavar="N[,N]", help="hidden layers (%(default)s)")
    fit.add_argument("--activation", default="relu", metavar="NAME", help="of the hidden layers (%(default)s)")
    fit.add_argument("--layer-norm", action="store_true", help="normalise every hidden layer before its activation")
    fit.add_argument(
        "--residual", action="store_true", help="add the input of hidden layers of one width to their output"
    )
    fit.add_argument("--prior", default="standard", metavar="NAME", help="standard, mixture or vamp (%(default)s)")
    fit.add_argument(
        "--prior-components", type=int, default=20, metavar="K", help="of a mixture or vamp prior (%(default)s)"
    )
    rows.add_condition(fit)
    fit.add_argument("--epochs", type=int, default=200, metavar="N", help="passes over the training rows (%(default)s)")
    fit.add_argument("--batch-size", type=int, default=128, metavar="N", help="rows a step (%(default)s)")
    fit.add_argument("--learning-rate", type=float, default=1e-3, metavar="RATE", help="of Adam (%(default)s)")
    fit.add_argument("--objective", default="elbo", metavar="NAME", help="elbo or iwae (%(default)s)")
    fit.add_argument(
        "--train-particles", type=int, default=1, metavar="N", help="draws of z a row in each step (%(default)s)"
    )
    fit.add_argument(
        "--estimator",
        default="pathwise",
        metavar="NAME",
        help="of the encoder's gradient: pathwise, stl, dreg or score (%(default)s)",
    )
    fit.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the rows that is held out, 0 for none (0.1; for digits one fixed split, 297 of 1797)",
    )
    fit.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="keep the best weights, and stop after N epochs without better ones (train to the end, keep the last)",
    )
    fit.add_argument("--plot", type=Path, metavar="FILE", help="picture to draw, such as a .png or .svg file")
    fit.add_argument("--quiet", action="store_true", help="print the closing table alone")
    options.add_particles(fit, "of the log evidence, a row")
    options.add_key(fit)
    return fit


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected widths such as 256 or 512,256, got {text!r}") from None


def _fit(args: argparse.Namespace) -> None:
    # All that can be refused without training is refused before it.
    check_outputs({"--out": args.out, "--plot": args.plot}, inputs=[args.data])
    if args.plot is not None:
        check_ending(args.plot, [f".{ending}" for ending in plot.formats()], "--plot")
    count("num_particles", args.num_particles, 1)
    chosen = likelihood(args.likelihood, args.data)
    given = rows.split(args.data, args.condition)
    table = given.table
    # By its place in the file, before the rows are shared out.
    with given.worded(args.data):
        chosen.check_support(table.rows)
    train, held_out = _split(args.data, len(table.rows), args.validation, args.key)
    vae = ek.VAE(
        args.latent_dim, hidden=args.hidden, likelihood=chosen, activation=args.activation,
        layer_norm=args.layer_norm, residual=args.residual, prior=args.prior, prior_components=args.prior_components,
    )  # fmt: skip
    if not args.quiet:
        num_rows, columns = table.rows.shape
        missing = int(np.isnan(table.rows).sum())
        beside = "" if given.condition is None else f", beside a condition of {len(given.places)}"
        print(f"{args.data}: {num_rows} rows, {columns} columns{beside}, {table.rows.dtype}, {missing} missing cells")
        print(f"{chosen!r}: {len(train)} rows to train, {len(held_out)} held out", flush=True)

    started = time.perf_counter()
    words = given.worded(args.data, train, held_out)
    with complaining(lambda text: options.in_options(text, "training")), options.named("training"), words:
        history = vae.fit(
            table.rows[train],
            condition=given.beside(train),
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            objective=args.objective,
            estimator=args.estimator,
            num_particles=args.train_particles,
            validation=_held_out(given, held_out),
            patience=args.patience,
            progress=not args.quiet,
            key=args.key,
        )
    seconds = time.perf_counter() - started
    if not np.isfinite(history.elbo[-1]):
        raise UserError("the training's ELBO has left the range, nothing is written; lower --learning-rate")
    vae._names = given.names
    # Before the evaluation, which an impatient user may interrupt.
    vae.save(args.out)

    parts = {"train": train} | ({"held out": held_out} if len(held_out) else {})
    bounds = {}
    for name, part in parts.items():
        evaluated = part[:_MOST_EVALUATED]
        bounds[name] = bounds_of(vae, table.rows[evaluated], args, given.beside(evaluated))
    print_bounds(bounds, {name: len(part) for name, part in parts.items()}, args.num_particles)
    epochs = len(history.elbo)
    rate = len(train) * epochs / seconds
    print(f"trained {epochs} epochs in {seconds:.1f} s, {rate:.0f} rows a second; wrote {args.out}", flush=True)
    if args.plot is not None:
        name, part = list(parts.items())[-1]
        _draw(args, vae, given, part, f"{args.data}, {name}: {bounds[name].title(args.num_particles)}")


def _split(data: str, rows: int, share: float | None, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers to train with, and those held out."""
    if rows == 0:
        raise UserError(f"{data} holds no rows")
    if share is None and data == "digits":
        order = np.random.default_rng(0).permutation(rows)
        return order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:]
    share = 0.1 if share is None else share
    if not 0.0 <= share < 1.0:
        raise UserError(f"--validation: expected a share from 0 up to but not including 1, got {share}")
    if key < 0:
        raise UserError(f"--key: expected a number from 0, got {key}")
    # One row at least on either side, where there are two to share out.
    held = min(max(round(rows * share), 1), rows - 1) if share > 0.0 else 0
    order = np.random.default_rng(key).permutation(rows)
    return order[held:], order[:held]


def _held_out(given: Rows, held_out: NDArray[np.int64]) -> Any:
    """The rows to hold out, with their condition where there is one."""
    if not len(held_out):
        return 0.0
    X, condition = given.table.rows[held_out], given.beside(held_out)
    return X if condition is None else (X, condition)


def _draw(args: argparse.Namespace, vae: ek.VAE, given: Rows, part: NDArray[np.int64], title: str) -> None:
    part, table = part[:_MOST_DRAWN], given.table
    figure = plot.model(
        vae,
        table.rows[part],
        condition=given.beside(part),
        key=args.key,
        labels=None if table.labels is None else table.labels[part],
        image_shape=table.image_shape,
        title=title,
    )
    with whole(args.plot) as path:
        figure.savefig(path)
    print(f"drew {args.plot}", flush=True)
