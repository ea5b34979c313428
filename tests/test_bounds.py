"""Bounds from log weights against sums with 60 digits, weights at the ends of the range, and what is infinite."""

import itertools
import warnings
from functools import partial

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)

# μ ~ N(1.5, 1), y = (1.6, 1.4), y ~ N(μ, 1), q = N(1.88, 1): fixture one.
EVIDENCE, ELBO = -2.397183210743, -3.064477066409
CHI_SQUARE = 0.463064681


def weights(dtype, particles=40, batch=11, seed=0, spread=3.0):
    return (np.random.default_rng(seed).standard_normal((particles, batch)) * spread - 50).astype(dtype)


@pytest.mark.parametrize("particles", [1, 2, 40])
@pytest.mark.parametrize("batch", [1, 7, 8, 9, 33])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_agree_with_sums_of_60_digits(dtype, batch, particles):
    w = weights(dtype, particles, batch)
    # A bound is rounded once to float32. In float64 an error is a difference of log weights, which stand at −50.
    tolerance = {"rtol": 6e-8, "atol": 0} if dtype == np.float32 else {"rtol": 1e-14, "atol": 50 * 2.0**-52}
    value, error = ek.bounds.iwae(w, return_error=True)
    for got, expected in zip((value, error), reference.log_mean_exp(w), strict=True):
        assert got.dtype == dtype
        assert got.shape == (batch,)
        np.testing.assert_allclose(got, expected, **tolerance)
    assert value.tobytes() == ek.bounds.iwae(w).tobytes()
    value, error = ek.bounds.elbo(w, return_error=True)
    mean = w.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(value, mean, **tolerance)
    assert value.tobytes() == ek.bounds.elbo(w).tobytes()
    if particles == 1:
        assert (error == np.inf).all()
        assert value.tobytes() == w[0].tobytes() == ek.bounds.iwae(w).tobytes()
    else:
        np.testing.assert_allclose(error, w.astype(np.float64).std(axis=0, ddof=1) / np.sqrt(particles), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_importance_weighted_bound_is_not_below_the_elbo(dtype):
    # The log of a mean is not below the mean of logs; where all weights are equal, both are that weight.
    for spread in (1e-3, 1.0, 30.0):
        w = weights(dtype, spread=spread)
        assert (ek.bounds.iwae(w) >= ek.bounds.elbo(w)).all()
    equal = np.tile(weights(dtype)[:1], (40, 1))
    for bound in (ek.bounds.elbo, ek.bounds.iwae):
        value, error = bound(equal, return_error=True)
        assert value.tobytes() == equal[0].tobytes()
        assert (error == 0).all()


@pytest.mark.parametrize("spread", [1e-8, 1e-12])
def test_the_standard_error_of_nearly_equal_weights(spread):
    w = np.random.default_rng(0).standard_normal((100, 3)) * spread
    _, error = ek.bounds.iwae(w, return_error=True)
    np.testing.assert_allclose(error, w.std(axis=0, ddof=1) / 10, rtol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_may_be_zero(dtype):
    w = np.array([[-np.inf, 0.0, -np.inf], [-np.inf, -np.inf, 2.0], [-np.inf, 0.0, -3.0]], dtype)
    value, error = ek.bounds.iwae(w, return_error=True)
    expected, expected_error = reference.log_mean_exp(w)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(error, expected_error, rtol=1e-6)
    assert value[0] == -np.inf
    assert error[0] == np.inf
    value, error = ek.bounds.elbo(w, return_error=True)
    assert (value == -np.inf).all()
    assert (error == np.inf).all()
    for bound in (ek.bounds.elbo, ek.bounds.iwae):
        assert (bound(w[:1]) == w[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_any_size(dtype):
    # exp of these is far outside the range; the bound is not.
    for shift in (-1e30, -1e4, 1e4, 1e30):
        w = np.array([[shift, shift], [shift, -np.inf]], dtype)
        np.testing.assert_allclose(ek.bounds.iwae(w), [dtype(shift), dtype(shift) - np.log(2)], rtol=1e-7)
    top = np.finfo(dtype).max
    assert not np.isnan(ek.bounds.iwae([[top], [-top]])).any()
    assert not np.isnan(ek.bounds.elbo([[top], [-top]])).any()


def test_the_mean_of_weights_at_both_ends_of_the_range():
    weights = np.array([[1.7e308], [-1.7e308], [0.0]] * 20)
    assert abs(ek.bounds.elbo(weights)[0]) < 1e293
    assert ek.bounds.elbo(weights[:1]) == 1.7e308
    assert ek.bounds.elbo(np.array([[1.7e308], [-np.inf], [-1.7e308]])) == -np.inf


def test_columns_do_not_meet():
    w = weights(np.float64, batch=20, spread=0.3)
    for bound in ALL:
        if bound is ek.bounds.psis:
            continue
        whole = bound(w, return_error=True)
        for column in (0, 7, 8, 19):
            alone = bound(w[:, [column]], return_error=True)
            assert [part.tobytes() for part in alone] == [part[[column]].tobytes() for part in whole]


ALL = [
    ek.bounds.elbo,
    ek.bounds.iwae,
    ek.bounds.ess,
    ek.bounds.psis,
    ek.bounds.cubo,
    partial(ek.bounds.renyi, alpha=0.5),
    partial(ek.bounds.renyi, alpha=3.0),
]


@pytest.mark.parametrize("bound", ALL)
def test_bad_weights_are_named(bound):
    for dtype in DTYPES:
        w = weights(dtype)
        w[5, 9] = np.nan
        with pytest.raises(ek.NonFiniteError, match=r"^log_weights: .+ NaN at row 5, column 9") as caught:
            bound(w)
        assert (caught.value.argument, caught.value.row, caught.value.column) == ("log_weights", 5, 9)
        assert np.isnan(caught.value.value)
    for wrong in (np.zeros(3), np.zeros((2, 3, 4)), np.zeros((0, 3)), 1.0):
        with pytest.raises(ek.ShapeError, match=r"^log_weights: expected .+, got shape .+; ") as caught:
            bound(wrong)
        assert caught.value.argument == "log_weights"
    for wrong in (np.zeros((2, 3), np.float16), np.zeros((2, 3), complex), np.zeros((2, 3), int), None):
        with pytest.raises(ek.DtypeError, match=r"^log_weights: expected float32 or float64, got "):
            bound(wrong)


@pytest.mark.parametrize("bound", [bound for bound in ALL if bound is not ek.bounds.psis])
def test_no_rows_and_other_layouts(bound):
    assert bound(np.zeros((3, 0))).shape == (0,)
    w = weights(np.float64, spread=0.3)
    for given in (np.asfortranarray(w), w.astype(">f8"), w.tolist(), np.repeat(w, 2, axis=1)[:, ::2], w[::-1][::-1]):
        assert bound(given).tobytes() == bound(w).tobytes()


def test_the_mean_of_the_bound_rises_to_the_evidence():
    # log w ~ N(−s²/2, s²) has evidence 0; the bound's expectation is below it and rises with the particles.
    s = 1.0
    draws = ek.random.normal((64, 20_000), key=3, dtype=np.float64) * s - s * s / 2
    means = [ek.bounds.iwae(draws[:k]).mean() for k in (1, 4, 16, 64)]
    errors = [ek.bounds.iwae(draws[:k]).std() / np.sqrt(20_000) for k in (1, 4, 16, 64)]
    assert means == sorted(means)
    assert abs(means[0] + s * s / 2) <= 5 * errors[0]
    assert means[-1] <= 5 * errors[-1]
    # log evidence − χ² / 2K, with χ² = e^(s²) − 1, and the next term smaller than 1/K² times a few.
    assert abs(means[-1] + (np.e - 1) / 128) <= 5 * errors[-1] + 10 / 64**2


def test_the_standard_error_covers():
    # Of 4000 rows with 200 particles about 95 % lie within two standard errors of their expectation.
    draws = ek.random.normal((200, 4000), key=4, dtype=np.float64) * 0.3
    value, error = ek.bounds.iwae(draws, return_error=True)
    inside = (np.abs(value - 0.3**2 / 2) <= 1.96 * error).mean()
    assert 0.925 <= inside <= 0.965


@pytest.mark.parametrize("particles", [1, 2, 40])
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_power_means_and_effective_sizes_agree_with_60_digits(dtype, batch, particles):
    w = weights(dtype, particles, batch)
    tolerance = {"rtol": 1e-7, "atol": 0} if dtype == np.float32 else {"rtol": 1e-14, "atol": 50 * 2.0**-52}
    alphas = (-3.0, -1.5, 0.0, 0.25, 0.999, 1.001, 1.75, 4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cases = [(1 - alpha, ek.bounds.renyi(w, alpha, return_error=True)) for alpha in alphas]
        cases += [(n, ek.bounds.cubo(w, n, return_error=True)) for n in (1.0, 2.0, 3.5)]
    for power, (value, error) in cases:
        expected, expected_error = reference.power_mean(w, power)
        assert value.dtype == error.dtype == dtype
        np.testing.assert_allclose(value, expected, **tolerance)
        np.testing.assert_allclose(error, expected_error, **tolerance)
    value, error = ek.bounds.ess(w, return_error=True)
    expected, expected_error = reference.effective(w)
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)
    np.testing.assert_allclose(error, expected_error, rtol=1e-6 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_renyi_joins_its_neighbours(dtype):
    w = weights(dtype, spread=0.5)
    assert ek.bounds.renyi(w, 0).tobytes() == ek.bounds.iwae(w).tobytes()
    for one in (1, 1.0):
        for a, b in zip(ek.bounds.renyi(w, one, return_error=True), ek.bounds.elbo(w, return_error=True), strict=True):
            assert a.tobytes() == b.tobytes()
    near = [ek.bounds.renyi(w, 1 + step) - ek.bounds.elbo(w).astype(float) for step in (1e-14, 1e-9, -1e-14, -1e-9)]
    assert np.abs(near).max() <= (1e-5 if dtype == np.float32 else 2e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        values = np.array([ek.bounds.renyi(w, alpha) for alpha in np.linspace(-4, 4, 81)])
        assert ek.bounds.renyi(w, -1).tobytes() == ek.bounds.cubo(w).tobytes()
    assert (np.diff(values, axis=0) <= 0).all()


def test_effective_sizes_lie_between_1_and_the_particles():
    for spread in (1e-9, 0.1, 3.0, 300.0):
        value, error = ek.bounds.ess(weights(np.float64, spread=spread), return_error=True)
        assert ((value >= 1 - 1e-12) & (value <= 40)).all()
        assert (error >= 0).all()
    value, error = ek.bounds.ess(np.full((1000, 2), -3.0), return_error=True)
    assert (value == 1000).all()
    assert (error == 0).all()
    value, error = ek.bounds.ess(np.array([[-np.inf, -np.inf], [-np.inf, 0.0]]), return_error=True)
    assert value.tolist() == [0.0, 1.0]
    assert error[0] == np.inf


@pytest.mark.parametrize("bound", [ek.bounds.ess, ek.bounds.cubo, partial(ek.bounds.renyi, alpha=0.5)])
def test_standard_errors_cover(bound):
    # Log weights N(0, 0.3²): about 95 % of 2000 rows lie within 1.96 errors of what many rows' draws together give.
    draws = ek.random.normal((1000, 2000), key=5, dtype=np.float64) * 0.3
    value, error = bound(draws, return_error=True)
    whole = bound(draws.reshape(-1, 1))[0]
    expected = whole / 2000 if bound is ek.bounds.ess else whole
    assert 0.93 <= (np.abs(value - expected) <= 1.96 * error).mean() <= 0.97


# Fixture one, whose every bound is known.


def fixture_one(particles, batch, seed=0):
    """Log weights of q = N(1.88, 1)."""
    z = 1.88 + np.random.default_rng(seed).standard_normal((particles, batch))
    return log_joint(z) + 0.5 * (z - 1.88) ** 2 + 0.5 * np.log(2 * np.pi)


def log_joint(z):
    squares = (z - 1.5) ** 2 + (z - 1.6) ** 2 + (z - 1.4) ** 2
    return -0.5 * squares - 1.5 * np.log(2 * np.pi)


def by_quadrature(power):
    """(1/s) ln E_q[weight^s], by 20001 nodes."""
    z = np.linspace(-15, 18, 20_001)
    log_q = -0.5 * (z - 1.88) ** 2 - 0.5 * np.log(2 * np.pi)
    return np.log(np.exp(power * (log_joint(z) - log_q) + log_q).sum() * (z[1] - z[0])) / power


def test_quadrature_gives_the_fixtures_numbers():
    cases = {1.0: EVIDENCE, 0.75: -2.480397554326, 0.5: -2.595174246969, 2.0: -2.206916544518, 3.0: -2.110309710300}
    for power, expected in cases.items():
        assert abs(by_quadrature(power) - expected) < 1e-11
    assert abs(np.expm1(2 * (by_quadrature(2.0) - EVIDENCE)) - CHI_SQUARE) < 1e-9


def test_estimates_reach_the_fixtures_numbers():
    w = fixture_one(2_000_000, 1)
    cases = [
        (ek.bounds.elbo, ELBO),
        (ek.bounds.iwae, EVIDENCE),
        (partial(ek.bounds.renyi, alpha=0.25), -2.480397554326),
        (partial(ek.bounds.renyi, alpha=0.5), -2.595174246969),
        (ek.bounds.cubo, -2.206916544518),
        (partial(ek.bounds.cubo, order=3), -2.110309710300),
        # 1 / (1 + χ²) of the particles.
        (ek.bounds.ess, 2_000_000 / (1 + CHI_SQUARE)),
    ]
    for bound, expected in cases:
        value, error = (part[0] for part in bound(w, return_error=True))
        assert abs(value - expected) <= 5 * error
        assert error < 0.002 * abs(expected)
    # The upper bound E_p[log w], by exact draws of the posterior.
    z = 1.5 + np.random.default_rng(1).standard_normal(1_000_000) / np.sqrt(3)
    upper = log_joint(z) + 0.5 * (z - 1.88) ** 2 + 0.5 * np.log(2 * np.pi)
    value, error = (part[0] for part in ek.bounds.elbo(upper[:, None], return_error=True))
    assert abs(value + 2.109010399743) <= 5 * error
    # Its weights are bounded: a good proposal, if a wide one.
    assert ek.bounds.psis(w).khat[0] < 0


def test_estimates_of_the_chi_bound_are_biased_low_below_the_evidence_itself():
    for particles, expected in ((1, -3.06), (2, -2.47), (5, -2.27)):
        value = ek.bounds.cubo(fixture_one(particles, 400_000, seed=particles))
        # The quoted means are good to their last digit.
        assert abs(value.mean() - expected) <= 0.005 + 5 * value.std() / np.sqrt(400_000)
    assert ek.bounds.cubo(fixture_one(2, 400_000)).mean() < EVIDENCE


def test_the_importance_weighted_bound_rises_toward_the_evidence():
    means = []
    for particles, expected, quoted in ((5, -2.4525, 4e-4), (10, -2.4222, 4e-4), (50, -2.4018, 3e-4)):
        value = ek.bounds.iwae(fixture_one(particles, 100_000, seed=particles))
        error = value.std() / np.sqrt(100_000)
        assert abs(value.mean() - expected) <= 5 * np.hypot(error, quoted)
        means.append(value.mean())
    assert means == sorted(means)
    # log evidence − χ² / 2K, and the next term is of 1/K².
    assert abs(means[-1] - (EVIDENCE - CHI_SQUARE / 100)) < 0.002


@pytest.mark.parametrize("particles", [1000, 10_000])
def test_of_an_infinite_bound_every_estimate_looks_finite_and_a_warning_says_so(particles):
    w = fixture_one(particles, 20)
    message = r"^renyi: the mean of weight\^-1 looks infinite in 20 of 20 rows \(k-hat up to .+ value there is −inf"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        value, error = ek.bounds.renyi(w, 2, return_error=True)
    assert caught[0].filename == __file__
    assert np.isfinite(value).all()
    assert np.isfinite(error).all()
    # Nothing infinite here, and too few particles to tell: no warning, which would be an error.
    for alpha in (0.0, 0.25, 0.5, 1.0, -1.0, -2.0):
        ek.bounds.renyi(w, alpha)
    ek.bounds.cubo(w)
    ek.bounds.renyi(w[:24], 2)


def test_an_infinite_chi_bound_is_warned_of():
    # N(0, 1) against N(0, 0.3), whose k is 0.7: the mean of w² is infinite, that of w is not.
    z = np.random.default_rng(0).standard_normal((20_000, 1)) * np.sqrt(0.3)
    w = -0.5 * z**2 + 0.5 * z**2 / 0.3
    with pytest.warns(RuntimeWarning, match=r"^cubo: the mean of weight\^2 looks infinite in 1 of 1 rows .+ is \+inf"):
        ek.bounds.cubo(w)
    with pytest.warns(RuntimeWarning, match=r"^renyi: the mean of weight\^2 looks infinite .+ is \+inf"):
        ek.bounds.renyi(w, -1)
    ek.bounds.cubo(w, 1)


def test_orders_that_are_none_are_refused():
    w = weights(np.float64)
    for alpha, order in itertools.product((np.nan, np.inf, None, "two"), (0.5, np.nan, np.inf, None)):
        with pytest.raises(ValueError, match=r"^alpha: expected a"):
            ek.bounds.renyi(w, alpha)
        with pytest.raises(ValueError, match=r"^order: expected a"):
            ek.bounds.cubo(w, order)
