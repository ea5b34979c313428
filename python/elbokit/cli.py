"""The command ``elbokit``: train a VAE on a table of rows, and score rows with it.

    elbokit fit digits --out digits.safetensors --plot digits.png
    elbokit score digits.safetensors rows.csv --out scores.parquet

``fit`` says what it read and ends with the bounds it reached; ``score`` writes the bounds of every row. A mistake of
the user (a file, a name, a value) ends in one line on standard error and exit code 2, an interrupt in one line and 130.
A file is written beside its place and then moved there, so it is whole or it is not there.

The command knows no mathematics: it reads with `elbokit.tables`, calls `elbokit.VAE`, draws with `elbokit.plot`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

import elbokit as ek
from elbokit import plot, tables
from elbokit._files import whole
from elbokit.errors import ElbokitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from numpy.typing import NDArray

__all__ = ["main"]

_USER_ERROR = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended

# The digits' split, so that figures can be compared: the first 1500 rows of one permutation train, 297 are held out.
_DIGITS_TRAIN = 1500
# The closing table evaluates at most this many rows of each part; its standard errors say what that leaves open.
_MOST_EVALUATED = 2000
# As many points as a picture of the latent space can hold, and rows enough for the rest of it.
_MOST_DRAWN = 5000
_LIKELIHOODS = (
    "gaussian, gaussian(0.5), gaussian(predicted), laplace(shared), student_t(4,per_feature), bernoulli, "
    "continuous_bernoulli, binomial(16), categorical(3), poisson, negative_binomial or zero_inflated_negative_binomial"
)
_BARE = {
    "bernoulli": ek.likelihood.Bernoulli,
    "continuous_bernoulli": ek.likelihood.ContinuousBernoulli,
    "poisson": ek.likelihood.Poisson,
    "negative_binomial": ek.likelihood.NegativeBinomial,
    "zero_inflated_negative_binomial": ek.likelihood.ZeroInflatedNegativeBinomial,
}
_COUNTED = {"binomial": ek.likelihood.Binomial, "categorical": ek.likelihood.Categorical}
_SCALED = {"gaussian": ek.likelihood.Gaussian, "laplace": ek.likelihood.Laplace}
_TABLES = "digits, or a .npy, .npz, .csv or .parquet file"


class _UserError(Exception):
    """What the user asked for cannot be done; the text says why, and what can."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of one call of the command: 0, 2 for a mistake of the user, 130 for an interrupt.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments behind the command's name; by default those of the process.

    Returns
    -------
    int
        The exit code. As in argparse, ``--help``, ``--version`` and unknown options raise SystemExit with theirs.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # The reader has left; the interpreter's own last flush must not find that out once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        return _complain(f"error: {name}{error.strerror or error}", _USER_ERROR)
    except MemoryError as error:
        return _complain(f"error: not enough memory: {error}", _USER_ERROR)
    # The command leaves it to the library to check an option's value, so these are the user's as well.
    except (_UserError, ElbokitError, ImportError, ValueError, OverflowError) as error:
        return _complain(f"error: {error}", _USER_ERROR)
    return 0


def _complain(text: str, code: int) -> int:
    print("elbokit:", " ".join(text.split()), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_complain(f"error: {message}; {self.prog} --help lists the options", _USER_ERROR))


