"""The likelihoods' numbers against the documented formulas in 60 digits, over the whole domain.

What a docstring states is the largest error found here; the same bits come on every processor, so what was measured is
what is asserted.
"""

import itertools
import re

import numpy as np
import pytest
import reference
import reference_likelihood as cases

import elbokit as ek

DTYPES = (np.float32, np.float64)
BOUND = reference.BOUND
# Of a cell's value, in units of what rounding the result and each param once amounts to.
CONDITIONED = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 4e-15}
lik = ek.likelihood
LIKELIHOODS = cases.LIKELIHOODS


def stated(likelihood, dtype):
    """The largest error that the likelihood's docstring states for the dtype, in units of the terms' magnitudes."""
    doc = type(likelihood).__doc__
    found = re.search(r"Largest error measured: (\S+) \(float32\) and (\S+) \(float64\)", doc)
    assert found, likelihood
    largest = float(found[1 if dtype == np.float32 else 2])
    assert largest <= BOUND[np.dtype(dtype)]
    return largest


def check(likelihood, x, params):
    value, d_params = likelihood.log_prob_grad(x, params)
    assert value.dtype == d_params.dtype == params.dtype
    assert value.tobytes() == likelihood.log_prob(x, params).tobytes()
    for got, expected in zip((value, d_params), cases.rows(likelihood, x, params), strict=True):
        assert got.shape == expected.value.shape
        assert reference.worst(got, expected) <= stated(likelihood, got.dtype)


def check_cells(likelihood, dtype, xs, *choices, most=400):
    """Single cells of every combination of x and params, or a sample of them."""
    table = list(itertools.product(xs, *choices))
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(table))[:most]
    x, *params = (np.array(part, np.float64).astype(dtype) for part in zip(*(table[i] for i in chosen), strict=True))
    x, params = x[:, None], np.stack(params, axis=1)
    check(likelihood, x, params)
    conditioned = cases.conditioned(likelihood, x, params)
    assert reference.worst(likelihood.log_prob(x, params), conditioned) <= CONDITIONED[np.dtype(dtype)]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_within_the_stated_accuracy(likelihood, dtype):
    check(likelihood, *cases.case(likelihood, dtype))


