"""Tables: what is proposed for columns, that frames come back as they were, and that neither library is needed."""

from __future__ import annotations

import datetime as dt
import json
import pickle
import runpy
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import elbokit as ek
from elbokit import _metadata, _schema
from elbokit._frames import Made, _to_polars, _whole
from elbokit.table_model import TableVAE

lik = ek.likelihood
N = 200


def plain(n=N):
    """A table as lists, a column of each kind; two groups of rows run through all of them."""
    rng = np.random.default_rng(0)
    group = rng.integers(2, size=n)
    return {
        "real": (5 * group + rng.normal(size=n)).tolist(),
        "flag": (rng.random(n) < 0.1 + 0.8 * group).tolist(),
        "answer": np.where(rng.random(n) < 0.1 + 0.8 * group, "yes", "no").tolist(),
        "grade": rng.permutation([1 + i % 5 for i in range(n)]).tolist(),
        "city": [["Bern", "Genf", "Basel"][k] for k in np.where(group, rng.integers(1, 3, n), 0)],
        "events": rng.poisson(4 + 20 * group).tolist(),
        "visits": rng.poisson(12, size=n).tolist(),
        "offset": (rng.integers(-50, 50, size=n) + 30 * group).tolist(),
        "id": [f"row {i}" for i in range(n)],
        "same": [1.5] * n,
    }


def of(library, columns):
    if library == "polars":
        return pl.DataFrame(columns)
    return pd.DataFrame(columns, index=pd.Index(np.arange(len(columns["real"]))[::-1] * 3, name="row"))


def fitted(df, epochs=3, **options):
    model = ek.VAE.for_table(df, latent_dim=2, hidden=(16,), **options)
    model.fit(df, epochs=epochs, learning_rate=1e-2, validation=0.0, progress=False)
    return model


def holed(df, share=0.3, seed=1):
    """The frame with missing cells in every column but the names."""
    rng = np.random.default_rng(seed)
    if isinstance(df, pl.DataFrame):
        flags = {name: pl.Series(rng.random(len(df)) < share) for name in df.columns if name != "id"}
        return df.with_columns(
            [
                df[name].zip_with(~flag, pl.Series([None] * len(df), dtype=df[name].dtype))
                for name, flag in flags.items()
            ]
        )
    return df.mask(pd.DataFrame({c: (rng.random(len(df)) < share) & (c != "id") for c in df}, index=df.index))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_each_column_gets_the_likelihood_of_its_kind(library):
    model = ek.VAE.for_table(of(library, plain()))
    found = {column.name: column.likelihood for column in model.columns}
    assert found == {
        "real": lik.Gaussian("per_feature"),
        "flag": lik.Bernoulli(),
        "answer": lik.Bernoulli(),
        "grade": lik.Categorical(5),
        "city": lik.Categorical(3),
        "events": lik.NegativeBinomial(),
        "visits": lik.Poisson(),
        "offset": lik.Gaussian("per_feature"),
        "id": None,
        "same": None,
    }
    text = model.proposal
    assert len(text.splitlines()) == 11
    assert "200 values in 200 rows" in text
    assert "left out" in text
    assert text in repr(model)


