"""Conditional models: the same methods beside a condition, what they refuse, files and resumed fits."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import elbokit as ek

N, WIDTH, BESIDE = 300, 4, 3
QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 64, "progress": False}


def data(n: int = N, key: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows that hang on their condition: two real columns and a bit."""
    c = ek.random.normal((n, BESIDE), key=key + 10, dtype=np.float64) * [3.0, 0.1, 1.0] + [5.0, 0.0, 0.0]
    c[:, 2] = c[:, 2] > 0
    x = ek.random.normal((n, WIDTH), key=key, dtype=np.float64)
    x[:, 0] += 0.5 * c[:, 0]
    x[:, 1] -= 2.0 * c[:, 2]
    return x, c


@pytest.fixture(scope="module")
def fitted() -> ek.VAE:
    x, c = data()
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Gaussian("per_feature"))
    vae.fit(x, condition=c, **QUICK)
    return vae


def test_every_method_takes_the_rows_condition(fitted):
    x, c = data(20, key=3)
    assert fitted.condition_width == BESIDE
    post = fitted.encode(x, condition=c)
    assert post.loc.shape == (20, 2)
    assert fitted.decode(post.loc, condition=c).shape == (20, 2 * WIDTH)
    mean = fitted.reconstruct(x, condition=c)
    assert np.array_equal(mean, fitted.likelihood_.mean(fitted.decode(post.loc, condition=c)))
    terms = fitted.elbo(x, condition=c)
    assert np.isfinite(terms.elbo).all()
    parts = fitted.elbo_per_column(x, condition=c)
    np.testing.assert_allclose(parts.sum(1), terms.reconstruction, rtol=1e-4, atol=1e-4)
    for proposal in ("laplace", "posterior"):
        bound = fitted.log_evidence(x, condition=c, num_particles=200, proposal=proposal)
        assert (bound.lower <= bound.estimate).all()
        assert (bound.lower + 5 * bound.standard_error + 5 * terms.standard_error >= terms.elbo).all()
    holes = x.copy()
    holes[::2, 1] = np.nan
    filled = fitted.impute(holes, condition=c, num_particles=50)
    assert np.isfinite(filled).all()
    assert fitted.impute(holes, condition=c, num_particles=50, draws=3).shape == (3, 20, WIDTH)
    fitted.calibrate(x, condition=c)
    assert fitted.p_value(x, condition=c).min() == pytest.approx(2 / 21)
    assert fitted.sample(20, condition=c, key=0).shape == (20, WIDTH)


def test_the_model_uses_the_condition():
    x, c = data(1000)
    vae = ek.VAE(2, hidden=(16,))
    history = vae.fit(x, condition=c, epochs=60, learning_rate=5e-3, progress=False)
    plain = ek.VAE(2, hidden=(16,)).fit(x, epochs=60, learning_rate=5e-3, progress=False)
    # The condition tells 1.5 of column 0's deviation and most of column 1's.
    assert history.held_out_elbo[-1] > plain.held_out_elbo[-1] + 0.5
    low, high = (vae.sample(500, condition=[[level, 0.0, 0.0]], key=1)[:, 0].mean() for level in (2.0, 8.0))
    assert high - low == pytest.approx(3.0, abs=0.6)


def test_one_row_of_a_condition_may_stand_for_all_latents(fitted):
    z = ek.random.normal((5, 2), key=0)
    one = np.array([[5.0, 0.1, 1.0]])
    assert np.array_equal(fitted.decode(z, condition=one), fitted.decode(z, condition=np.repeat(one, 5, 0)))
    assert np.array_equal(
        fitted.sample(5, condition=one, key=0), fitted.sample(5, condition=np.repeat(one, 5, 0), key=0)
    )


def test_a_linear_model_finds_the_exact_evidence_of_the_regression():
    n, width, beside = 2000, 6, 2
    c = ek.random.normal((n, beside), key=1, dtype=np.float64) * [1.0, 4.0] + [0.0, -3.0]
    z = ek.random.normal((n, 2), key=2, dtype=np.float64)
    weight = ek.random.normal((2, width), key=3, dtype=np.float64)
    slope = ek.random.normal((beside, width), key=4, dtype=np.float64)
    x = z @ weight + c @ slope + 1.0 + 0.5 * ek.random.normal((n, width), key=5, dtype=np.float64)
    # Least squares takes the condition's part away, factor analysis of the rest has the largest likelihood.
    design = np.column_stack([c, np.ones(n)])
    rest = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    exact = ek.LinearGaussian.fit(rest, 2, noise="diagonal").log_evidence(rest).mean()
    vae = ek.VAE(2, hidden=(), likelihood=ek.likelihood.Gaussian("per_feature"), dtype="float64")
    vae.fit(
        x, condition=c, epochs=1000, batch_size=500, learning_rate=2e-2, schedule="cosine", num_particles=4,
        validation=0.0, progress=False, key=0,
    )  # fmt: skip
    bound = vae.log_evidence(x, condition=c, num_particles=200)
    assert -0.005 < bound.estimate.mean() - exact < 0.0
    # The condition is worth more than that.
    assert exact > ek.LinearGaussian.fit(x, 2, noise="diagonal").log_evidence(x).mean() + 1.0


