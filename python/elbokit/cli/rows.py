"""The rows of DATA, taken apart into what a model models and what it is conditioned on."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import tables
from elbokit._names import Names
from elbokit._naming import Worded, Words
from elbokit.cli.outputs import TABLES, UserError, complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from elbokit.vae import VAE

__all__ = ["Rows", "add_condition", "add_model_and_data", "check_names", "of_model", "split"]

# As many of a wide table's columns as an error names.
_MOST_NAMED = 12


class Rows(NamedTuple):
    """A table and its two parts.

    Attributes
    ----------
    source : Table
        As it was read.
    places : ndarray of int
        Of the condition's columns in it, in their order.
    table : Table
        The other columns, which are modelled.
    condition : ndarray, shape (rows, columns), or None
        Those of the condition.
    """

    source: tables.Table
    places: NDArray[np.intp]
    table: tables.Table
    condition: NDArray[Any] | None

    def together(self, modelled: NDArray[Any]) -> NDArray[Any]:
        """The source's rows with these in the place of the modelled columns."""
        rows = self.source.rows.copy()
        rows[:, np.delete(np.arange(rows.shape[1]), self.places)] = modelled
        return rows

    def beside(self, rows: Any) -> NDArray[Any] | None:
        """The condition of these rows, where there is one."""
        return None if self.condition is None else self.condition[rows]

    @property
    def names(self) -> Names | None:
        """Those of both parts, where the source has names."""
        if not self.source.named:
            return None
        return Names(self.table.columns, tuple(self.source.columns[place] for place in self.places))

    def worded(self, data: str, rows: NDArray[Any] | None = None, held_out: NDArray[Any] | None = None) -> Worded:
        """For code that hands the parts, or these rows of them, to a model: its errors name DATA's rows and columns."""
        names = self.source.columns
        modelled = np.delete(np.arange(len(names)), self.places)
        words = {"x": Words(data, rows, modelled, names), "X": Words(data, rows, modelled, names)}
        words["condition"] = Words(data, rows, self.places, names)
        words["validation: condition"] = Words(data, held_out, self.places, names)
        words["validation"] = Words(data, held_out, modelled, names)
        return Worded(words)


def add_condition(parser: argparse.ArgumentParser) -> None:
    """The option that names the condition's columns."""
    parser.add_argument(
        "--condition",
        metavar="COLUMNS",
        help="columns of DATA that the model is conditioned on and does not model, by name or by place from 0, such "
        "as age,3 (none)",
    )


def add_model_and_data(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that asks a model about rows."""
    parser.add_argument("model", metavar="MODEL", help="file that elbokit fit wrote")
    parser.add_argument("data", metavar="DATA", help=TABLES)
    add_condition(parser)


def split(data: str, condition: str | None) -> Rows:
    """The rows of DATA by the option's columns; what names none, or holds no number, is an error."""
    table = tables.read(data)
    if condition is None:
        return Rows(table, np.zeros(0, dtype=np.intp), table, None)
    width = table.rows.shape[1]
    asked = [name.strip() for name in next(csv.reader([condition]), [])]
    places = np.array([_place(name, table, data, condition) for name in asked], dtype=np.intp)
    if len(set(places.tolist())) < len(places) or not 0 < len(places) < width:
        raise UserError(
            f"--condition {condition}: expected different columns, and fewer than the {width} of {data}, got "
            f"{len(places)}"
        )
    beside = table.rows[:, places]
    for row, column in np.argwhere(~np.isfinite(beside))[:1]:
        raise UserError(
            f"{data}: column {table.columns[places[column]]!r}, row {row} (from 0): expected a finite number in a "
            f"column of the condition, got {beside[row, column]}; fill it, or leave the row out"
        )
    others = np.delete(np.arange(width), places)
    modelled = tables.Table(
        table.rows[:, others],
        tuple(table.columns[j] for j in others),
        table.labels,
    )
    return Rows(table, places, modelled, beside)


def _place(name: str, table: tables.Table, data: str, condition: str) -> int:
    """The place of the column that a name, or else a number, tells."""
    if name in table.columns:
        return table.columns.index(name)
    width = len(table.columns)
    try:
        number = int(name)
    except ValueError:
        number = width
    if not -width <= number < width:
        raise UserError(
            f"--condition {condition}: expected columns of {data}, by name ({_some(table.columns)}) or by place from 0 "
            f"to {width - 1}, got {name!r}"
        )
    return number % width


def of_model(args: argparse.Namespace, vae: VAE) -> Rows:
    """Those of a command's DATA, with the condition that its MODEL takes."""
    needed = vae.condition_width
    if needed and args.condition is None:
        raise UserError(
            f"{args.model} was fitted beside a condition of {needed} column{'s' * (needed > 1)}: name the columns of "
            f"{args.data} that hold it, such as --condition {','.join(map(str, range(needed)))}"
        )
    if args.condition is not None and not needed:
        raise UserError(f"--condition {args.condition}: {args.model} was fitted without a condition; leave it out")
    rows = split(args.data, args.condition)
    if len(rows.places) != needed:
        raise UserError(
            f"--condition {args.condition}: expected {needed} column{'s' * (needed > 1)}, as {args.model} was fitted "
            f"with, got {len(rows.places)}"
        )
    if vae._names is not None and rows.names is not None:
        check_names(vae._names, rows.names, args.model, args.data)
    return rows


def check_names(expected: Names, got: Names, model: str, data: str) -> None:
    """Refuse a file in which a column of the model stands in another place; warn of one with other names.

    A file of another width is left to the model to refuse.
    """
    if [len(names) for names in expected] != [len(names) for names in got] or expected == got:
        return
    orders = f"{data}: expected the columns of {model}, {_listed(expected)}, got {_listed(got)}"
    known, given = [*expected.columns, *expected.condition], [*got.columns, *got.condition]
    moved = [place for place, name in enumerate(given) if name in known and known[place] != name]
    if moved:
        raise UserError(
            f"{orders}: {known[moved[0]]!r} where {given[moved[0]]!r} stands; put them in the model's order, since it "
            "takes them by their places"
        )
    complain(f"warning: {orders}; they are taken by their places", 0)


def _listed(names: Names) -> str:
    columns = _some(names.columns)
    return f"{columns} beside {_some(names.condition)}" if names.condition else columns


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