def test_what_is_missing_is_no_value_and_times_are_left_out():
    df = pd.DataFrame(
        {
            "whole": [1.0, 2.0, np.nan, 3.0] * 20,
            "two": [1.5, None, 7.0, 7.0] * 20,
            "mixed": pd.Series([True, False, None, True] * 20, dtype=object),
            "numbers": pd.Series([1, None, 2.5, 3] * 20, dtype=object),
            "nothing": [np.nan] * 80,
            "when": pd.Timestamp("2026-01-01"),
            "span": pd.Categorical(pd.cut(np.arange(80), 3)),
            "one": pd.Series(["a", None] * 40),
        }
    )
    model = ek.VAE.for_table(df)
    found = {column.name: column.likelihood for column in model.columns}
    assert found["whole"] == lik.Categorical(3)
    assert found["two"] == found["mixed"] == lik.Bernoulli()
    assert found["numbers"] == lik.Gaussian("per_feature")
    assert [name for name, kind in found.items() if kind is None] == ["nothing", "when", "span", "one"]
    rows = model.rows(df)
    assert np.array_equal(rows[:4, 0], [0, 1, np.nan, 2], equal_nan=True)
    assert np.array_equal(rows[:4, 1], [0, np.nan, 1, 1], equal_nan=True)
    assert np.array_equal(rows[:4, 2], [1, 0, np.nan, 1], equal_nan=True)
    assert np.array_equal(rows[:4, 3], [1, np.nan, 2.5, 3], equal_nan=True)


@pytest.mark.parametrize("cells", [[0.0, np.inf] * 20, [np.inf] * 40, [1.5, 2.5, -np.inf, np.nan] * 10])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_an_infinity_is_named_and_no_value_of_its_column(library, cells):
    columns = {"a": np.arange(40.0) / 7, "x": cells}
    df = pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)
    row = int(np.argmax(np.isinf(cells)))
    for kind in (None, "poisson", "categorical", "condition"):
        kinds = None if kind is None else {"x": kind}
        text = rf"^df: column 'x', row {row} \(from 0\): expected finite numbers, got -?inf; make it missing"
        with pytest.raises(ek.NonFiniteError, match=text) as caught:
            ek.VAE.for_table(df, kinds)
        error = caught.value
        assert (error.argument, error.row, error.column, error.value) == ("df", row, 1, cells[row])
    assert "left out" in ek.VAE.for_table(df, {"x": "leave_out"}).proposal


