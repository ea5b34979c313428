"""The bound of any model: fixture one, agreement with `elbo`, and what a model may return."""

import numpy as np
import pytest

import elbokit as ek

DTYPES = (np.float32, np.float64)
EVIDENCE, ELBO = -2.397183210743, -3.064477066409


def log_joint(z):
    """μ ~ N(1.5, 1), y = (1.6, 1.4), y ~ N(μ, 1)."""
    squares = (z - 1.5) ** 2 + (z - 1.6) ** 2 + (z - 1.4) ** 2
    return (-0.5 * squares - 1.5 * np.log(2 * np.pi)).sum(axis=1)


def one_row(loc, variance, dtype=np.float64):
    return ek.GaussianParams(np.array([[loc]], dtype), np.array([[np.log(variance)]], dtype))


def test_fixture_one():
    for key in range(20):
        terms = ek.elbo_joint(log_joint, one_row(1.5, 1 / 3), key=key)
        assert abs(terms.elbo[0] - EVIDENCE) < 1e-12
        assert terms.standard_error[0] == np.inf
    terms = ek.elbo_joint(log_joint, one_row(1.88, 1.0), key=0, num_particles=400_000)
    assert abs(terms.elbo[0] - ELBO) <= 5 * terms.standard_error[0]
    assert terms.standard_error[0] < 0.003
    np.testing.assert_allclose(terms.elbo, terms.log_joint + terms.entropy, rtol=1e-12)
    assert abs(terms.entropy[0] - 0.5 * np.log(2 * np.pi * np.e)) < 0.01
    weights = ek.log_weights_joint(log_joint, one_row(1.88, 1.0), key=0, num_particles=400_000)
    assert weights.shape == (400_000, 1)
    for a, b in zip(ek.bounds.elbo(weights, return_error=True), (terms.elbo, terms.standard_error), strict=True):
        assert a.tobytes() == b.tobytes()
    value, error = ek.bounds.iwae(weights, return_error=True)
    assert abs(value[0] - EVIDENCE) <= 5 * error[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("full", [False, True])
def test_it_is_elbo_of_the_same_model(full, dtype):
    rng = np.random.default_rng(0)
    batch, latent, particles = 5, 3, 400
    x = rng.standard_normal((batch, latent)).astype(dtype)
    loc = rng.standard_normal((batch, latent)).astype(dtype)
    post = ek.GaussianParams(loc, rng.standard_normal((batch, latent)).astype(dtype))
    if full:
        tril = (np.tril(rng.standard_normal((batch, latent, latent)), -1) + np.eye(latent)).astype(dtype)
        post = ek.MvnParams(loc, tril)
    likelihood = ek.likelihood.Gaussian(0.7)

    def model(z):
        rows = np.tile(x, (len(z) // batch, 1))
        zero = np.zeros_like(z)
        return likelihood.log_prob(rows, z) + ek.gaussian.log_prob(z, zero, zero)

    terms = ek.elbo_joint(model, post, key=3, num_particles=particles, first_row=2)
    expected = ek.elbo(x, post, lambda z: z, likelihood, key=3, num_particles=particles, kl="monte_carlo", first_row=2)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert all(part.shape == (batch,) and part.dtype == dtype for part in terms)
    np.testing.assert_allclose(terms.elbo, expected.elbo, rtol=tolerance)
    np.testing.assert_allclose(terms.standard_error, expected.standard_error, rtol=10 * tolerance)


def test_draws_stream_in_blocks_that_are_rsamples():
    post = ek.GaussianParams(np.zeros((300, 7)), np.zeros((300, 7)))
    seen = []

    def model(z):
        seen.append(z.copy())
        return z[:, 0].copy()

    terms = ek.elbo_joint(model, post, key=2, num_particles=300)
    assert len(seen) > 1
    whole = ek.gaussian.rsample(*post, key=2, num_particles=300)
    assert np.concatenate(seen).tobytes() == whole.tobytes()
    np.testing.assert_allclose(terms.log_joint, whole[:, :, 0].mean(axis=0), rtol=1e-9, atol=1e-12)


def test_a_draw_may_be_ruled_out_or_leave_the_range():
    half = ek.log_weights_joint(
        lambda z: np.where(z[:, 0] > 0, 0.0, -np.inf), one_row(0, 1.0), key=0, num_particles=200
    )
    assert 50 < np.isneginf(half).sum() < 150
    assert ek.elbo_joint(lambda z: np.where(z[:, 0] > 0, 0.0, -np.inf), one_row(0, 1.0), key=0, num_particles=50)[
        0
    ] == [-np.inf]
    far = ek.GaussianParams(np.full((1, 1), np.finfo(np.float64).max), np.full((1, 1), 1400.0))
    weights = ek.log_weights_joint(lambda z: -np.abs(z[:, 0]), far, key=0, num_particles=50)
    assert not np.isnan(weights).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_the_model_rules_out_weighs_nothing_however_little_density_q_gives_it(dtype):
    top = np.finfo(dtype).max
    wide = ek.GaussianParams(np.zeros((1, 3), dtype), np.full((1, 3), top))

    def nothing(z):
        return np.full(len(z), -np.inf, dtype)

    terms = ek.elbo_joint(nothing, wide, key=0, num_particles=3)
    assert terms == (-np.inf, -np.inf, np.inf, np.inf)
    assert np.isneginf(ek.log_weights_joint(nothing, wide, key=0, num_particles=3)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mean_of_weights_past_both_ends_is_minus_infinity(dtype):
    top = np.finfo(dtype).max
    wide = ek.GaussianParams(np.zeros((1, 1), dtype), np.full((1, 1), top))

    def flat(z):
        return np.full(len(z), top)

    weights = ek.log_weights_joint(flat, wide, key=0, num_particles=30)
    assert set(weights[:, 0]) == {-np.inf, np.inf}
    terms = ek.elbo_joint(flat, wide, key=0, num_particles=30)
    assert (terms.elbo, terms.standard_error) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("returns", "error", "message"),
    [
        (lambda z: z, ek.ShapeError, r"^log_joint: expected shape \(4,\), one .+, got shape \(4, 2\); sum"),
        (lambda z: z.sum(), ek.ShapeError, r"^log_joint: expected shape \(4,\), .+ got shape \(\); sum"),
        (lambda z: z[:, 0].astype(np.float32), ek.DtypeError, r"^log_joint: expected float64 like z, got float32"),
        (lambda z: np.full(len(z), np.nan), ek.NonFiniteError, r"^log_joint: .+ got nan for row 0 of z; look"),
        (
            lambda z: np.where(np.arange(4) == 2, np.inf, z[:, 0]),
            ek.NonFiniteError,
            r"^log_joint: .+ got inf for row 2",
        ),
    ],
)
def test_what_a_model_must_not_return(returns, error, message):
    post = ek.GaussianParams(np.zeros((2, 2)), np.zeros((2, 2)))
    for call in (ek.elbo_joint, ek.log_weights_joint):
        with pytest.raises(error, match=message) as caught:
            call(returns, post, key=0, num_particles=2)
        assert caught.value.argument == "log_joint"


def test_bad_arguments_are_named_before_the_model_runs():
    def never(_):
        raise AssertionError("a bad argument is found before the model runs")

    good = ek.GaussianParams(np.zeros((2, 2)), np.zeros((2, 2)))
    bad = ek.GaussianParams(np.zeros((2, 2)), np.full((2, 2), np.nan))
    for model, post, options, message in (
        (3, good, {"num_particles": 1}, "^log_joint: expected a function"),
        (never, np.zeros((2, 2)), {"num_particles": 1}, "^post: "),
        (never, bad, {"num_particles": 1}, "^log_var: "),
        (never, good, {"num_particles": 0}, "^num_particles: "),
    ):
        for call in (ek.elbo_joint, ek.log_weights_joint):
            with pytest.raises(ValueError, match=message):
                call(model, post, key=0, **options)
    empty = ek.GaussianParams(np.zeros((0, 2)), np.zeros((0, 2)))
    assert ek.elbo_joint(lambda z: z[:, 0], empty, key=0).elbo.shape == (0,)
