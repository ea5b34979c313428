"""Weights are as good as the same rows standing as often as they weigh: in the scaling of columns, and in training."""

import numpy as np
import pytest
from test_condition import data

import elbokit as ek


def scalings(x, condition, weights=None):
    vae = ek.VAE(2, hidden=(8,), dtype="float64")
    vae.fit(x, condition=condition, sample_weight=weights, epochs=1, validation=0.0, progress=False)
    return np.array(vae.core.scaling), np.array(vae.core.condition_scaling)


@pytest.mark.parametrize("missing", [False, True])
def test_columns_are_scaled_by_weight(missing):
    x, c = data()
    x[:, 2] = x[:, 2] * 50 + 1000
    weights = np.arange(300) % 4
    if missing:
        x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    # What weighs nothing leaves no trace, however large.
    x[weights == 0, 1] = 1e9
    # Nor does it make a column of bits one of numbers.
    c[weights == 0, 2] = 7.0
    weighed = scalings(x, c, weights)
    repeated = scalings(np.repeat(x, weights, axis=0), np.repeat(c, weights, axis=0))
    for a, b in zip(weighed, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    assert weighed[1][:, 2].tolist() == [0.0, 1.0]
    shift, _ = weighed[0]
    assert np.isclose(shift[0], np.nansum(weights * x[:, 0]) / weights[~np.isnan(x[:, 0])].sum(), rtol=1e-13)


def test_equal_weights_scale_as_none():
    x, c = data()
    for a, b in zip(scalings(x, c, np.full(300, 0.5)), scalings(x, c), strict=True):
        assert np.array_equal(a, b)
    # A column whose observed rows weigh little beside the mean is scaled all the same.
    x[1:200, 0] = np.nan
    small = np.where(np.isnan(x[:, 0]), 1.0, 1e-6)
    shift, scale = scalings(x, c, small)[0]
    np.testing.assert_allclose([shift[0], scale[0]], [np.nanmean(x[:, 0]), np.nanstd(x[:, 0])], rtol=1e-12)


def test_a_weight_is_as_good_as_rows_that_stand_several_times():
    # Each row draws its own noise, so that what can be the same is the expectation over keys.
    rng = np.random.default_rng(0)
    group = rng.integers(2, size=400)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + 3 * group[:, None]
    # The second group weighs 2 on average, the first a tenth.
    weights = np.where(group, rng.integers(1, 4, size=400), rng.random(400) < 0.1)
    repeated = np.repeat(X, weights, axis=0)

    def bound(rows, key, sample_weight=None):
        vae = ek.VAE(2, hidden=(8,))
        # Whole epochs in one batch: weights of 0 leave a batch of some rows with fewer, and so with more noise.
        vae.fit(
            rows, sample_weight=sample_weight, epochs=600, learning_rate=1e-2, batch_size=1000, validation=0.0,
            progress=False, key=key,
        )  # fmt: skip
        return vae.elbo(repeated, key=100).elbo.mean()

    keys = range(6)
    weighed = [bound(X, key, weights) for key in keys]
    counted = [bound(repeated, key) for key in keys]
    standard_error = np.sqrt((np.var(weighed, ddof=1) + np.var(counted, ddof=1)) / len(keys))
    # Student's quantile of 10 degrees of freedom at 1 in 5,000, of a spread that is small beside what the weights do.
    assert abs(np.mean(weighed) - np.mean(counted)) < 5.7 * standard_error < 0.12
    assert weighed != counted
    assert max(bound(X, key) for key in keys) < min(*weighed, *counted) - 0.2
