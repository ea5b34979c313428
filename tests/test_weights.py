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


def trained(weights, **options):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(rows, sample_weight=weights, epochs=3, progress=False, **options)
    return np.concatenate([value.ravel() for value in vae.parameters().values()])


@pytest.mark.parametrize("weight", [1e308, 0.3, 5e-324])
@pytest.mark.parametrize("validation", [0.0, 0.1])
def test_equal_weights_of_any_size_train_as_none(weight, validation):
    weights = np.full(40, weight)
    assert np.array_equal(trained(weights, validation=validation), trained(None, validation=validation))


def test_a_power_of_two_changes_no_bit_up_to_the_largest_weights():
    weights = 0.5 + 0.5 * np.random.default_rng(1).random(40)
    expected = trained(weights)
    for exponent in (-1000, -3, 1023):
        assert np.array_equal(trained(np.ldexp(weights, exponent)), expected)
    assert not np.array_equal(trained(None), expected)


def with_weight(value):
    weights = np.ones(40, dtype=np.result_type(value, np.float64))
    weights[[3, 7]] = value
    return weights


@pytest.mark.parametrize("estimator", [False, True])
@pytest.mark.parametrize(
    ("error", "weights", "row", "expected"),
    [
        (ek.NonFiniteError, with_weight(np.nan), 3, "expected finite weights, got nan at row 3; leave the row out"),
        (ek.NonFiniteError, with_weight(np.inf), 3, "expected finite weights, got inf at row 3; leave the row out"),
        (ek.ArgumentError, with_weight(-2.0), 3, r"expected weights not below 0, got -2\.0 at row 3; leave the row"),
        (ek.DtypeError, with_weight(1j), None, "expected real numbers, got complex128; convert"),
        (ek.DtypeError, ["1"] * 40, None, "expected real numbers, got <U1; convert"),
        (ek.DtypeError, [None] * 40, None, "expected real numbers, got object; convert"),
        (ek.ShapeError, np.ones(39), None, r"expected shape \(40,\), got shape \(39,\); give one"),
        (ek.ShapeError, [[1.0], [1.0, 2.0]], None, "expected one weight a row, got rows of different lengths"),
    ],
)
def test_a_weight_that_is_none_is_named(estimator, error, weights, row, expected):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    sklearn = pytest.importorskip("elbokit.sklearn")
    model = sklearn.VAE(1, epochs=1) if estimator else ek.VAE(1, hidden=(4,))
    with pytest.raises(error, match=f"^sample_weight: {expected}") as caught:
        model.fit(rows, sample_weight=weights)
    assert (caught.value.argument, caught.value.row) == ("sample_weight", row)
    if row is not None:
        np.testing.assert_equal(caught.value.value, weights[row])


def test_weights_may_be_objects_that_are_numbers():
    assert np.array_equal(trained(np.array([2.0] * 20 + [1] * 20, dtype=object)), trained([2.0] * 20 + [1.0] * 20))


def test_an_estimator_takes_weights_of_any_size():
    sklearn = pytest.importorskip("elbokit.sklearn")
    # Rows that stand twice, whose weights are added up.
    rows = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 2, axis=0)
    options = {"hidden": (4,), "epochs": 2, "random_state": 0}
    scores = [sklearn.VAE(1, **options).fit(rows, sample_weight=w).score(rows) for w in (None, np.full(40, 1e308))]
    assert scores[0] == scores[1]