def test_scores_are_of_the_row_and_its_condition(fitted):
    x, c = data(50, key=5)
    order = np.argsort(ek.random.uniform((50,), key=9))
    for score in (
        lambda x, c: fitted.elbo(x, condition=c).elbo,
        lambda x, c: fitted.log_evidence(x, condition=c, num_particles=30).estimate,
        lambda x, c: fitted.impute(np.where(x > 0.5, np.nan, x), condition=c, num_particles=30),
    ):
        whole = score(x, c)
        assert np.array_equal(score(x[order], c[order]), whole[order])
        chunks = [score(x[i : i + 7], c[i : i + 7]) for i in range(0, 50, 7)]
        assert np.array_equal(np.concatenate(chunks), whole)
        with ek.num_threads(1):
            assert np.array_equal(score(x, c), whole)


def test_the_noise_of_a_row_hangs_on_its_condition():
    blind = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Gaussian("per_feature"))
    x, _ = data()
    # A condition that is constant is scaled to 0 and tells nothing; that of a score is then told from it.
    blind.fit(x, condition=np.zeros((N, 1)), **QUICK)
    a, b = (blind.elbo(x[:9], condition=np.full((9, 1), value), num_particles=4) for value in (0.0, 1e-30))
    np.testing.assert_allclose(a.kl, b.kl, rtol=1e-6)
    assert (a.reconstruction != b.reconstruction).all()
    assert np.array_equal(a, blind.elbo(x[:9], condition=np.full((9, 1), -0.0), num_particles=4))


def test_a_conditions_columns_are_scaled_but_bits(fitted):
    _, c = data()
    held_out = fitted.fit(data()[0], condition=c, **QUICK, validation=0.0)
    shift, scale = fitted.core.condition_scaling
    np.testing.assert_allclose(shift, [*c[:, :2].mean(0), 0.0])
    np.testing.assert_allclose(scale, [*c[:, :2].std(0), 1.0])
    assert "beside a condition of 3" in held_out.data
    plain = ek.VAE(2, hidden=(), standardize=False)
    plain.fit(data()[0], condition=c, **QUICK)
    assert plain.core.condition_scaling == ([0.0] * 3, [1.0] * 3)


def test_conditions_of_any_real_dtype_and_layout_and_memory_maps_are_read_alike(tmp_path):
    x, c = data()
    c = np.round(c * 4)
    fits = {}
    np.save(tmp_path / "c.npy", c.astype(np.int16))
    for name, condition in {
        "float64": c,
        "int64": c.astype(np.int64),
        "columns": np.asfortranarray(c),
        "list": c.tolist(),
        "map": np.load(tmp_path / "c.npy", mmap_mode="r"),
    }.items():
        vae = ek.VAE(2, hidden=(8,))
        vae.fit(x, condition=condition, **QUICK)
        fits[name] = np.concatenate([p.ravel() for p in vae.parameters().values()])
    for name, parameters in fits.items():
        assert np.array_equal(parameters, fits["float64"]), name


def test_held_out_rows_have_their_condition():
    x, c = data()
    vae = ek.VAE(2, hidden=(8,))
    history = vae.fit(x[:200], condition=c[:200], validation=(x[200:], c[200:]), patience=50, **QUICK)
    assert len(history.held_out_elbo) == 4
    assert vae.fit(x, condition=c, validation=0.2, **QUICK).held_out_elbo != history.held_out_elbo
    for validation, message in {
        "rows alone": (x, "pair"),
        "a condition of other rows": ((x, c[:-1]), "validation's condition: expected 300 rows like validation"),
        "a narrow condition": ((x, c[:, :2]), "validation's condition: expected 3 columns, got 2"),
    }.values():
        with pytest.raises(ValueError, match=message):
            vae.fit(x, condition=c, validation=validation, **QUICK)
    with pytest.raises(ValueError, match="give condition= too"):
        vae.fit(x, validation=(x, c), **QUICK)
    bad = c.copy()
    bad[7, 1] = np.inf
    with pytest.raises(ek.NonFiniteError, match="validation: condition"):
        vae.fit(x, condition=c, validation=(x, bad), **QUICK)


