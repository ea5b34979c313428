"""What is wrong with a call, and the places that it would write to."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TABLES", "UserError", "check_ending", "check_outputs", "complain", "complaining"]

# What a command reads.
TABLES = "digits, or a .npy, .npz, .csv or .parquet file"


class UserError(Exception):
    """What the user asked for cannot be done; the text says why, and what can."""


def check_outputs(outputs: dict[str, Path | None], inputs: list[str]) -> None:
    """Refuse, before any work, a place where a file could not be moved or must not be."""
    taken = dict.fromkeys((Path(path).resolve() for path in inputs), "what is read")
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise UserError(f"{option} {path}: would be the same file as {taken[place]}")
        taken[place] = option
        if not place.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {place.parent}")
        if not os.access(place.parent, os.W_OK):
            raise UserError(f"{option} {path}: no permission to write in {place.parent}")
        if place.exists() and not place.is_file():
            raise UserError(f"{option} {path}: something other than a file is there")


def check_ending(path: Path, endings: list[str], option: str) -> None:
    """Refuse a name without one of these endings."""
    if path.suffix.lower() not in endings:
        raise UserError(f"{option} {path}: expected a name that ends in {', '.join(endings)}")


def complain(text: str, code: int) -> int:
    """Say it in one line on standard error; what comes back is the code."""
    print("elbokit:", " ".join(text.split()), file=sys.stderr)
    return code


@contextmanager
def complaining(worded: Callable[[str], str] = str) -> Iterator[None]:
    """Say what is warned of within, each in a line and `worded` for the command."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        complain(f"warning: {worded(str(warning.message))}", 0)
