"""`VAE.self_check`: its bounds hold the evidence that is known, and its ranks are uniform where q is the posterior."""

from __future__ import annotations

import warnings

import fits
import numpy as np
import pytest
from reference_likelihood import LIKELIHOODS
from test_report import conditional
from test_vae_kinds import rows_of_kind

import elbokit as ek


def linear(width=1.0, latents=2, dtype="float64"):
    """A linear model, the exact one, and a q whose standard deviations are `width` times the posterior's marginals."""
    rng = np.random.default_rng(0)
    weight, bias, scale = rng.standard_normal((5, latents)), rng.standard_normal(5), 0.7
    exact = ek.LinearGaussian(weight, bias, scale**2)
    covariance = np.linalg.inv(np.eye(latents) + weight.T @ weight / scale**2)
    gain = covariance @ weight.T / scale**2
    log_var = np.log(np.diag(covariance)) + 2 * np.log(width)
    encoder = np.concatenate([gain, np.zeros_like(gain)])
    vae = fits.linear(weight, bias, scale, encoder, np.concatenate([-gain @ bias, log_var]), dtype)
    return vae, exact


def said(check):
    """Its text on one line."""
    return " ".join(str(check).split())


def expected_evidence(exact):
    """The mean of log p(x) over the model's own rows: minus its entropy."""
    covariance = exact.weight @ exact.weight.T + np.diag(exact.noise_var)
    return -0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]


def simulated(vae, n, key):
    """The rows that `self_check` makes."""
    latents, cells = ek.Key(key).split(2)
    z = ek.random.normal((n, vae.latent_dim), key=latents, dtype=vae.dtype)
    return vae.likelihood_.sample(vae.decode(z), key=cells)


@pytest.mark.parametrize("proposal", ["laplace", "posterior"])
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("particles", [1, 3, 30])
def test_neither_bound_is_on_the_wrong_side(width, particles, proposal):
    vae, exact = linear(width)
    n = 4000
    check = vae.self_check(n, key=3, num_particles=particles, proposal=proposal)
    truth = exact.log_evidence(simulated(vae, n, 3))
    for off in (truth - check.by_row[:, 0], check.by_row[:, 1] - truth):
        assert off.mean() > -5 * off.std(ddof=1) / n**0.5
    # Both are strict here, so that an error of half of either would be seen.
    if proposal == "posterior" and particles < 30:
        assert check.gap > 5 * check.gap_error
    assert check.held
    low, high = check.interval
    assert low - 2 * check.lower_error < expected_evidence(exact) < high + 2 * check.upper_error


def test_the_interval_holds_the_true_mean_and_is_narrow_around_modes():
    vae, exact = linear()
    within = 0
    for key in range(40):
        check = vae.self_check(100, key=key, num_particles=200)
        low, high = check.interval
        within += low <= expected_evidence(exact) <= high
        assert check.gap < 0.01
    # Two standard errors, 95.4 % of 40.
    assert within >= 35
    assert f"lies within [{low:.3f}, {high:.3f}]" in said(check)
    assert "Both bounds agree" in said(check)


def test_a_q_that_is_the_posterior_leaves_no_gap_and_uniform_ranks():
    vae, exact = linear(latents=1)
    n = 4000
    check = vae.self_check(n, num_particles=5, proposal="posterior")
    truth = exact.log_evidence(simulated(vae, n, 0))
    assert np.abs(check.by_row - truth[:, None]).max() < 1e-12
    assert check.ranks.shape == (n, 1)
    counts = np.bincount(check.ranks[:, 0], minlength=100)
    # χ² of 99 degrees of freedom: mean 99, standard deviation 14.
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 99 + 5 * 14
    assert abs(check.coverage - 0.9) < 4 * check.coverage_error
    assert "is right about its own width" in said(check)


@pytest.mark.parametrize(("width", "verdict"), [(0.4, "too narrow"), (3.0, "too wide")])
def test_ranks_tell_a_q_of_the_wrong_width(width, verdict):
    vae, _ = linear(width, latents=1)
    check = vae.self_check(400)
    assert verdict in said(check)
    assert (check.coverage < 0.9) == (width < 1)