def test_kinds_override_and_are_checked():
    df = pl.DataFrame(plain())
    kinds = {
        "grade": "poisson", "real": lik.StudentT(3.0, "predicted"), "events": "gaussian", "id": "categorical",
        "city": "leave_out", "flag": "poisson", "visits": "zero_inflated_negative_binomial",
    }  # fmt: skip
    found = {c.name: c.likelihood for c in ek.VAE.for_table(df, kinds=kinds).columns}
    assert found["grade"] == found["flag"] == lik.Poisson()
    assert found["real"] == lik.StudentT(3.0, "predicted")
    assert found["events"] == lik.Gaussian("per_feature")
    assert found["id"] == lik.Categorical(N)
    assert found["visits"] == lik.ZeroInflatedNegativeBinomial()
    assert found["city"] is None
    codes = ek.VAE.for_table(df, kinds={"grade": lik.Categorical(9)})
    assert np.array_equal(codes.rows(df)[:, 3], df["grade"])  # codes already
    for kind, said in (("normal", "one of gaussian"), (lik.Categorical(2), "expected 2 values"), (3, "one of")):
        with pytest.raises(ValueError, match=said):
            ek.VAE.for_table(df, kinds={"grade": kind})
    with pytest.raises(ek.DtypeError, match="expected numbers in column 'city'"):
        ek.VAE.for_table(df, kinds={"city": "gaussian"})
    with pytest.raises(ValueError, match="got 'cities'"):
        ek.VAE.for_table(df, kinds={"cities": "gaussian"})
    with pytest.raises(ek.ShapeError, match="that can be modelled"):
        ek.VAE.for_table(df[["id", "same"]])
    with pytest.raises(TypeError, match="likelihood"):
        ek.VAE.for_table(df, likelihood=lik.Gaussian())


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_come_back_as_they_went_in(library):
    df = of(library, plain())
    model = fitted(df, epochs=60)
    modelled = df.drop(columns=["id", "same"]) if library == "pandas" else df.drop("id", "same")
    back = model.reconstruct(df)
    drawn = model.sample(50, key=1)
    for made in (back, drawn):
        assert type(made) is type(df)
        assert list(made.columns) == list(modelled.columns)
        assert list(made.dtypes) == list(modelled.dtypes)
    for name in ("answer", "city", "grade"):
        assert set(drawn[name]) <= set(df[name])
    assert min(drawn["events"]) >= 0
    assert np.corrcoef(back["real"], df["real"])[0, 1] > 0.9
    if library == "pandas":
        assert back.index.equals(df.index)
        assert list(drawn.index) == list(range(50))
    assert all(list(model.sample(3, key=1, first_row=47)[name]) == list(drawn[name])[47:] for name in drawn.columns)
    parts = model.elbo_per_column(df)
    assert list(parts.columns) == list(modelled.columns)
    assert np.allclose(parts.to_numpy().sum(axis=1), model.elbo(df).reconstruction, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_imputing_fills_what_is_missing_and_touches_nothing_else(library):
    df = of(library, plain())
    holes = holed(df)
    model = fitted(df, epochs=150)
    filled = model.impute(holes, num_particles=100)
    draws = model.impute(holes, num_particles=100, draws=3)
    missing = holes.isna().to_numpy() if library == "pandas" else holes.select(pl.all().is_null()).to_numpy()
    for made in (filled, *draws):
        assert list(made.columns) == list(df.columns)
        assert list(made.dtypes) == list(holes.dtypes)
        for j, name in enumerate(df.columns):
            there = np.asarray(holes[name].to_list(), dtype=object)[~missing[:, j]]
            assert np.array_equal(np.asarray(made[name].to_list(), dtype=object)[~missing[:, j]], there)
    gone = filled.isna().to_numpy() if library == "pandas" else filled.select(pl.all().is_null()).to_numpy()
    # The column that is left out keeps its holes, the others have none.
    assert gone[:, -1].any()
    assert not gone[:, :-1].any()
    city = list(df.columns).index("city")
    first = np.asarray(df["city"].to_list())[missing[:, city]]
    guess = np.asarray(filled["city"].to_list())[missing[:, city]]
    assert ((first == "Bern") == (guess == "Bern")).mean() > 0.85
    if library == "pandas":
        assert filled.index.equals(df.index)
    if library == "polars":
        assert filled["events"].dtype == pl.Int64


def test_declared_categories_and_nullable_dtypes_are_kept():
    order = ["low", "mid", "high"]
    df = pd.DataFrame(
        {
            "level": pd.Categorical(["low", "high", None, "low"] * 30, categories=order, ordered=True),
            "count": pd.array([1, None, 30, 17] * 30, dtype="Int8"),
            "flag": pd.array([True, None, False, True] * 30, dtype="boolean"),
            "single": np.array([0.5, 1.5, np.nan, 2.25] * 30, dtype=np.float32),
            "text": pd.Series(["a", "b", None, "c"] * 30, dtype="string"),
        }
    )
    model = fitted(df)
    assert model.columns[0].values == tuple(order)
    for made in (model.impute(df), model.sample(7, key=0), model.reconstruct(df)):
        assert made.dtypes.equals(df.dtypes)
        assert not made.isna().to_numpy().any()
    frame = pl.DataFrame(
        {
            "level": pl.Series(["low", "high", None, "low"] * 30, dtype=pl.Enum(order)),
            "kind": pl.Series(["a", "b", None, "c"] * 30, dtype=pl.Categorical),
            "count": pl.Series([1, None, 200, 117] * 30, dtype=pl.UInt8),
            "single": pl.Series([0.5, float("nan"), None, 2.25, 1.0, 3.5] * 20, dtype=pl.Float32),
        }
    )
    model = fitted(frame, kinds={"count": "negative_binomial"})
    assert model.columns[0].values == tuple(order)
    for made in (model.impute(frame), model.sample(7, key=0), model.reconstruct(frame)):
        assert made.schema == frame.schema
        assert made.null_count().sum_horizontal().item() == 0
        assert made["single"].is_not_nan().all()


def test_objects_repeated_indices_and_empty_frames():
    columns = {
        "flag": pd.Series([True, False, None, True] * 20, dtype=object),
        "number": pd.Series([1, None, 2.5, 3] * 20, dtype=object),
        "text": pd.Series(["a", "b", None, "c"] * 20, dtype=object),
        "real": pd.Series(np.r_[np.nan, np.arange(79) / 7]),
    }
    df = pd.DataFrame(columns).set_index(pd.Index([0, 1] * 40))
    model = fitted(df)
    filled = model.impute(df, num_particles=50)
    assert filled.dtypes.equals(df.dtypes)
    assert filled.index.equals(df.index)
    assert filled.where(df.notna()).equals(df)
    assert not filled.isna().to_numpy().any()
    assert {type(cell) for cell in filled["flag"]} == {bool}
    for empty in (df[:0], model.impute(df[:0]), model.reconstruct(df[:0])):
        assert model.elbo(empty).elbo.shape == (0,)
        assert empty.dtypes.equals(df.dtypes)


def test_integers_saturate_at_their_dtype():
    assert _whole(np.array([-3.0, 2.5, 300.0]), "uint8").tolist() == [0, 2, 255]
    assert _whole(np.array([1e30, -1e30]), "int64").tolist() == [2**63 - 1024, -(2**63)]
    assert _whole(np.array([1e30]), "Int32").tolist() == [2**31 - 1]
    assert _whole(np.array([1.5]), "Float64").tolist() == [1.5]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_model_is_one_file_with_its_columns(library, tmp_path):
    df = of(library, plain())
    model = fitted(df)
    model.calibrate(df, key=3)
    first, second = tmp_path / "first", tmp_path / "second"
    model.save(first)
    loaded = TableVAE.load(first)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()
    for other in (loaded, pickle.loads(pickle.dumps(model))):
        assert other.columns == model.columns
        assert repr(other) == repr(model)
        assert np.array_equal(other.elbo(df).elbo, model.elbo(df).elbo)
        assert np.array_equal(other.p_value(df), model.p_value(df))
        assert other.sample(9, key=2).equals(model.sample(9, key=2))
    matrix = ek.VAE.load(first)
    assert np.array_equal(matrix.elbo(model.rows(df)).elbo, model.elbo(df).elbo)
    assert np.array_equal(matrix.p_value(model.rows(df)), model.p_value(df))
    matrix.save(second)
    with pytest.raises(ek.ModelFileError, match="one of a matrix"):
        TableVAE.load(second)


def test_what_is_no_path_is_refused_by_name():
    model = fitted(pl.DataFrame({"y": np.arange(40) / 3}))
    for call in (model.save, TableVAE.load):
        with pytest.raises(ek.ArgumentError, match=r"^path: expected a file's path, got 3;"):
            call(3)


def test_a_broken_schema_is_a_model_file_error(tmp_path):
    df = pl.DataFrame({"x": ["a", "b"] * 20, "y": np.arange(40) / 3})
    model = fitted(df)
    path = tmp_path / "broken"
    plain = {"modelled": True, "values": None, "levels": False, "ordered": False, "reason": ""}
    good = [plain | {"name": "x", "dtype": "String", "values": ["a", "b"]}, plain | {"name": "y", "dtype": "Float64"}]

    def load(library, columns):
        text = json.dumps({"library": library, "columns": columns})
        path.write_bytes(_metadata.added(model.vae.core.to_bytes(), {"elbokit.table": text}))
        return TableVAE.load(path)

    assert load("polars", good).sample(3, key=0).schema == df.schema
    for library, columns in (
        ("dask", good),
        ("polars", good[:1]),
        ("polars", [*good, good[1]]),
        ("polars", [good[0] | {"values": ["a"]}, good[1]]),
        ("polars", [good[0] | {"values": None}, good[1]]),
        ("polars", [good[0] | {"values": ["a", [1]]}, good[1]]),
        ("polars", [good[0], good[1] | {"values": ["a"]}]),
        ("polars", [good[0] | {"name": 1.5}, good[1]]),
        ("polars", [good[0] | {"more": 1}, good[1]]),
        ("polars", [3, good[1]]),
    ):
        with pytest.raises(ek.ModelFileError, match=r"broken: expected"):
            load(library, columns)


THINGS = {
    "date": dt.date(2026, 1, 1), "time": dt.time(1), "list": [1, 2], "dict": {"a": 1},
    "Decimal": Decimal("1.5"), "bytes": b"a", "complex": 1j,
}  # fmt: skip


@pytest.mark.parametrize("thing", THINGS)
def test_objects_that_are_not_modelled_are_left_out(thing):
    cells = pd.Series([THINGS[thing], None] * 20, dtype=object)
    df = pd.DataFrame({"x": np.arange(40) / 7, "d": cells})
    model = ek.VAE.for_table(df, latent_dim=1, hidden=(4,))
    assert [column.name for column in model.columns if column.likelihood is None] == ["d"]
    assert model.columns[1].reason == f"values of type {thing} are not modelled"
    # Beside text they are no kind of thing either.
    mixed = df.assign(d=[THINGS[thing], "a"] * 20)
    for kinds, frame in ((None, mixed), ({"d": "leave_out"}, df), ({"d": "leave_out"}, mixed)):
        assert ek.VAE.for_table(frame, kinds).columns[1].likelihood is None
    for kind in ("gaussian", "categorical", "condition"):
        with pytest.raises(ek.DtypeError, match=f"column 'd' for .*{kind}.*, got {thing}"):
            ek.VAE.for_table(df, {"d": kind})
    model.fit(df, epochs=1, progress=False)
    assert model.impute(df).equals(df)
    # Where the fit's table had values there, it is an error that says what came.
    coded = fitted(df.assign(d=["a", "b"] * 20), epochs=1)
    with pytest.raises(ek.DtypeError, match=f"^df: expected values of the fit in column 'd', got {thing}; convert"):
        coded.elbo(df)


def test_a_column_of_two_kinds_can_be_left_out():
    df = pd.DataFrame({"x": np.arange(40) / 7, "d": pd.Series([1, "a"] * 20, dtype=object)})
    with pytest.raises(ek.DtypeError, match=r'got int, str; .* leave it out with the kind "leave_out"'):
        ek.VAE.for_table(df)
    assert ek.VAE.for_table(df, {"d": "leave_out"}).columns[1].likelihood is None


@pytest.mark.parametrize("kinds", ["x", 3, [1]])
def test_kinds_that_are_no_mapping_are_refused(kinds):
    df = pl.DataFrame({"x": np.arange(40) / 7})
    with pytest.raises(
        ek.ArgumentError, match=r"^kinds: expected a mapping of columns to kinds, got .*; give one"
    ) as e:
        ek.VAE.for_table(df, kinds=kinds)
    assert e.value.argument == "kinds"


@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, lambda c: pd.DataFrame(c, dtype=object)])
def test_numbers_that_float64_rounds_are_counted_as_they_are(made):
    def proposed(cells):
        return ek.VAE.for_table(made({"x": [j / 7 for j in range(60)], "id": cells})).columns[1]

    one = proposed([2**62 + i for i in range(60)])
    assert (one.likelihood, one.reason) == (None, "60 numbers that are one in float64")
    two = proposed([2**62 + 20 * i for i in range(60)])
    assert two.likelihood == lik.Gaussian("per_feature")
    assert two.reason == "60 numbers, of which float64 tells 2 apart"
    assert proposed([2**62] * 60).reason == "one value only"
    assert proposed([1e300, float("nan")] * 30).reason == "one value only"
    assert proposed([2**62, 0] * 30).likelihood == lik.Bernoulli()


