"""The diagonal Gaussian against its formulas in 60 digits, gradients against differences, draws by their address."""

import itertools

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)
BOUND = reference.BOUND


def arrays(seed, dtype, rows, width):
    """z, loc, log_var, prior_loc, prior_log_var of ordinary size."""
    rng = np.random.default_rng(seed)
    z, loc, log_var, prior_loc, prior_log_var = (rng.standard_normal((rows, width)) * s for s in (3, 2, 1.5, 2, 1.5))
    return tuple(x.astype(dtype) for x in (z, loc, log_var, prior_loc, prior_log_var))


def results(z, loc, log_var, prior_loc, prior_log_var):
    """Name, result and reference of every function of the module that draws nothing."""
    g, prior = ek.gaussian, (prior_loc, prior_log_var)
    yield "log_prob", g.log_prob(z, loc, log_var), reference.log_prob(z, loc, log_var)
    yield "entropy", g.entropy(log_var), reference.entropy(log_var)
    for of, rest in (("to N(0, I)", ()), ("to a prior", prior)):
        yield f"kl {of}", g.kl(loc, log_var, *rest), reference.kl(loc, log_var, *rest)
        yield f"kl_per_dim {of}", g.kl_per_dim(loc, log_var, *rest), reference.kl_per_dim(loc, log_var, *rest)
        value, *gradients = g.kl_grad(loc, log_var, *rest)
        assert len(gradients) == 2 + len(rest)
        assert value.tobytes() == g.kl(loc, log_var, *rest).tobytes()
        names = ("d_loc", "d_log_var", "d_prior_loc", "d_prior_log_var")
        for name, got, expected in zip(names, gradients, reference.kl_grad(loc, log_var, *rest), strict=False):
            yield f"{name} {of}", got, expected


@pytest.mark.parametrize("width", [1, 7, 16, 33])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_within_the_stated_accuracy(dtype, width):
    # Measured maxima over the widths: 2.2e-7 in float32, 4.9e-16 in float64.
    for name, got, expected in results(*arrays(width, dtype, 5, width)):
        assert got.dtype == dtype
        assert reference.worst(got, expected) <= BOUND[got.dtype], name


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_cells_of_all_sizes_are_within_the_stated_accuracy(dtype):
    # One cell a row, where nothing averages an error away. Measured maxima: 1.9e-7 in float32, 4.0e-16 in float64.
    rng = np.random.default_rng(4)
    size = np.array([0, 1e-7, -1e-3, 0.3, -1, 5, -60, 1e4])
    log_var = np.array([0, 1e-7, -1e-7, 1e-3, -0.2, 1, -5, 40, -80, 200, -700, 1e4, -1e4])
    choices = (size, size, log_var, size, log_var)
    cells = [rng.choice(choice, 300)[:, None].astype(dtype) for choice in choices]
    for name, got, expected in results(*cells):
        assert reference.worst(got, expected) <= BOUND[got.dtype], name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_divergence_keeps_its_relative_accuracy_near_the_prior(dtype):
    # Every term is positive, so the bound is relative to the divergence itself. Measured maxima: 1.0e-7 and 3.4e-16.
    near = np.array([0, 1e-3, -1e-4, 1e-5, -1e-6, 1e-7, -1e-7, 1e-8]).astype(dtype)
    loc, log_var = (x.reshape(-1, 1) for x in np.meshgrid(near, near))
    prior_loc, prior_log_var = np.full_like(loc, 0.7), np.full_like(loc, -0.4)
    for rest in ((), (prior_loc, prior_log_var)):
        a, b = (loc, log_var) if not rest else (loc + prior_loc, log_var + prior_log_var)
        got, (value, _) = ek.gaussian.kl(a, b, *rest), reference.kl(a, b, *rest)
        assert (got >= 0).all()
        assert reference.worst(got, reference.Exact(value, value)) <= BOUND[got.dtype]
    assert ek.gaussian.kl(loc, log_var)[0] == 0


def test_gradients_agree_with_central_differences():
    _, loc, log_var, prior_loc, prior_log_var = arrays(7, np.float64, 4, 5)
    where = [loc, log_var, prior_loc, prior_log_var]
    for number in (2, 4):
        _, *gradients = ek.gaussian.kl_grad(*where[:number])
        for i, got in enumerate(gradients):

            def moved(x, i=i, number=number):
                return ek.gaussian.kl(*[x if j == i else y for j, y in enumerate(where[:number])])

            expected = reference.central_differences(moved, where[i])
            # Measured maximum: 1.7e-10.
            assert np.abs(got - expected).max() <= 1e-9 * np.abs(got).max()


