"""The likelihoods' contract: missing cells, element types, particles, draws, values as objects, named errors.

Their numbers are held against the documented formulas in `test_likelihood_exact`.
"""

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import reference_likelihood as cases

import elbokit as ek

DTYPES = (np.float32, np.float64)
lik = ek.likelihood
LIKELIHOODS = cases.LIKELIHOODS
FEATURES = cases.FEATURES
case = cases.case


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_missing_cells_add_exactly_nothing_whatever_they_hold(likelihood, dtype):
    x, params = case(likelihood, dtype, rows=20)
    mask = np.random.default_rng(5).random(x.shape) < 0.6
    mask[3], mask[4] = False, True
    x_zero = np.where(mask, x, 0)
    value, d_params = likelihood.log_prob_grad(x_zero, params, mask=mask)
    seen = cases.seen(likelihood, mask)
    assert (d_params[~seen] == 0).all()
    assert d_params[seen].all()
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
        got = likelihood.log_prob_grad(with_nan, np.where(seen, params, dtype(bad)))
        assert got[0].tobytes() == value.tobytes()
        assert got[1].tobytes() == d_params.tobytes()


@pytest.mark.parametrize("likelihood", [lik.Gaussian("predicted"), lik.Poisson(), lik.Categorical(3)], ids=repr)
def test_a_row_is_the_sum_of_its_observed_cells(likelihood):
    x, params = case(likelihood, np.float64, rows=4)
    x[0, 1] = x[2] = x[3, 0] = np.nan
    cells = [likelihood.log_prob(x[:, [j]], params[:, cases.indices(likelihood, j, FEATURES)]) for j in range(FEATURES)]
    np.testing.assert_allclose(likelihood.log_prob(x, params), np.sum(cells, axis=0), rtol=1e-14, atol=0)


def test_a_table_is_the_sum_of_its_members():
    members = [([4, 1], lik.NegativeBinomial()), ([0], lik.Categorical(3)), ([2, 3], lik.Laplace("shared"))]
    table = lik.Columns(members)
    x, params = case(table, np.float64, rows=7)
    x[2, 1] = x[3, 0] = x[4] = np.nan
    first, total, gradient = 0, 0.0, []
    for columns, member in members:
        last = first + member.num_params(len(columns))
        value, d_params = member.log_prob_grad(x[:, columns], params[:, first:last])
        total, first = total + value, last
        gradient.append(d_params)
    got, d_params = table.log_prob_grad(x, params)
    np.testing.assert_allclose(got, total, rtol=4e-16, atol=0)
    assert d_params.tobytes() == np.concatenate(gradient, axis=1).tobytes()
    mean = table.mean(params)
    assert mean.shape == (7, 3 + 4)
    assert (mean[:, :3] == members[1][1].mean(params[:, 4:7])).all()
    assert (mean[:, [6, 3]] == members[0][1].mean(params[:, :4])).all()
    draws = table.sample(params, key=3)
    table.check_support(draws)


@pytest.mark.parametrize(
    "members",
    [
        [],
        None,
        [(0, lik.Bernoulli()), (0, lik.Poisson())],
        [([0, 2], lik.Bernoulli())],
        [([], lik.Bernoulli()), (0, lik.Poisson())],
        [(0, "Bernoulli")],
        [("a", lik.Bernoulli())],
        [(-1, lik.Bernoulli())],
        [(0, lik.Columns([(0, lik.Bernoulli())]))],
        [0],
    ],
)
def test_members_have_each_column_once(members):
    with pytest.raises(ValueError, match=r"^members: expected .+, got .+; "):
        lik.Columns(members)


def test_a_table_of_other_columns_is_refused():
    table = lik.Columns([([0, 1], lik.Poisson())])
    with pytest.raises(ValueError, match=r"^x: expected \(2, 2\), the columns of all members, got shape \(2, 3\); "):
        table.log_prob(np.zeros((2, 3)), np.zeros((2, 2)))


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
    for likelihood in (lik.Gaussian(0.3), lik.Gaussian("predicted"), lik.Binomial(1), lik.Poisson()):
        x, params = case(likelihood, dtype)
        x = np.minimum(np.abs(x), 1) if likelihood == lik.Binomial(1) else np.minimum(np.abs(x), 100)
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
        assert likelihood.mean(params[:rows]).shape == (rows, cases.num_means(likelihood))
        assert likelihood.sample(params[:rows], key=0).shape == (rows, FEATURES)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
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


