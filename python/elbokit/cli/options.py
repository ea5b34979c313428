"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add_key", "add_particles"]


def add_particles(parser: argparse.ArgumentParser, of: str) -> None:
    """Draws of z a row."""
    parser.add_argument("--num-particles", type=int, default=1000, metavar="N", help=f"{of} (%(default)s)")


def add_key(parser: argparse.ArgumentParser) -> None:
    """The seed."""
    parser.add_argument("--key", type=int, default=0, metavar="SEED", help="of all randomness (%(default)s)")