def test_what_is_wrong_with_a_condition_is_named(fitted):
    x, c = data(9)
    plain = ek.VAE(2, hidden=(8,))
    plain.fit(x, **QUICK)
    z = np.zeros((9, 2), dtype=np.float32)
    calls = {
        "encode": lambda vae, **o: vae.encode(x, **o),
        "decode": lambda vae, **o: vae.decode(z, **o),
        "reconstruct": lambda vae, **o: vae.reconstruct(x, **o),
        "sample": lambda vae, **o: vae.sample(9, key=0, **o),
        "elbo": lambda vae, **o: vae.elbo(x, **o),
        "elbo_per_column": lambda vae, **o: vae.elbo_per_column(x, **o),
        "impute": lambda vae, **o: vae.impute(x, **o),
        "log_evidence": lambda vae, **o: vae.log_evidence(x, **o),
        "calibrate": lambda vae, **o: vae.calibrate(x, **o),
    }
    bad = c.copy()
    bad[4, 1] = np.nan
    for name, call in calls.items():
        with pytest.raises(ek.ShapeError, match=r"condition: expected an array \(rows, 3\), got none") as missing:
            call(fitted)
        assert missing.value.argument == "condition", name
        with pytest.raises(ek.ShapeError, match="condition: expected none, got one"):
            call(plain, condition=c)
        with pytest.raises(ek.ShapeError, match="condition: expected 3 columns, got 2; give the columns of the fit"):
            call(fitted, condition=c[:, :2])
        with pytest.raises(ek.ShapeError, match="condition: expected 9 rows"):
            call(fitted, condition=c[:8])
        with pytest.raises(ek.ShapeError, match=r"got shape \(9,\); give one column as condition\[:, None\]"):
            call(fitted, condition=c[:, 0])
        with pytest.raises(ek.ShapeError, match="condition: expected rows of one length, got 3 numbers in row 0"):
            call(fitted, condition=[[0, 1, 2], [3]])
        with pytest.raises(ek.NonFiniteError) as error:
            call(fitted, condition=bad)
        assert (error.value.argument, error.value.row, error.value.column) == ("condition", 4, 1), name
        with pytest.raises(ek.DtypeError, match="condition"):
            call(fitted, condition=c.astype(object))
    for condition, message in ((c[:8], "condition: expected 9 rows like X, got 8"), (c[:, :0], "at least one column")):
        with pytest.raises(ek.ShapeError, match=message):
            plain.fit(x, condition=condition, **QUICK)
    with pytest.raises(ek.NonFiniteError, match="condition"):
        plain.fit(x, condition=bad, **QUICK)
    assert plain.condition_width == 0


def test_files_and_pickles_keep_the_condition(fitted, tmp_path):
    x, c = data(30, key=7)
    fitted.save(tmp_path / "model")
    loaded = ek.VAE.load(tmp_path / "model")
    assert loaded.condition_width == BESIDE
    assert loaded._to_bytes() == fitted._to_bytes()
    expected = fitted.elbo(x, condition=c).elbo
    for again in (loaded, pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(again.elbo(x, condition=c).elbo, expected)


class CutError(Exception):
    """What ends a fit from within."""


def test_a_resumed_fit_ends_at_the_same_bits_and_knows_its_condition(tmp_path):
    x, c = data()

    def stop(_, history):
        if len(history.elbo) == 2:
            raise CutError

    options: dict[str, Any] = {**QUICK, "checkpoint": tmp_path / "fit"}
    vae = ek.VAE(2, hidden=(8,))
    with pytest.raises(CutError):
        vae.fit(x, condition=c, callbacks=[stop], **options)
    with pytest.raises(ValueError, match="condition: expected"):
        vae.fit(x, condition=c + 1, **options)
    with pytest.raises(ValueError, match="condition: expected"):
        vae.fit(x, **options)
    vae.fit(x, condition=c, **options)
    whole = ek.VAE(2, hidden=(8,))
    whole.fit(x, condition=c, **QUICK)
    assert all(np.array_equal(vae.parameters()[name], value) for name, value in whole.parameters().items())
    with ek.num_threads(1):
        single = ek.VAE(2, hidden=(8,))
        single.fit(x, condition=c, **QUICK)
    assert all(np.array_equal(single.parameters()[name], value) for name, value in whole.parameters().items())
