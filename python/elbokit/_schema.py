"""What a table's columns are: a likelihood proposed for each, with the reason, and the codes of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import likelihood as likelihoods
from elbokit._metadata import CURE
from elbokit.errors import ArgumentError, DtypeError, ModelFileError, NonFiniteError, ShapeError, SupportError
from elbokit.likelihood import Bernoulli, Categorical, Columns, Gaussian, Likelihood, NegativeBinomial, Poisson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from elbokit._frames import Cells

__all__ = ["NAMES", "Column", "beside", "described", "joint", "left_out", "parts", "propose", "read", "written"]

# A learned scale for all rows and not a predicted one: the density of a column with repeated values (zeros of an
# amount, say) grows without end where a predicted scale may fall to 0.
NAMES: dict[str, Likelihood | type[Likelihood]] = {
    "gaussian": Gaussian("per_feature"),
    "laplace": likelihoods.Laplace("per_feature"),
    "student_t": likelihoods.StudentT(4.0, "per_feature"),
    "bernoulli": Bernoulli(),
    "continuous_bernoulli": likelihoods.ContinuousBernoulli(),
    "categorical": Categorical,
    "poisson": Poisson(),
    "negative_binomial": NegativeBinomial(),
    "zero_inflated_negative_binomial": likelihoods.ZeroInflatedNegativeBinomial(),
}
# More whole numbers than this are counts and not codes, and so are those of which a value has fewer rows.
_MOST_CODES, _ROWS_A_CODE = 10, 10
# More values than this are names or texts.
_MOST_LEVELS = 50
# What a file holds as it is.
_WRITABLE = (str, bool, int, float)
# A count's variance is at least about its mean; above this multiple of it Poisson is too narrow.
_SPREAD = 1.5
# A negative binomial of numbers in the millions is a Gaussian that costs more.
_LARGEST_MEAN = 1e5


@dataclass(frozen=True)
class Column:
    """A column's place in the model.

    Attributes
    ----------
    name : str or int
    dtype : str
        The frame's own.
    likelihood : Likelihood or None
        None for a column that the model leaves out, or is conditioned on.
    values : tuple or None
        Where cells are codes, the value of each code.
    levels : bool
        Whether the dtype itself declares the values, and `ordered` whether in an order.
    reason : str
    condition : tuple of int or None
        Of a column that the model is conditioned on, the codes that the table held, each of which is a column of bits;
        () where the cells go in as one number. None for every other column.
    """

    name: str | int
    dtype: str
    likelihood: Likelihood | None
    values: tuple[Any, ...] | None = None
    levels: bool = False
    ordered: bool = False
    reason: str = ""
    condition: tuple[int, ...] | None = None

    def encode(self, cells: Cells, argument: str = "df", place: int | None = None) -> NDArray[np.float64]:
        """The cells as numbers or codes, (rows,): NaN for a missing one, which a condition may not have.

        `place` is the column's number in the frame, which errors carry.
        """
        numbers = self._numbers(cells, argument, place)
        if self.condition is not None and not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers)))
            raise NonFiniteError(
                f"{argument}: column {self.name!r}, row {row} (from 0): expected a known and finite cell, as the model "
                f"is conditioned on it, got {cells.values[row]}; fill it first, or leave the row out",
                argument=argument,
                row=row,
                column=place,
                value=float(numbers[row]),
            )
        return numbers

    def _numbers(self, cells: Cells, argument: str, place: int | None) -> NDArray[np.float64]:
        if self.values is None:
            if cells.kind not in ("number", "bool"):
                raise DtypeError(
                    f"{argument}: expected numbers in column {self.name!r}, got {cells.dtype}; convert it with .astype",
                    argument=argument,
                    column=place,
                )
            return cells.values
        if cells.kind == "other":
            raise DtypeError(
                f"{argument}: expected values of the fit in column {self.name!r}, got {cells.held or cells.dtype}; "
                "convert it with .astype",
                argument=argument,
                column=place,
            )
        codes = {self.values[code]: float(code) for code in self.condition or range(len(self.values))}
        missing = missing_of(cells)
        coded = np.array(
            [np.nan if gone else codes.get(x, -1.0) for x, gone in zip(cells.values, missing, strict=True)]
        )
        if (coded == -1.0).any():
            row = int(np.argmax(coded == -1.0))
            [found] = cells.values[row : row + 1].tolist()
            cure = "make it missing" if self.condition is None else "leave the row out"
            raise SupportError(
                f"{argument}: column {self.name!r}, row {row} (from 0): expected one of the values of the fit, got "
                f"{found!r}; {cure}, or fit with it",
                argument=argument,
                row=row,
                column=place,
            )
        return coded

    def decode(self, cells: NDArray[Any]) -> NDArray[np.float64] | list[Any]:
        """The model's numbers as the column's own values; a probability becomes the likelier value."""
        if self.values is None:
            return np.asarray(cells, dtype=np.float64)
        codes = np.rint(cells).astype(np.int64)
        if isinstance(self.values[0], float):
            return np.asarray(np.array(self.values, dtype=np.float64)[codes])
        return [self.values[code] for code in codes]


def missing_of(cells: Cells) -> NDArray[np.bool_]:
    """Which cells are missing."""
    if cells.values.dtype == object:
        return np.array([cell is None for cell in cells.values], dtype=bool)
    return np.asarray(np.isnan(cells.values))


def propose(name: str | int, cells: Cells, kind: str | Likelihood | None, place: int | None = None) -> Column:
    """The column by its cells, or as asked for: a name of `NAMES`, a likelihood, "condition".

    `place` is its number in the frame, which an error carries.

    Raises
    ------
    NonFiniteError
        For an infinite cell.
    """
    if cells.kind == "number" and (beyond := np.isinf(cells.values)).any():
        row = int(np.argmax(beyond))
        raise NonFiniteError(
            f"df: column {name!r}, row {row} (from 0): expected finite numbers, got {cells.values[row]}; make it "
            'missing, or leave the column out with the kind "leave_out"',
            argument="df",
            row=row,
            column=place,
            value=float(cells.values[row]),
        )
    if isinstance(kind, str) and kind == "condition":
        return _as_condition(name, cells)
    if kind is not None:
        return _as_asked(name, cells, kind)
    likelihood, reason = _by_cells(cells)
    return _made(name, cells, likelihood, reason)


def left_out(name: str | int, dtype: str) -> Column:
    """A column that shall be left out, which needs no look at its cells."""
    return Column(name, dtype, None, reason="as asked")


def _made(name: str | int, cells: Cells, likelihood: Likelihood | None, reason: str) -> Column:
    values = _coded_values(cells, likelihood)
    return Column(name, cells.dtype, likelihood, values, cells.levels is not None, cells.ordered, reason)


def _coded_values(cells: Cells, likelihood: Likelihood | None) -> tuple[Any, ...] | None:
    """The value of each code of a likelihood of codes."""
    if isinstance(likelihood, Bernoulli):
        many = 2
    elif isinstance(likelihood, Categorical):
        many = likelihood.num_classes
    else:
        return None
    values = _values(cells)
    if cells.kind == "number" and all(value in range(many) for value in values):
        # Codes already, of which some may not occur.
        values = [float(code) for code in range(many)]
    return tuple(values)


def _by_cells(cells: Cells) -> tuple[Likelihood | None, str]:
    if cells.kind == "other":
        return None, f"values of type {cells.held} are not modelled" if cells.held else f"{cells.dtype} is not modelled"
    observed, values = cells.values[~missing_of(cells)], _values(cells)
    if why := _left_out(cells, len(observed), values):
        return None, why
    if cells.distinct > len(values):
        return Gaussian("per_feature"), f"{cells.distinct} numbers, of which float64 tells {len(values)} apart"
    if len(values) == 2:
        return Bernoulli(), "booleans" if cells.kind == "bool" else f"two values, {values[0]!r} and {values[1]!r}"
    if cells.kind == "text":
        return Categorical(len(values)), f"{len(values)} values"
    return _of_numbers(observed, len(values))


def _left_out(cells: Cells, observed: int, values: list[Any]) -> str | None:
    """Why a column is not modelled, if it is not."""
    if not observed:
        return "no observed cell"
    if not all(isinstance(value, _WRITABLE) for value in values):
        return f"values of type {type(values[0]).__name__} are not modelled"
    if len(values) == 1:
        return f"{cells.distinct} numbers that are one in float64" if cells.distinct > 1 else "one value only"
    if cells.kind == "text" and cells.levels is None and len(values) > max(2, min(_MOST_LEVELS, observed / 2)):
        return f"{len(values)} values in {observed} rows: names or texts"
    return None


def _of_numbers(observed: NDArray[np.float64], distinct: int) -> tuple[Likelihood, str]:
    low, high = observed.min(), observed.max()
    span = f"from {low:.6g} to {high:.6g}"
    if (observed != np.rint(observed)).any():
        return Gaussian("per_feature"), f"real numbers {span}"
    if distinct <= _MOST_CODES and len(observed) >= _ROWS_A_CODE * distinct:
        return Categorical(distinct), f"{distinct} different whole numbers {span}"
    if low < 0:
        return Gaussian("per_feature"), f"whole numbers {span}"
    mean, variance = observed.mean(), observed.var()
    ratio = f"whole numbers {span}, variance {variance / mean:.3g} times the mean"
    if mean > _LARGEST_MEAN or variance * _SPREAD < mean:
        return Gaussian("per_feature"), ratio
    return (Poisson() if variance < _SPREAD * mean else NegativeBinomial()), ratio


def _as_asked(name: str | int, cells: Cells, kind: str | Likelihood) -> Column:
    found = NAMES.get(kind) if isinstance(kind, str) else kind
    if found is not Categorical and (not isinstance(found, Likelihood) or isinstance(found, Columns)):
        known = ", ".join((*NAMES, "condition", "leave_out"))
        raise ArgumentError(
            f"kinds: expected for column {name!r} a likelihood of one column or one of {known}, got {kind!r}; "
            "use one of them"
        )
    numbers = cells.kind in ("number", "bool")
    if cells.kind == "other" or not (numbers or found is Categorical or isinstance(found, (Bernoulli, Categorical))):
        raise DtypeError(
            f"kinds: expected numbers in column {name!r} for {kind!r}, got {cells.held or cells.dtype}; convert it "
            "with .astype",
            argument="kinds",
        )
    if not isinstance(found, Likelihood):
        found = Categorical(max(len(_values(cells)), 1))
    made = _made(name, cells, found, "as asked")
    many = 2 if isinstance(found, Bernoulli) else found.num_classes if isinstance(found, Categorical) else 0
    if made.values is not None and len(made.values) != many:
        raise SupportError(
            f"kinds: expected {many} values in column {name!r} for {found!r}, got {len(made.values)}; "
            'use "categorical", or "leave_out"',
            argument="kinds",
        )
    return made


def _as_condition(name: str | int, cells: Cells) -> Column:
    values = _values(cells) if cells.kind in ("bool", "text") else None
    if cells.kind == "other" or not all(isinstance(value, _WRITABLE) for value in values or ()):
        raise DtypeError(
            f'kinds: expected numbers, booleans, text or categories in column {name!r} for "condition", got '
            f"{cells.held or cells.dtype}; convert it with .astype",
            argument="kinds",
        )
    observed = set(cells.values[~missing_of(cells)])
    if not observed:
        raise ShapeError(
            f'kinds: expected known cells in column {name!r} for "condition", got none; fill it, or use "leave_out"',
            argument="kinds",
        )
    seen: tuple[int, ...] = ()
    reason = "as asked, one number"
    if values is not None and cells.kind == "text":
        seen = tuple(code for code, value in enumerate(values) if value in observed)
        reason = f"as asked, one of {len(seen)} values"
    if max(len(observed), cells.distinct) == 1:
        reason += ", which never changes"
    return Column(
        name, cells.dtype, None, None if values is None else tuple(values), cells.levels is not None, cells.ordered,
        reason, seen,
    )  # fmt: skip


def _values(cells: Cells) -> list[Any]:
    """The values that there are, in order."""
    if cells.kind == "bool":
        return [False, True]
    if cells.levels is not None:
        return cells.levels
    observed = cells.values[~missing_of(cells)]
    return np.unique(observed).tolist() if cells.kind == "number" else sorted(set(observed))


def beside(columns: Sequence[Column], cells: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The condition of some rows, (rows, width), of these columns' numbers and codes; None where there are no columns.

    A code becomes a column of bits for each value that the table held, since its weights are trained on those alone.
    """
    if not columns:
        return None
    return np.hstack(
        [
            cells[:, [j]] == np.array(column.condition) if column.condition else cells[:, [j]]
            for j, column in enumerate(columns)
        ]
    ).astype(np.float64)