class _Version(argparse.Action):
    """Print the installed version, looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415

        print(f"elbokit {version('elbokit')}")
        parser.exit()


def _parser() -> _Parser:
    parser = _Parser(prog="elbokit", description="Variational autoencoders and their evidence lower bound, on a CPU.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(title="commands", required=True, metavar="fit | score")
    for command in (_add_fit(commands), _add_score(commands)):
        command.add_argument(
            "--num-particles", type=int, default=1000, metavar="N", help="of the log evidence, a row (%(default)s)"
        )
        command.add_argument("--key", type=int, default=0, metavar="SEED", help="of all randomness (%(default)s)")
        command.add_argument("--num-threads", type=int, metavar="N", help="threads (as many as the process may use)")
    return parser


def _add_fit(commands: Any) -> argparse.ArgumentParser:
    fit: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="train a VAE on rows and save it",
        description="Train a VAE on the rows of DATA, save it, and print its bounds. Defaults in parentheses.",
    )
    fit.set_defaults(run=_fit)
    fit.add_argument("data", nargs="?", default="digits", metavar="DATA", help=f"{_TABLES} (%(default)s)")
    fit.add_argument("--out", required=True, type=Path, metavar="MODEL", help="safetensors file to write")
    fit.add_argument(
        "--likelihood", metavar="NAME", help=f"{_LIKELIHOODS} (binomial(16) for digits, else gaussian(predicted))"
    )
    fit.add_argument("--latent-dim", type=int, default=16, metavar="N", help="latent dimensions (%(default)s)")
    fit.add_argument("--hidden", type=_widths, default="256", metavar="N[,N]", help="hidden layers (%(default)s)")
    fit.add_argument("--activation", default="relu", metavar="NAME", help="of the hidden layers (%(default)s)")
    fit.add_argument("--layer-norm", action="store_true", help="normalise every hidden layer before its activation")
    fit.add_argument(
        "--residual", action="store_true", help="add the input of hidden layers of one width to their output"
    )
    fit.add_argument("--epochs", type=int, default=200, metavar="N", help="passes over the training rows (%(default)s)")
    fit.add_argument("--batch-size", type=int, default=128, metavar="N", help="rows a step (%(default)s)")
    fit.add_argument("--learning-rate", type=float, default=1e-3, metavar="RATE", help="of Adam (%(default)s)")
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
    return fit


def _add_score(commands: Any) -> argparse.ArgumentParser:
    score: argparse.ArgumentParser = commands.add_parser(
        "score",
        help="write the bounds of every row",
        description="Write, for every row of DATA under MODEL and in nats: the ELBO, its reconstruction and KL, and "
        "its standard error (16 particles); then the lower bound, estimate and upper bound of the log evidence.",
    )
    score.set_defaults(run=_score)
    score.add_argument("model", metavar="MODEL", help="file that elbokit fit wrote")
    score.add_argument("data", metavar="DATA", help=_TABLES)
    score.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv, .npy (a structured array) or .parquet file to write (CSV on standard output)",
    )
    return score


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected widths such as 256 or 512,256, got {text!r}") from None


# fit


def _fit(args: argparse.Namespace) -> None:
    # All that can be refused without training is refused before it.
    _check_outputs({"--out": args.out, "--plot": args.plot}, inputs=[args.data])
    if args.plot is not None:
        _check_ending(args.plot, [f".{ending}" for ending in plot.formats()], "--plot")
    likelihood = _likelihood(args.likelihood, args.data)
    if args.num_threads is not None:
        ek.set_num_threads(args.num_threads)
    table = tables.read(args.data)
    _check_cells(table, likelihood, args.data)
    train, held_out = _split(args.data, len(table.rows), args.validation, args.key)
    vae = ek.VAE(
        args.latent_dim, hidden=args.hidden, likelihood=likelihood, activation=args.activation,
        layer_norm=args.layer_norm, residual=args.residual,
    )  # fmt: skip
    if not args.quiet:
        rows, columns = table.rows.shape
        missing = int(np.isnan(table.rows).sum())
        print(f"{args.data}: {rows} rows, {columns} columns, {table.rows.dtype}, {missing} missing cells")
        print(f"{likelihood!r}: {len(train)} rows to train, {len(held_out)} held out", flush=True)

    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = vae.fit(
            table.rows[train],
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            validation=table.rows[held_out] if len(held_out) else 0.0,
            patience=args.patience,
            progress=not args.quiet,
            key=args.key,
        )
    seconds = time.perf_counter() - started
    for warning in caught:
        _complain(f"warning: {warning.message}", 0)
    if not np.isfinite(history.elbo[-1]):
        raise _UserError("the training's ELBO has left the range, nothing is written; lower --learning-rate")
    # Before the evaluation, which an impatient user may interrupt.
    vae.save(args.out)

    parts = {"train": train} | ({"held out": held_out} if len(held_out) else {})
    bounds = {name: _bounds(vae, table.rows[part[:_MOST_EVALUATED]], args) for name, part in parts.items()}
    _print_bounds(bounds, {name: len(part) for name, part in parts.items()}, args.num_particles)
    epochs = len(history.elbo)
    rate = len(train) * epochs / seconds
    print(f"trained {epochs} epochs in {seconds:.1f} s, {rate:.0f} rows a second; wrote {args.out}", flush=True)
    if args.plot is not None:
        name, part = list(parts.items())[-1]
        _draw(args, vae, table, part, f"{args.data}, {name}: {bounds[name].title(args.num_particles)}")


def _check_cells(table: tables.Table, likelihood: Any, data: str) -> None:
    """Refuse a cell without a probability by its place in the file, before the rows are shared out."""
    try:
        likelihood.check_support(table.rows)
    except ElbokitError as error:
        place = "" if error.column is None else f" (column {table.columns[error.column]!r})"
        raise _UserError(f"{data}: {error}{place}") from error


def _likelihood(text: str | None, data: str) -> Any:
    """Likelihood of the option; by default that of the digits' counts, or a Gaussian that learns its scale."""
    if text is None:
        return ek.likelihood.Binomial(16) if data == "digits" else ek.likelihood.Gaussian(scale="predicted")
    match = re.fullmatch(r"([a-z_]+)(?:\((.+)\))?", text.lower().replace(" ", ""))
    name, argument = match.groups() if match else ("", None)
    with contextlib.suppress(ValueError):
        if name in _SCALED:
            return _checked(text, _SCALED[name], _scale(argument))
        if name == "student_t" and argument is not None:
            df, _, scale = argument.partition(",")
            return _checked(text, ek.likelihood.StudentT, float(df), _scale(scale or None))
        if name in _BARE and argument is None:
            return _BARE[name]()
        if name in _COUNTED and argument is not None:
            return _checked(text, _COUNTED[name], int(argument))
    raise _UserError(f"--likelihood {text}: expected {_LIKELIHOODS}")