def test_an_upper_bound_below_the_lower_one_is_called_a_fault():
    vae, _ = linear()
    check = vae.self_check(50)
    wrong = ek.SelfCheck(**{**check.__dict__, "gap": -1.0, "gap_error": 0.1})
    assert check.held
    assert not wrong.held
    assert "FAILED" in str(wrong)


class Shifted:
    """A core whose lower bounds are too high by so many nats."""

    def __init__(self, core, nats):
        self.core, self.nats = core, nats

    def __getattr__(self, name):
        return getattr(self.core, name)

    def log_evidence(self, *arguments):
        (lower, *rest), without = self.core.log_evidence(*arguments)
        return (lower + lower.dtype.type(self.nats), *rest), without


def test_lower_bounds_that_are_too_high_are_found():
    vae, _ = linear(dtype="float32")
    vae._core = Shifted(vae._core, 0.2)
    for key in range(5):
        # The upper bound is made of the lower one, so that its own mean tells nothing.
        check = vae.self_check(200, key=key)
        assert not check.held
        assert "FAILED" in said(check)
        assert check.against > 14


@pytest.mark.parametrize("width", [0.2, 0.4, 1.0, 2.0])
def test_a_sound_model_is_never_accused_whatever_the_rows(width):
    vae, _ = linear(width, dtype="float32")
    found = []
    for rows, keys in ((1, 100), (2, 100), (3, 50), (5, 50), (200, 5)):
        for particles in (1, 3, 50):
            for proposal in ("laplace", "posterior"):
                for key in range(keys):
                    check = vae.self_check(rows, key=key, num_particles=particles, proposal=proposal)
                    assert check.held, str(check)
                    found.append(check.against)
    # Above t in 2 exp(−t) of them at most; five standard deviations more than is expected.
    for t in (2.0, 3.0, 4.0):
        expected = 2 * np.exp(-t) * len(found)
        assert (np.array(found) > t).sum() < expected + 5 * expected**0.5


def test_equal_rows_count_as_one_since_they_share_their_draws():
    rows = ek.random.uniform((300, 3), key=0) < 0.4
    vae = ek.VAE(1, hidden=(4,), likelihood=ek.likelihood.Bernoulli())
    vae.fit(rows, epochs=20, progress=False)
    for key in range(40):
        check = vae.self_check(200, key=key, num_particles=1, proposal="posterior")
        assert check.held
        assert 1 < check.distinct < 8
    assert linear()[0].self_check(50).distinct == 50


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_every_likelihood(likelihood):
    vae = ek.VAE(2, hidden=(16,), likelihood=likelihood)
    vae.fit(rows_of_kind(likelihood), epochs=20, learning_rate=1e-2, validation=0.0, progress=False)
    for proposal in ("laplace", "posterior"):
        check = vae.self_check(300, num_particles=100, proposal=proposal)
        assert check.held, str(check)
        assert "nan" not in said(check)
        assert check.left_out == 0
    # Around the modes both bounds meet for all kinds, but in rows of several modes.
    check = vae.self_check(100, num_particles=500)
    assert np.median(check.by_row[:, 1] - check.by_row[:, 0]) < 0.05
    assert ("more than 1 nat apart" in said(check)) == (check.gap >= 0.1)


def test_one_row_and_what_it_refuses():
    vae, _ = linear()
    check = vae.self_check(1)
    assert np.isnan(check.lower_error)
    assert "nan" not in said(check)
    assert check.held
    assert "give more rows" in said(check)
    assert "lies within" not in said(check)
    assert "give more rows" in said(vae.self_check(2))
    assert "give more rows" not in said(vae.self_check(20))
    for options, argument in (
        ({"n": 0}, "n"),
        ({"num_particles": 0}, "num_particles"),
        ({"proposal": "q"}, "proposal"),
    ):
        with pytest.raises(ValueError, match=f"^{argument}: expected"):
            vae.self_check(**options)
    with pytest.raises(ek.NotFittedError):
        ek.VAE(2).self_check()


def test_the_same_key_gives_the_same_record_on_any_threads():
    vae, _ = linear(dtype="float32")
    first = vae.self_check(60, key=5)
    with ek.num_threads(1):
        assert str(vae.self_check(60, key=5)) == str(first)
    assert str(vae.self_check(60, key=6)) != str(first)