@pytest.mark.parametrize("features", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_is_within_the_stated_accuracy(features, dtype):
    plain = (lik.Gaussian(0.3), lik.Gaussian("predicted"), lik.Bernoulli(), lik.Binomial(16), lik.StudentT(4, "shared"))
    for likelihood in (*plain, lik.Categorical(4), lik.NegativeBinomial()):
        check(likelihood, *cases.case(likelihood, dtype, rows=2, features=features))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_classes_are_within_the_stated_accuracy(dtype):
    likelihood = lik.Categorical(300)
    check(likelihood, *cases.case(likelihood, dtype, rows=2, features=7))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_means(likelihood, dtype):
    _, params = cases.case(likelihood, dtype)
    got = likelihood.mean(params)
    assert got.dtype == dtype
    assert reference.worst(got, cases.means(likelihood, params, cases.FEATURES)) <= stated(likelihood, got.dtype)


LOGITS = [0, 1e-30, 1e-7, -1e-3, 0.3, -1, 5, -17, 40, -88, 100, -700, 1e3, -1e5, 1e5]
REALS = [0, 1e-7, -1e-3, 0.3, -1, 5, -60, 1e4, -1e6]
LOG_SCALES = [0, 1e-7, -1e-3, 1, -5, 40, -40, 80, -80, 200, -200, 700, -700, 5e3, -5e3]
COUNTS = [0, 1, 2, 3, 7, 15, 16, 100, 12_345, 10**6, 10**9]
LOG_MEANS = [-1e4, -700, -80, -20, -3, -0.1, 0, 1e-5, 0.7, 2.7, 4.6, 9.4, 13.8, 20.7, 40, 80, 700, 1e4]
# Concentrations from 1e-8 to 1e12, and far beyond.
LOG_CONCENTRATIONS = [-1e4, -700, -80, -18.4, -7, -1, 0, 0.5, 2, 5, 9.4, 14, 20.7, 27.6, 60, 80, 690]


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_bernoulli_of_all_sizes(dtype):
    check_cells(lik.Bernoulli(), dtype, [0, 1], LOGITS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_continuous_bernoulli_of_all_sizes(dtype):
    # The formula changes at 4; value and slope are both small where x is the mean or the density 1.
    logits = [*LOGITS, 1, 2e-160, -3e-5, 2.5, -3.999, 4, 4.001, -4.2, 6, -9]
    check_cells(lik.ContinuousBernoulli(), dtype, [0, 1e-9, 0.1, 0.25, 0.35, 0.5, 0.6, 0.75, 1 - 1e-7, 1], logits)


@pytest.mark.parametrize("total", [1, 2, 16, 59, 60, 255, 4096, 4097, 100_003, 2**24])
@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_binomial_of_all_sizes(dtype, total):
    counts = sorted({0, 1, total // 7, total // 2, total - 1, total})
    table = list(itertools.product(counts, [0, 1e-7, -0.4, 2, -9, 30, -88, 700, -1e3, 1e5, -1e5]))
    x, params = (np.array(part, np.float64).astype(dtype)[:, None] for part in zip(*table, strict=True))
    check(lik.Binomial(total), x, params)


@pytest.mark.parametrize("total", [2**31 + 11, 2**32 - 1])
def test_large_totals_in_float64(total):
    counts = np.array([0.0, 1, 1000, total // 2, total - 1, total])[:, None]
    check(lik.Binomial(total), counts, np.linspace(-3, 3, 6)[:, None])


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_gaussian_of_all_sizes(dtype):
    rng = np.random.default_rng(2)
    size = np.array([0, 1e-7, -1e-3, 0.3, -1, 5, -60, 1e4])
    log_var = np.array([0, 1e-7, -1e-3, 1, -5, 40, -80, 200, 700, 1e4, -1e4])
    x, loc, v = (rng.choice(choice, 300)[:, None].astype(dtype) for choice in (size, size, log_var))
    check(lik.Gaussian("predicted"), x, np.concatenate([loc, v], axis=1))
    for scale in (1e-10, 0.02, 1.0, 7.0, 1e10):
        check(lik.Gaussian(scale), x, loc)


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_laplace_of_all_sizes(dtype):
    check_cells(lik.Laplace("predicted"), dtype, REALS, REALS, LOG_SCALES)


@pytest.mark.parametrize("df", [1e-3, 0.5, 1, 4, 30, 1e4, 1e12])
@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_student_t_of_all_sizes(dtype, df):
    check_cells(lik.StudentT(df, "predicted"), dtype, REALS, REALS, LOG_SCALES, most=200)


@pytest.mark.parametrize("df", [None, 1e-35, 0.7, 1e12, 1e35])
@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_at_the_ends_of_the_range(dtype, df):
    # A scale, its inverse or x − loc may be past the range where the result is not.
    info = np.finfo(dtype)
    most, tiny, end = 0.9 * float(info.max), float(info.smallest_subnormal), float(np.log(info.max))
    xs, locs = [0, tiny, -3 * tiny, 1e-30, 1, most, -most], [0, most, -most / 8]
    log_scales = [-most, *(end * np.array([-2.1, -1.7, -1.1, -0.5, 1.01, 1.7])), most]
    likelihood = lik.StudentT(df, "predicted") if df else lik.Laplace("predicted")
    check_cells(likelihood, dtype, xs, locs, log_scales, most=200)


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_categorical_of_all_sizes(dtype):
    check_cells(lik.Categorical(3), dtype, [0, 1, 2], LOGITS, [0, 1, -50, 1e3], [0, -2, 30, 1e5])


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_poisson_of_all_sizes(dtype):
    check_cells(lik.Poisson(), dtype, COUNTS, LOG_MEANS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_negative_binomial_of_all_sizes(dtype):
    check_cells(lik.NegativeBinomial(), dtype, COUNTS, LOG_MEANS, LOG_CONCENTRATIONS, most=1000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_huge_concentration_is_poisson(dtype):
    table = list(itertools.product(COUNTS, [m for m in LOG_MEANS if m < 88]))
    x, log_mean = (np.array(part, np.float64).astype(dtype)[:, None] for part in zip(*table, strict=True))
    expected, slope = cases.rows(lik.Poisson(), x, log_mean)
    for log_concentration in (300, 708, 710, 1e4, 1e30):
        huge = np.full_like(log_mean, log_concentration)
        value, d_params = lik.NegativeBinomial().log_prob_grad(x, np.concatenate([log_mean, huge], axis=1))
        assert reference.worst(value, expected) <= BOUND[value.dtype]
        assert reference.worst(d_params[:, :1], slope) <= BOUND[value.dtype]
        assert np.abs(d_params[:, 1]).max() < 1e-30


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_zero_inflated_counts_of_all_sizes(dtype):
    gates = [0, 1e-7, -2, 3, -40, 40, -700, 700, 1e5, -1e5]
    check_cells(
        lik.ZeroInflatedNegativeBinomial(), dtype, [0, 0, 1, 10**6], LOG_MEANS, LOG_CONCENTRATIONS, gates, most=1000
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_gradients_agree_with_central_differences(likelihood):
    x, params = cases.case(likelihood, np.float64, seed=3)
    _, got = likelihood.log_prob_grad(x, params)
    expected = reference.central_differences(lambda p: likelihood.log_prob(x, p), params)
    # Differences of values of this size lose as much.
    size = np.abs(got).max() + 1e-3 * np.abs(likelihood.log_prob(x, params)).max()
    assert np.abs(got - expected).max() <= 1e-8 * size
