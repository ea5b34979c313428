"""The likelihoods against the documented formulas in 60 digits; missing cells, element types, draws."""

import copy
import itertools
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)
BOUND = reference.BOUND
lik = ek.likelihood
LIKELIHOODS = (
    lik.Gaussian(),
    lik.Gaussian(0.3),
    lik.Gaussian([0.5, 1.0, 2.0, 4.0, 0.1]),
    lik.Gaussian("predicted"),
    lik.Bernoulli(),
    lik.Binomial(16),
    lik.Binomial(100_000),
)
FEATURES = 5


def case(likelihood, dtype, rows=6, features=FEATURES, seed=0):
    """x in the likelihood's support and params of ordinary size."""
    rng = np.random.default_rng(seed)
    params = rng.standard_normal((rows, likelihood.num_params(features))).astype(dtype)
    if isinstance(likelihood, lik.Gaussian):
        return rng.standard_normal((rows, features)).astype(dtype), params
    total = getattr(likelihood, "total_count", 1)
    return rng.binomial(total, 0.4, (rows, features)).astype(dtype), params


def exact(likelihood, x, params):
    if isinstance(likelihood, lik.Bernoulli):
        return reference.bernoulli(x, params)
    if isinstance(likelihood, lik.Binomial):
        return reference.binomial(x, params, likelihood.total_count)
    if likelihood.scale == "predicted":
        return reference.gaussian_predicted(x, params)
    return reference.gaussian(x, params, np.asarray(likelihood.scale))


def check(likelihood, x, params):
    value, d_params = likelihood.log_prob_grad(x, params)
    assert value.dtype == d_params.dtype == params.dtype
    assert value.tobytes() == likelihood.log_prob(x, params).tobytes()
    for got, expected in zip((value, d_params), exact(likelihood, x, params), strict=True):
        assert got.shape == expected.value.shape
        assert reference.worst(got, expected) <= BOUND[got.dtype]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_within_the_stated_accuracy(likelihood, dtype):
    # Measured maxima, here and over the widths below: 2.2e-7 in float32, 4.9e-16 in float64.
    check(likelihood, *case(likelihood, dtype))