@pytest.mark.parametrize("factor", [1e20, 1e38])
def test_a_model_that_leaves_the_range_is_said_to(factor):
    vae, _ = linear(dtype="float32")
    with np.errstate(over="ignore"):
        fits.put(vae, {"decoder.0.weight": np.float32(factor) * vae.parameters()["decoder.0.weight"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = str(vae.self_check(20))
    assert "nan" not in text
    assert ("not finite" in text) == (factor > 1e30)


@pytest.mark.parametrize("rate", [10.0, 100.0, 1e20])
@pytest.mark.parametrize("prior", ["standard", "mixture", "vamp"])
def test_a_model_that_diverged_is_called_that_and_no_fault(rate, prior):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    told = 0
    for key in range(3):
        vae = ek.VAE(2, hidden=(8,), prior=prior, prior_components=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vae.fit(rows, epochs=8, learning_rate=rate, progress=False, key=key)
        for proposal in ("laplace", "posterior"):
            check = vae.self_check(20, num_particles=30, proposal=proposal)
            assert "FAILED" not in said(check)
            assert "nan" not in said(check)
            if "left the range" in said(check):
                told += 1
                assert "smaller learning_rate" in said(check)
                assert not np.isfinite(check.gap)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert "nan" not in str(vae.report(rows, num_particles=10))
    assert told >= 4


@pytest.mark.parametrize("proposal", ["laplace", "posterior"])
def test_a_conditional_model_is_checked_beside_its_conditions(proposal):
    vae, _, condition = conditional()
    check = vae.self_check(200, condition=condition, num_particles=200, proposal=proposal)
    assert check.held
    assert check.gap < 0.05
    # Rows that were made beside other conditions are not what is weighed: each row's own is.
    one = vae.self_check(200, condition=condition[:1], num_particles=200, proposal=proposal)
    assert one.held
    assert not np.array_equal(one.by_row, check.by_row)
    with pytest.raises(ek.ShapeError, match=r"^condition: expected"):
        vae.self_check(200)
    with pytest.raises(ek.ShapeError, match=r"^condition: expected"):
        vae.self_check(200, condition=condition[:7])


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_a_learned_prior_is_the_one_that_rows_are_drawn_from_and_weighed_by(prior):
    rows = ek.random.normal((300, 3), key=0) + 3 * (ek.random.uniform((300, 1), key=1) > 0.5)
    vae = ek.VAE(
        2, hidden=(16,), likelihood=ek.likelihood.Gaussian(0.5), prior=prior, prior_components=4, dtype="float64"
    )
    vae.fit(rows, epochs=30, learning_rate=1e-2, progress=False)
    # Rows as given and z of any kind, by the definition.
    x, z = rows[:40].astype(np.float64), vae.core.sample_prior(40, 3)
    post = vae.encode(x)
    expected = vae.likelihood_.log_prob(x, vae.decode(z)) + vae.prior_.log_evidence(z)
    weights, _ = vae.core.weigh(x, z, False, None)
    assert np.allclose(weights, expected - ek.gaussian.log_prob(z, *post), rtol=1e-9, atol=1e-9)
    for proposal in ("laplace", "posterior"):
        check = vae.self_check(300, num_particles=100, proposal=proposal)
        assert check.held
        assert check.gap < 0.1


@pytest.mark.parametrize("proposal", ["laplace", "posterior"])
def test_a_column_too_coarse_for_its_type_is_told_of_and_not_judged(proposal):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 1))
    X = np.concatenate([z, -z, 1e7 + (z > 0)], axis=1) + np.array([0.1, 0.1, 0.0]) * rng.normal(size=(1000, 3))
    checks = {}
    for dtype in ("float32", "float64"):
        vae = ek.VAE(2, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what float32 loses of the column
            vae.fit(X, epochs=100, progress=False)
        checks[dtype] = vae.self_check(100, proposal=proposal)
    assert all(check.held for check in checks.values())
    assert checks["float32"].coarse > 1
    assert 'use dtype="float64"' in " ".join(str(checks["float32"]).split())
    assert checks["float64"].coarse < 1e-3
    assert checks["float64"].against > -np.inf
