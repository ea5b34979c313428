"""The command ``elbokit``: train a VAE on a table of rows, and ask it about rows.

    elbokit fit digits --out digits.safetensors --plot digits.png
    elbokit score digits.safetensors rows.csv --out scores.parquet
    elbokit encode digits.safetensors rows.csv --out latents.npz
    elbokit sample digits.safetensors --n 1000 --out drawn.csv
    elbokit impute digits.safetensors rows.csv --out filled.csv
    elbokit report digits.safetensors rows.csv --out report.html

``fit`` says what it read and ends with the bounds it reached; ``score`` writes the bounds of every row, ``encode`` its
posterior, ``sample`` rows of the model, ``impute`` rows with their missing cells filled; ``report`` says what the
bounds mean. A mistake of the user (a file, a name, a value) ends in one line on standard error and exit code 2, an
interrupt in one line and 130. A file is written beside its place and then moved there, so it is whole or it is not
there.

The command knows no mathematics: it reads with `elbokit.tables`, calls `elbokit.VAE`, draws with `elbokit.plot`.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from elbokit.cli import encode, fit, impute, options, report, sample, score
from elbokit.cli.outputs import UserError, complain
from elbokit.errors import ElbokitError
from elbokit.threads import set_num_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_USER_ERROR = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended


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
        if args.num_threads is not None:
            with options.named("threads"):
                set_num_threads(args.num_threads)
        with options.named():
            args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return complain("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # The reader has left; the interpreter's own last flush must not find that out once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        return complain(f"error: {name}{error.strerror or error}", _USER_ERROR)
    except MemoryError as error:
        return complain(f"error: not enough memory: {error}", _USER_ERROR)
    # The command leaves it to the library to check an option's value, so these are the user's as well.
    except (UserError, ElbokitError, ImportError, ValueError, OverflowError) as error:
        return complain(f"error: {error}", _USER_ERROR)
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(complain(f"error: {message}; {self.prog} --help lists the options", _USER_ERROR))


class _Version(argparse.Action):
    """Print the installed version, looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415

        print(f"elbokit {version('elbokit')}")
        parser.exit()


def _parser() -> _Parser:
    parser = _Parser(prog="elbokit", description="Variational autoencoders and their evidence lower bound, on a CPU.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    verbs = (fit, score, encode, sample, impute, report)
    names = " | ".join(verb.__name__.rpartition(".")[2] for verb in verbs)
    commands = parser.add_subparsers(title="commands", required=True, metavar=names)
    for verb in verbs:
        command = verb.add(commands)
        command.add_argument("--num-threads", type=int, metavar="N", help="threads (as many as the process may use)")
    return parser
