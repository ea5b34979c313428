"""Weights in the scaling of columns: those of the same rows standing as often as they weigh."""

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