# A law without a fourth moment has no standard error; the core's tests hold its distribution function.
@pytest.mark.parametrize("likelihood", [each for each in LIKELIHOODS if getattr(each, "df", 4) >= 4], ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_have_the_stated_mean_and_density(likelihood, dtype):
    n = 20_000
    _, params = case(likelihood, dtype, rows=1)
    params = np.repeat(params, n, axis=0)
    x = likelihood.sample(params, key=9).astype(np.float64)
    if not isinstance(likelihood, (lik.Categorical, lik.Columns)):
        off = x.mean(axis=0) - likelihood.mean(params)[0]
        assert (np.abs(off) <= 5 * x.std(axis=0) / np.sqrt(n) + 1e-6 * np.abs(x).max(axis=0)).all()
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
    assert lik.Laplace("shared").num_params(7) == 8
    assert lik.Categorical(3).num_params(7) == 21
    assert lik.ZeroInflatedNegativeBinomial().num_params(7) == 21
    assert lik.Columns([([0, 2], lik.NegativeBinomial()), (1, lik.Categorical(4))]).num_params(3) == 8


@pytest.mark.parametrize("kind", [lik.Gaussian, lik.Laplace, lambda scale: lik.StudentT(4, scale)])
@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, [1.0, 0.0], "global", [[1.0]], 1j])
def test_scales_are_positive_finite_numbers(scale, kind):
    with pytest.raises(ValueError, match=r"^scale: expected .+, got .+; "):
        kind(scale)


@pytest.mark.parametrize("df", [0, -1.0, np.nan, np.inf, "four", None])
def test_degrees_of_freedom_are_positive_finite_numbers(df):
    with pytest.raises(ValueError, match=r"^df: expected .+, got .+; "):
        lik.StudentT(df)


@pytest.mark.parametrize("classes", [0, -1, 1.5, 2**24 + 1, "3", None])
def test_classes_are_whole_numbers(classes):
    with pytest.raises(ValueError, match=r"^num_classes: expected .+, got .+; "):
        lik.Categorical(classes)


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
        (lik.Bernoulli(), 3, r"Binomial\(3\), or Poisson\(\) for counts without a largest one"),
        (lik.Bernoulli(), 0.5, r"ContinuousBernoulli\(\)"),
        (lik.ContinuousBernoulli(), 1.5, r"Gaussian\(\)"),
        (lik.Categorical(1), 2, r"Binomial\(2\), or .+"),
        (lik.Poisson(), -2, r"Gaussian\(\)"),
        (lik.Poisson(), 0.25, r"ContinuousBernoulli\(\)"),
        (lik.Bernoulli(), -1, r"Gaussian\(\)"),
        (lik.Binomial(4), 9, r"Binomial\(9\), or .+"),
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
    """10⁸ cells take seconds. A timer inside the process raises the signal, late enough for the memory to be there."""
    script = textwrap.dedent(
        """
        import signal, time, numpy as np, elbokit as ek
        ek.set_num_threads(2)
        log_rates = np.full((10_000, 10_000), 3.0, np.float32)
        signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGINT))
        signal.alarm(3)
        started = time.monotonic()
        try:
            ek.likelihood.Poisson().sample(log_rates, key=0)
        except KeyboardInterrupt:
            assert 3 - 0.1 < time.monotonic() - started < 4
            print("heard")
        """
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "heard\n", run.stderr


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_draws_scale_is_capped_at_the_largest_number(dtype):
    params = np.tile(np.array([[0, 1e4]], dtype), (2000, 1))
    for likelihood in (lik.Gaussian("predicted"), lik.Laplace("predicted"), lik.StudentT(3.0, "predicted")):
        # As many are inside as have a standard draw below 1.
        inside = np.isfinite(likelihood.sample(params, key=0)).mean()
        assert 0.5 < inside < 0.75, likelihood


@pytest.mark.parametrize("df", [1e-4, 1e-3, 1e-2])
def test_a_student_t_of_a_scale_that_is_nothing_and_tails_without_end_gives_no_nan(df):
    for log_scale in (-1e4, -1000.0, -800.0, -740.0):
        x = lik.StudentT(df, "predicted").sample(np.tile([[0.0, log_scale]], (5000, 1)), key=1)
        assert not np.isnan(x).any()
        # ln|t| is about an exponential of mean 1 / df: |x| is above 1 with a probability of about exp(df log_scale).
        np.testing.assert_allclose((abs(x) > 1).mean(), np.exp(df * log_scale), atol=0.05)
        assert 0.45 < (x > 0).sum() / max(1, (x != 0).sum()) < 0.55 or (x != 0).sum() < 500


def test_a_table_of_another_width_is_a_shape_error_of_x():
    table = lik.Columns([(0, lik.Gaussian()), (1, lik.Bernoulli())])
    for width in (1, 3):
        x = np.zeros((2, width))
        for call in (table.log_prob, table.log_prob_grad):
            with pytest.raises(
                ek.ShapeError, match=r"^x: expected \(2, 2\), the columns of all members, got"
            ) as caught:
                call(x, np.zeros((2, 2)))
            assert caught.value.argument == "x"
        with pytest.raises(ek.ShapeError, match=r"^x: "):
            table.check_support(x)
