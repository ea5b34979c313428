"""The scikit-learn door: its own checks, composition, and that scores and fills are those of the model inside."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import elbokit as ek
from elbokit.sklearn import VAE, VAEImputer

_BESIDE = {
    f"check_estimators_pickle{of}": "puts missing cells into all columns, and a condition has none"
    for of in ("", "(readonly_memmap=True)")
}


def vae(**options):
    return VAE(**{"latent_dim": 2, "hidden": (8,), "epochs": 5, "random_state": 0} | options)


@parametrize_with_checks(
    [
        VAE(epochs=20, random_state=0),
        VAE(
            epochs=20, random_state=0, prior="mixture", prior_components=3, estimator="stl", layer_norm=True,
            residual=True, condition_columns=[-1],
        ),
        VAEImputer(epochs=20, impute_particles=50, random_state=0),
    ],
    expected_failed_checks=lambda estimator: _BESIDE if getattr(estimator, "condition_columns", None) else {},
    xfail_strict=True,
)  # fmt: skip
def test_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("options", [{}, {"condition_columns": [1]}, {"dtype": "float64", "validation": 0.2}])
def test_a_weight_is_the_row_several_times_bit_for_bit_where_a_batch_holds_all(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    weights = rng.integers(0, 4, size=60)
    often = rng.permutation(np.repeat(X, weights, axis=0))
    weighed, repeated = vae(**options).fit(X, sample_weight=weights), vae(**options).fit(often)
    assert len(often) > len(X)
    assert weighed.score_samples(X).tobytes() == repeated.score_samples(X).tobytes()
    np.testing.assert_allclose(weighed.offset_, repeated.offset_, rtol=1e-12)
    # Each of them is another model than that of the rows once.
    assert (weighed.score_samples(X) != vae(**options).fit(X).score_samples(X)).any()


def test_many_rows_of_few_kinds_stay_the_rows_they_are():
    # As three bits make only eight different rows; an epoch of those would be one step in the place of five.
    X = np.random.default_rng(0).integers(0, 2, size=(300, 3)).astype(float)
    fitted = vae(likelihood=ek.likelihood.Bernoulli(), batch_size=64).fit(X)
    model = ek.VAE(2, (8,), ek.likelihood.Bernoulli())
    model.fit(X, epochs=5, batch_size=64, validation=0.0, progress=False, key=fitted._fit_seed)
    parameters = fitted.model_.parameters()
    assert all((parameters[name] == values).all() for name, values in model.parameters().items())


def test_the_rows_of_one_batch_are_named_as_they_were_given():
    X = np.random.default_rng(0).permutation(np.repeat(np.eye(4), 3, axis=0))
    X[7, 2] = 0.5
    with pytest.raises(ek.errors.SupportError) as caught:
        vae(likelihood=ek.likelihood.Bernoulli()).fit(X)
    assert (caught.value.row, caught.value.column) == (7, 2)


@pytest.fixture(scope="module")
def cancer():
    X, benign = load_breast_cancer(return_X_y=True)
    return X, benign


def test_what_it_says_is_what_the_model_says(cancer):
    X, _ = cancer
    fitted = vae(contamination=0.05).fit(X)
    model = fitted.model_
    assert np.array_equal(fitted.transform(X), model.encode(X).loc)
    assert fitted.transform(X).dtype == np.float32
    assert np.array_equal(fitted.inverse_transform(fitted.transform(X)), model.reconstruct(X))
    scores = fitted.score_samples(X)
    assert scores.dtype == np.float64
    assert np.array_equal(scores, model.elbo(X, key=fitted._score_seed).elbo)
    assert fitted.score(X) == scores.mean()
    assert np.array_equal(fitted.score_samples(X[7:9]), scores[7:9])
    assert np.array_equal(fitted.decision_function(X), scores - fitted.offset_)
    outliers = fitted.predict(X) == -1
    assert 0.05 * len(X) <= outliers.sum() < 0.05 * len(X) + 1
    assert scores[outliers].max() < scores[~outliers].min()
    assert list(fitted.get_feature_names_out()) == ["vae0", "vae1"]
    assert fitted.sample(5).shape == (5, 30)
    assert np.array_equal(fitted.sample(5), fitted.sample(5))
    assert not np.array_equal(fitted.sample(5), fitted.sample(5, random_state=1))


def test_a_random_state_gives_the_same_bits_and_none_does_not(cancer):
    X, _ = cancer
    first, second = (vae().fit(X).score_samples(X) for _ in range(2))
    assert np.array_equal(first, second)
    free = vae(random_state=None).fit(X)
    assert np.array_equal(free.score_samples(X), free.score_samples(X))
    assert not np.array_equal(free.score_samples(X), first)


def test_the_threshold_counts_a_row_as_often_as_it_weighs():
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(400, 3)), rng.integers(0, 4, size=400)
    weighed = vae().fit(X, sample_weight=weights)
    scores = weighed.score_samples(np.repeat(X, weights, axis=0))
    assert np.isclose(weighed.offset_, np.quantile(scores, 0.1), rtol=1e-12)
    ones = vae().fit(X, sample_weight=np.ones(400))
    assert np.isclose(ones.offset_, vae().fit(X).offset_, rtol=1e-12)


def test_partial_fit_goes_on(cancer):
    X, _ = cancer
    X = (X - X.mean(0)) / X.std(0)
    stream = vae(learning_rate=3e-3)
    scores = []
    for _ in range(6):
        for start in range(0, len(X), 200):
            stream.partial_fit(X[start : start + 200])
        scores.append(stream.score(X))
    assert scores[0] < scores[2] < scores[-1]
    assert stream._moments[0] == 6 * (2 + 2 + 2)  # steps of 128 rows
    # Split over a pickle, the same bits.
    first, again = vae().partial_fit(X), vae().partial_fit(X)
    first.partial_fit(X[:100])
    again = pickle.loads(pickle.dumps(again)).partial_fit(X[:100])
    assert np.array_equal(first.score_samples(X), again.score_samples(X))
    # fit starts over, and what follows does not remember the optimiser of before.
    assert np.array_equal(stream.set_params(learning_rate=1e-3).fit(X).score_samples(X), vae().fit(X).score_samples(X))
    assert stream.partial_fit(X)._moments[0] == 5
    with pytest.raises(ValueError, match="features"):
        stream.partial_fit(X[:, :4])


def test_a_schedule_of_kl_weights_counts_the_calls(cancer):
    X, _ = cancer
    stream = vae(kl_weight=ek.training.Linear(0, 1, epochs=2))
    seen = []
    for _ in range(3):
        stream.partial_fit(X)
        seen += stream.history_.kl_weight
    assert seen == [0.0, 0.5, 1.0]


def test_missing_cells_are_taken(cancer):
    X = cancer[0].copy()
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    fitted = vae().fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert fitted.transform(X).shape == (569, 2)


def test_codes_come_back_as_codes():
    rng = np.random.default_rng(0)
    kinds = ek.likelihood.Columns(
        [
            (0, ek.likelihood.Categorical(3)),
            ([1, 3], ek.likelihood.Gaussian("per_feature")),
            (2, ek.likelihood.Categorical(1)),
        ]
    )
    code = rng.integers(3, size=400)
    X = np.stack([code, code + 0.1 * rng.normal(size=400), np.zeros(400), rng.normal(size=400)], axis=1)
    fitted = vae(likelihood=kinds, epochs=150, learning_rate=1e-2).fit(X)
    back = fitted.inverse_transform(fitted.transform(X))
    assert back.shape == X.shape
    assert (back[:, 0] == code).mean() > 0.95
    assert np.abs(back[:, 1] - X[:, 1]).mean() < 0.3
    assert (back[:, 2] == 0).all()
    codes = vae(likelihood=ek.likelihood.Categorical(3)).fit(X[:, :1])
    assert set(np.unique(codes.inverse_transform(codes.transform(X[:, :1])))) <= {0.0, 1.0, 2.0}


def test_it_composes(cancer):
    X, benign = cancer
    pipe = make_pipeline(StandardScaler(), vae(epochs=30), LogisticRegression())
    assert cross_val_score(pipe, X, benign, cv=3).mean() > 0.8
    search = GridSearchCV(vae(), {"latent_dim": [1, 4], "hidden": [(8,), ()]}, cv=2).fit(X)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.best_estimator_.model_.latent_dim == search.best_params_["latent_dim"]
    both = ColumnTransformer([("latent", vae(), slice(0, 20)), ("rest", StandardScaler(), slice(20, 30))]).fit(X)
    assert both.transform(X).shape == (569, 12)
    copied = clone(
        vae(likelihood=ek.likelihood.StudentT(4.0, "per_feature"), kl_weight=ek.training.Linear(0, 1, epochs=2))
    )
    assert copied.likelihood == ek.likelihood.StudentT(4.0, "per_feature")
    detector = vae(epochs=60).fit(X[benign == 1][:250])
    assert roc_auc_score(np.r_[np.ones(107), np.zeros(212)], np.r_[
        detector.score_samples(X[benign == 1][250:]), detector.score_samples(X[benign == 0])
    ]) > 0.85  # fmt: skip


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_give_the_same_bits(backend, cancer):
    X, _ = cancer
    fitted = vae().fit(X)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        parts = joblib.Parallel()(joblib.delayed(fitted.score_samples)(part) for part in np.array_split(X, 4))
        fits = joblib.Parallel()(joblib.delayed(vae().fit)(X) for _ in range(2))
    assert np.array_equal(np.concatenate(parts), fitted.score_samples(X))
    for other in (*fits, pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(other.score_samples(X), fitted.score_samples(X))


def test_frames_keep_their_names(cancer):
    X, _ = cancer
    names = [f"column {j}" for j in range(30)]
    frame = pl.DataFrame(X, schema=names)
    fitted = vae().set_output(transform="polars").fit(frame)
    assert fitted.transform(frame).columns == ["vae0", "vae1"]
    assert list(fitted.feature_names_in_) == names
    assert np.array_equal(fitted.score_samples(frame), vae().fit(X).score_samples(X))
    holes = frame.with_columns(
        pl.when(pl.col("column 3") > 100).then(None).otherwise(pl.col("column 3")).alias("column 3")
    )
    # A frame's columns lie one after the other, which further rows are free to do too.
    stream = vae().partial_fit(frame).partial_fit(frame)
    assert np.array_equal(stream.score_samples(frame), vae().partial_fit(X).partial_fit(X).score_samples(X))
    filled = VAEImputer(2, hidden=(8,), epochs=2, random_state=0).set_output(transform="polars").fit_transform(holes)
    assert filled.columns == names
    assert filled.null_count().sum_horizontal().item() == 0


def test_the_imputer_beats_the_mean_and_keeps_what_is_there(cancer):
    X, _ = cancer
    holes = X.copy()
    missing = np.random.default_rng(1).random(X.shape) < 0.2
    holes[missing] = np.nan
    imputer = VAEImputer(6, hidden=(64,), epochs=150, impute_particles=300, random_state=0)
    filled = imputer.fit_transform(holes)
    assert np.array_equal(filled[~missing], X[~missing])
    assert np.array_equal(imputer.transform(holes[5:6]), filled[5:6])
    spread, mean = X.std(axis=0), np.nanmean(holes, axis=0)
    error, by_mean = ((np.abs(a - X) / spread)[missing].mean() for a in (filled, np.broadcast_to(mean, X.shape)))
    assert error < 0.6 * by_mean
    assert imputer.transform(holes.astype(np.float32)).dtype == np.float32
    assert list(imputer.get_feature_names_out())[:2] == ["x0", "x1"]


@pytest.mark.slow
def test_the_imputer_as_it_comes_fills_half_of_all_cells_better_than_regressions(cancer):
    # Ten masks and two further tables stand in docs/tables.md: 0.265, and 0.33 by IterativeImputer.
    X = (cancer[0] - cancer[0].mean(axis=0)) / cancer[0].std(axis=0)
    errors, by_q = [], []
    for seed in range(2):
        missing = np.random.default_rng(seed).random(X.shape) < 0.5
        holes = np.where(missing, np.nan, X)
        imputer = VAEImputer(random_state=seed).fit(holes)
        assert imputer.history_.stopped_early
        errors.append(((imputer.transform(holes) - X)[missing] ** 2).mean())
        by_q.append(((imputer.model_.impute(holes, proposal="posterior") - X)[missing] ** 2).mean())
    assert np.mean(errors) < 0.29
    assert np.mean(errors) < np.mean(by_q)


@pytest.mark.slow
def test_benign_tumours_alone_tell_malignant_ones(cancer):
    # Of the splits of docs/tables.md the first three, with everything by default.
    X, benign = cancer
    areas = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(int(benign.sum()))
        rows = X[benign == 1][order]
        scaler = StandardScaler().fit(rows[:250])
        detector = VAE(random_state=seed).fit(scaler.transform(rows[:250]))
        scores = [detector.score_samples(scaler.transform(part)) for part in (rows[250:], X[benign == 0])]
        areas.append(roc_auc_score(np.repeat([1, 0], [len(part) for part in scores]), np.concatenate(scores)))
    assert np.mean(areas) > 0.965


def test_the_imputer_waits_on_the_evidence_as_its_patience_says(cancer):
    holes = np.where(np.random.default_rng(0).random((200, 30)) < 0.2, np.nan, cancer[0][:200])
    waiting = VAEImputer(2, hidden=(8,), epochs=300, patience=2, random_state=0).fit(holes)
    evidence = waiting.history_.held_out_evidence
    assert waiting.history_.best_epoch == len(evidence) - 3 == int(np.argmax(evidence))
    assert waiting.model_.likelihood == ek.likelihood.Gaussian("per_feature")
    whole = VAEImputer(2, hidden=(8,), epochs=3, validation=0.0, random_state=0).fit(holes)
    assert whole.history_.held_out_evidence == []
    assert whole.history_.best_epoch is None
    assert len(whole.history_.elbo) == 3


@pytest.mark.parametrize("share", ["auto", None, True, 0, 0.6, np.nan, [0.1]])
def test_a_contamination_that_is_no_share_is_named(cancer, share):
    X, _ = cancer
    text = r"^contamination: expected a share in \(0, 0\.5\], got .+; use 0\.1$"
    for method in ("fit", "partial_fit"):
        with pytest.raises(ek.ArgumentError, match=text) as caught:
            getattr(vae(contamination=share), method)(X)
        assert caught.value.argument == "contamination"


def test_what_is_wrong_is_said_at_fit(cancer):
    X, _ = cancer
    assert vae(contamination=0.9, latent_dim=-1).latent_dim == -1
    with pytest.raises(ValueError, match="contamination: expected a share"):
        vae(contamination=0.9).fit(X)
    with pytest.raises(ValueError, match="latent_dim"):
        vae(latent_dim=-1).fit(X)
    with pytest.raises(ValueError, match="one a latent"):
        vae().fit(X).inverse_transform(X)
    for call in ("transform", "score_samples", "predict", "sample", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(vae(), call)(*([] if call == "sample" else [X]))
    with pytest.raises(NotFittedError):
        VAEImputer().transform(X)


@pytest.mark.parametrize(("prior", "components"), [("mixture", 4), ("vamp", 30)])
def test_priors_estimators_and_layers_are_those_of_the_model(cancer, prior, components):
    X, _ = cancer
    options = {
        "prior": prior,
        "prior_components": components,
        "layer_norm": True,
        "residual": True,
        "estimator": "dreg",
        "objective": "iwae",
        "num_particles": 3,
    }
    fitted = vae(hidden=(8, 8), **options).fit(X)
    model = ek.VAE(2, (8, 8), prior=prior, prior_components=components, layer_norm=True, residual=True)
    train = {name: options[name] for name in ("estimator", "objective", "num_particles")}
    model.fit(X, epochs=5, validation=0.0, progress=False, key=fitted._fit_seed, **train)
    assert repr(fitted.model_) == repr(model)
    assert np.array_equal(fitted.transform(X), model.encode(X).loc)
    pathwise = vae(hidden=(8, 8), **options | {"estimator": "pathwise"}).fit(X)
    assert not np.array_equal(pathwise.transform(X), fitted.transform(X))
    # Samples are of the learned prior.
    assert np.array_equal(fitted.sample(9), model.sample(9, key=np.random.RandomState(0).randint(2**31 - 1)))
    assert model.prior_.locs.shape == (components, 2)


def test_partial_fit_goes_on_with_a_learned_prior_an_estimator_and_a_condition(cancer):
    X, _ = cancer
    X = (X - X.mean(0)) / X.std(0)
    options = {"prior": "vamp", "prior_components": 50, "estimator": "stl", "condition_columns": [3, 7]}
    stream = vae(learning_rate=3e-3, **options)
    scores = []
    for _ in range(4):
        for start in range(0, len(X), 120):
            # The last part has fewer rows than the prior has pseudo-inputs, which have long had their start.
            stream.partial_fit(X[start : start + 120] if start < 480 else X[-20:])
        scores.append(stream.score(X))
    assert scores[0] < scores[-1]
    assert stream.model_.condition_width == 2
    pathwise = vae(learning_rate=3e-3, **options | {"estimator": "pathwise"})
    parts = [part.partial_fit(X[:120]).partial_fit(X[120:240]).score(X) for part in (vae(**options), pathwise)]
    assert parts[0] != parts[1]


@pytest.fixture(scope="module")
def levels():
    """Rows of 4 columns, of which the second and the last one tell the means of the others."""
    rng = np.random.default_rng(3)
    level, kind = 3 * rng.normal(size=600), rng.integers(2, size=600)
    return np.stack([level + rng.normal(size=600), kind, 4 * kind + rng.normal(size=600), level], axis=1)


def test_columns_that_are_conditioned_on_go_beside_the_rows(levels):
    X = levels
    fitted = vae(condition_columns=[3, 1], epochs=20).fit(X)
    modelled, condition = X[:, [0, 2]], X[:, [3, 1]]
    model = ek.VAE(2, (8,))
    model.fit(modelled, condition=condition, epochs=20, validation=0.0, progress=False, key=fitted._fit_seed)
    assert fitted.condition_columns_.tolist() == [3, 1]
    assert (fitted.n_features_in_, fitted.model_.num_features, fitted.model_.condition_width) == (4, 2, 2)
    assert np.array_equal(fitted.transform(X), model.encode(modelled, condition=condition).loc)
    scores = fitted.score_samples(X)
    assert np.array_equal(scores, model.elbo(modelled, condition=condition, key=fitted._score_seed).elbo)
    assert np.array_equal(fitted.score_samples(X[7:9]), scores[7:9])
    assert (fitted.predict(X) == -1).sum() == 60
    # What comes back are rows again, with the condition in its places and no digit lost.
    z = fitted.transform(X[:9])
    back = fitted.inverse_transform(z, condition=condition[:9])
    assert np.array_equal(back[:, [0, 2]], model.reconstruct(modelled[:9], condition=condition[:9]))
    assert np.array_equal(back[:, [3, 1]], condition[:9])
    drawn = fitted.sample(9, condition=[[0.1, 1.0]])
    assert drawn.shape == (9, 4)
    assert (drawn[:, [3, 1]] == [0.1, 1.0]).all()
    assert np.isfinite(fitted.score_samples(drawn)).all()
    report = fitted.report(X[:50], num_particles=30)
    assert {name for row in report.hardest for name, _ in row.columns} <= {"column 0", "column 2"}
    # The score is of the other columns given these: telling more than the model of all of them does of those.
    assert vae(condition_columns=[1, 3], epochs=150, learning_rate=1e-2).fit(X).score(X) > (
        vae(epochs=150, learning_rate=1e-2).fit(modelled).score(modelled) + 1.0
    )


def test_condition_columns_are_found_by_place_mask_and_name(levels):
    X = levels
    names = ["dose", "kind", "weight", "level"]
    frame = pl.DataFrame(X, schema=names)
    expected = vae(condition_columns=[1, 3]).fit(X).score_samples(X)
    for columns in ((1, 3), [1, -1], np.array([-3, 3]), [False, True, False, True]):
        assert np.array_equal(vae(condition_columns=columns).fit(X).score_samples(X), expected)
    named = vae(condition_columns=["kind", "level"]).fit(frame)
    assert np.array_equal(named.score_samples(frame), expected)
    report = named.report(frame[:50], num_particles=30)
    assert {name for row in report.hardest for name, _ in row.columns} <= {"dose", "weight"}
    one = vae(condition_columns="level").fit(frame)
    assert np.array_equal(one.score_samples(frame), vae(condition_columns=3).fit(X).score_samples(X))
    assert clone(named).get_params()["condition_columns"] == ["kind", "level"]
    none = vae(condition_columns=[]).fit(X)
    assert np.array_equal(none.score_samples(X), vae().fit(X).score_samples(X))
    assert none.condition_columns_.size == 0


def test_a_condition_composes(levels):
    X = levels
    detector = vae(condition_columns=[1, 3], epochs=20)
    pipe = make_pipeline(StandardScaler(), detector).fit(X)
    assert pipe.transform(X).shape == (600, 2)
    assert pipe.score_samples(X).shape == (600,)
    assert np.isfinite(cross_val_score(detector, X, cv=3)).all()
    search = GridSearchCV(detector, {"prior": ["standard", "mixture"], "prior_components": [3]}, cv=2).fit(X)
    assert search.best_estimator_.model_.prior == search.best_params_["prior"]
    again = pickle.loads(pickle.dumps(pipe))
    assert np.array_equal(again.score_samples(X), pipe.score_samples(X))
    drawn = pipe[-1].sample(400, condition=[[0.0, 1.0]])
    assert abs(pipe[0].inverse_transform(drawn)[:, 3].mean() - (X[:, 3].std() + X[:, 3].mean())) < 1e-6


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([4], r"places from -4 to 3.*got 4"),
        ([1, -3], "different columns.*twice"),
        ([0, 1, 2, 3], "fewer than all columns"),
        ([True, False], "a mask of 4 columns, got one of 2"),
        (["level"], "have no names"),
        ([0.5], "expected places, a mask or names"),
        ([[0, 1]], "expected places, a mask or names"),
    ],
)
def test_condition_columns_that_are_none_are_named(levels, columns, message):
    with pytest.raises(ValueError, match=f"condition_columns: .*{message}"):
        vae(condition_columns=columns).fit(levels)
    with pytest.raises(ValueError, match=f"condition_columns: .*{message}"):
        vae(condition_columns=columns).partial_fit(levels)


def test_what_is_wrong_with_a_condition_is_named(levels):
    X = levels
    frame = pl.DataFrame(X, schema=["dose", "kind", "weight", "level"])
    with pytest.raises(ValueError, match=r"condition_columns: expected columns of X, got 'age'; use some of \['dose'"):
        vae(condition_columns=["kind", "age"]).fit(frame)
    fitted = vae(condition_columns=[1, 3]).fit(X)
    z = fitted.transform(X[:5])
    for call in (lambda **o: fitted.inverse_transform(z, **o), lambda **o: fitted.sample(5, **o)):
        with pytest.raises(ValueError, match=r"condition: expected an array \(rows, 2\), got none.*give condition="):
            call()
        with pytest.raises(ValueError, match="condition: expected 2 columns, got 1"):
            call(condition=[[0.0]])
        with pytest.raises(ValueError, match="condition: expected 5 rows"):
            call(condition=np.zeros((3, 2)))
    plain = vae().fit(X)
    with pytest.raises(ValueError, match="condition: expected none"):
        plain.sample(2, condition=[[0.0, 1.0]])
    with pytest.raises(ValueError, match="condition: expected none"):
        plain.inverse_transform(plain.transform(X), condition=[[0.0, 1.0]])
    holes = X.copy()
    holes[7, 3] = np.nan
    for call in (vae(condition_columns=[1, 3]).fit, fitted.transform, fitted.score_samples, fitted.partial_fit):
        with pytest.raises(ek.NonFiniteError, match="finite numbers in the columns of condition_columns") as error:
            call(holes)
        assert (error.value.row, error.value.column) == (7, 3)
    # A missing cell of another column is one.
    assert np.isfinite(fitted.score_samples(np.where(np.arange(4) == 0, np.nan, X))).all()


def test_options_that_do_not_go_together_are_refused_at_fit(cancer):
    X, _ = cancer
    for options, message in (
        ({"prior": "gaussian"}, "prior: expected one of"),
        ({"prior": "mixture", "prior_components": 0}, "prior_components: expected at least 1"),
        ({"prior": "vamp", "prior_components": 600}, "prior_components: expected at most the 569 training rows"),
        ({"prior": "mixture", "free_bits": 0.1}, "free_bits: expected 0 with prior="),
        ({"estimator": "reinforce"}, "estimator: expected"),
        ({"estimator": "score"}, "num_particles: expected at least 2"),
        ({"estimator": "stl", "objective": "iwae"}, 'give estimator="dreg"'),
    ):
        with pytest.raises(ValueError, match=message):
            vae(**options).fit(X)
        with pytest.raises(ValueError, match=message):
            vae(**options).partial_fit(X)


def test_a_pickle_from_before_these_parameters_is_read_and_goes_on(cancer):
    X, _ = cancer
    fitted = vae().fit(X)
    new = ("prior", "prior_components", "layer_norm", "residual", "estimator", "condition_columns")
    old = VAE.__new__(VAE)
    state = pickle.loads(pickle.dumps(fitted.__getstate__()))
    old.__setstate__({name: value for name, value in state.items() if name not in (*new, "condition_columns_")})
    assert old.get_params() == fitted.get_params()
    assert np.array_equal(old.score_samples(X), fitted.score_samples(X))
    assert np.array_equal(old.partial_fit(X).transform(X), fitted.partial_fit(X).transform(X))
    holes = np.where(np.eye(2, 30, dtype=bool), np.nan, X[:2])
    imputer, again = VAEImputer(2, hidden=(8,), epochs=2, random_state=0).fit(X), VAEImputer.__new__(VAEImputer)
    again.__setstate__({name: value for name, value in imputer.__getstate__().items() if name not in new})
    assert np.array_equal(again.transform(holes), imputer.transform(holes))
    assert np.array_equal(again.fit(X).transform(holes), imputer.transform(holes))
    # Such a pickle names the class by the package.
    assert pickle.loads(b"celbokit.sklearn\nVAE\n.") is VAE
    assert pickle.loads(b"celbokit.sklearn\nVAEImputer\n.") is VAEImputer
