"""Bounds from log weights against sums with 60 digits, and weights at the ends of the range."""

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)


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


def test_columns_do_not_meet():
    w = weights(np.float64, batch=20)
    for bound in (ek.bounds.elbo, ek.bounds.iwae):
        whole = bound(w, return_error=True)
        for column in (0, 7, 8, 19):
            alone = bound(w[:, [column]], return_error=True)
            assert [part.tobytes() for part in alone] == [part[[column]].tobytes() for part in whole]


@pytest.mark.parametrize("bound", [ek.bounds.elbo, ek.bounds.iwae])
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


@pytest.mark.parametrize("bound", [ek.bounds.elbo, ek.bounds.iwae])
def test_no_rows_and_other_layouts(bound):
    assert bound(np.zeros((3, 0))).shape == (0,)
    w = weights(np.float64)
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
