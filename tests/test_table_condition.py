"""Tables with columns that are given and not modelled: what the model sees of them, and that frames keep them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import elbokit as ek
from elbokit import _metadata
from elbokit.table_model import TableVAE

N = 240
WARDS = ["lung", "closed", "eye", "heart"]
GIVEN = dict.fromkeys(["age", "smoker", "ward", "town", "dose"], "condition")


def table(library, n=N):
    """Conditions of each kind among modelled columns: no row is of the ward "closed"."""
    rng = np.random.default_rng(0)
    smoker = rng.random(n) < 0.4
    age, dose = rng.integers(20, 80, n), rng.normal(size=n).astype(np.float32)
    ward = [WARDS[k] for k in rng.permutation(np.arange(n) % 3 + (np.arange(n) % 3 > 0))]
    columns = {
        "age": age.astype(np.int16),
        "pulse": rng.normal(60 + 0.3 * age + 10 * smoker),
        "smoker": smoker,
        "ward": pd.Categorical(ward, categories=WARDS, ordered=True) if library == "pandas" else ward,
        "visits": rng.poisson(np.where(np.array(ward) == "heart", 9, 2)),
        "id": [f"row {i}" for i in range(n)],
        "town": [["Bern", "Genf"][k] for k in rng.permutation(np.arange(n) % 2)],
        "dose": dose,
    }
    if library == "pandas":
        return pd.DataFrame(columns, index=pd.Index(np.arange(n)[::-1] * 3, name="row"))
    return pl.DataFrame(columns, schema_overrides={"ward": pl.Enum(WARDS)})


def fitted(df, kinds=GIVEN, epochs=2, **options):
    model = ek.VAE.for_table(df, kinds=kinds, latent_dim=2, hidden=(8,))
    model.fit(df, epochs=epochs, learning_rate=1e-2, validation=0.0, progress=False, **options)
    return model


def cells(df):
    return {name: list(df[name]) for name in df.columns}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_what_the_model_sees_of_each_kind_of_column(library):
    df = table(library)
    model = ek.VAE.for_table(df, kinds=GIVEN, latent_dim=2, hidden=(8,))
    ward, town = np.array(list(df["ward"]))[:, None], np.array(list(df["town"]))[:, None]
    seen = np.column_stack(
        [df["age"], df["smoker"], ward == ["lung", "eye", "heart"], town == ["Bern", "Genf"], df["dose"]]
    )
    assert np.array_equal(model.conditions(df), seen)
    assert model.conditions(df).dtype == np.float64
    assert np.array_equal(model.rows(df), np.column_stack([df["pulse"], df["visits"]]))
    kinds = [line.split()[2] for line in model.proposal.splitlines()[1:]]
    assert [kind == "condition" for kind in kinds] == [name in GIVEN for name in df.columns]
    assert "one of 3 values" in model.proposal
    assert repr(model).startswith("TableVAE of 2 columns given 5, latent_dim=2")
    assert ek.VAE.for_table(df).conditions(df) is None


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_every_score_is_that_of_the_model_inside(library):
    df = table(library)
    model = fitted(df)
    x, c = model.rows(df), model.conditions(df)
    plain = ek.VAE(2, hidden=(8,), likelihood=model.vae.likelihood)
    plain.fit(x, condition=c, epochs=2, learning_rate=1e-2, validation=0.0, progress=False)
    assert all(np.array_equal(plain.parameters()[name], value) for name, value in model.vae.parameters().items())
    for ours, theirs in (
        (model.encode(df), plain.encode(x, condition=c)),
        (model.elbo(df, key=4), plain.elbo(x, condition=c, key=4)),
        (model.log_evidence(df, num_particles=30), plain.log_evidence(x, condition=c, num_particles=30)),
        (model.report(df, num_particles=30).evidence, plain.report(x, condition=c, num_particles=30).evidence),
    ):
        for field, expected in zip(ours, theirs, strict=True):
            assert np.array_equal(field, expected)
    parts = model.elbo_per_column(df, key=4)
    assert list(parts.columns) == ["pulse", "visits"]
    assert np.array_equal(parts.to_numpy(), plain.elbo_per_column(x, condition=c, key=4))
    model.calibrate(df[:100], key=2)
    plain.calibrate(x[:100], condition=c[:100], key=2)
    assert np.array_equal(model.p_value(df), plain.p_value(x, condition=c))
    # Another condition is another score.
    other = df.assign(age=20) if library == "pandas" else df.with_columns(age=pl.lit(20))
    assert not np.array_equal(model.elbo(other).elbo, model.elbo(df).elbo)


def test_held_out_rows_bring_their_own_conditions():
    df = table("polars")
    model = ek.VAE.for_table(df, kinds=GIVEN, latent_dim=2, hidden=(8,))
    history = model.fit(df[:200], epochs=2, validation=df[200:], progress=False)
    plain = ek.VAE(2, hidden=(8,), likelihood=model.vae.likelihood)
    held_out = model.rows(df[200:]), model.conditions(df[200:])
    x, c = model.rows(df[:200]), model.conditions(df[:200])
    expected = plain.fit(x, condition=c, epochs=2, validation=held_out, progress=False)
    assert np.array_equal(history.held_out_elbo, expected.held_out_elbo)
    with pytest.raises(ek.NonFiniteError, match=r"^validation: column 'dose', row 0"):
        model.fit(df[:200], validation=df[200:].with_columns(dose=pl.lit(None, pl.Float32)), progress=False)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_what_was_given(library):
    df = table(library)
    model = fitted(df)
    without = df.drop(columns="id") if library == "pandas" else df.drop("id")
    back, drawn = model.reconstruct(df), model.sample(N, key=1, condition=df)
    for made in (back, drawn):
        assert type(made) is type(df)
        assert list(made.columns) == list(without.columns)
        assert list(made.dtypes) == list(without.dtypes)
        assert {name: cells(made)[name] for name in GIVEN} == {name: cells(df)[name] for name in GIVEN}
    assert not np.array_equal(back["pulse"], df["pulse"])
    if library == "pandas":
        assert back.index.equals(df.index)
    one = model.sample(5, key=1, condition=df[3:4])
    assert {name: cells(one)[name] for name in GIVEN} == {name: cells(df[3:4])[name] * 5 for name in GIVEN}
    assert len(set(one["pulse"])) == 5
    assert len(model.sample(0, key=1, condition=df[3:4])) == 0
    # Of the other library, and of more columns than are asked for.
    other = pl.from_pandas(df.astype({"ward": str})) if library == "pandas" else pd.DataFrame(cells(df))
    assert model.sample(N, key=1, condition=other).equals(drawn)
    # A number that the table's dtype would round stands as it was given.
    half = df[3:4].assign(age=30.5) if library == "pandas" else df[3:4].with_columns(age=pl.lit(30.5))
    assert list(model.sample(2, key=1, condition=half)["age"]) == [30.5, 30.5]

    missing = [i % 4 == 0 for i in range(N)]
    if library == "pandas":
        holes = df.assign(pulse=df["pulse"].mask(np.array(missing)))
    else:
        holes = df.with_columns(
            pulse=df["pulse"].zip_with(~pl.Series(missing), pl.Series([None] * N, dtype=pl.Float64))
        )
    x, c = model.rows(holes), model.conditions(holes)
    filled = model.impute(holes, num_particles=20, key=5)
    assert list(filled.columns) == list(df.columns)
    assert list(filled["pulse"]) == model.vae.impute(x, condition=c, num_particles=20, key=5)[:, 0].tolist()
    assert {k: v for k, v in cells(filled).items() if k != "pulse"} == {
        k: v for k, v in cells(df).items() if k != "pulse"
    }
    assert len(model.impute(holes, num_particles=20, draws=2)) == 2
    assert len(model.impute(df[:0])) == len(model.reconstruct(df[:0])) == 0


def test_the_model_learns_what_depends_on_a_condition():
    rng = np.random.default_rng(1)
    x, kind = rng.normal(size=800) + 5, rng.permutation(np.arange(800) % 2)
    df = pd.DataFrame({"x": x, "kind": np.array(["a", "b"])[kind], "y": 3 * x + 4 * kind + 0.5 * rng.normal(size=800)})
    model = ek.VAE.for_table(df, kinds={"x": "condition", "kind": "condition"}, latent_dim=1, hidden=(16,))
    model.fit(df, epochs=80, learning_rate=1e-2, progress=False)
    for at, name in ((4.0, "a"), (6.0, "a"), (5.0, "b")):
        drawn = model.sample(2000, key=0, condition=pd.DataFrame({"x": [at], "kind": [name]}))
        assert abs(drawn["y"].mean() - (3 * at + 4 * (name == "b"))) < 0.5
        assert 0.3 < drawn["y"].std() < 0.8
    # A y is odd beside its x alone.
    odd = pd.DataFrame({"x": [4.0, 6.0], "kind": ["a", "a"], "y": [18.0, 18.0]})
    first, second = model.log_evidence(odd).estimate
    assert first < second - 20


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_file_keeps_the_conditions(library, tmp_path):
    df = table(library)
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
        assert np.array_equal(other.p_value(df), model.p_value(df))
        assert other.sample(9, key=2, condition=df[:9]).equals(model.sample(9, key=2, condition=df[:9]))
    matrix = ek.VAE.load(first)
    assert np.array_equal(matrix.elbo(model.rows(df), condition=model.conditions(df)).elbo, model.elbo(df).elbo)


def test_a_file_without_conditions_says_nothing_of_them(tmp_path):
    df = pl.DataFrame({"x": np.arange(40) / 3, "y": ["same"] * 40})
    fitted(df, kinds=None).save(tmp_path / "plain")
    assert _metadata.texts((tmp_path / "plain").read_bytes())["elbokit.table"] == (
        '{"library": "polars", "columns": [{"name": "x", "dtype": "Float64", "modelled": true, "values": null, '
        '"levels": false, "ordered": false, "reason": "real numbers from 0 to 13"}, {"name": "y", "dtype": "String", '
        '"modelled": false, "values": null, "levels": false, "ordered": false, "reason": "one value only"}]}'
    )


def test_a_broken_condition_is_a_model_file_error(tmp_path):
    df = pl.DataFrame({"c": ["a", "b"] * 20, "y": np.arange(40) / 3})
    model, path = fitted(df, kinds={"c": "condition"}), tmp_path / "broken"
    shared = {"levels": False, "ordered": False, "reason": ""}
    good = shared | {"name": "c", "dtype": "String", "modelled": False, "values": ["a", "b"], "condition": [0, 1]}
    modelled = shared | {"name": "y", "dtype": "Float64", "modelled": True, "values": None}

    def load(column):
        text = json.dumps({"library": "polars", "columns": [column, modelled]})
        path.write_bytes(_metadata.added(model.vae.core.to_bytes(), {"elbokit.table": text}))
        return TableVAE.load(path)

    assert np.array_equal(load(good).conditions(df), model.conditions(df))
    for changed in (
        {"condition": None}, {"condition": [0]}, {"condition": []}, {"condition": [1, 0]}, {"condition": [0, 0]},
        {"condition": [0, 2]}, {"condition": [-1, 0]}, {"condition": [False, True]}, {"condition": ["a", "b"]},
        {"condition": [[0], [1]]}, {"condition": [], "values": None}, {"values": None}, {"values": "ab"},
        {"values": ["a", [1]]}, {"values": {"a": 0, "b": 1}}, {"modelled": True}, {"name": 1.5}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(ek.ModelFileError, match=r"broken: expected"):
            load(good | changed)
    # Columns of no condition beside a model with one.
    with pytest.raises(ek.ModelFileError, match=r"broken: expected a condition of 2 numbers, got 0"):
        load({field: value for field, value in good.items() if field != "condition"} | {"values": None})


def test_what_cannot_be_a_condition_is_named():
    df = table("pandas")
    for column, error, said in (
        (pd.Timestamp("2026-01-01"), ek.DtypeError, r"^kinds: expected numbers, booleans, text.*'new'.*got datetime64"),
        (pd.cut(df["pulse"], 3), ek.DtypeError, r"^kinds: expected numbers, booleans, text.*'new'.*got category"),
        (np.nan, ek.ShapeError, r"^kinds: expected known cells in column 'new'.*got none; fill it"),
    ):
        with pytest.raises(error, match=said):
            ek.VAE.for_table(df.assign(new=column), kinds={"new": "condition"})
    with pytest.raises(ek.ShapeError, match="that can be modelled"):
        ek.VAE.for_table(df, kinds=dict.fromkeys(df.columns, "condition"))
    with pytest.raises(ValueError, match=r"^kinds: .* one of .*, condition, leave_out, got 'given'"):
        ek.VAE.for_table(df, kinds={"age": "given"})
    # What never changes tells nothing, and does no harm.
    same = df.assign(one=3.0, word="same", yes=True)
    model = fitted(same, kinds=dict.fromkeys(["one", "word", "yes"], "condition"))
    assert model.proposal.count("which never changes") == 3
    assert np.isfinite(model.elbo(same).elbo).all()


def test_what_does_not_fit_the_conditions_is_named():
    df = table("polars")
    model = fitted(df)
    for changed, error, said in (
        (df.drop("town"), ek.ShapeError, "^df: expected a column 'town', got none"),
        (df.with_columns(town=pl.lit("Chur")), ek.SupportError, r"^df: column 'town', row 0 .*got 'Chur'; leave the"),
        (df.with_columns(ward=pl.lit("closed")), ek.SupportError, r"^df: column 'ward', row 0 .*got 'closed'"),
        (df.with_columns(age=pl.lit("old")), ek.DtypeError, "^df: expected numbers in column 'age'"),
        (df.with_columns(smoker=pl.lit(0.5)), ek.SupportError, r"^df: column 'smoker', row 0 .*got 0\.5"),
        (df.with_columns(dose=pl.lit(float("inf"))), ek.NonFiniteError, r"^df: column 'dose', row 0 .*got inf; fill"),
        (
            df.with_columns(town=pl.Series([*df["town"][:7], None, *df["town"][8:]])),
            ek.NonFiniteError,
            r"^df: column 'town', row 7 \(from 0\): expected a known and finite cell.*got None; fill it first",
        ),
    ):
        for method in (model.encode, model.elbo, model.p_value, model.impute, model.reconstruct, model.fit):
            with pytest.raises(error, match=said):
                method(changed)
        with pytest.raises(error, match=said.replace("^df:", "^condition:")):
            model.sample(N, key=0, condition=changed)
    with pytest.raises(ek.ShapeError, match=r"condition: expected a frame of the columns \['age', 'smoker'.*got none"):
        model.sample(3, key=0)
    with pytest.raises(ek.ShapeError, match="condition: expected 3 rows like n, or one for all, got 2"):
        model.sample(3, key=0, condition=df[:2])
    with pytest.raises(ek.DtypeError, match=r"^condition: expected a DataFrame of pandas or polars"):
        model.sample(3, key=0, condition=model.conditions(df[:3]))
    with pytest.raises(ek.ShapeError, match=r"condition: expected none, got one.*leave it out"):
        fitted(df, kinds=None).sample(3, key=0, condition=df[:3])
    with pytest.raises(ValueError, match=r'condition: expected none beside.*kinds=\{column: "condition"\}'):
        model.fit(df, condition=model.conditions(df))
