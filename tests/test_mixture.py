"""The mixture of Gaussians against 60 digits, its draws, what it refuses, and its use as a prior."""

import pickle
import tracemalloc

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)


def covariances(rng, k, d):
    half = rng.standard_normal((k, d, d))
    return half @ half.transpose(0, 2, 1) + 0.5 * np.eye(d)


def mixture(kind, k=3, d=4, seed=0):
    """Weights, locs and variances of one of the three kinds."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, k)
    shapes = {"isotropic": (k,), "diagonal": (k, d)}
    variances = covariances(rng, k, d) if kind == "full" else rng.uniform(0.2, 3, shapes[kind])
    return weights / weights.sum(), 2 * rng.standard_normal((k, d)), variances


KINDS = ("isotropic", "diagonal", "full")


def score_terms(parts, x):
    """What a log density's error is measured in: the terms of the nearest component's score."""
    weights, locs, variances = parts
    d = locs.shape[1]
    full = np.array([v if np.ndim(v) == 2 else np.diag(np.broadcast_to(v, d)) for v in variances])
    off = np.asarray(x, np.float64)[:, None] - locs
    square = np.einsum("nki,kij,nkj->nk", off, np.linalg.inv(full), off)
    log_det = np.linalg.slogdet(full)[1]
    score = np.log(weights) - 0.5 * (log_det + square)
    best = score.argmax(axis=1)
    constant = np.abs(np.log(weights)) + 0.5 * np.abs(np.log(np.diagonal(full, axis1=1, axis2=2))).sum(1) + d
    return (constant + 0.5 * square)[np.arange(len(x)), best]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_density_and_score_agree_with_sixty_digits(dtype, kind):
    for k, d in ((1, 1), (3, 4), (5, 11)):
        parts = mixture(kind, k, d, seed=k)
        gm = ek.GaussianMixture(*parts)
        rng = np.random.default_rng(k)
        x = (rng.standard_normal((21, d)) * np.array([0.1, 3, 30])[np.arange(21) % 3, None]).astype(dtype)
        value, gradient = reference.mixture(*(gm.weights, *parts[1:]), x)
        got, score = gm.log_evidence(x), gm.grad_log_prob(x)
        assert got.dtype == score.dtype == dtype
        # Measured maxima: 6.0e-8 and 8.0e-8 in float32, 1.0e-15 and 3.0e-15 in float64.
        bound = reference.BOUND[np.dtype(dtype)]
        size = score_terms(parts, x)
        assert reference.worst(got, reference.Exact(value, size)) <= bound
        # A share multiplies the rounding of the score that it is the exponential of.
        assert reference.worst(score, gradient._replace(magnitude=gradient.magnitude * (1 + size[:, None]))) <= bound


def test_the_score_agrees_with_central_differences():
    for kind in KINDS:
        gm = ek.GaussianMixture(*mixture(kind))
        x = np.random.default_rng(5).standard_normal((9, 4))
        expected = reference.central_differences(gm.log_evidence, x)
        # Measured maximum: 3e-10.
        np.testing.assert_allclose(gm.grad_log_prob(x), expected, rtol=0, atol=1e-8)


def test_one_kind_is_a_special_case_of_the_next():
    weights, locs, variances = mixture("isotropic")
    d = locs.shape[1]
    x = np.random.default_rng(1).standard_normal((50, d)) * 3
    by_column = np.repeat(variances[:, None], d, axis=1)
    isotropic = ek.GaussianMixture(weights, locs, variances)
    assert isotropic.log_evidence(x).tobytes() == ek.GaussianMixture(weights, locs, by_column).log_evidence(x).tobytes()
    full = ek.GaussianMixture(weights, locs, by_column[:, :, None] * np.eye(d))
    np.testing.assert_allclose(full.log_evidence(x), isotropic.log_evidence(x), rtol=1e-14)
    np.testing.assert_allclose(full.sample(9, key=0), isotropic.sample(9, key=0), rtol=1e-14)
    one = ek.GaussianMixture([1.0], locs[:1], by_column[:1])
    q = np.broadcast_to(locs[0], x.shape), np.broadcast_to(np.log(by_column[0]), x.shape)
    np.testing.assert_allclose(one.log_evidence(x), ek.gaussian.log_prob(x, *q), rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_depends_on_itself_alone(dtype, kind):
    gm = ek.GaussianMixture(*mixture(kind, 4, 7))
    x = np.random.default_rng(2).standard_normal((5000, 7)).astype(dtype)

    def everything():
        results = gm.log_evidence(x), gm.grad_log_prob(x), gm.sample(5000, key=1, dtype=dtype)
        return [result.tobytes() for result in results]

    with ek.num_threads(1):
        one = everything()
    with ek.num_threads(3):
        many = everything()
    assert one == many
    for rows in ([0], [17, 3], list(range(4991, 5000))):
        assert gm.log_evidence(x[rows]).tobytes() == gm.log_evidence(x)[rows].tobytes()
        assert gm.grad_log_prob(x[rows]).tobytes() == gm.grad_log_prob(x)[rows].tobytes()
    whole = gm.sample(60, key=3, dtype=dtype)
    assert gm.sample(13, key=3, dtype=dtype, first_row=47).tobytes() == whole[47:].tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_rows_give_no_nan(dtype, kind):
    top = np.finfo(dtype).max
    ends = np.array([-top, -top / 2, -1e20, -1, 0, np.finfo(dtype).smallest_subnormal, 1e4, top], dtype)
    x = np.stack(np.meshgrid(ends, ends, ends, ends), axis=-1).reshape(-1, 4)
    weights, locs, variances = mixture(kind)
    for size, place in ((1, 1), (1e-306, 1), (1e300, 1e308), (1e-300, 1e-300), (1e-150, 1e308)):
        if kind == "full" and size < 1e-299:
            continue
        gm = ek.GaussianMixture(weights, np.clip(locs, -1.7, 1.7) * place, variances * size)
        value, score = gm.log_evidence(x), gm.grad_log_prob(x)
        assert not np.isnan(value).any()
        assert not np.isnan(score).any()
        assert (value < np.inf).all()
        assert not np.isnan(gm.sample(500, key=0, dtype=dtype)).any()


def test_far_rows_feel_their_nearest_component():
    gm = ek.GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.0]], [[4.0, 4.0], [1.0, 1.0]])
    far = np.array([[1e200, -1e200], [3e4, 0.0]])
    assert gm.log_evidence(far)[0] == -np.inf
    np.testing.assert_allclose(gm.grad_log_prob(far), [[-2.5e199, 2.5e199], [-30001 / 4, 0]], rtol=1e-14)


def test_equal_components_do_not_cancel():
    # 1000 copies of one Gaussian are that Gaussian, near its loc and where its density is e^−1e6.
    one = ek.GaussianMixture([1.0], [[0.5, 0.0]], [0.7])
    many = ek.GaussianMixture(np.full(1000, 1e-3), np.tile([[0.5, 0.0]], (1000, 1)), np.full(1000, 0.7))
    x = np.array([[0.5, 0.0], [1.0, -2.0], [1000.0, 700.0]])
    np.testing.assert_allclose(many.log_evidence(x), one.log_evidence(x), rtol=1e-13)
    np.testing.assert_allclose(many.grad_log_prob(x), one.grad_log_prob(x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_mixtures_moments(kind):
    weights, locs, variances = mixture(kind, seed=3)
    gm, n = ek.GaussianMixture(weights, locs, variances), 200_000
    x = gm.sample(n, key=4)
    covariance = np.array([v if np.ndim(v) == 2 else np.diag(np.broadcast_to(v, 4)) for v in variances])
    mean = weights @ locs
    second = np.einsum("k,kij->ij", weights, covariance + locs[:, :, None] * locs[:, None])
    # 5 standard errors, of each entry.
    assert (np.abs(x.mean(0) - mean) <= 5 * x.std(0) / np.sqrt(n)).all()
    products = x[:, :, None] * x[:, None]
    assert (np.abs(products.mean(0) - second) <= 5 * products.std(0) / np.sqrt(n)).all()
    # The component is the first whose cumulative weight is above the row's uniform.
    u = ek.random.uniform((n, 1), key=4, dtype=np.float64)[:, 0]
    eps = ek.random.normal((n, 4), key=4, dtype=np.float64)
    component = np.searchsorted(np.cumsum(gm.weights), u, side="right")
    expected = locs[component] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariance)[component], eps)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-13)


def test_draws_are_pinned():
    gm = ek.GaussianMixture([0.25, 0.75], [[0.0, 0.0], [10.0, -10.0]], [[[1.0, 0.5], [0.5, 2.0]], np.eye(2)])
    np.testing.assert_allclose(gm.sample(6, key=0), PINNED, rtol=0, atol=5e-15)


PINNED = [
    [11.850009162820347, -10.328301880934577],
    [10.94958166050898, -9.63225134523043],
    [8.061277123613415, -11.156287657561604],
    [0.8076883934180675, 1.6917078173862419],
    [-0.8363196086169383, -0.7831652260519362],
    [-1.3890593904320738, -3.364085702634278],
]


@pytest.mark.parametrize("kind", KINDS)
def test_equality_repr_and_pickle(kind):
    gm = ek.GaussianMixture(*mixture(kind))
    again = pickle.loads(pickle.dumps(gm))
    x = np.random.default_rng(1).standard_normal((20, 4))
    assert again == gm
    assert hash(again) == hash(gm)
    assert again.log_evidence(x).tobytes() == gm.log_evidence(x).tobytes()
    assert again.sample(5, key=1).tobytes() == gm.sample(5, key=1).tobytes()
    assert gm != ek.GaussianMixture(*mixture(kind, seed=9))
    assert gm != "a mixture"
    assert repr(gm) == f"GaussianMixture(components=3, columns=4, variances={gm.variances.shape})"


def test_a_mixture_does_not_change():
    weights, locs, variances = mixture("diagonal")
    gm = ek.GaussianMixture(weights, locs, variances)
    before = gm.log_evidence(np.zeros((1, 4)))
    locs += 1
    assert gm.log_evidence(np.zeros((1, 4))) == before
    assert not (gm.locs == locs).any()
    with pytest.raises(AttributeError, match="does not change"):
        gm.locs = locs
    with pytest.raises(AttributeError, match="does not change"):
        del gm.weights
    with pytest.raises(ValueError, match="read-only"):
        gm.variances[0] = 1


@pytest.mark.parametrize(
    ("weights", "locs", "variances", "error", "message"),
    [
        ([0.5, 0.0, 0.5], np.zeros((3, 1)), np.ones(3), ValueError, "weights: .* positive .* component 1"),
        ([0.5, -0.5, 1.0], np.zeros((3, 1)), np.ones(3), ValueError, "weights: .* positive .* component 1"),
        ([0.5, 0.6], np.zeros((2, 1)), np.ones(2), ValueError, "weights: .* sum of 1, got 1.1; divide"),
        ([0.5, np.nan], np.zeros((2, 1)), np.ones(2), ek.NonFiniteError, "weights"),
        ([[0.5, 0.5]], np.zeros((2, 1)), np.ones(2), ek.ShapeError, "weights"),
        (np.zeros(0), np.zeros((0, 1)), np.ones(0), ek.ShapeError, "weights: .* at least one component"),
        ([0.5, 0.5], np.zeros(2), np.ones(2), ek.ShapeError, "locs"),
        ([0.5, 0.5], np.zeros((3, 1)), np.ones(2), ek.ShapeError, "locs: .* 2 rows"),
        ([0.5, 0.5], np.zeros((2, 0)), np.ones(2), ek.ShapeError, "locs: .* at least one column"),
        ([0.5, 0.5], [[0.0], [np.inf]], np.ones(2), ek.NonFiniteError, "locs: .* row 1, column 0"),
        ([0.5, 0.5], np.zeros((2, 3)), np.ones(3), ek.ShapeError, "variances: .*\\(2,\\), \\(2, 3\\) or \\(2, 3, 3\\)"),
        ([0.5, 0.5], np.zeros((2, 3)), np.ones((2, 3, 2)), ek.ShapeError, "variances"),
        ([0.5, 0.5], np.zeros((2, 1)), [1.0, 0.0], ValueError, "variances: .* positive .* component 1"),
        ([0.5, 0.5], np.zeros((2, 2)), [[1, 1], [1, -1]], ValueError, "variances: .* component 1, column 1"),
        ([0.5, 0.5], np.zeros((2, 1)), [1.0, np.nan], ek.NonFiniteError, "variances"),
        (
            [1.0],
            np.zeros((1, 2)),
            [[[1.0, 2.0], [2.0, 1.0]]],
            ValueError,
            "variances: .* positive definite .* column 1",
        ),
        ([1.0], np.zeros((1, 2)), [[[1.0, 0.5], [0.1, 1.0]]], ValueError, "variances: .* symmetric .* component 0"),
        ([1], np.array([[1j]]), [1.0], ek.DtypeError, "locs"),
    ],
)
def test_what_makes_no_mixture_is_named(weights, locs, variances, error, message):
    with pytest.raises(error, match=message):
        ek.GaussianMixture(weights, locs, variances)


def test_float32_weights_are_normalised():
    gm = ek.GaussianMixture(np.full(7, 1 / 7, np.float32), np.zeros((7, 1)), np.ones(7))
    assert abs(gm.weights.sum() - 1) < 1e-15
    assert gm.weights.dtype == np.float64


def test_bad_rows_are_named():
    gm = ek.GaussianMixture(*mixture("diagonal"))
    x = np.zeros((3, 4))
    x[2, 1] = np.nan
    for function in (gm.log_evidence, gm.grad_log_prob):
        with pytest.raises(ek.ShapeError, match=r"X: expected \(rows, 4\)"):
            function(np.zeros((3, 5)))
        with pytest.raises(ek.NonFiniteError, match=r"X: .* row 2, column 1"):
            function(x)
        with pytest.raises(ek.DtypeError):
            function(np.zeros((3, 4), np.float16))
    assert gm.log_evidence(np.zeros((0, 4))).shape == (0,)
    assert gm.grad_log_prob(np.zeros((0, 4))).shape == gm.sample(0, key=0).shape == (0, 4)
    out = np.empty(3)
    assert gm.log_evidence(np.ones((3, 4)), out=out) is out
    assert out.tobytes() == gm.log_evidence(np.ones((3, 4))).tobytes()


def test_memory_does_not_grow_with_the_components():
    k, d, n = 200, 8, 20_000
    gm = ek.GaussianMixture(np.full(k, 1 / k), np.random.default_rng(0).standard_normal((k, d)), np.ones(k))
    x = np.zeros((n, d))
    tracemalloc.start()
    gm.log_evidence(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * n * 8


# The mixture as a prior.


def posterior(dtype=np.float64, batch=6, d=4):
    rng = np.random.default_rng(8)
    return ek.GaussianParams(*(rng.standard_normal((batch, d)).astype(dtype) * s for s in (1, 0.5)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_monte_carlo_kl_is_the_mean_of_its_terms(dtype):
    loc, log_var = posterior(dtype)
    gm = ek.GaussianMixture(*mixture("full"))
    value, error = ek.gaussian.kl_monte_carlo(loc, log_var, gm, key=5, num_particles=500, first_row=9)
    z, log_posterior = ek.gaussian.rsample_and_log_prob(loc, log_var, key=5, num_particles=500, first_row=9)
    terms = (log_posterior - gm.log_evidence(z.reshape(-1, 4)).reshape(500, 6)).astype(np.float64)
    assert value.dtype == error.dtype == dtype
    # Measured maxima: 6e-8 in float32, 3e-15 in float64, where the mean is taken in another order.
    rtol = 1e-14 if dtype == np.float64 else 1e-7
    np.testing.assert_allclose(value, terms.mean(0), rtol=rtol)
    np.testing.assert_allclose(error, terms.std(0, ddof=1) / np.sqrt(500), rtol=rtol)


def test_monte_carlo_kl_agrees_with_the_exact_one():
    loc, log_var = posterior()
    p_loc, p_log_var = np.full(4, 0.3), np.full(4, -0.2)
    exact = ek.gaussian.kl(loc, log_var, p_loc, p_log_var)
    mixture_of_one = ek.GaussianMixture([1.0], p_loc[None], np.exp(p_log_var)[None])
    for prior in (mixture_of_one, ek.GaussianParams(p_loc, p_log_var)):
        value, error = ek.gaussian.kl_monte_carlo(loc, log_var, prior, key=1, num_particles=20_000)
        assert (error < 0.05).all()
        assert (np.abs(value - exact) <= 5 * error).all()
    # One particle has no standard error, and its estimate may be negative.
    values, error = ek.gaussian.kl_monte_carlo(
        np.zeros((500, 4)), np.full((500, 4), -0.1), standard(), key=1, num_particles=1
    )
    assert (error == np.inf).all()
    assert (values < 0).any()


def standard():
    return ek.GaussianMixture([1.0], np.zeros((1, 4)), [1.0])


def test_monte_carlo_kl_streams():
    loc, log_var = np.zeros((64, 32)), np.zeros((64, 32))
    prior = ek.GaussianMixture([1.0], np.zeros((1, 32)), [1.0])
    tracemalloc.start()
    ek.gaussian.kl_monte_carlo(loc, log_var, prior, key=0, num_particles=2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 32 * 2000 * 8 / 4


def test_a_draw_beyond_the_range_has_no_density():
    loc, log_var = np.zeros((1, 1), np.float32), np.full((1, 1), 1e4, np.float32)
    prior = ek.GaussianMixture([1.0], [[0.0]], [1.0])
    value, error = ek.gaussian.kl_monte_carlo(loc, log_var, prior, key=0, num_particles=50)
    assert value == error == np.inf


@pytest.mark.parametrize(
    ("prior", "error", "message"),
    [
        (ek.GaussianMixture([1.0], [[0.0]], [1.0]), ek.ShapeError, "prior: expected 4 columns like loc, got 1"),
        ((np.zeros(4), np.zeros(4)), ValueError, "prior: expected a GaussianMixture or GaussianParams"),
        (None, ValueError, "prior: expected a GaussianMixture or GaussianParams"),
        (ek.GaussianParams(np.zeros(3), np.zeros(3)), ek.ShapeError, "prior_loc"),
    ],
)
def test_a_prior_that_does_not_fit_is_named(prior, error, message):
    with pytest.raises(error, match=message):
        ek.gaussian.kl_monte_carlo(*posterior(), prior, key=0, num_particles=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_takes_a_mixture_as_prior(dtype):
    post, gm = posterior(dtype), ek.GaussianMixture(*mixture("full"))
    x = np.random.default_rng(2).standard_normal((6, 4))
    likelihood = ek.likelihood.Gaussian(0.7)
    options = {"key": 3, "num_particles": 300, "prior": gm}
    terms = ek.elbo(x, post, lambda z: z, likelihood, kl="monte_carlo", first_row=2, **options)
    value, _ = ek.gaussian.kl_monte_carlo(*post, gm, key=3, num_particles=300, first_row=2)
    assert terms.kl.tobytes() == value.tobytes()
    weights = ek.log_weights(x, post, lambda z: z, likelihood, **options)
    again = ek.elbo(x, post, lambda z: z, likelihood, kl="monte_carlo", **options)
    np.testing.assert_allclose(weights.mean(0), again.elbo, rtol=1e-5 if dtype == np.float32 else 1e-13)
    # p(x) of a mixture seen through Gaussian noise is a mixture: IWAE comes up to it.
    evidence = ek.GaussianMixture(gm.weights, gm.locs, gm.variances + 0.49 * np.eye(4)).log_evidence(x)
    assert (again.elbo < evidence + 4 * again.standard_error).all()


def test_with_exact_posterior_and_mixture_prior_every_weight_is_the_evidence():
    # One component, so that the posterior is Gaussian.
    prior = ek.GaussianMixture([1.0], [[0.4]], [2.0])
    x = np.array([[0.3], [-2.0]])
    precision = 1 / 2 + 1
    post = ek.GaussianParams((0.4 / 2 + x) / precision, np.full((2, 1), -np.log(precision)))
    weights = ek.log_weights(x, post, lambda z: z, ek.likelihood.Gaussian(1.0), key=0, num_particles=50, prior=prior)
    expected = ek.GaussianMixture([1.0], [[0.4]], [3.0]).log_evidence(x)
    np.testing.assert_allclose(weights, np.tile(expected, (50, 1)), rtol=0, atol=1e-14)


def test_an_analytic_divergence_to_a_mixture_is_refused_with_the_cure():
    x, likelihood = np.zeros((6, 4)), ek.likelihood.Gaussian(1.0)
    with pytest.raises(ValueError, match='give kl="monte_carlo"'):
        ek.elbo(x, posterior(), lambda z: z, likelihood, key=0, prior=standard())
    narrow = ek.GaussianMixture([1.0], [[0.0]], [1.0])
    with pytest.raises(ek.ShapeError, match="prior: expected 4 columns"):
        ek.elbo(x, posterior(), lambda z: z, likelihood, key=0, prior=narrow, kl="monte_carlo")
