"""A VAE for a table: a pandas or polars DataFrame goes in, and frames come back.

    >>> import polars as pl
    >>> import elbokit as ek
    >>> n = 120
    >>> df = pl.DataFrame(
    ...     {
    ...         "weight": ek.random.normal((n,), key=0) + 70,
    ...         "smoker": [i % 3 == 0 for i in range(n)],
    ...         "city": [["Bern", "Genf", "Basel"][i % 3] for i in range(n)],
    ...         "visits": [i * i % 17 for i in range(n)],
    ...     }
    ... )
    >>> model = ek.VAE.for_table(df, latent_dim=2, hidden=(16,))
    >>> print(model.proposal)
    column  dtype    likelihood                     why
    weight  Float32  Gaussian(scale='per_feature')  real numbers from 67.5873 to 72.9732
    smoker  Boolean  Bernoulli()                    booleans
    city    String   Categorical(3)                 3 values
    visits  Int64    Categorical(9)                 9 different whole numbers from 0 to 16
    >>> model = ek.VAE.for_table(df, kinds={"visits": "poisson"}, latent_dim=2, hidden=(16,))
    >>> history = model.fit(df, epochs=3, progress=False)
    >>> model.sample(2, key=1).schema == df.schema
    True

`TableVAE` keeps what a matrix loses: the columns' names, dtypes and values. The model itself is its attribute `vae`, of
the matrix that `rows` makes of a frame and, where columns are given and not modelled, the one that `conditions` makes.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from elbokit import _frames, _metadata, _schema
from elbokit._arrays import file_path
from elbokit._codes import likeliest
from elbokit._files import whole
from elbokit._naming import Worded, Words
from elbokit._schema import Column
from elbokit.errors import ArgumentError, ModelFileError, ShapeError
from elbokit.random import Key
from elbokit.report import EvidenceReport, report
from elbokit.vae import VAE, Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from elbokit.evidence import ElboTerms, GaussianParams
    from elbokit.likelihood import Likelihood
    from elbokit.training import History

__all__ = ["TableVAE"]

_KEY = _metadata.TABLE
_Told = TypeVar("_Told")


class TableVAE:
    """A VAE of a table's columns; `elbokit.VAE.for_table` makes one, and says how columns get their likelihoods.

    Attributes
    ----------
    vae : VAE
        The model, of rows as `rows` gives them and conditions as `conditions` does.
    columns : tuple of Column
        Every column of the table: name, dtype, likelihood (None where it is left out or a condition), values, reason.
    library : {"pandas", "polars"}
        Of the frames that come back.
    """

    def __init__(self, columns: tuple[Column, ...], library: str, vae: VAE) -> None:
        self.columns = columns
        self.library = library
        self.vae = vae

    @classmethod
    def _for(cls, df: Any, kinds: Mapping[Any, str | Likelihood] | None, options: dict[str, Any]) -> TableVAE:
        library, names = _frames.library_of(df), _frames.names_of(df)
        try:
            asked = dict(kinds or {})
        except (TypeError, ValueError):
            cure = 'give one, such as {"age": "gaussian"}'
            raise ArgumentError(f"kinds: expected a mapping of columns to kinds, got {kinds!r}; {cure}") from None
        if unknown := [name for name in asked if name not in names]:
            raise ArgumentError(f"kinds: expected columns of the table, got {unknown[0]!r}; use one of {names}")
        columns = tuple(
            _schema.left_out(name, _frames.dtype_of(df[name]))
            if isinstance(kind := asked.get(name), str) and kind == "leave_out"
            else _schema.propose(name, _frames.column(df, name), kind, place)
            for place, name in enumerate(names)
        )
        if all(column.likelihood is None for column in columns):
            raise ShapeError(
                f"df: expected a column that can be modelled, got none:\n{_schema.described(columns)}", argument="df"
            )
        return cls(columns, library, VAE(likelihood=_schema.joint(columns), **options))

    @property
    def proposal(self) -> str:
        """The columns with their likelihoods and the reason of each, as a table to print."""
        return _schema.described(self.columns)

    def __repr__(self) -> str:
        vae, given = self.vae, f" given {len(self._given)}" if self._given else ""
        return (
            f"TableVAE of {len(self._modelled)} columns{given}, latent_dim={vae.latent_dim}, hidden={vae.hidden}, "
            f"{self.library}\n{self.proposal}"
        )

    @property
    def _modelled(self) -> list[Column]:
        return [column for column in self.columns if column.likelihood is not None]

    @property
    def _given(self) -> list[Column]:
        return [column for column in self.columns if column.condition is not None]

    def rows(self, df: Any) -> NDArray[np.float64]:
        """The matrix that is modelled, (rows, modelled columns): numbers as they are, values as codes, NaN missing.

        It is a float64 copy, which every method that takes a frame makes of it.

        Raises
        ------
        ShapeError
            For a frame that lacks a column; others than the table's may be there, and are passed over.
        SupportError
            For a value that the fit's table did not hold.
        DtypeError
        """
        return self._read(df, self._modelled)

    def conditions(self, df: Any) -> NDArray[np.float64] | None:
        """The condition that the model sees beside `rows`, (rows, width), or None for a model without one.

        Columns of the kind "condition" in the table's order: numbers and booleans as one number each, text and
        categories as a column of bits for each value that the table held. `vae` scales what is no bit.

        Raises
        ------
        NonFiniteError
            For a missing or infinite cell.
        SupportError
            For a value that the fit's table did not hold.
        ShapeError, DtypeError
        """
        return _schema.beside(self._given, self._read(df, self._given))

    def _read(self, df: Any, columns: list[Column], argument: str = "df") -> NDArray[np.float64]:
        """These columns of a frame as numbers and codes, (rows, columns)."""
        names = _frames.names_of(df, argument)
        for column in columns:
            if column.name not in names:
                raise ShapeError(
                    f"{argument}: expected a column {column.name!r}, got none; give the table's", argument=argument
                )
        cells = np.empty((len(df), len(columns)))
        for j, column in enumerate(columns):
            found = _frames.column(df, column.name, argument)
            cells[:, j] = column.encode(found, argument, names.index(column.name))
        return cells

    def _worded(self, df: Any, argument: str = "df", rows: str = "X", condition: str = "condition") -> Worded:
        """For code that calls the frame's matrices `rows` and `condition`: its errors name the frame's columns."""
        names = _frames.names_of(df, argument)
        places = {name: place for place, name in enumerate(names)}
        # A frame of conditions alone lacks the others, and no error is then about them.
        modelled = Words(argument, None, [places.get(column.name, -1) for column in self._modelled], names)
        given = [places[column.name] for column in self._given for _ in column.condition or (0,)]
        return Worded({condition: Words(argument, None, given, names), rows: modelled, "X_ref": modelled})

    def _asked(self, df: Any, of: Callable[..., _Told], **options: Any) -> _Told:
        """What a method of the model says of the frame's rows."""
        rows, beside = self.rows(df), self.conditions(df)
        with self._worded(df):
            return of(rows, condition=beside, **options)

    def fit(self, df: Any, **options: Any) -> History:
        """Train from scratch on the table's rows.

        Parameters
        ----------
        df : DataFrame
            The table, or another with its columns.
        **options
            As in `VAE.fit`, all but `condition`, which stands in the frame; `validation` may be a DataFrame.

        Returns
        -------
        History
        """
        if options.pop("condition", None) is not None:
            raise ArgumentError(
                "condition: expected none beside the frame of a table's model, got one; name its columns in "
                'ek.VAE.for_table(df, kinds={column: "condition"})'
            )
        of_held_out: AbstractContextManager[None] = contextlib.nullcontext()
        if hasattr(held_out := options.get("validation"), "columns"):
            rows = self._read(held_out, self._modelled, "validation")
            beside = _schema.beside(self._given, self._read(held_out, self._given, "validation"))
            options["validation"] = rows if beside is None else (rows, beside)
            of_held_out = self._worded(held_out, "validation", "validation", "validation: condition")
        rows, beside = self.rows(df), self.conditions(df)
        with self._worded(df), of_held_out:
            return self.vae.fit(rows, condition=beside, **options)

    # Scores, which are the model's own, beside the frame's own conditions

    def encode(self, df: Any) -> GaussianParams:
        """The posterior q(z | x) of each row, as `VAE.encode` gives it."""
        return self._asked(df, self.vae.encode)

    def elbo(self, df: Any, *, key: Key | int = 0, num_particles: int = 16) -> ElboTerms:
        """The evidence lower bound of each row and its parts, as `VAE.elbo` gives them."""
        return self._asked(df, self.vae.elbo, key=key, num_particles=num_particles)

    def elbo_per_column(self, df: Any, *, key: Key | int = 0, num_particles: int = 16) -> Any:
        """A frame of each column's part of the reconstruction, in nats: which column made a row odd."""
        parts = self._asked(df, self.vae.elbo_per_column, key=key, num_particles=num_particles)
        dtype, parts = _frames.FLOAT64[self.library], parts.astype(np.float64)
        made = {column.name: _frames.Made(dtype, parts[:, j]) for j, column in enumerate(self._modelled)}
        return _frames.frame(self.library, made, like=df)

    def log_evidence(self, df: Any, **options: Any) -> Evidence:
        """Bounds on log p(x) of each row, as `VAE.log_evidence` gives them."""
        return self._asked(df, self.vae.log_evidence, **options)

    def report(self, df: Any, *, key: Key | int = 0, num_particles: int = 1000) -> EvidenceReport:
        """What the bounds of these rows say and what to do, as `VAE.report` has it, with the columns' names."""
        columns = [column.name for column in self._modelled]
        rows, beside = self.rows(df), self.conditions(df)
        with self._worded(df):
            return report(
                self.vae, rows, condition=beside, key=key, num_particles=num_particles, columns=columns, stacklevel=2
            )

    def calibrate(self, df: Any, *, key: Key | int = 0, num_particles: int = 16) -> None:
        """Keep the scores of reference rows, as `VAE.calibrate` does."""
        self._asked(df, self.vae.calibrate, key=key, num_particles=num_particles)

    def p_value(self, df: Any) -> NDArray[np.float64]:
        """The share of reference rows that score no higher than each row, as `VAE.p_value` gives it."""
        return self._asked(df, self.vae.p_value)

    # Frames

    def sample(self, n: int, *, key: Key | int, condition: Any = None, first_row: int = 0) -> Any:
        """A frame of n rows drawn from the model, with the table's columns but those that are left out.

        Parameters
        ----------
        n : int
        key : Key or int
            Of all randomness.
        condition : DataFrame, optional
            Of a model with columns that are given: n rows of these, or one for all; other columns are passed over.
        first_row : int
            The number of the first row, to continue a draw.

        Returns
        -------
        DataFrame
            Drawn numbers of an integer dtype are rounded, and kept within its range; a column that was given, and that
            its integer dtype cannot hold, is of floats.

        Raises
        ------
        ShapeError
            For a condition that is missing, not asked for, or of other columns or rows.
        NonFiniteError, SupportError, DtypeError, NotFittedError
        """
        names = [column.name for column in self._given]
        if names and condition is None:
            raise ShapeError(
                f"condition: expected a frame of the columns {names}, got none; give one row for each, or one for all",
                argument="condition",
            )
        if condition is not None and not names:
            raise ShapeError(
                "condition: expected none, got one; the model has no columns that are given, leave it out",
                argument="condition",
            )
        given = self._read(condition, self._given, "condition") if names else np.empty((1, 0))
        with self._worded(condition, "condition") if names else contextlib.nullcontext():
            drawn = self.vae.sample(n, key=key, condition=_schema.beside(self._given, given), first_row=first_row)
        return self._frame(drawn, given if len(given) == len(drawn) else np.repeat(given, len(drawn), axis=0))

    def reconstruct(self, df: Any) -> Any:
        """A frame of the likelihood's mean at z = loc, of codes the likeliest value; with the rows' index in pandas.

        Columns that are given stand in it as they are.
        """
        means = self._asked(df, self.vae.reconstruct)
        codes = likeliest(means, self.vae.likelihood, len(self._modelled))
        return self._frame(codes, self._read(df, self._given), like=df)

    def impute(
        self,
        df: Any,
        *,
        key: Key | int = 0,
        num_particles: int = 1000,
        draws: int | None = None,
        proposal: str = "laplace",
    ) -> Any:
        """The frame with its missing cells filled as `VAE.impute` fills them; every other cell stays.

        Parameters
        ----------
        df : DataFrame
            Columns that are given stay as they are, as do those that the model leaves out or does not know, missing
            cells included.
        key, num_particles, proposal
            As in `VAE.impute`.
        draws : int, optional
            Copies to draw, for multiple imputation.

        Returns
        -------
        DataFrame, or a list of them with `draws`
            With the frame's own dtypes: a mean that fills a cell of an integer dtype is rounded.

        Examples
        --------
        >>> import polars as pl
        >>> import elbokit as ek
        >>> df = pl.DataFrame({"kind": ["a", "b"] * 100, "size": [1.1, 3.2, 0.9, 2.8] * 50})
        >>> model = ek.VAE.for_table(df, latent_dim=1, hidden=(8,))
        >>> history = model.fit(df, epochs=300, learning_rate=1e-2, progress=False)
        >>> model.impute(pl.DataFrame({"kind": [None, "b"], "size": [1.0, 3.0]}))["kind"].to_list()
        ['a', 'b']
        """
        rows, beside = self.rows(df), self.conditions(df)
        with self._worded(df):
            filled = self.vae.impute(
                rows, condition=beside, key=key, num_particles=num_particles, draws=draws, proposal=proposal
            )
        if draws is None:
            return self._filled(df, rows, filled)
        return [self._filled(df, rows, copy) for copy in filled]

    def _filled(self, df: Any, rows: NDArray[np.float64], filled: NDArray[np.float64]) -> Any:
        columns = {}
        for j, column in enumerate(self._modelled):
            missing = np.isnan(rows[:, j])
            if missing.any():
                columns[column.name] = missing, self._made(column, filled[:, j], _frames.dtype_of(df[column.name]))
        return _frames.fill(df, columns)

    def _frame(self, cells: NDArray[Any], given: NDArray[np.float64], like: Any = None) -> Any:
        made = {c.name: self._made(c, cells[:, j], c.dtype) for j, c in enumerate(self._modelled)}
        for j, c in enumerate(self._given):
            made[c.name] = _frames.exact(self.library, self._made(c, given[:, j], c.dtype))
        return _frames.frame(self.library, {c.name: made[c.name] for c in self.columns if c.name in made}, like=like)

    def _made(self, column: Column, cells: NDArray[Any], dtype: str) -> _frames.Made:
        levels = column.values if column.levels else None
        return _frames.Made(dtype, column.decode(cells), levels, column.ordered)

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with its columns to one safetensors file, whole or not at all.

        `VAE.load` reads it too, as the model of the matrix. Values and names of columns stand in it as text.
        """
        columns = [_schema.written(column) for column in self.columns]
        data = self.vae._to_bytes(**{_KEY: json.dumps({"library": self.library, "columns": columns})})
        with whole(file_path("path", path)) as draft:
            draft.write_bytes(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TableVAE:
        """The model of a file that `save` wrote; pandas or polars is imported when it first gives a frame back.

        Raises
        ------
        ModelFileError
            Where the file holds no model of a table that this version can read.
        OSError
        """
        try:
            data = file_path("path", path).read_bytes()
            vae = VAE._from_bytes(data)
            return cls(*_columns(_metadata.texts(data).get(_KEY), vae), vae)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None


def _columns(text: str | None, vae: VAE) -> tuple[tuple[Column, ...], str]:
    """The columns of a file and their library; what does not fit the model is a ModelFileError."""
    if text is None:
        raise ModelFileError("expected a model of a table, got one of a matrix; use ek.VAE.load")
    found = _metadata.fields(_KEY, text, {"library": str, "columns": list})
    if found["library"] not in _frames.LIBRARIES:
        raise ModelFileError(f"expected one of {_frames.LIBRARIES}, got {found['library']!r}; {_metadata.CURE}")
    likelihoods = _schema.parts(vae.likelihood)
    columns = [_schema.read(described, likelihoods) for described in found["columns"]]
    for column in columns:
        modelled = column.likelihood is not None or column.condition is not None
        if modelled and not _frames.known(found["library"], column.dtype):
            raise ModelFileError(
                f"expected a dtype of {found['library']} for column {column.name!r}, got {column.dtype!r}; "
                f"{_metadata.CURE}"
            )
    if likelihoods:
        raise ModelFileError(f"expected as many columns as the model has, got fewer; {_metadata.CURE}")
    width = sum(len(column.condition) or 1 for column in columns if column.condition is not None)
    if width != vae.condition_width:
        raise ModelFileError(f"expected a condition of {vae.condition_width} numbers, got {width}; {_metadata.CURE}")
    return tuple(columns), found["library"]