def test_one_unknown_of_fixture_one():
    # Evidence − KL(N(1.88, 1) ‖ N(1.5, 1/3)) is the ELBO, all of FIXTURES F1.
    gap = ek.gaussian.kl([[1.88]], [[0.0]], [[1.5]], [[-np.log(3)]])
    np.testing.assert_allclose(-2.397183210743 - gap, -3.064477066409, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_prior_of_one_row_is_that_of_every_row(dtype):
    _, loc, log_var, prior_loc, prior_log_var = arrays(3, dtype, 6, 9)
    row_loc, row_log_var = prior_loc[0], prior_log_var[0]
    whole = [np.broadcast_to(row, loc.shape) for row in (row_loc, row_log_var)]
    for function in (ek.gaussian.kl, ek.gaussian.kl_per_dim, ek.gaussian.kl_grad):
        expected = np.concatenate([np.ravel(x) for x in function(loc, log_var, *whole)])
        for prior in itertools.product((row_loc, whole[0]), (row_log_var, whole[1])):
            got = function(loc, log_var, *prior)
            assert np.concatenate([np.ravel(x) for x in got]).tobytes() == expected.tobytes()
    zero = np.zeros_like(loc)
    np.testing.assert_array_equal(
        ek.gaussian.kl(loc, log_var, prior_loc), ek.gaussian.kl(loc, log_var, prior_loc, zero)
    )
    np.testing.assert_array_equal(
        ek.gaussian.kl(loc, log_var, prior_log_var=row_log_var),
        ek.gaussian.kl(loc, log_var, np.zeros_like(row_log_var), row_log_var),
    )


def test_a_prior_may_be_a_list_of_whole_numbers():
    np.testing.assert_array_equal(ek.gaussian.kl([[1, 2]], [[0, 0]], prior_log_var=[0, 0]), [2.5])
    np.testing.assert_array_equal(ek.gaussian.kl([[1, 2]], [[0, 0]], prior_loc=[1, 2]), [0.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_loc_plus_scale_times_the_normals_of_their_key(dtype):
    _, loc, log_var, *_ = arrays(11, dtype, 4, 9)
    eps = ek.random.normal(loc.shape, key=5, dtype=dtype, first_row=30)
    z, log_prob = ek.gaussian.rsample_and_log_prob(loc, log_var, key=5, first_row=30)
    assert z.tobytes() == ek.gaussian.rsample(loc, log_var, key=5, first_row=30).tobytes()
    # Measured maxima: 6.6e-8 and 1.6e-16.
    assert reference.worst(z, reference.rsample(eps, loc, log_var)) <= BOUND[z.dtype]
    assert reference.worst(log_prob, reference.log_prob_of_eps(eps, log_var)) <= BOUND[z.dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_draw_is_addressed_by_key_row_and_particle(dtype):
    _, loc, log_var, *_ = arrays(12, dtype, 7, 5)
    g = ek.gaussian
    z, log_prob = g.rsample_and_log_prob(loc, log_var, key=1, num_particles=4)
    assert z.shape == (4, 7, 5)
    assert log_prob.shape == (4, 7)
    assert z.tobytes() == g.rsample(loc, log_var, key=ek.Key(1), num_particles=4).tobytes()
    assert g.rsample(loc, log_var, key=1).tobytes() == z[0].tobytes()
    assert g.rsample(loc, log_var, key=1, num_particles=1).tobytes() == z[:1].tobytes()
    assert g.rsample(loc, log_var, key=1, num_particles=2).tobytes() == z[:2].tobytes()
    for first, last in ((0, 3), (3, 4), (4, 7), (2, 2)):
        part = g.rsample_and_log_prob(loc[first:last], log_var[first:last], key=1, num_particles=4, first_row=first)
        assert part[0].tobytes() == z[:, first:last].tobytes()
        assert part[1].tobytes() == log_prob[:, first:last].tobytes()
    assert not (g.rsample(loc, log_var, key=2) == z[0]).any()
    assert len(np.unique(z)) == z.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_batch(dtype):
    rows = arrays(13, dtype, 20, 19)
    for (name, whole, _), *parts in zip(
        *(results(*(x[r] for x in rows)) for r in (slice(0, 20), [3], [3, 7])), strict=True
    ):
        assert whole[[3]].tobytes() == parts[0][1].tobytes(), name
        assert whole[[3, 7]].tobytes() == parts[1][1].tobytes(), name


def test_draws_have_their_stated_density_entropy_and_divergence():
    loc, log_var = np.array([[0.5, -2.0, 1.0]]), np.array([[0.3, -1.0, 2.0]])
    z, log_prob = ek.gaussian.rsample_and_log_prob(loc, log_var, key=8, num_particles=40_000)
    np.testing.assert_allclose(ek.gaussian.log_prob(z, loc, log_var), log_prob, rtol=0, atol=1e-12)
    log_ratio = log_prob - ek.gaussian.log_prob(z, np.zeros_like(loc), np.zeros_like(loc))
    for draws, expected in ((-log_prob, ek.gaussian.entropy(log_var)), (log_ratio, ek.gaussian.kl(loc, log_var))):
        assert abs(draws.mean() - expected[0]) <= 5 * draws.std() / 200
    np.testing.assert_allclose(z.mean(axis=0), loc, rtol=0, atol=5 * np.exp(1.0) / 200)


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_input_gives_no_nan_and_what_leaves_the_range_its_sign(dtype):
    top = np.finfo(dtype).max
    ends = np.array([-top, -1e4, -1, 0, 1, 1e4, top], dtype)
    z, loc, log_var = (x.reshape(-1, 1) for x in np.meshgrid(ends, ends, ends))
    g = ek.gaussian
    for got in (
        g.log_prob(z, loc, log_var),
        *g.kl_grad(loc, log_var),
        *g.kl_grad(loc, log_var, z, log_var[::-1]),
        g.kl_per_dim(loc, log_var, z, log_var[::-1]),
        g.entropy(log_var),
        *g.rsample_and_log_prob(loc, log_var, key=0),
    ):
        assert not np.isnan(got).any()
    zero = np.zeros((1, 1), dtype)
    assert g.kl(zero + 1, zero + dtype(1e4))[0] == np.inf
    assert g.log_prob(zero + 1, zero, zero - dtype(1e4))[0] == -np.inf
    assert g.log_prob(zero, zero, zero - dtype(1e4))[0] == pytest.approx(5e3 - 0.9189385, rel=1e-6)
    assert (g.kl(loc, log_var, z, log_var[::-1]) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_divergence_by_draws_is_infinite_where_the_prior_has_no_density_whatever_that_of_the_posterior(dtype):
    zero, wide = np.zeros((1, 3), dtype), np.full((1, 3), np.finfo(dtype).max)
    mixture = ek.GaussianMixture([1.0], np.zeros((1, 3)), [1.0])
    for log_var, prior, particles in (
        # log q and log p of −∞ in every draw.
        (wide, mixture, 2),
        (wide, ek.GaussianParams(zero[0], zero[0]), 2),
        # Both +∞: nothing says by how much q is the denser.
        (-wide, ek.GaussianParams(zero, -wide), 2),
        # Ratios of −∞, and of +∞ where a draw has left the range.
        (wide, ek.GaussianParams(zero, zero + dtype(2 * np.log(np.finfo(dtype).max))), 30),
    ):
        for part in ek.gaussian.kl_monte_carlo(zero, log_var, prior, key=0, num_particles=particles):
            assert part.dtype == dtype
            assert part == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_no_latents_and_one_of_each(dtype):
    g = ek.gaussian
    for shape in ((0, 3), (3, 0), (0, 0), (1, 1)):
        zero = np.zeros(shape, dtype)
        rows = shape[0]
        assert g.kl(zero, zero).shape == g.entropy(zero).shape == g.log_prob(zero, zero, zero).shape == (rows,)
        assert g.kl_per_dim(zero, zero).shape == shape
        assert [x.shape for x in g.kl_grad(zero, zero, zero, zero)] == [(rows,), shape, shape, shape, shape]
        z, log_prob = g.rsample_and_log_prob(zero, zero, key=0, num_particles=2)
        assert z.shape == (2, *shape)
        assert log_prob.shape == g.log_prob(z, zero, zero).shape == (2, rows)
        np.testing.assert_array_equal(g.kl(zero, zero), np.zeros(rows))