def test_decimals_come_back_as_decimals(tmp_path):
    rng = np.random.default_rng(0)
    cents = [Decimal(int(x)).scaleb(-2) for x in rng.integers(-99999, 99999, 120)]
    df = pl.DataFrame(
        {
            "price": cents,
            "code": [Decimal(i % 3) for i in range(120)],
            "given": cents[::-1],
            "real": rng.normal(size=120),
        },
        schema={"price": pl.Decimal(6, 2), "code": pl.Decimal(38, 1), "given": pl.Decimal(5, 2), "real": pl.Float64},
    )
    model = fitted(df, kinds={"given": "condition"})
    holes = df.with_columns(price=pl.when(pl.int_range(120) % 4 == 0).then(None).otherwise("price"))
    assert holes.schema == df.schema
    model.save(tmp_path / "m")
    given = df.select("given").head(9)
    for other in (model, TableVAE.load(tmp_path / "m")):
        filled, back, drawn = other.impute(holes), other.reconstruct(df), other.sample(9, key=1, condition=given)
        for made in (filled, back, drawn):
            assert made.schema == df.schema
        assert filled.filter(pl.int_range(120) % 4 != 0).equals(df.filter(pl.int_range(120) % 4 != 0))
        assert back["given"].equals(df["given"])
        assert drawn["given"].equals(given["given"])
        assert set(drawn["code"]) <= {Decimal(0), Decimal(1), Decimal(2)}
    # A given number that its digits cannot hold is of floats, as one that an integer dtype cannot hold.
    fine = pl.DataFrame({"given": [Decimal("1.125")]})
    assert model.sample(2, key=1, condition=fine)["given"].to_list() == [1.125] * 2


