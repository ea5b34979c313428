"""Maximum likelihood of the linear Gaussian model beside scikit-learn and linear VAEs, and what collapses when."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

import elbokit as ek


@pytest.fixture(scope="module")
def cancer():
    X = load_breast_cancer().data
    return (X - X.mean(0)) / X.std(0)


@pytest.mark.parametrize("latents", [1, 2, 5, 12])
def test_principal_components_are_scikit_learns(cancer, latents):
    n = len(cancer)
    peer = PCA(latents, svd_solver="full").fit(cancer)
    # Its divisor is n − 1.
    fitted = ek.LinearGaussian.fit(cancer * np.sqrt(n / (n - 1)), latents)
    # Measured maximum: 5.2e-13.
    np.testing.assert_allclose(fitted.log_evidence(cancer), peer.score_samples(cancer), rtol=0, atol=1e-10)
    np.testing.assert_allclose(fitted.noise_var, peer.noise_variance_, rtol=1e-11)
    own = ek.LinearGaussian.fit(cancer, latents)
    assert np.abs(own.log_evidence(cancer) - peer.score_samples(cancer)).max() < 0.5
    # It is the likelier one on its own rows.
    assert own.log_evidence(cancer).mean() > peer.score_samples(cancer).mean()


def test_as_many_latents_as_columns_give_the_rows_own_covariance(cancer):
    X = cancer[:, :4]
    for latents in (3, 4, 7):
        fitted = ek.LinearGaussian.fit(X, latents)
        made = fitted.weight @ fitted.weight.T + np.diag(fitted.noise_var)
        np.testing.assert_allclose(made, np.cov(X.T, bias=True), rtol=0, atol=1e-13)
    one = ek.LinearGaussian.fit(X[:, :1], 1)
    np.testing.assert_allclose(one.noise_var, X[:, 0].var(), rtol=1e-13)


def test_factor_analysis_is_scikit_learns_at_convergence(cancer):
    # Its tolerance of 1e-8 in all is not met in 20 000 steps: it takes 2000 here, at which it is near.
    with pytest.warns(ConvergenceWarning):
        peer = FactorAnalysis(5, svd_method="lapack", tol=1e-8, max_iter=2000).fit(cancer)
    # One column's noise falls to 1e-6 of its variance and on.
    with pytest.warns(UserWarning, match=r"columns \[2\] are determined by the others"):
        fitted = ek.LinearGaussian.fit(cancer, 5, "diagonal")
    mean = fitted.log_evidence(cancer).mean()
    assert round(mean, 4) == -16.5464
    # Never less likely, and the same rows' evidence.
    assert mean >= peer.score(cancer) - 1e-7
    np.testing.assert_allclose(fitted.log_evidence(cancer), peer.score_samples(cancer), rtol=0, atol=0.05)


def test_factor_analysis_is_the_same_in_any_units(cancer):
    units = np.geomspace(1e-6, 1e6, 30)
    one, other = (ek.LinearGaussian.fit(X, 3, "diagonal") for X in (cancer, cancer * units + 7 * units))
    np.testing.assert_allclose(other.weight / units[:, None], one.weight, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.noise_var / units**2, one.noise_var, rtol=1e-4)


def linear_vae(X, **options):
    """A VAE without hidden layers that was trained on X, and its decoder as the exact model that it is."""
    vae = ek.VAE(5, hidden=(), likelihood=ek.likelihood.Gaussian("shared"), standardize=False)
    vae.fit(X, validation=0.0, progress=False, key=0, **options)
    p = vae.parameters()
    noise_var = np.exp(p["decoder.log_var"].astype(np.float64)).item()
    return vae, ek.LinearGaussian(p["decoder.0.weight"], p["decoder.0.bias"], noise_var)


def test_a_linear_vae_ends_at_the_maximum_likelihood(cancer):
    best = ek.LinearGaussian.fit(cancer, 5)
    most = best.log_evidence(cancer).mean()
    vae, exact = linear_vae(cancer, epochs=4000, learning_rate=1e-2, schedule="cosine")
    # Of six keys: 0.0002 to 0.0013 of the evidence and 0.0008 to 0.0029 of the encoder's bound, both in closed form.
    assert 0 <= most - exact.log_evidence(cancer).mean() <= 0.01
    assert 0 <= most - exact.elbo(cancer, vae.encode(cancer)).mean() <= 0.01
    np.testing.assert_allclose(exact.noise_var, best.noise_var, rtol=0.01)
    # Few steps at the usual rate are far from it: 5.4 to 5.8 of the bound.
    vae, exact = linear_vae(cancer, epochs=200, learning_rate=1e-3)
    assert most - exact.elbo(cancer, vae.encode(cancer)).mean() > 5


@pytest.mark.parametrize(("key", "sign"), [(1, -1), (3, 1)])
def test_in_one_dimension_encoder_and_decoder_undo_each_other_as_the_noise_vanishes(key, sign):
    loc, scale = 0.8, 0.5
    X = np.random.default_rng(0).standard_normal((256, 1))
    X = loc + scale * (X - X.mean()) / X.std()
    for noise in (0.3, 0.03):
        likelihood = ek.likelihood.Gaussian(noise * scale)
        vae = ek.VAE(1, hidden=(), likelihood=likelihood, standardize=False, dtype="float64")
        vae.fit(
            X, epochs=5000, batch_size=64, learning_rate=0.1, schedule="cosine", validation=0.0, progress=False, key=key
        )
        p = vae.parameters()
        a, b = p["encoder.0.weight"][0, 0], p["encoder.0.bias"][0]
        c, d = p["decoder.0.weight"][0, 0], p["decoder.0.bias"][0]
        # z = (x − loc) / scale and back, up to the sign, times √(1 − noise²): 1 in the limit.
        found = sign * np.array([a * scale, b * scale / loc, c / scale, sign * d / loc])
        shrunk = np.sqrt(1 - noise**2)
        # Eight keys came within 0.0045.
        np.testing.assert_allclose(found, [shrunk, -shrunk, shrunk, 1], rtol=0, atol=0.01)
        # And q has the posterior's variance.
        np.testing.assert_allclose(vae.encode(X[:1]).log_var, 2 * np.log(noise), rtol=0, atol=0.1)


def test_the_truth_is_found_again():
    rng = np.random.default_rng(0)
    truth = ek.LinearGaussian(rng.standard_normal((8, 2)), rng.standard_normal(8), rng.uniform(0.1, 1, 8))
    X = truth.sample(50_000, key=0)
    fitted = ek.LinearGaussian.fit(X, 2, "diagonal")
    cov = [m.weight @ m.weight.T + np.diag(m.noise_var) for m in (truth, fitted)]
    assert np.abs(cov[0] - cov[1]).max() < 0.1
    np.testing.assert_allclose(fitted.noise_var, truth.noise_var, rtol=0.1)
    # No other point near it is likelier.
    best = fitted.log_evidence(X).mean()
    assert best > truth.log_evidence(X).mean()
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal((8, 3)) * 1e-3
        near = ek.LinearGaussian(fitted.weight + noise[:, :2], fitted.offset, fitted.noise_var * np.exp(noise[:, 2]))
        assert near.log_evidence(X).mean() < best


def test_fits_do_not_depend_on_threads_and_take_float32(cancer):
    X = np.tile(cancer, (20, 1))
    for noise in ("isotropic", "diagonal"):
        with ek.num_threads(1):
            one = ek.LinearGaussian.fit(X, 3, noise)
        with ek.num_threads(3):
            assert ek.LinearGaussian.fit(X, 3, noise) == one
        single = ek.LinearGaussian.fit(X.astype(np.float32), 3, noise)
        np.testing.assert_allclose(single.noise_var, one.noise_var, rtol=1e-4)


def test_a_constant_column_is_named(cancer):
    X = cancer[:, :6].copy()
    X[:, 2] = 0.1
    with pytest.warns(UserWarning, match=r"constant columns \[2\] have no variance"):
        fitted = ek.LinearGaussian.fit(X, 2, "diagonal")
    assert fitted.offset[2] == 0.1
    assert (fitted.weight[2] == 0).all()
    others = np.delete(X, 2, axis=1)
    np.testing.assert_allclose(fitted.noise_var[2], 1e-6 * others.var(0).mean(), rtol=1e-12)
    alone = ek.LinearGaussian.fit(others, 2, "diagonal")
    np.testing.assert_allclose(np.delete(fitted.noise_var, 2), alone.noise_var, rtol=1e-12)
    # With isotropic noise it is a column like others, and no warning comes.
    assert ek.LinearGaussian.fit(X, 2).noise_var[2] > 0.1


def test_noise_that_has_no_maximum_stands_at_a_floor(cancer):
    X = np.column_stack([cancer[:, 0], cancer[:, 0] * 3, cancer[:, 1]])
    with pytest.warns(UserWarning, match=r"columns \[0, 1\] are determined by the others"):
        fitted = ek.LinearGaussian.fit(X, 1, "diagonal")
    np.testing.assert_allclose(fitted.noise_var[:2], 1e-6 * X.var(0)[:2], rtol=1e-9)
    with pytest.warns(UserWarning, match="lie in 2 of 3 dimensions"):
        flat = ek.LinearGaussian.fit(X, 2)
    np.testing.assert_allclose(flat.noise_var, 1e-6 * X.var(0).mean(), rtol=1e-9)
    # As many as there are, not as many as the latents.
    for latents in (2, 3, 4, 5):
        with pytest.warns(UserWarning, match="lie in 2 of 4 dimensions"):
            ek.LinearGaussian.fit(cancer[:3, :4], latents)


def test_too_few_steps_are_a_warning(cancer):
    with pytest.warns(UserWarning, match="max_iter"):
        ek.LinearGaussian.fit(cancer, 5, "diagonal", max_iter=2)


def test_active_latents_are_the_eigenvalues_above_the_noise(cancer):
    values = np.linalg.eigvalsh(np.cov(cancer.T, bias=True))[::-1]
    levels = np.geomspace(1e-4, 20, 40)
    for latents in (2, 8, 40):
        expected = np.minimum(latents, (values > levels[:, None]).sum(1))
        np.testing.assert_array_equal(ek.LinearGaussian.active_latents(cancer, latents, levels), expected)
    for level in (0.05, 0.5, 3.0, 50.0):
        fitted = ek.LinearGaussian.fit(cancer, 8, noise_var=level)
        used = (fitted.weight != 0).any(axis=0)
        assert used.sum() == ek.LinearGaussian.active_latents(cancer, 8, level)
        # What is not used has the prior as its posterior.
        loc, tril = fitted.posterior(cancer[:5])
        assert (loc[:, ~used] == 0).all()
        assert (tril[~used] == np.eye(8)[~used]).all()
        # No W is likelier at this noise, whichever way it turns.
        best = fitted.log_evidence(cancer).mean()
        for seed in range(4):
            noise = 1e-2 * np.random.default_rng(seed).standard_normal(fitted.weight.shape)
            near = ek.LinearGaussian(fitted.weight + noise, fitted.offset, level)
            assert near.log_evidence(cancer).mean() < best


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"latent_dim": 0}, ValueError, "latent_dim"),
        ({"noise": "none"}, ValueError, 'noise: expected "isotropic" or "diagonal"'),
        ({"noise_var": -1.0}, ValueError, "noise_var: expected a positive number"),
        ({"noise": "diagonal", "noise_var": 1.0}, ValueError, "noise_var: expected nothing"),
        ({"X": np.zeros((1, 3))}, ek.ShapeError, "X: expected at least two rows"),
        ({"X": np.ones((9, 3))}, ValueError, "X: expected a column that varies"),
        ({"X": [[0.0, 1.0], [np.nan, 2.0]]}, ek.NonFiniteError, "X: .* row 1, column 0"),
        ({"X": np.zeros(3)}, ek.ShapeError, "X"),
        ({"X": np.eye(3) * 1e200}, ValueError, "X: .* range"),
        ({"X": np.eye(3) * 1e-160}, ValueError, "X: expected variances within .*an underflow; scale the columns"),
        ({"X": np.eye(3) * 1e-161, "noise": "diagonal"}, ValueError, "X: expected variances within .*an underflow"),
        ({"X": np.eye(3) * [1, 1e-200, 1], "noise": "diagonal"}, ValueError, "X: expected variances .*an underflow"),
        ({"X": np.eye(3) * 1e150, "noise_var": 1e-300}, ValueError, "noise_var: .* range"),
        ({"noise": ["diagonal"]}, ValueError, 'noise: expected "isotropic" or "diagonal", got .\'diagonal'),
        ({"noise_var": np.nan}, ek.ArgumentError, "noise_var: expected a positive number"),
        ({"noise_var": np.inf}, ek.ArgumentError, "noise_var: expected a positive number"),
        ({"noise": "diagonal", "tol": np.nan}, ek.ArgumentError, "tol: expected a number, got nan"),
        ({"tol": np.nan}, ek.ArgumentError, "tol: expected a number, got nan"),
    ],
)
def test_what_cannot_be_fitted_is_named(cancer, options, error, message):
    arguments = {"X": cancer, "latent_dim": 2} | options
    with pytest.raises(error, match=message):
        ek.LinearGaussian.fit(**arguments)


def test_noise_that_counts_no_latents_is_named(cancer):
    for noise, got in (([1.0, 0.0], "0.0"), (np.inf, "inf"), ([2.0, np.nan], "nan"), (-1, "-1.0")):
        with pytest.raises(ek.ArgumentError, match=f"noise_var: expected positive, finite numbers, got {got}"):
            ek.LinearGaussian.active_latents(cancer, 2, noise)
    with pytest.raises(ek.ShapeError, match="noise_var: expected rows of one length"):
        ek.LinearGaussian.active_latents(cancer, 2, [[1.0], [1.0, 2.0]])