def joint(columns: Sequence[Column]) -> Columns:
    """The likelihood of the columns that are modelled, in their order; those of one kind are one member."""
    members: dict[Likelihood, list[int]] = {}
    for place, likelihood in enumerate(c.likelihood for c in columns if c.likelihood is not None):
        members.setdefault(likelihood, []).append(place)
    return Columns([(places, likelihood) for likelihood, places in members.items()])


def parts(likelihood: Likelihood) -> list[Likelihood]:
    """The likelihood of each column, which `joint` joined, the last one first."""
    members = likelihood.members if isinstance(likelihood, Columns) else ()
    by_place = {place: member for places, member in members for place in places}
    return [by_place[place] for place in sorted(by_place, reverse=True)]


def written(column: Column) -> dict[str, Any]:
    """The column as `read` takes it; "condition" stands in it only where there is one, so that other files stay."""
    fields = {
        "name": column.name,
        "dtype": column.dtype,
        "modelled": column.likelihood is not None,
        "values": column.values,
        "levels": column.levels,
        "ordered": column.ordered,
        "reason": column.reason,
    }
    return fields if column.condition is None else fields | {"condition": column.condition}


def read(given: Any, likelihoods: list[Likelihood]) -> Column:
    """A column from a file, with the likelihood at the end of the list; a ModelFileError if it is not sound."""
    kinds: dict[str, Any] = {
        "name": (str, int),
        "dtype": str,
        "modelled": bool,
        "levels": bool,
        "ordered": bool,
        "reason": str,
    }
    sound = isinstance(given, dict) and given.keys() - {"condition"} == {*kinds, "values"}
    sound = sound and all(isinstance(given[field], kind) for field, kind in kinds.items())
    if not sound or (given["modelled"] and not likelihoods):
        raise ModelFileError(f"expected a column of the model, got {str(given)[:80]!r}; {CURE}")
    if "condition" in given:
        return _read_condition(given)
    likelihood = likelihoods.pop() if given["modelled"] else None
    values = given["values"]
    many = 2 if isinstance(likelihood, Bernoulli) else getattr(likelihood, "num_classes", 0)
    listed = isinstance(values, list) and all(isinstance(value, _WRITABLE) for value in values)
    if (len(values) != many or not listed) if many and isinstance(values, list) else (values is not None or many):
        raise ModelFileError(f"expected {many} values of column {given['name']!r}, got {str(values)[:80]}; {CURE}")
    return Column(
        given["name"], given["dtype"], likelihood, tuple(values) if many else None, given["levels"], given["ordered"],
        given["reason"],
    )  # fmt: skip


