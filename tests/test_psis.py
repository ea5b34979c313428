"""Pareto-smoothed weights: the published fit, what k-hat says of known tails, and the ends of the range."""

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)


def cubed(s):
    """Log weights of N(0, 1)³ against N(0, s)³."""
    z = np.random.default_rng(42).standard_normal((50_000, 3)) * s
    return (-0.5 * z**2 + 0.5 * (z / s) ** 2 + np.log(s)).sum(axis=1)[:, None]


@pytest.mark.parametrize(("s", "expected"), [(0.5, 0.9080815512205151), (0.9, 0.27494481323913184)])
def test_the_published_fit(s, expected):
    # Measured: 5e-14 and 7e-15.
    assert abs(ek.bounds.psis(cubed(s)).khat[0] - expected) <= 1e-12


@pytest.mark.parametrize("particles", [25, 26, 100, 224, 225, 226, 3000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_and_khat_agree_with_the_formulas(dtype, particles):
    rng = np.random.default_rng(particles)
    weights = (rng.standard_normal((particles, 7)) * np.linspace(0.01, 5, 7) - 80).astype(dtype)
    smoothed, khat = ek.bounds.psis(weights)
    assert smoothed.dtype == khat.dtype == dtype
    assert smoothed.shape == weights.shape
    assert khat.shape == (7,)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for row in range(7):
        expected, k = reference.psis(weights[:, row].astype(np.float64))
        np.testing.assert_allclose(khat[row], k, rtol=0, atol=tolerance)
        np.testing.assert_allclose(smoothed[:, row], expected, rtol=tolerance)
        # The body is untouched, the order kept, and nothing stands above the largest weight.
        assert (np.diff(smoothed[np.argsort(weights[:, row], kind="stable"), row]) >= 0).all()
        assert smoothed[:, row].max() <= weights[:, row].max()
        assert (smoothed[:, row] != weights[:, row]).sum() <= np.ceil(min(0.2 * particles, 3 * particles**0.5))


def test_khat_is_the_index_of_a_known_tail():
    # Exact Pareto weights of index k, and N(0, 1) against N(0, s²), whose k is 1 − s² in the limit.
    u = np.random.default_rng(1).random((20_000, 40))
    for k in (0.3, 0.7, 1.2):
        khat = ek.bounds.psis(-k * np.log1p(-u)).khat
        # The fit's deviation is about (1 + k) / √n with n = 425 of the tail.
        assert abs(khat.mean() - k) <= 0.05
        assert (np.abs(khat - k) <= 5 * (1 + k) / np.sqrt(425)).all()
    z = np.random.default_rng(2).standard_normal((200_000, 8))
    khats = [ek.bounds.psis(-0.5 * (s * z) ** 2 + 0.5 * z**2).khat.mean() for s in (0.95, 0.8, 0.6, 0.4)]
    assert khats == sorted(khats)
    assert all(abs(k - (1 - s * s)) < 0.12 for k, s in zip(khats, (0.95, 0.8, 0.6, 0.4), strict=True))


@pytest.mark.parametrize("base", [0.0, -50.0, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_weights_have_khat_0_and_nearly_equal_ones_stay_beside_it(dtype, base):
    noise = np.random.default_rng(0).standard_normal((1000, 6))
    equal = np.full((1000, 6), base, dtype)
    smoothed, khat = ek.bounds.psis(equal)
    assert (khat == 0).all()
    assert smoothed.tobytes() == equal.tobytes()
    levels = [0, *np.logspace(-15, -3, 13)]
    khats = np.array([ek.bounds.psis((base + level * noise).astype(dtype)).khat for level in levels])
    # The tail of normal noise; where noise is of a few units in the last place, ties thin it.
    assert np.isfinite(khats).all()
    assert (khats < 0.5).all()
    assert (khats > -1).all()
    if base == 0:
        assert np.ptp(khats[1:], axis=0).max() < 1e-3


def test_what_cannot_be_told_is_infinite():
    rng = np.random.default_rng(0)
    for particles in (1, 2, 24):
        weights = rng.standard_normal((particles, 3))
        for given in (weights, weights * 0):
            smoothed, khat = ek.bounds.psis(given)
            assert (khat == np.inf).all()
            assert smoothed.tobytes() == given.tobytes()
    assert np.isfinite(ek.bounds.psis(rng.standard_normal((25, 3))).khat).all()
    # Four weights that stand out are no tail, nor is one that leaves the range of all others, nor none at all.
    for weights in (
        np.r_[np.zeros(996), 1.0, 2.0, 3.0, 4.0],
        np.r_[np.linspace(-1000, -900, 999), 0],
        np.full(1000, -np.inf),
    ):
        smoothed, khat = ek.bounds.psis(weights[:, None])
        assert khat[0] == np.inf
        assert smoothed.tobytes() == weights.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_may_be_0(dtype):
    weights = np.random.default_rng(0).standard_normal((1000, 3)).astype(dtype)
    weights[::2] = -np.inf
    weights[:, 2] = -np.inf
    weights[:30, 2] = np.linspace(-1, 1, 30)
    smoothed, khat = ek.bounds.psis(weights)
    assert np.isfinite(khat).all()
    assert not np.isnan(smoothed).any()
    assert (np.isneginf(smoothed) == np.isneginf(weights)).all()
    assert np.isfinite(ek.bounds.iwae(smoothed)).all()


def test_smoothing_makes_a_heavy_tail_steadier():
    # E[w] = 1 for log w ~ N(−s²/2, s²), s = 2.5; the smoothed mean has less error.
    s = 2.5
    weights = ek.random.normal((1000, 4000), key=3, dtype=np.float64) * s - s * s / 2
    smoothed, _ = ek.bounds.psis(weights)
    raw, calmed = (np.exp(ek.bounds.iwae(w)) for w in (weights, smoothed))
    assert np.sqrt(((calmed - 1) ** 2).mean()) < 0.8 * np.sqrt(((raw - 1) ** 2).mean())


def test_a_nan_weight_is_an_error():
    for dtype in DTYPES:
        for bad in (np.nan, np.inf):
            weights = np.zeros((100, 4), dtype)
            weights[7, 2] = bad
            with pytest.raises(ek.NonFiniteError, match=r"^log_weights: ") as caught:
                ek.bounds.psis(weights)
            assert (caught.value.row, caught.value.column) == (7, 2)


def test_rows_do_not_meet_and_no_rows_are_none():
    weights = np.random.default_rng(0).standard_normal((200, 30))
    smoothed, khat = ek.bounds.psis(weights)
    for row in (0, 13, 29):
        alone = ek.bounds.psis(weights[:, [row]])
        assert alone.khat.tobytes() == khat[[row]].tobytes()
        assert alone.log_weights.tobytes() == smoothed[:, [row]].tobytes()
    smoothed, khat = ek.bounds.psis(np.zeros((30, 0)))
    assert smoothed.shape == (30, 0)
    assert khat.shape == (0,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [0.1, 0.5, 0.7, 1.2])
def test_the_error_of_k_hat_is_its_deviation_over_draws(shape, dtype):
    # Weights of an exact Pareto tail, 800 times; the deviation of so many is known to 2.5 %.
    uniform = ek.random.uniform((1000, 800), key=0, dtype="float64")
    log_weights = np.log(np.expm1(-shape * np.log1p(-uniform)) / shape).astype(dtype)
    result, error = ek.bounds.psis(log_weights, return_error=True)
    assert error.dtype == dtype
    for with_error, alone in zip(result, ek.bounds.psis(log_weights), strict=True):
        assert np.array_equal(with_error, alone)
    assert abs(result.khat.std(ddof=1) / error.mean() - 1) < 0.1


def test_where_nothing_is_fitted_the_error_of_k_hat_is_k_hat():
    weights = ek.random.normal((24, 3), key=0, dtype="float64")
    assert (ek.bounds.psis(weights, return_error=True)[1] == np.inf).all()
    assert (ek.bounds.psis(np.zeros((100, 3)), return_error=True)[1] == 0).all()
    assert ek.bounds.psis(np.zeros((100, 0)), return_error=True)[1].shape == (0,)
    result, error = ek.bounds.psis(np.full((100, 2), -np.inf), return_error=True)
    assert np.array_equal(error, result.khat)
