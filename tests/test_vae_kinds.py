"""The VAE with every likelihood: fit, score, file, parts by hand, columns that add up, and imputation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from fits import linear
from reference_likelihood import LIKELIHOODS, case
from scipy.special import logsumexp

import elbokit as ek

lik = ek.likelihood


def rows_of_kind(likelihood, n=240, missing=0.15):
    """Rows in two groups, drawn from the likelihood itself, with missing cells."""
    rng = np.random.default_rng(1)
    _, params = case(likelihood, np.float64, rows=2, seed=3)
    group = rng.integers(2, size=n)
    rows = np.asarray(likelihood.sample(params[group] * 1.5, key=5), np.float64)
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_every_likelihood_trains_scores_and_survives_its_file(likelihood, tmp_path):
    rows = rows_of_kind(likelihood)
    vae = ek.VAE(2, hidden=(16,), likelihood=likelihood, dtype="float64")
    train, held_out = rows[:200], rows[200:]
    vae.fit(train, epochs=1, validation=0.0, progress=False)
    before = vae.elbo(held_out).elbo.mean()
    history = vae.fit(train, epochs=60, validation=0.0, learning_rate=1e-2, progress=False)
    assert sum(history.skipped_steps) == 0
    terms = vae.elbo(held_out, num_particles=400)
    assert terms.elbo.mean() > before
    # By hand: decode's params and likelihood_ through `ek.elbo` are the same bound, of the row as given.
    by_hand = ek.elbo(held_out, vae.encode(held_out), vae.decode, vae.likelihood_, key=1, num_particles=400)
    error = np.hypot(terms.standard_error, by_hand.standard_error)
    assert (np.abs(terms.elbo - by_hand.elbo) <= 6 * error + 1e-9).all()
    assert np.array_equal(vae.likelihood_.mean(vae.decode(vae.encode(held_out).loc)), vae.reconstruct(held_out))
    columns = vae.elbo_per_column(held_out, num_particles=400)
    assert np.allclose(columns.sum(axis=1), terms.reconstruction, rtol=1e-11, atol=1e-9)
    assert ((columns == 0) == np.isnan(held_out)).all()
    evidence = vae.log_evidence(held_out[:5], num_particles=50)
    assert (evidence.lower <= evidence.upper).all()
    vae.likelihood_.check_support(vae.sample(20, key=0))
    vae.save(tmp_path / "model")
    for other in (ek.VAE.load(tmp_path / "model"), pickle.loads(pickle.dumps(vae))):
        assert repr(other) == repr(vae)
        assert np.array_equal(other.elbo(held_out).elbo, vae.elbo(held_out).elbo)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("proposal", ["laplace", "posterior"])
def test_imputed_cells_are_of_the_row_alone_and_observed_ones_stay(likelihood, proposal):
    rows = rows_of_kind(likelihood, 60)
    rows[0] = np.nan
    vae = ek.VAE(2, hidden=(8,), likelihood=likelihood)
    vae.fit(rows, epochs=3, validation=0.0, progress=False)
    filled = vae.impute(rows, num_particles=300, proposal=proposal)
    missing = np.isnan(rows)
    assert filled.dtype == rows.dtype
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~missing], rows[~missing])
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(vae.impute(rows[order], num_particles=300, proposal=proposal), filled[order])
    assert np.array_equal(vae.impute(rows[7:9], num_particles=300, proposal=proposal), filled[7:9])
    draws = vae.impute(rows, num_particles=300, draws=4, proposal=proposal)
    assert draws.shape == (4, 60, rows.shape[1])
    assert np.array_equal(draws[:, ~missing], np.broadcast_to(rows[~missing], (4, (~missing).sum())))
    likelihood.check_support(draws.reshape(-1, rows.shape[1]))
    assert np.array_equal(vae.impute(rows[order], num_particles=300, draws=2, proposal=proposal), draws[:2, order])
    with ek.num_threads(1):
        assert np.array_equal(vae.impute(rows, num_particles=300, proposal=proposal), filled)
        assert np.array_equal(vae.impute(rows, num_particles=300, draws=4, proposal=proposal), draws)
    whole = np.nan_to_num(rows, nan=0.0)
    assert np.array_equal(vae.impute(whole), whole)


def conditional(weight, offset, noise, rows):
    """Mean and variance of the missing cells of rows of N(offset, W Wᵀ + diag noise), given the observed ones."""
    covariance = weight @ weight.T + np.diag(noise)
    for row in rows:
        seen = ~np.isnan(row)
        gain = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        mean = offset[~seen] + gain @ (row[seen] - offset[seen])
        yield mean, np.diag(covariance[np.ix_(~seen, ~seen)] - gain @ covariance[np.ix_(seen, ~seen)])


def test_a_linear_model_imputes_the_conditional_mean_and_draws_its_spread():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 2)) @ rng.standard_normal((2, 5)) + 0.5 * rng.standard_normal((400, 5)) + 3.0
    vae = ek.VAE(2, hidden=(), likelihood=lik.Gaussian("shared"), dtype="float64")
    vae.fit(rows, epochs=300, learning_rate=1e-2, validation=0.0, progress=False)
    offset = vae.decode(np.zeros((1, 2)))[0]
    weight = (vae.decode(np.eye(2)) - offset)[:, :5].T
    noise = np.exp(offset[5:])
    holed = rows[:20].copy()
    holed[:, 1] = np.nan
    holed[::2, 3] = np.nan
    filled = vae.impute(holed, num_particles=20_000)
    draws = vae.impute(holed, num_particles=20_000, draws=400)
    for row, copy, several, (mean, variance) in zip(
        holed, filled, draws.swapaxes(0, 1), conditional(weight, offset[:5], noise, holed), strict=True
    ):
        gap = np.isnan(row)
        assert np.allclose(copy[gap], mean, atol=0.05 * np.sqrt(variance.max()))
        # 400 draws: a mean within 5 standard errors, a variance within a half.
        assert (np.abs(several[:, gap].mean(axis=0) - mean) <= 5 * np.sqrt(variance / 400) + 0.05).all()
        assert (np.abs(several[:, gap].var(axis=0) / variance - 1) < 0.5).all()


def test_draws_around_the_mode_fill_what_the_encoder_cannot_tell():
    """A linear model whose encoder is put far off: weights of its q have no effect, those around the mode are exact."""
    rng = np.random.default_rng(0)
    weight, offset = rng.standard_normal((5, 2)), np.arange(5.0)
    vae = linear(weight, offset, 0.3, np.zeros((4, 5)), [4.0, -4.0, -3.0, -3.0])
    rows = rng.standard_normal((30, 2)) @ weight.T + offset + 0.3 * rng.standard_normal((30, 5))
    rows[:, [1, 3]] = np.nan
    means, variances = map(np.array, zip(*conditional(weight, offset, np.full(5, 0.09), rows), strict=True))
    gap = np.isnan(rows[0])
    filled = vae.impute(rows)
    # 1000 weights of nearly one size: a mean within 6 standard errors.
    assert (np.abs(filled[:, gap] - means) <= 6 * np.sqrt(variances / 1000)).all()
    draws = vae.impute(rows, draws=200)
    assert (np.abs(draws[:, :, gap].mean(axis=0) - means) <= 6 * np.sqrt(variances * (1 / 200 + 1 / 1000))).all()
    assert (
        (np.abs(vae.impute(rows, proposal="posterior")[:, gap] - means) > 6 * np.sqrt(variances / 1000))
        .any(axis=1)
        .all()
    )
    with pytest.raises(ValueError, match="proposal: expected"):
        vae.impute(rows, proposal="prior")


def test_the_bound_of_several_particles_with_missing_cells_is_that_of_its_observed_ones():
    """MIWAE: ln of the mean over K draws of p(x_obs | z) p(z) / q(z | x_obs), slowly in NumPy, from decode's params."""
    likelihood = lik.StudentT(4.0, "predicted")
    rows = rows_of_kind(likelihood, 120, missing=0.4)
    vae = ek.VAE(2, hidden=(8,), likelihood=likelihood, dtype="float64")
    # One row, and a rate that changes nothing: the history's objective is the mean over draws of the epochs.
    options = {"objective": "iwae", "num_particles": 5, "validation": 0.0, "batch_size": 120, "progress": False}
    history = vae.fit(rows, epochs=300, learning_rate=1e-12, **options)
    trained = np.array(history.objective)
    rng = np.random.default_rng(3)
    loc, log_var = vae.encode(rows)
    bounds = []
    for _ in range(300):
        eps = rng.standard_normal((5, *loc.shape))
        z = loc + np.exp(log_var / 2) * eps
        log_ratio = 0.5 * (eps**2 + log_var - z**2).sum(axis=2)
        params = vae.decode(z.reshape(-1, 2))
        log_prob = vae.likelihood_.log_prob(rows, params).reshape(5, -1)
        bounds.append((logsumexp(log_prob + log_ratio, axis=0) - np.log(5)).mean())
    error = np.hypot(trained.std() / np.sqrt(300), np.std(bounds) / np.sqrt(300))
    assert abs(trained.mean() - np.mean(bounds)) <= 5 * error
    assert error < 0.02