def _read_condition(given: dict[str, Any]) -> Column:
    values, codes = given["values"], given["condition"]
    sound = not given["modelled"] and isinstance(codes, list) and (values is None or isinstance(values, list))
    sound = sound and all(isinstance(value, _WRITABLE) for value in values or ())
    # True is an int, and no code.
    sound = sound and all(type(code) is int and 0 <= code < len(values or ()) for code in codes)
    if not sound or codes != sorted(set(codes)) or (not codes and values not in (None, [False, True])):
        raise ModelFileError(f"expected a column of the condition, got {str(given)[:80]!r}; {CURE}")
    return Column(
        given["name"], given["dtype"], None, None if values is None else tuple(values), given["levels"],
        given["ordered"], given["reason"], tuple(codes),
    )  # fmt: skip


def described(columns: Sequence[Column]) -> str:
    """The columns as a table to print."""
    head = ("column", "dtype", "likelihood", "why")
    lines = [(str(c.name), c.dtype, _place(c), c.reason) for c in columns]
    widths = [max(len(line[j]) for line in (head, *lines)) for j in range(3)]
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(line[:3], widths, strict=True)), line[3])).rstrip()
        for line in (head, *lines)
    )


def _place(column: Column) -> str:
    if column.likelihood is not None:
        return repr(column.likelihood)
    return "left out" if column.condition is None else "condition"
