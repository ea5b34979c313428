"""Errors name what the caller gave: its argument, its row and its column, whatever part of it the model saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fits import put

import elbokit as ek
from elbokit import cli, sklearn

SMALL = {"epochs": 1, "progress": False}
POISSON = ek.likelihood.Poisson()


def refused(call, error, argument, row, column, value, name=None):
    """Its message, which says the same places as its attributes."""
    with pytest.raises(error) as caught:
        call()
    text, got = str(caught.value), caught.value
    assert (got.argument, got.row, got.column) == (argument, row, column)
    assert got.value == value
    named = "" if name is None else f" ({name!r})"
    assert text.startswith(f"{argument}: expected ")
    assert f", got {value:g} at row {row}, column {column}{named}; " in text
    return text


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(3.0, (60, 4)).astype(float)


def bad(rows, cell, value):
    rows = rows.copy()
    rows[cell] = value
    return rows


@pytest.mark.parametrize(("error", "value"), [(ek.NonFiniteError, np.inf), (ek.SupportError, -1.0)])
def test_every_method_of_a_model_names_x(counts, error, value):
    vae = ek.VAE(1, hidden=(4,), likelihood=POISSON)
    wrong = bad(counts, (7, 3), value)
    refused(lambda: vae.fit(wrong, **SMALL), error, "X", 7, 3, value)
    refused(lambda: vae.fit(counts, validation=wrong, **SMALL), error, "validation", 7, 3, value)
    vae.fit(counts, **SMALL)
    for method in ("encode", "reconstruct", "elbo", "elbo_per_column", "log_evidence", "impute", "report"):
        refused(lambda method=method: getattr(vae, method)(wrong), error, "X", 7, 3, value)
    refused(lambda: vae.impute(wrong, draws=2), error, "X", 7, 3, value)
    refused(lambda: vae.calibrate(wrong), error, "X_ref", 7, 3, value)
    vae.calibrate(counts)
    refused(lambda: vae.p_value(wrong), error, "X", 7, 3, value)


def test_shapes_and_dtypes_of_reference_rows_are_said_of_them(counts):
    vae = ek.VAE(1, hidden=(4,), likelihood=POISSON)
    vae.fit(counts, **SMALL)
    for rows, error in ((counts[:, :2], ek.ShapeError), (counts[0], ek.ShapeError), (counts + 0j, ek.DtypeError)):
        with pytest.raises(error, match=r"^X_ref: expected") as caught:
            vae.calibrate(rows)
        assert caught.value.argument == "X_ref"


def test_a_batch_is_said_first_and_the_argument_then(counts):
    vae = ek.VAE(1, hidden=(4,), likelihood=POISSON)
    wrong = bad(counts, (7, 3), -1)
    with pytest.raises(ek.SupportError, match=r"^X: expected .* at row 67, column 3;"):
        vae.fit(ek.Batches([counts, wrong]), **SMALL)
    vae.fit(counts, **SMALL)
    for method, argument in ((vae.elbo, "X"), (vae.calibrate, "X_ref")):
        text = f"^in the batch that begins with row 60: {argument}: expected .* at row 7, column 3;"
        with pytest.raises(ek.SupportError, match=text) as caught:
            method(ek.Batches([counts, wrong]))
        assert (caught.value.argument, caught.value.row, caught.value.column) == (argument, 67, 3)


def test_a_condition_keeps_its_name(counts):
    vae = ek.VAE(1, hidden=(4,), likelihood=POISSON)
    rows, condition = counts[:, :3], counts[:, 3:]
    wrong = bad(condition, (7, 0), np.inf)
    refused(lambda: vae.fit(rows, condition=wrong, **SMALL), ek.NonFiniteError, "condition", 7, 0, np.inf)
    with pytest.raises(ek.NonFiniteError, match=r"^validation: condition: expected .* at row 7, column 0;") as caught:
        vae.fit(rows, condition=condition, validation=(rows, wrong), **SMALL)
    assert caught.value.argument == "validation"
    vae.fit(rows, condition=condition, **SMALL)
    refused(lambda: vae.elbo(rows, condition=wrong), ek.NonFiniteError, "condition", 7, 0, np.inf)
    refused(lambda: vae.calibrate(rows, condition=wrong), ek.NonFiniteError, "condition", 7, 0, np.inf)


def test_a_finite_number_past_float32_is_said_as_it_is(counts):
    wrong = bad(counts, (7, 3), -1e39)
    vae = ek.VAE(1, hidden=(4,))

    def beyond(call, argument="X"):
        text = refused(call, ek.NonFiniteError, argument, 7, 3, -1e39)
        assert text.startswith(f"{argument}: expected numbers within float32's range, got -1e+39 at ")
        assert text.endswith('; scale the column, or use dtype="float64"')

    beyond(lambda: vae.fit(wrong, **SMALL))
    beyond(lambda: vae.fit(counts, validation=wrong, **SMALL), "validation")
    beyond(lambda: vae.fit(counts, condition=wrong, **SMALL), "condition")
    vae.fit(counts, **SMALL)
    for method in ("encode", "reconstruct", "elbo", "elbo_per_column", "log_evidence", "impute", "report"):
        beyond(lambda method=method: getattr(vae, method)(wrong))
    beyond(lambda: vae.impute(wrong, draws=2))
    beyond(lambda: vae.calibrate(wrong), "X_ref")
    refused(lambda: vae.decode([[0.0], [1e39]]), ek.NonFiniteError, "z", 1, 0, 1e39)
    stream = sklearn.VAE(latent_dim=1, hidden=(4,), epochs=1).partial_fit(counts)
    beyond(lambda: stream.partial_fit(wrong))
    with pytest.raises(ek.NonFiniteError, match=r"row 60: X: expected .*, got -1e\+39 at row 7, column 3;") as caught:
        vae.elbo(ek.Batches([counts, wrong]))
    assert (caught.value.row, caught.value.value) == (67, -1e39)
    beside = ek.VAE(1, hidden=(4,))
    beside.fit(counts, condition=counts, **SMALL)
    beyond(lambda: beside.elbo(counts, condition=wrong), "condition")
    beyond(lambda: beside.sample(60, condition=wrong, key=0), "condition")
    beyond(lambda: beside.decode(np.zeros((60, 1)), condition=wrong), "condition")
    # What the model's own dtype holds is no error, and an infinity stays one.
    ek.VAE(1, hidden=(4,), dtype="float64").fit(wrong, **SMALL)
    text = refused(lambda: vae.fit(bad(counts, (7, 3), np.inf), **SMALL), ek.NonFiniteError, "X", 7, 3, np.inf)
    assert text.startswith("X: expected finite numbers, ")


def left(call, argument, what, network, row, dtype="float32"):
    with pytest.raises(ek.NonFiniteError) as caught:
        call()
    got = caught.value
    assert (got.argument, got.row, got.column, got.value) == (argument, row, None, None)
    cure = ', or with dtype="float64"' if dtype == "float32" else ""
    assert str(got) == (
        f"{argument}: expected {what} for which the model's {network} stays within {dtype}'s range, got row {row}, for "
        f"which it does not; scale the columns, or fit with a smaller learning_rate{cure}"
    )


@pytest.mark.filterwarnings("ignore:.*steps had a gradient")
def test_a_row_for_which_the_encoder_leaves_the_range_is_named():
    rows = np.random.default_rng(0).normal(size=(150, 4))
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(rows, epochs=4, learning_rate=10.0, progress=False)
    wrong = np.r_[rows[:3], np.full((1, 4), 3e38)]
    assert vae.elbo(wrong).elbo[3] == -np.inf
    left(lambda: vae.encode(wrong), "X", "rows", "encoder", 3)
    left(lambda: vae.reconstruct(wrong), "X", "rows", "encoder", 3)
    with pytest.raises(ek.NonFiniteError, match=r"^in the batch that begins with row 150: X: expected rows ") as caught:
        vae.encode(ek.Batches([rows, wrong]))
    assert (caught.value.argument, caught.value.row) == ("X", 153)
    frame = pd.DataFrame(rows, columns=list("abcd"))
    table = ek.VAE.for_table(frame, latent_dim=2, hidden=(8,))
    table.fit(frame, epochs=4, learning_rate=10.0, progress=False)
    left(lambda: table.encode(pd.DataFrame(wrong, columns=list("abcd"))), "df", "rows", "encoder", 3)


@pytest.mark.filterwarnings("ignore:.*steps had a gradient")
@pytest.mark.parametrize(("dtype", "rate"), [("float32", 1e10), ("float64", 1e100)])
def test_a_row_for_which_the_decoder_leaves_the_range_is_named(dtype, rate):
    rows = np.random.default_rng(0).normal(size=(150, 4))
    vae = ek.VAE(2, hidden=(8,), prior="mixture", dtype=dtype)
    vae.fit(rows, epochs=4, learning_rate=rate, progress=False)
    left(lambda: vae.reconstruct(rows), "X", "rows", "decoder", 0, dtype)
    left(lambda: vae.sample(5, key=0), "n", "draws", "decoder", 0, dtype)
    left(lambda: vae.decode(vae.encode(rows[:3]).loc), "z", "rows", "decoder", 0, dtype)


def test_a_latent_for_which_the_decoder_leaves_the_range_is_named():
    rows = np.random.default_rng(0).normal(size=(150, 4))
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(rows, epochs=2, progress=False)
    far = np.array([[0.0, 1.0], [1e10, 0.0], [3e38, -3e38]])
    assert np.isfinite(vae.decode(far[:2])).all()
    put(vae, {"decoder.0.weight": np.full((8, 2), 3.0) * [1, -1]})
    left(lambda: vae.decode(far), "z", "rows", "decoder", 2)
    assert vae.decode(far[:0]).shape == (0, vae.likelihood_.num_params(4))


def test_draws_for_which_the_prior_leaves_the_range_are_named(counts):
    vae = ek.VAE(1, hidden=(), prior="vamp", prior_components=2)
    vae.fit(counts, **SMALL)
    # The encoder's own output at a pseudo-input overflows.
    put(vae, {"encoder.0.weight": np.full((2, 4), 3e38), "prior.pseudo_inputs": np.full((2, 4), 2.0)})
    left(lambda: vae.sample(5, key=0), "n", "draws", "prior", 0)


def table(library):
    n = np.arange(60.0)
    columns = {
        "id": [f"i{i}" for i in range(60)],
        "dose": n % 3 + 0.5,
        "const": np.ones(60),
        "town": ["Bern", "Genf", "Basel"] * 20,
        "y": n / 7,
        "x": n % 7.3,
        "visits": n % 23,
    }
    return pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)


def changed(df, name, value):
    cells = bad(np.array(df[name]), 5, value)
    return df.assign(**{name: cells}) if isinstance(df, pd.DataFrame) else df.with_columns(pl.Series(name, cells))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("error", "name", "place", "value"),
    [
        (ek.NonFiniteError, "x", 5, np.inf),
        (ek.SupportError, "visits", 6, -1.0),
        # Past float32, in which the model computes.
        (ek.NonFiniteError, "x", 5, 1e39),
        (ek.NonFiniteError, "dose", 1, 1e300),
    ],
)
def test_a_table_names_the_column_of_the_frame(library, error, name, place, value):
    df = table(library)
    kinds = {"visits": "poisson", "dose": "condition", "town": "condition"}
    model = ek.VAE.for_table(df, kinds=kinds, latent_dim=1, hidden=(8,))
    wrong = changed(df, name, value)
    refused(lambda: model.fit(wrong, **SMALL), error, "df", 5, place, value, name)
    refused(lambda: model.fit(df, validation=wrong, **SMALL), error, "validation", 5, place, value, name)
    model.fit(df, **SMALL)
    model.calibrate(df)
    methods = "encode elbo elbo_per_column log_evidence report calibrate p_value reconstruct impute"
    for method in methods.split():
        refused(lambda method=method: getattr(model, method)(wrong), error, "df", 5, place, value, name)
    # Where the columns stand in this frame, not in the fit's.
    turned = wrong[list(wrong.columns)[::-1]]
    text = refused(lambda: model.elbo(turned), error, "df", 5, 6 - place, value, name)
    if error is ek.SupportError:
        assert f"; column {6 - place} fits " in text
    if name == "dose":
        refused(lambda: model.sample(60, condition=wrong, key=0), error, "condition", 5, place, value, name)
        alone = wrong[["town", "dose"]]
        refused(lambda: model.sample(60, condition=alone, key=0), error, "condition", 5, 1, value, name)


def test_what_is_no_value_of_a_column_carries_its_place_too():
    df = table("pandas")
    model = ek.VAE.for_table(df, kinds={"dose": "condition"}, latent_dim=1, hidden=(8,))
    model.fit(df, **SMALL)
    for error, name, place, value in (
        (ek.SupportError, "town", 3, "Rom"),
        (ek.NonFiniteError, "dose", 1, np.nan),
    ):
        with pytest.raises(error, match=rf"^df: column '{name}', row 5 \(from 0\): expected") as caught:
            model.elbo(changed(df, name, value))
        assert (caught.value.argument, caught.value.row, caught.value.column) == ("df", 5, place)


@pytest.mark.parametrize("frame", [False, True])
def test_an_estimator_with_a_condition_names_the_column_of_x(counts, frame):
    given = (lambda rows: pd.DataFrame(rows, columns=list("abcd"))) if frame else np.asarray
    rows, name = given(counts), "d" if frame else None
    wrong = given(bad(counts, (7, 3), -1))
    options = {"likelihood": POISSON, "condition_columns": [0], "epochs": 1, "random_state": 0}
    model = sklearn.VAE(1, (4,), **options)
    for method in (model.fit, model.partial_fit):
        refused(lambda ask=method: ask(wrong), ek.SupportError, "X", 7, 3, -1.0, name)
    # Where one batch does not hold all rows, none is trained on twice.
    short = sklearn.VAE(1, (4,), batch_size=16, **options)
    refused(lambda: short.fit(wrong), ek.SupportError, "X", 7, 3, -1.0, name)
    model.fit(rows)
    for method in ("transform", "score_samples", "score", "predict", "decision_function", "report"):
        refused(lambda method=method: getattr(model, method)(wrong), ek.SupportError, "X", 7, 3, -1.0, name)
    refused(lambda: model.partial_fit(wrong), ek.SupportError, "X", 7, 3, -1.0, name)
    beyond = given(bad(counts, (7, 0), 1e300))
    refused(lambda: model.score(beyond), ek.NonFiniteError, "X", 7, 0, 1e300, "a" if frame else None)


def test_an_imputer_names_x(counts):
    imputer = sklearn.VAEImputer(1, (4,), epochs=1, impute_particles=8, random_state=0).fit(counts)
    refused(lambda: imputer.transform(bad(counts, (7, 3), 1e300)), ek.NonFiniteError, "X", 7, 3, 1e300)


def test_the_command_names_the_rows_and_columns_of_the_file(counts, tmp_path, capsys):
    def file(name, rows):
        pd.DataFrame(rows, columns=list("abcd")).to_csv(tmp_path / name, index=False)
        return str(tmp_path / name)

    good, wrong = file("good.csv", counts), file("wrong.csv", bad(counts, (7, 3), -1))
    options = ["--latent-dim", "1", "--hidden", "4", "--epochs", "1", "--quiet", "--num-particles", "2"]
    model = str(tmp_path / "m.safetensors")
    fit = ["--out", model, "--likelihood", "poisson", "--condition", "b", *options]

    def said(arguments, path, value, column):
        assert cli.main(arguments) == 2
        text = capsys.readouterr().err
        assert text.startswith(f"elbokit: error: {path}: expected ")
        assert f", got {value} at row 7, column {column}; " in text

    said(["fit", wrong, *fit], wrong, -1, "3 ('d')")
    # Past float32: found by the model alone, which is given the rows in another order.
    for place, column in ((3, "3 ('d')"), (1, "1 ('b')")):
        beyond = file("beyond.csv", bad(counts, (7, place), 1e300))
        said(["fit", beyond, *fit, "--validation", "0.5"], beyond, "1e+300", column)
    assert cli.main(["fit", good, *fit]) == 0
    capsys.readouterr()
    for verb in ("score", "encode", "impute", "report"):
        said([verb, model, wrong, "--condition", "b"], wrong, -1, "3 ('d')")


def test_an_error_of_the_users_own_code_is_about_its_own_data(counts):
    other = ek.VAE(1, hidden=(4,))
    other.fit(np.random.default_rng(0).normal(size=(50, 10)), **SMALL)

    def callback(*_):
        other.elbo(bad(np.zeros((40, 10)), (30, 9), np.inf))

    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(20, 2)), columns=["a", "b"])
    table = ek.VAE.for_table(frame, latent_dim=1, hidden=(4,))
    for fit in (
        lambda: table.fit(frame, callbacks=[callback], **SMALL),
        lambda: table.fit(frame, kl_weight=callback, **SMALL),
        lambda: ek.VAE(1, hidden=(4,)).fit(counts, callbacks=[callback], **SMALL),
    ):
        refused(fit, ek.NonFiniteError, "X", 30, 9, np.inf)