@pytest.mark.parametrize(
    "digits", [(1, 0), (4, 4), (12, 2), (15, 3), (23, 0), (26, 2), (27, 25), (36, 12), (38, 0), (38, 38)]
)
def test_decimals_saturate_at_their_digits(digits):
    made = Made("Decimal({}, {})".format(*digits), np.array([1e300, -1e300, 0.04]))
    most, least, small = _to_polars("x", made).to_list()
    limit = (Decimal(10) ** digits[0] - 1).scaleb(-digits[1])
    assert limit * (1 - Decimal(2) ** -49) <= most == least.copy_negate() <= limit
    assert abs(float(small) - 0.04) <= 0.5 * 10.0 ** -digits[1]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("kinds", [None, {"y": "condition"}])
def test_an_unknown_dtype_is_a_model_file_error(tmp_path, library, kinds):
    columns = {"x": np.arange(40) / 7, "y": np.arange(40) / 3}
    model = fitted(pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns), kinds=kinds, epochs=1)
    path = tmp_path / "m"
    model.save(path)
    name = {"pandas": b"float64", "polars": b"Float64"}[library]
    for other in (
        name[:5] + b"xx",
        b"Unknown",
        name[:5] + b"641",
        b"List",
        b"datetime64[ns]",
        b"Decimal(39, 1)",
        b"Decimal(3, 4)",
    ):
        data = model.vae._to_bytes(**{_metadata.TABLE: _text(model).replace(name.decode(), other.decode())})
        path.write_bytes(data)
        with pytest.raises(ek.ModelFileError, match=f"m: expected a dtype of {library} for column 'x', got "):
            TableVAE.load(path)