def test_a_constant_column_and_rows_as_they_are_leave_learned_scales_finite():
    rows = np.random.default_rng(0).standard_normal((200, 3)) * [1e-3, 1.0, 3.0]
    rows[:, 1] = 5.0
    for scale in ("shared", "per_feature"):
        for likelihood in (lik.Gaussian(scale), lik.Laplace(scale), lik.StudentT(4.0, scale)):
            for standardize in ("auto", False):
                vae = ek.VAE(1, hidden=(), likelihood=likelihood, standardize=standardize)
                history = vae.fit(rows, epochs=100, learning_rate=0.03, progress=False)
                assert np.isfinite(history.elbo).all()
                assert np.isfinite(vae.elbo(rows).elbo).all()
                assert all(np.isfinite(value).all() for value in vae.parameters().values())
    # Where nothing is scaled, scales start at the columns' own.
    vae = ek.VAE(1, hidden=(), likelihood=lik.Gaussian("per_feature"), standardize=False, dtype="float64")
    vae.fit(rows, epochs=1, learning_rate=1e-9, validation=0.0, progress=False)
    start = np.exp(vae.parameters()["decoder.log_var"] / 2)
    assert np.allclose(start, [rows[:, 0].std(), 1.0, rows[:, 2].std()], rtol=1e-6)


def test_a_table_refuses_rows_of_another_width_and_cells_of_another_kind():
    table = lik.Columns([([0, 2], lik.Gaussian("shared")), (1, lik.Categorical(3))])
    with pytest.raises(ValueError, match=r"members: .* 3 for rows of 4"):
        ek.VAE(2, likelihood=table).fit(np.zeros((10, 4)), progress=False)
    rows = np.zeros((10, 3))
    rows[4, 1] = 3
    with pytest.raises(ek.SupportError, match=r"Categorical\(3\).*row 4, column 1"):
        ek.VAE(2, likelihood=table).fit(rows, progress=False)
    rows[4, 1] = 2
    history = ek.VAE(2, likelihood=table).fit(rows, epochs=1, progress=False)
    assert "0, 2 standardised by the training rows; 1 as one number a class" in history.data
