"""Options that several commands have, and what the library calls that which an option sets."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from elbokit.errors import ElbokitError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["add_key", "add_particles", "in_options", "named"]

# The option of each argument of the library, in whatever command has it.
_OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "activation", "batch_size", "epochs", "estimator", "hidden", "key", "latent_dim", "layer_norm",
        "learning_rate", "likelihood", "n", "num_particles", "objective", "patience", "prior", "prior_components",
        "residual", "validation",
    )
} | {"seed": "--key"}  # fmt: skip
# Where a part of a command calls one otherwise.
_OF_PART = {"training": {"num_particles": "--train-particles"}, "threads": {"n": "--num-threads"}}


def add_particles(parser: argparse.ArgumentParser, of: str) -> None:
    """Draws of z a row."""
    parser.add_argument("--num-particles", type=int, default=1000, metavar="N", help=f"{of} (%(default)s)")


def add_key(parser: argparse.ArgumentParser) -> None:
    """The seed."""
    parser.add_argument("--key", type=int, default=0, metavar="SEED", help="of all randomness (%(default)s)")


@contextlib.contextmanager
def named(part: str = "") -> Iterator[None]:
    """For code that hands options to the library: its errors about them name the options, cure included."""
    try:
        yield
    except ElbokitError as error:
        options, text = _OPTIONS | _OF_PART.get(part, {}), str(error)
        if error.argument in options:
            text = in_options(text, part)
            error.argument = options[error.argument]
        error.args = (_possible(text),)
        raise


def in_options(text: str, part: str = "") -> str:
    """A message of the library about its arguments, in the words of the command."""
    for name, option in (_OPTIONS | _OF_PART.get(part, {})).items():
        text = re.sub(rf'\b{name}(?:=| (?="))"?([\w.+-]+)"?', rf"{option} \1", text)
        text = re.sub(rf"(^|<= ){name}(?=: | <)", rf"\1{option}", text)
        # Other names are words of the language too, and one in quotes is of a column or a file.
        if "_" in name:
            text = re.sub(rf"(?<![\w'\"/.]){name}(?![\w'\"/.])", option, text)
    return _possible(text)


def _possible(text: str) -> str:
    """Without the cure of another dtype, for which no command has an option."""
    return re.sub(r'use VAE\(dtype="float64"\), or |, or (?:use |with )dtype="float64"', "", text)