def _text(model):
    columns = [_schema.written(column) for column in model.columns]
    return json.dumps({"library": model.library, "columns": columns})


def test_rare_dtypes_are_read_again(tmp_path):
    cells = np.array([0.5, 1.5, 2.25, 7.0] * 10)
    df = pd.DataFrame(
        {
            "arrow": pd.array(cells, dtype="double[pyarrow]"),
            "foreign": cells.astype(">f8"),
            "sparse": pd.array(cells, dtype="Sparse[float64]"),
            "digits": pd.Series([Decimal("1.5"), Decimal("2.5"), Decimal(4), Decimal(8)] * 10).astype(
                pd.ArrowDtype(pa.decimal128(10, 2))
            ),
            "text": pd.Series(["a", "b"] * 20, dtype="string[pyarrow]"),
            "truth": pd.Series([True, False] * 20, dtype="bool[pyarrow]"),
            "filled": pd.array([5, 5, 2, 7] * 10, dtype=pd.SparseDtype(int, 5)),
            "when": pd.Timestamp("2026-01-01"),
        }
    )
    model = fitted(df, epochs=1)
    model.save(tmp_path / "m")
    assert TableVAE.load(tmp_path / "m").columns == model.columns


def test_what_does_not_fit_the_table_is_named():
    df = pl.DataFrame(plain())
    model = fitted(df)
    with pytest.raises(ek.ShapeError, match="expected a column 'city'"):
        model.elbo(df.drop("city"))
    with pytest.raises(ek.SupportError, match=r"column 'city', row 0 .*got 'Chur'"):
        model.elbo(df.with_columns(city=pl.lit("Chur")))
    with pytest.raises(ek.DtypeError, match="expected numbers in column 'real'"):
        model.elbo(df.with_columns(real=pl.lit("5")))
    with pytest.raises(ek.DtypeError, match="DataFrame of pandas or polars"):
        ek.VAE.for_table(np.zeros((3, 2)))
    with pytest.raises(ek.ShapeError, match="'a' twice"):
        ek.VAE.for_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ek.DtypeError, match="named by text"):
        ek.VAE.for_table(pd.DataFrame([[1, 2]], columns=[1.5, "a"]))
    with pytest.raises(ek.DtypeError, match="one kind of thing, got int, str"):
        ek.VAE.for_table(pd.DataFrame({"a": pd.Series([1, "b"], dtype=object)}))
    with pytest.raises(ek.NotFittedError):
        ek.VAE.for_table(df).elbo(df)
    # Order, further columns and columns that the model leaves out do not matter.
    other = df.select(reversed(df.columns)).drop("id").with_columns(more=pl.lit(1))
    assert np.array_equal(model.elbo(other).elbo, model.elbo(df).elbo)
    assert np.array_equal(model.elbo(pd.DataFrame(df.to_dict(as_series=False))).elbo, model.elbo(df).elbo)