def _scale(text: str | None) -> float | str:
    """A scale of the option: a number, or the name of how it is learned."""
    if text is None:
        return 1.0
    return text if text in ("shared", "per_feature", "predicted") else float(text)


def _checked(text: str, make: Callable[..., Any], *arguments: object) -> Any:
    try:
        return make(*arguments)
    except (ValueError, OverflowError) as error:
        raise _UserError(f"--likelihood {text}: {error}") from error


def _split(data: str, rows: int, share: float | None, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers to train with, and those held out."""
    if rows == 0:
        raise _UserError(f"{data} holds no rows")
    if share is None and data == "digits":
        order = np.random.default_rng(0).permutation(rows)
        return order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:]
    share = 0.1 if share is None else share
    if not 0.0 <= share < 1.0:
        raise _UserError(f"--validation: expected a share from 0 up to but not including 1, got {share}")
    if key < 0:
        raise _UserError(f"--key: expected a number from 0, got {key}")
    # One row at least on either side, where there are two to share out.
    count = min(max(round(rows * share), 1), rows - 1) if share > 0.0 else 0
    order = np.random.default_rng(key).permutation(rows)
    return order[count:], order[:count]


class _Bounds(NamedTuple):
    """Bounds of some rows, each (rows,), in nats."""

    elbo: NDArray[Any]
    reconstruction: NDArray[Any]
    kl: NDArray[Any]
    standard_error: NDArray[Any]
    lower: NDArray[Any]
    estimate: NDArray[Any]
    upper: NDArray[Any]
    estimate_error: NDArray[Any]
    khat: NDArray[Any]
    ess: NDArray[Any]
    num_observed: NDArray[Any]

    def title(self, num_particles: int) -> str:
        """ELBO and evidence as means over the rows, and how many of them have an upper bound."""
        elbo, lower, estimate = (_mean(values) for values in (self.elbo, self.lower, self.estimate))
        return (
            f"ELBO {elbo:.2f}, log evidence: lower bound {lower:.2f}, estimate {estimate:.2f} nats a row, "
            f"upper bound for {self.bounded():.1%} of rows ({num_particles} particles)"
        )

    def bounded(self) -> float:
        """Share of rows whose k-hat allows an upper bound."""
        return _mean(np.isfinite(self.upper)) if len(self.upper) else float("nan")


def _bounds(vae: Any, X: NDArray[Any], args: argparse.Namespace) -> _Bounds:
    terms = vae.elbo(X, key=args.key)
    evidence = vae.log_evidence(X, key=args.key, num_particles=args.num_particles)
    return _Bounds(
        terms.elbo,
        terms.reconstruction,
        terms.kl,
        terms.standard_error,
        evidence.lower,
        evidence.estimate,
        evidence.upper,
        evidence.standard_error,
        evidence.khat,
        evidence.ess,
        evidence.num_observed,
    )


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values, dtype=np.float64))


def _cell(values: NDArray[Any]) -> str:
    """Mean over the rows, with the standard error of that mean where there is one."""
    if len(values) < 2 or not np.isfinite(values).all():
        return f"{_mean(values):.2f} (-)"
    return f"{_mean(values):.2f} ({np.std(values, ddof=1, dtype=np.float64) / len(values) ** 0.5:.3f})"


def _print_bounds(parts: dict[str, _Bounds], totals: dict[str, int], num_particles: int) -> None:
    quantities = {
        "ELBO": "elbo",
        "  reconstruction": "reconstruction",
        "  KL": "kl",
        f"log evidence, lower ({num_particles} particles)": "lower",
        f"log evidence, estimate ({num_particles} particles)": "estimate",
    }
    lines = [["nats a row: mean (standard error)", *parts], ["rows"]]
    for name, bounds in parts.items():
        rows, total = len(bounds.elbo), totals[name]
        lines[1].append(f"{rows}" if rows == total else f"{rows} of {total}")
    lines += [[label, *(_cell(getattr(b, field)) for b in parts.values())] for label, field in quantities.items()]
    lines.append(["rows with an upper bound", *(f"{bounds.bounded():.1%}" for bounds in parts.values())])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    print()
    for label, *cells in lines:
        print(label.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True)), sep="  ")
    print()


def _draw(args: argparse.Namespace, vae: Any, table: tables.Table, part: NDArray[np.int64], title: str) -> None:
    part = part[:_MOST_DRAWN]
    X = table.rows[part]
    figure = plot.rows(
        X,
        vae.reconstruct(X),
        vae.sample(64, key=args.key),
        vae.encode(X).loc,
        labels=None if table.labels is None else table.labels[part],
        image_shape=table.image_shape,
        title=title,
    )
    with whole(args.plot) as path:
        figure.savefig(path)
    print(f"drew {args.plot}", flush=True)


# score


def _score(args: argparse.Namespace) -> None:
    writers = {".csv": _write_csv, ".npy": _write_npy, ".parquet": _write_parquet}
    if args.out is not None:
        _check_outputs({"--out": args.out}, inputs=[args.model, args.data])
        _check_ending(args.out, list(writers), "--out")
        if args.out.suffix.lower() == ".parquet":
            tables.import_polars(args.out)
    if args.num_threads is not None:
        ek.set_num_threads(args.num_threads)
    vae = ek.VAE.load(args.model)
    table = tables.read(args.data)
    bounds = _bounds(vae, table.rows, args)
    if args.out is None:
        _print_csv(bounds, sys.stdout)
        return
    with whole(args.out) as path:
        writers[args.out.suffix.lower()](bounds, path)
    scored = f"{args.data}, {len(table.rows)} rows"
    if len(table.rows):
        scored += f": {bounds.title(args.num_particles)}"
    print(f"{scored}; wrote {args.out}")


def _print_csv(bounds: _Bounds, file: TextIO) -> None:
    values = np.stack(bounds, axis=1)
    # As many digits as bring back the same number.
    digits = 9 if bounds.elbo.dtype == np.float32 else 17
    np.savetxt(file, values, fmt=f"%.{digits}g", delimiter=",", header=",".join(bounds._fields), comments="")


def _write_csv(bounds: _Bounds, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        _print_csv(bounds, file)


def _write_npy(bounds: _Bounds, path: Path) -> None:
    table = np.empty(len(bounds.elbo), dtype=[(name, a.dtype) for name, a in bounds._asdict().items()])
    for name, values in bounds._asdict().items():
        table[name] = values
    with path.open("wb") as file:
        np.save(file, table)


def _write_parquet(bounds: _Bounds, path: Path) -> None:
    tables.import_polars(path).DataFrame(bounds._asdict()).write_parquet(path)


# files to write


def _check_outputs(outputs: dict[str, Path | None], inputs: list[str]) -> None:
    """Refuse, before any work, a place where a file could not be moved or must not be."""
    taken = dict.fromkeys((Path(path).resolve() for path in inputs), "what is read")
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise _UserError(f"{option} {path}: would be the same file as {taken[place]}")
        taken[place] = option
        if not place.parent.is_dir():
            raise _UserError(f"{option} {path}: there is no folder {place.parent}")
        if not os.access(place.parent, os.W_OK):
            raise _UserError(f"{option} {path}: no permission to write in {place.parent}")
        if place.exists() and not place.is_file():
            raise _UserError(f"{option} {path}: something other than a file is there")


def _check_ending(path: Path, endings: list[str], option: str) -> None:
    if path.suffix.lower() not in endings:
        raise _UserError(f"{option} {path}: expected a name that ends in {', '.join(endings)}")


if __name__ == "__main__":
    sys.exit(main())