@pytest.mark.parametrize("features", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_is_within_the_stated_accuracy(features, dtype):
    for likelihood in (lik.Gaussian(0.3), lik.Gaussian("predicted"), lik.Bernoulli(), lik.Binomial(16)):
        check(likelihood, *case(likelihood, dtype, features=features))


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_bernoulli_of_all_sizes(dtype):
    # Measured maxima: 7.4e-8 in float32, 1.7e-16 in float64.
    logits = np.array([0, 1e-30, 1e-7, 0.3, 1, 5, 17, 40, 88, 100, 700, 1e3, 1e5])
    logits = np.concatenate([logits, -logits, np.random.default_rng(1).uniform(-90, 90, 100)])
    for x in (0, 1):
        cells = logits.astype(dtype)[:, None]
        check(lik.Bernoulli(), np.full_like(cells, x), cells)


@pytest.mark.parametrize("total", [1, 2, 16, 59, 60, 255, 4096, 4097, 100_003, 2**24])
@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_binomial_of_all_sizes(dtype, total):
    # Measured maxima over the totals: 1.3e-7 in float32, 2.6e-16 in float64.
    logits = np.array([0, 1e-7, -0.4, 2, -9, 30, -88, 700, -1e3, 1e5, -1e5])
    counts = sorted({0, 1, total // 7, total // 2, total - 1, total})
    x, params = (np.array(part).astype(dtype)[:, None] for part in zip(*itertools.product(counts, logits), strict=True))
    check(lik.Binomial(total), x, params)


@pytest.mark.parametrize("total", [2**31 + 11, 2**32 - 1])
def test_large_totals_in_float64(total):
    counts = np.array([0.0, 1, 1000, total // 2, total - 1, total])[:, None]
    check(lik.Binomial(total), counts, np.linspace(-3, 3, 6)[:, None])


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_gaussian_of_all_sizes(dtype):
    # Measured maxima: 2.0e-7 in float32, 4.5e-16 in float64.
    rng = np.random.default_rng(2)
    size = np.array([0, 1e-7, -1e-3, 0.3, -1, 5, -60, 1e4])
    log_var = np.array([0, 1e-7, -1e-3, 1, -5, 40, -80, 200, 700, 1e4, -1e4])
    x, loc, v = (rng.choice(choice, 300)[:, None].astype(dtype) for choice in (size, size, log_var))
    check(lik.Gaussian("predicted"), x, np.concatenate([loc, v], axis=1))
    for scale in (1e-10, 0.02, 1.0, 7.0, 1e10):
        check(lik.Gaussian(scale), x, loc)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_gradients_agree_with_central_differences(likelihood):
    x, params = case(likelihood, np.float64, seed=3)
    _, got = likelihood.log_prob_grad(x, params)
    expected = reference.central_differences(lambda p: likelihood.log_prob(x, p), params)
    # Measured maximum: 1.2e-10.
    assert np.abs(got - expected).max() <= 1e-9 * np.abs(got).max()


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_missing_cells_add_exactly_nothing_whatever_they_hold(likelihood, dtype):
    x, params = case(likelihood, dtype, rows=20)
    mask = np.random.default_rng(5).random(x.shape) < 0.6
    mask[3], mask[4] = False, True
    x_zero = np.where(mask, x, 0)
    value, d_params = likelihood.log_prob_grad(x_zero, params, mask=mask)
    blocks = d_params.reshape(len(x), -1, FEATURES)
    assert (blocks[~np.broadcast_to(mask[:, None], blocks.shape)] == 0).all()
    assert blocks[np.broadcast_to(mask[:, None], blocks.shape)].all()
    assert value[3] == 0
    whole = likelihood.log_prob(x, params)
    assert value[4] == whole[4]
    assert (value[mask.sum(axis=1) < FEATURES] != whole[mask.sum(axis=1) < FEATURES]).all()
    for fill in (np.nan, np.inf, -np.inf, 1e300, -3.0, 0.5, np.finfo(np.float64).max):
        filled = np.where(mask, x.astype(np.float64), fill)
        got = likelihood.log_prob_grad(filled, params, mask=mask)
        assert got[0].tobytes() == likelihood.log_prob(filled, params, mask).tobytes() == value.tobytes()
        assert got[1].tobytes() == d_params.tobytes()
    # NaN in x says the same as the mask, and beside a mask it is missing too.
    with_nan = np.where(mask, x, np.nan)
    for given in (None, np.ones_like(mask), mask.tolist()):
        got = likelihood.log_prob_grad(with_nan, params, mask=given)
        assert got[0].tobytes() == value.tobytes()
        assert got[1].tobytes() == d_params.tobytes()
    # What the params of a missing cell hold does not matter either.
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        seen = np.tile(mask, (1, params.shape[1] // FEATURES))
        got = likelihood.log_prob_grad(with_nan, np.where(seen, params, dtype(bad)))
        assert got[0].tobytes() == value.tobytes()
        assert got[1].tobytes() == d_params.tobytes()


@pytest.mark.parametrize("likelihood", [each for each in LIKELIHOODS if each != LIKELIHOODS[2]], ids=repr)
def test_a_row_is_the_sum_of_its_observed_cells(likelihood):
    x, params = case(likelihood, np.float64, rows=4)
    x[0, 1] = x[2] = x[3, 0] = np.nan
    blocks = params.reshape(4, -1, FEATURES)
    cells = [likelihood.log_prob(x[:, [j]], blocks[:, :, j]) for j in range(FEATURES)]
    np.testing.assert_allclose(likelihood.log_prob(x, params), np.sum(cells, axis=0), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "observed",
    [
        np.bool_,
        np.int8,
        np.uint8,
        np.int16,
        np.uint16,
        np.int32,
        np.uint32,
        np.int64,
        np.uint64,
        "f4",
        "f8",
        ">i4",
        ">f8",
    ],
)
def test_observations_may_be_of_any_real_type(dtype, observed):
    for likelihood in (lik.Gaussian(0.3), lik.Gaussian("predicted"), lik.Bernoulli(), lik.Binomial(16)):
        x, params = case(likelihood, dtype)
        x = (np.abs(x) > 0.5 if observed is np.bool_ else np.abs(np.rint(x))).astype(observed)
        expected = likelihood.log_prob_grad(x.astype(dtype), params)
        for given in (x, np.asfortranarray(x), x.tolist()):
            got = likelihood.log_prob_grad(given, params)
            assert [g.tobytes() for g in got] == [e.tobytes() for e in expected]
            assert got[0].dtype == dtype


@pytest.mark.parametrize("observed", [np.float16, np.longdouble, np.complex128, object, "U3", "M8[s]"])
def test_other_types_of_observations_are_refused(observed):
    with pytest.raises(ek.DtypeError, match=r"^x: expected booleans, integers, float32 or float64, got .+; convert"):
        lik.Gaussian().log_prob(np.zeros((1, 2)).astype(observed), np.zeros((1, 2)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_params_may_hold_every_particle_of_a_batch(likelihood, dtype):
    x, _ = case(likelihood, dtype, rows=3)
    _, params = case(likelihood, dtype, rows=12, seed=8)
    x[1, 2] = np.nan
    value, d_params = likelihood.log_prob_grad(x, params)
    for particle in range(4):
        rows = slice(3 * particle, 3 * particle + 3)
        got = likelihood.log_prob_grad(x, params[rows])
        assert got[0].tobytes() == value[rows].tobytes()
        assert got[1].tobytes() == d_params[rows].tobytes()


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_no_rows_and_one_row(likelihood):
    x, params = case(likelihood, np.float32)
    for rows in (0, 1):
        value, d_params = likelihood.log_prob_grad(x[:rows], params[:rows])
        assert value.shape == likelihood.log_prob(x[:rows], params[:rows]).shape == (rows,)
        assert d_params.shape == params[:rows].shape
        assert likelihood.mean(params[:rows]).shape == (rows, FEATURES)
        assert likelihood.sample(params[:rows], key=0).shape == (rows, FEATURES)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_means(likelihood, dtype):
    _, params = case(likelihood, dtype)
    got = likelihood.mean(params)
    assert got.dtype == dtype
    if isinstance(likelihood, lik.Gaussian):
        assert (got == params[:, :FEATURES]).all()
        return
    total = getattr(likelihood, "total_count", 1)
    # Measured maxima: 9.1e-8 and 1.5e-16.
    assert reference.worst(got, reference.total(total * reference.sigmoid(reference.exact(params)))) <= BOUND[got.dtype]


@pytest.mark.parametrize("likelihood", LIKELIHOODS[:-1], ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_addressed_by_row(likelihood, dtype):
    _, params = case(likelihood, dtype, rows=30)
    whole = likelihood.sample(params, key=1)
    assert whole.dtype == dtype
    for first, last in ((0, 4), (4, 5), (5, 30)):
        part = likelihood.sample(params[first:last], key=1, first_row=first)
        assert part.tobytes() == whole[first:last].tobytes()
    assert not (likelihood.sample(params, key=2) == whole).all()
    likelihood.log_prob(whole, params)


@pytest.mark.parametrize("likelihood", LIKELIHOODS[:-1], ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_have_the_stated_mean_and_density(likelihood, dtype):
    n = 20_000
    _, params = case(likelihood, dtype, rows=1)
    params = np.repeat(params, n, axis=0)
    x = likelihood.sample(params, key=9).astype(np.float64)
    off = x.mean(axis=0) - likelihood.mean(params)[0]
    assert (np.abs(off) <= 5 * x.std(axis=0) / np.sqrt(n)).all()
    # E[score] = 0 for a density that is normalised and a sampler that is its own.
    _, score = likelihood.log_prob_grad(x, params)
    score = score.astype(np.float64)
    assert (np.abs(score.mean(axis=0)) <= 5 * score.std(axis=0) / np.sqrt(n)).all()


@pytest.mark.parametrize("total", [1, 16, 100])
def test_masses_sum_to_one(total):
    counts = np.arange(total + 1.0)[:, None]
    for logit in (-3.0, 0.0, 0.7):
        mass = np.exp(lik.Binomial(total).log_prob(counts, np.full_like(counts, logit)))
        assert mass.sum() == pytest.approx(1, abs=1e-14)
    assert (
        lik.Binomial(1).log_prob([[0], [1]], [[0.3], [0.3]]).tolist()
        == lik.Bernoulli().log_prob([[0], [1]], [[0.3], [0.3]]).tolist()
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_values_compare_copy_and_pickle(likelihood):
    for other in (pickle.loads(pickle.dumps(likelihood)), copy.deepcopy(likelihood), eval(repr(likelihood), vars(lik))):
        assert other == likelihood
        assert hash(other) == hash(likelihood)
        x, params = case(likelihood, np.float64)
        assert other.log_prob(x, params).tobytes() == likelihood.log_prob(x, params).tobytes()
    assert sum(likelihood == other for other in LIKELIHOODS) == 1


def test_params_are_counted():
    assert lik.Gaussian().num_params(7) == lik.Bernoulli().num_params(7) == lik.Binomial(3).num_params(7) == 7
    assert lik.Gaussian("predicted").num_params(7) == 14
    assert lik.Gaussian().num_params(0) == 0


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, [1.0, 0.0], "shared", [[1.0]], 1j])
def test_scales_are_positive_finite_numbers(scale):
    with pytest.raises(ValueError, match=r"^scale: expected .+, got .+; "):
        lik.Gaussian(scale)


@pytest.mark.parametrize("total", [0, -1, 1.5, 2**32, "16", None])
def test_totals_are_whole_numbers(total):
    with pytest.raises(ValueError, match=r"^total_count: expected .+, got .+; "):
        lik.Binomial(total)


def test_scales_and_features_must_agree():
    with pytest.raises(ek.ShapeError, match=r"^scale: expected 3 scales, got 2; "):
        lik.Gaussian([1.0, 2.0]).log_prob(np.zeros((1, 3)), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("likelihood", "cell", "fits"),
    [
        (lik.Bernoulli(), 3, r"Binomial\(3\)"),
        (lik.Bernoulli(), 0.5, r"Gaussian\(\)"),
        (lik.Bernoulli(), -1, r"Gaussian\(\)"),
        (lik.Binomial(4), 9, r"Binomial\(9\)"),
        (lik.Binomial(4), 1.5, r"Gaussian\(\)"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cell_outside_the_support_is_named_with_a_likelihood_that_fits(likelihood, cell, fits, dtype):
    x = np.zeros((4, 3))
    x[2, 1] = cell
    params = np.zeros((4, 3), dtype)
    for function in (likelihood.log_prob, likelihood.log_prob_grad):
        with pytest.raises(
            ek.SupportError, match=rf"^x: expected .+, got .+ at row 2, column 1; column 1 fits {fits}$"
        ) as caught:
            function(x, params)
        error = caught.value
        assert (error.argument, error.row, error.column, error.value) == ("x", 2, 1, cell)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_infinities_and_bad_params_are_named(likelihood):
    x, params = case(likelihood, np.float64)
    for bad in (np.inf, -np.inf):
        wrong = x.copy()
        wrong[3, 2] = bad
        with pytest.raises(ek.NonFiniteError) as caught:
            likelihood.log_prob(wrong, params)
        assert (caught.value.argument, caught.value.row, caught.value.column, caught.value.value) == ("x", 3, 2, bad)
    for bad in (np.inf, -np.inf, np.nan):
        wrong = params.copy()
        wrong[4, -1] = bad
        for function in (likelihood.log_prob, likelihood.log_prob_grad):
            with pytest.raises(ek.NonFiniteError) as caught:
                function(x, wrong)
            error = caught.value
            assert (error.argument, error.row, error.column) == ("params", 4, params.shape[1] - 1)
            np.testing.assert_equal(error.value, bad)


def test_a_long_draw_hears_ctrl_c():
    """4 · 10⁹ trials would take minutes; the signal is raised by a timer inside the process."""
    script = textwrap.dedent(
        """
        import signal, time, elbokit as ek
        signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGINT))
        signal.alarm(1)
        started = time.monotonic()
        try:
            ek.likelihood.Binomial(2**32 - 1).sample([[0.0]], key=0)
        except KeyboardInterrupt:
            assert time.monotonic() - started < 2
            print("heard")
        """
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "heard\n", run.stderr