def test_held_out_rows_may_be_a_frame_and_columns_may_have_numbers():
    rows = np.random.default_rng(0).normal(size=(100, 3))
    df = pd.DataFrame(rows)
    model = ek.VAE.for_table(df, latent_dim=1, hidden=(4,), dtype="float64")
    history = model.fit(df[:80], epochs=2, validation=df[80:], progress=False)
    assert len(history.held_out_elbo) == 2
    assert np.array_equal(model.encode(df).loc, model.vae.encode(rows).loc)
    assert np.array_equal(
        model.log_evidence(df, num_particles=5).lower, model.vae.log_evidence(rows, num_particles=5).lower
    )
    assert list(model.sample(2, key=0).columns) == [0, 1, 2]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_other_library_is_not_imported(library):
    other = {"pandas": "polars", "polars": "pandas"}[library]
    code = f"""
import sys, {library}, numpy as np, elbokit as ek
df = {library}.DataFrame({{"x": np.arange(60) / 7, "y": ["a", "b", "c"] * 20}})
model = ek.VAE.for_table(df, latent_dim=1, hidden=(4,))
model.fit(df, epochs=1, progress=False)
model.impute(df), model.sample(2, key=0), model.reconstruct(df)
assert {other!r} not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_runs(tmp_path, capsys):
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "table.py"))
    example["main"](tmp_path, epochs=40)
    said = capsys.readouterr().out
    assert "212 malignant tumours" in said
    assert (tmp_path / "table.png").stat().st_size > 20_000
    assert TableVAE.load(tmp_path / "table.safetensors").sample(3, key=0)["diagnosis"].dtype == pl.String
