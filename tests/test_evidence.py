"""The bound of models whose evidence is known: the identity, the shortfall, missing cells, what a decoder may do."""

import itertools
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest

import elbokit as ek

DTYPES = (np.float32, np.float64)
FORMS = ("analytic", "monte_carlo")


class LinearGaussian(NamedTuple):
    """p(x | z) = N(W z + b, σ² I) with orthogonal columns of W, so that the exact posterior is diagonal."""

    W: np.ndarray
    b: np.ndarray
    scale: float
    prior: ek.GaussianParams

    def log_evidence(self, x):
        covariance = self.W * np.exp(self.prior.log_var) @ self.W.T + self.scale**2 * np.eye(len(self.b))
        off = x - self.b - self.W @ self.prior.loc
        _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (np.einsum("ij,ij->i", off, np.linalg.solve(covariance, off.T).T) + log_det)

    def posterior(self, x):
        prior_precision = np.exp(-self.prior.log_var)
        precision = prior_precision + (self.W**2).sum(axis=0) / self.scale**2
        loc = (prior_precision * self.prior.loc + (x - self.b) @ self.W / self.scale**2) / precision
        return ek.GaussianParams(loc, np.broadcast_to(-np.log(precision), loc.shape))

    def decoder(self, z):
        return (z @ self.W.T.astype(z.dtype) + self.b.astype(z.dtype)).astype(z.dtype)

    @property
    def likelihood(self):
        return ek.likelihood.Gaussian(self.scale)


def model(seed=0, latent=3, features=6, standard=True):
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((features, latent)))[0] * [2.0, 1.0, 0.3][:latent]
    loc, log_var = (np.zeros(latent),) * 2 if standard else (rng.standard_normal(latent), rng.standard_normal(latent))
    return LinearGaussian(W, rng.standard_normal(features), 0.5, ek.GaussianParams(loc, log_var))


def rows(of, n, seed=1):
    rng = np.random.default_rng(seed)
    z = of.prior.loc + np.exp(of.prior.log_var / 2) * rng.standard_normal((n, len(of.prior.loc)))
    return of.decoder(z) + of.scale * rng.standard_normal((n, len(of.b)))


def wrong(post):
    """A posterior that is off in place and width, by row."""
    return ek.GaussianParams(post.loc + 0.4, post.log_var + np.linspace(-0.5, 0.8, len(post.loc))[:, None])


def divergence(q, p):
    """KL(q ‖ p), straight from the definition."""
    ratio = np.exp(q.log_var - p.log_var)
    return 0.5 * (ratio - 1 - np.log(ratio) + (q.loc - p.loc) ** 2 * np.exp(-p.log_var)).sum(axis=1)


@pytest.mark.parametrize("standard", [True, False])
def test_with_the_exact_posterior_every_draw_is_the_log_evidence(standard):
    lg = model(standard=standard)
    x = rows(lg, 9)
    post, expected = lg.posterior(x), lg.log_evidence(x)
    prior = None if standard else lg.prior
    # Measured maximum: 1.1e-14.
    for key in range(50):
        terms = ek.elbo(x, post, lg.decoder, lg.likelihood, key=key, kl="monte_carlo", prior=prior)
        np.testing.assert_allclose(terms.elbo, expected, rtol=0, atol=1e-13)
        assert (terms.standard_error == np.inf).all()
    weights = ek.log_weights(x, post, lg.decoder, lg.likelihood, key=0, num_particles=200, prior=prior)
    assert weights.shape == (200, 9)
    np.testing.assert_allclose(weights, np.tile(expected, (200, 1)), rtol=0, atol=1e-13)
    terms = ek.elbo(x, post, lg.decoder, lg.likelihood, key=0, num_particles=200, kl="monte_carlo", prior=prior)
    assert (terms.standard_error < 1e-14).all()
    np.testing.assert_allclose(ek.bounds.iwae(weights), expected, rtol=0, atol=1e-13)


def test_the_identity_holds_in_float32():
    lg = model()
    x = rows(lg, 9).astype(np.float32)
    post = ek.GaussianParams(*(part.astype(np.float32) for part in lg.posterior(x)))
    expected = lg.log_evidence(x.astype(np.float64))
    weights = ek.log_weights(x, post, lg.decoder, lg.likelihood, key=0, num_particles=200)
    assert weights.dtype == np.float32
    # Measured maximum: 3.8e-6, from the decoder's product and the posterior's rounding.
    np.testing.assert_allclose(weights, np.tile(expected, (200, 1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("standard", [True, False])
def test_with_a_wrong_posterior_the_shortfall_is_its_divergence(form, standard):
    lg = model(standard=standard)
    x = rows(lg, 12)
    exact = lg.posterior(x)
    q = wrong(exact)
    prior = None if standard else lg.prior
    terms = ek.elbo(x, q, lg.decoder, lg.likelihood, key=3, num_particles=4000, kl=form, prior=prior)
    assert (terms.standard_error < 0.1).all()
    shortfall, gap = lg.log_evidence(x) - terms.elbo, divergence(q, exact)
    assert (gap > 0.1).all()
    assert (np.abs(shortfall - gap) <= 5 * terms.standard_error).all()


def test_one_unknown_of_fixture_one():
    # μ ~ N(1.5, 1), y = (1.6, 1.4), y ~ N(μ, 1), q = N(1.88, 1), on 20000 rows that draw each their own particles.
    n = 20_000
    x = np.tile([1.6, 1.4], (n, 1))
    prior, q = (
        ek.GaussianParams(np.array([1.5]), np.array([0.0])),
        ek.GaussianParams(np.full((n, 1), 1.88), np.zeros((n, 1))),
    )

    def decoder(z):
        return np.repeat(z, 2, axis=1)

    one = ek.likelihood.Gaussian(1.0)
    exact = ek.GaussianParams(np.full((n, 1), 1.5), np.full((n, 1), -np.log(3.0)))
    weights = ek.log_weights(x, exact, decoder, one, key=0, num_particles=1, prior=prior)
    np.testing.assert_allclose(weights, -2.397183210743, rtol=0, atol=1e-12)
    for form in FORMS:
        bound = ek.elbo(x, q, decoder, one, key=1, kl=form, num_particles=4, prior=prior).elbo
        assert abs(bound.mean() + 3.064477066409) <= 5 * bound.std() / np.sqrt(n)
    for particles, expected in ((5, -2.4525), (10, -2.4222), (50, -2.4018)):
        weights = ek.log_weights(x, q, decoder, one, key=2, num_particles=particles, prior=prior)
        bound = ek.bounds.iwae(weights)
        # The quoted values are themselves good to 0.0004 (one standard error).
        assert abs(bound.mean() - expected) <= 5 * np.hypot(bound.std() / np.sqrt(n), 0.0004)


def test_both_forms_agree_and_share_their_draws():
    lg = model()
    x = rows(lg, 20)
    q = wrong(lg.posterior(x))
    a, b = (ek.elbo(x, q, lg.decoder, lg.likelihood, key=5, num_particles=2000, kl=form) for form in FORMS)
    assert (np.abs(a.elbo - b.elbo) <= 5 * np.hypot(a.standard_error, b.standard_error)).all()
    assert a.reconstruction.tobytes() == b.reconstruction.tobytes()
    assert a.kl.tobytes() == ek.gaussian.kl(*q).tobytes()
    np.testing.assert_allclose(a.elbo, a.reconstruction - a.kl, rtol=1e-15, atol=0)
    np.testing.assert_allclose(b.elbo, b.reconstruction - b.kl, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_weights_are_the_densities_of_the_draws(batch, dtype):
    latent, particles = 7, 50
    rng = np.random.default_rng(8)
    q = ek.GaussianParams(*(rng.standard_normal((batch, latent)).astype(dtype) for _ in range(2)))
    one = ek.GaussianParams(*(rng.standard_normal(latent).astype(dtype) for _ in range(2)))
    each = ek.GaussianParams(*(rng.standard_normal((batch, latent)).astype(dtype) for _ in range(2)))
    x, likelihood = rng.standard_normal((batch, latent)), ek.likelihood.Gaussian()
    z, log_q = ek.gaussian.rsample_and_log_prob(*q, key=4, num_particles=particles)
    log_p_x = likelihood.log_prob(x, z.reshape(-1, latent)).reshape(particles, batch)
    for prior in (None, one, each):
        loc, log_var = (np.zeros_like(q.loc),) * 2 if prior is None else (p + np.zeros_like(q.loc) for p in prior)
        log_p_z = ek.gaussian.log_prob(z, loc, log_var)
        weights = ek.log_weights(x, q, lambda z: z, likelihood, key=4, num_particles=particles, prior=prior)
        scale = np.abs(log_p_x) + np.abs(log_p_z) + np.abs(log_q)
        assert weights.dtype == dtype
        # Three sums' bounds and their differences.
        assert (np.abs(weights - (log_p_x + log_p_z - log_q)) <= 8 * np.finfo(dtype).eps * scale).all()
        terms = ek.elbo(x, q, lambda z: z, likelihood, key=4, num_particles=particles, kl="monte_carlo", prior=prior)
        np.testing.assert_allclose(terms.elbo, weights.mean(axis=0), rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_draw_that_has_left_the_range_weighs_minus_infinity(dtype):
    q = ek.GaussianParams(np.full((2, 3), np.finfo(dtype).max), np.zeros((2, 3), dtype))
    weights = ek.log_weights(np.zeros((2, 3)), q, np.zeros_like, ek.likelihood.Gaussian(), key=0, num_particles=4)
    assert (weights == -np.inf).all()


def test_no_rows_and_no_latents():
    likelihood = ek.likelihood.Gaussian()
    empty = ek.GaussianParams(np.zeros((0, 3)), np.zeros((0, 3)))
    assert ek.log_weights(np.zeros((0, 3)), empty, lambda z: z, likelihood, key=0, num_particles=4).shape == (4, 0)
    q, x = ek.GaussianParams(np.zeros((5, 0)), np.zeros((5, 0))), np.ones((5, 2))
    weights = ek.log_weights(x, q, lambda z: np.zeros((len(z), 2)), likelihood, key=0, num_particles=4)
    np.testing.assert_array_equal(weights, np.tile(likelihood.log_prob(x, np.zeros((5, 2))), (4, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_is_the_mean_log_weight_bit_for_bit(dtype):
    lg = model()
    x = rows(lg, 7).astype(dtype)
    q = ek.GaussianParams(*(part.astype(dtype) for part in wrong(lg.posterior(x))))
    weights = ek.log_weights(x, q, lg.decoder, lg.likelihood, key=6, num_particles=30)
    terms = ek.elbo(x, q, lg.decoder, lg.likelihood, key=6, num_particles=30, kl="monte_carlo")
    value, error = ek.bounds.elbo(weights, return_error=True)
    assert all(part.dtype == dtype for part in (weights, *terms))
    assert value.tobytes() == terms.elbo.tobytes()
    assert error.tobytes() == terms.standard_error.tobytes()
    np.testing.assert_allclose(
        error, weights.std(axis=0, ddof=1) / np.sqrt(30), rtol=1e-5 if dtype == np.float32 else 1e-12
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_partitions_with_first_row_are_the_whole_bit_for_bit(form, dtype):
    lg = model()
    x = rows(lg, 23).astype(dtype)
    x[5, 2] = np.nan
    q = ek.GaussianParams(*(part.astype(dtype) for part in wrong(lg.posterior(rows(lg, 23)))))

    # A decoder whose rows do not depend on their number, as no BLAS promises.
    def decoder(z):
        return (z[:, :, None] * lg.W.T.astype(z.dtype)).sum(axis=1) + lg.b.astype(z.dtype)

    def terms(part):
        return ek.elbo(
            x[part], ek.GaussianParams(q.loc[part], q.log_var[part]), decoder, lg.likelihood, key=9, num_particles=8,
            kl=form, first_row=part.start,
        )  # fmt: skip

    whole = terms(slice(0, 23))
    for cuts in ((0, 1, 23), (0, 7, 14, 21, 23), (0, 11, 11, 23)):
        parts = [terms(slice(a, b)) for a, b in itertools.pairwise(cuts)]
        for field in whole._fields:
            joined = np.concatenate([getattr(part, field) for part in parts])
            assert joined.tobytes() == getattr(whole, field).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_prior_of_one_row_is_that_of_every_row(dtype):
    lg = model(standard=False)
    x = rows(lg, 6).astype(dtype)
    q = ek.GaussianParams(*(part.astype(dtype) for part in lg.posterior(x)))
    prior = ek.GaussianParams(*(part.astype(dtype) for part in lg.prior))
    each = ek.GaussianParams(*(np.tile(part, (6, 1)) for part in prior))
    for form in FORMS:
        a, b = (
            ek.elbo(x, q, lg.decoder, lg.likelihood, key=1, num_particles=3, kl=form, prior=p) for p in (prior, each)
        )
        assert [part.tobytes() for part in a] == [part.tobytes() for part in b]
        with pytest.raises(ek.ShapeError, match=r"^prior_loc: expected .+, got .+; "):
            ek.elbo(
                x, q, lg.decoder, lg.likelihood, key=1, kl=form, prior=ek.GaussianParams(prior.loc[None], prior.log_var)
            )
        with pytest.raises(ek.NonFiniteError) as caught:
            ek.elbo(
                x,
                q,
                lg.decoder,
                lg.likelihood,
                key=1,
                kl=form,
                prior=ek.GaussianParams(prior.loc * dtype(np.nan), prior.log_var),
            )
        assert (caught.value.argument, caught.value.row, caught.value.column) == ("prior_loc", 0, 0)
    wrong_type = np.float64 if dtype is np.float32 else np.float32
    with pytest.raises(ek.DtypeError, match=r"^prior_loc: expected float"):
        ek.elbo(x, q, lg.decoder, lg.likelihood, key=1, prior=ek.GaussianParams(*(p.astype(wrong_type) for p in prior)))


@pytest.mark.parametrize("form", FORMS)
def test_missing_cells_leave_the_bound_of_the_observed_ones(form):
    lg = model()
    x = rows(lg, 8)
    q = wrong(lg.posterior(x))
    mask = np.random.default_rng(3).random(x.shape) < 0.5
    mask[2] = False
    got = ek.elbo(x, q, lg.decoder, lg.likelihood, key=1, num_particles=5, kl=form, mask=mask)
    assert got.reconstruction[2] == 0
    if form == "analytic":
        assert got.elbo[2] == -got.kl[2] == -ek.gaussian.kl(*q)[2]
        assert got.standard_error[2] == 0
    else:
        np.testing.assert_allclose(got.elbo[2], -got.kl[2], rtol=1e-14)
    for fill in (np.nan, 1e300, np.inf):
        filled = ek.elbo(
            np.where(mask, x, fill), q, lg.decoder, lg.likelihood, key=1, num_particles=5, kl=form, mask=mask
        )
        assert [part.tobytes() for part in filled] == [part.tobytes() for part in got]
    unmasked = ek.elbo(np.where(mask, x, np.nan), q, lg.decoder, lg.likelihood, key=1, num_particles=5, kl=form)
    assert [part.tobytes() for part in unmasked] == [part.tobytes() for part in got]
    # With one column seen everywhere, the bound is that of the column alone.
    seen = np.zeros_like(mask)
    seen[:, 4] = True
    one = LinearGaussian(lg.W[[4]], lg.b[[4]], lg.scale, lg.prior)
    a = ek.elbo(x, q, lg.decoder, lg.likelihood, key=1, num_particles=5, kl=form, mask=seen)
    b = ek.elbo(x[:, [4]], q, one.decoder, one.likelihood, key=1, num_particles=5, kl=form)
    np.testing.assert_allclose(a.elbo, b.elbo, rtol=1e-12)


@pytest.mark.parametrize("likelihood", [ek.likelihood.Bernoulli(), ek.likelihood.Binomial(16)], ids=repr)
def test_other_likelihoods_bound_the_evidence_by_quadrature(likelihood):
    # One latent: the evidence is an integral that 2001 nodes give to rounding.
    rng = np.random.default_rng(4)
    w, b = rng.standard_normal((2, 1, 5))
    x = rng.binomial(getattr(likelihood, "total_count", 1), 0.4, (6, 5))
    nodes = np.linspace(-10, 10, 2001)[:, None]
    log_joint = likelihood.log_prob(np.repeat(x, 2001, axis=0), np.tile(nodes * w + b, (6, 1))).reshape(6, 2001)
    log_joint += -0.5 * (nodes[:, 0] ** 2 + np.log(2 * np.pi))
    evidence = np.log(np.exp(log_joint).sum(axis=1) * 0.01)
    q = ek.GaussianParams(rng.standard_normal((6, 1)) * 0.1, np.full((6, 1), -0.2))
    weights = ek.log_weights(x, q, lambda z: z * w + b, likelihood, key=1, num_particles=20_000)
    terms = ek.elbo(x, q, lambda z: z * w + b, likelihood, key=1, num_particles=20_000)
    value, error = ek.bounds.iwae(weights, return_error=True)
    assert (np.abs(value - evidence) <= 5 * error + 1e-6).all()
    assert (terms.elbo - 5 * terms.standard_error < evidence).all()


# The decoder.


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_decoder_gets_the_draws_of_rsample_particle_by_particle_in_blocks(dtype):
    batch, latent, particles = 300, 7, 1200
    q = ek.GaussianParams(np.ones((batch, latent), dtype), np.zeros((batch, latent), dtype))
    seen = []

    def decoder(z):
        assert z.dtype == dtype
        assert z.flags.c_contiguous
        seen.append(z.copy())
        return z[:, :1]

    terms = ek.elbo(
        np.zeros((batch, 1)), q, decoder, ek.likelihood.Gaussian(), key=2, num_particles=particles, first_row=5
    )
    assert len(seen) > 1
    assert all(z.shape[0] % batch == 0 and z.size <= 1 << 18 for z in seen)
    whole = ek.gaussian.rsample(*q, key=2, num_particles=particles, first_row=5)
    assert np.concatenate(seen).tobytes() == whole.tobytes()
    expected = ek.likelihood.Gaussian().log_prob(np.zeros((batch, 1)), whole.reshape(-1, latent)[:, :1])
    expected = expected.reshape(particles, batch).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(terms.reconstruction, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_many_particles_stream(form):
    # 4000 particles of 256 rows and 16 latents are 131 MB of z; measured peak: 4.7 MB.
    q = ek.GaussianParams(np.zeros((256, 16)), np.zeros((256, 16)))
    x = np.zeros((256, 1))
    tracemalloc.start()
    try:
        ek.elbo(x, q, lambda z: z[:, :1].copy(), ek.likelihood.Gaussian(), key=0, num_particles=4000, kl=form)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


@pytest.mark.parametrize("form", FORMS)
def test_a_decoder_may_write_over_its_z(form):
    lg = model()
    x = rows(lg, 4)
    q = lg.posterior(x)

    def overwriting(z):
        params = lg.decoder(z)
        z[:] = np.nan
        return params

    a, b = (
        ek.elbo(x, q, decoder, lg.likelihood, key=1, num_particles=3, kl=form) for decoder in (lg.decoder, overwriting)
    )
    assert [part.tobytes() for part in a] == [part.tobytes() for part in b]


def test_a_decoder_may_return_anything_that_is_an_array_of_floats():
    lg = model()
    x = rows(lg, 4)
    q = lg.posterior(x)
    expected = ek.elbo(x, q, lg.decoder, lg.likelihood, key=1)
    for change in (
        np.asfortranarray,
        lambda p: p.tolist(),
        lambda p: np.repeat(p, 2, axis=1)[:, ::2],
        lambda p: p.astype(">f8"),
    ):
        got = ek.elbo(x, q, lambda z, change=change: change(lg.decoder(z)), lg.likelihood, key=1)
        assert [part.tobytes() for part in got] == [part.tobytes() for part in expected]


@pytest.mark.parametrize(
    ("returns", "error", "message"),
    [
        (lambda z: z[:-1], ek.ShapeError, r"^params: expected 8 rows from the decoder, got shape \(7, 2\); return"),
        (lambda z: z[:4], ek.ShapeError, r"^params: expected 8 rows from the decoder, got shape \(4, 2\); return"),
        (lambda z: z[0], ek.ShapeError, r"^params: expected 8 rows from the decoder, got shape \(2,\); return"),
        (lambda z: z[None], ek.ShapeError, r"^params: expected 8 rows from the decoder, got shape \(1, 8, 2\); return"),
        (lambda z: z[:, :1], ek.ShapeError, r"^params: expected \(.+, 2\) for x .+, got shape \(8, 1\); "),
        (lambda z: z.astype(np.float32), ek.DtypeError, r"^params: expected float64 like z, got float32; convert"),
        (lambda z: z.astype(np.float16), ek.DtypeError, r"^params: expected float32 or float64, got float16; convert"),
        (lambda z: z.astype(int), ek.DtypeError, r"^params: expected float32 or float64, got int64; convert"),
        (lambda z: z + 0j, ek.DtypeError, r"^params: expected float32 or float64, got complex128; convert"),
        (lambda z: None, ek.DtypeError, r"^params: expected float32 or float64, got object; convert"),  # noqa: ARG005
    ],
)
def test_what_a_decoder_must_not_return_names_params(returns, error, message):
    q = ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 2)))
    for form in FORMS:
        with pytest.raises(error, match=message) as caught:
            ek.elbo(np.zeros((4, 2)), q, returns, ek.likelihood.Gaussian(), key=0, num_particles=2, kl=form)
        assert caught.value.argument == "params"
    with pytest.raises(error, match=message):
        ek.log_weights(np.zeros((4, 2)), q, returns, ek.likelihood.Gaussian(), key=0, num_particles=2)


def test_a_nan_from_the_decoder_is_named():
    q = ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 2)))

    def decoder(z):
        params = z.copy()
        params[6, 1] = np.nan
        return params

    with pytest.raises(ek.NonFiniteError) as caught:
        ek.elbo(np.zeros((4, 2)), q, decoder, ek.likelihood.Gaussian(), key=0, num_particles=2)
    assert (caught.value.argument, caught.value.row, caught.value.column) == ("params", 6, 1)


def test_what_a_decoder_raises_comes_through_as_it_is():
    raised = ZeroDivisionError("mine")

    def decoder(_):
        raise raised

    q = ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 2)))
    for call in (ek.elbo, ek.log_weights):
        with pytest.raises(ZeroDivisionError) as caught:
            call(np.zeros((4, 2)), q, decoder, ek.likelihood.Gaussian(), key=0, num_particles=2)
        assert caught.value is raised
        assert caught.value.__cause__ is None


# The other arguments.


def never(_):
    raise AssertionError("a bad argument is found before the decoder runs")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((3, 2))}, ek.ShapeError, "^x: "),
        ({"x": np.zeros(4)}, ek.ShapeError, "^x: "),
        ({"x": np.zeros((4, 2), complex)}, ek.DtypeError, "^x: "),
        ({"post": ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 2), np.float32))}, ek.DtypeError, "^log_var: "),
        ({"post": ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 1)))}, ek.ShapeError, "^log_var: "),
        ({"post": ek.GaussianParams(np.zeros((4, 2)), np.full((4, 2), np.inf))}, ek.NonFiniteError, "^log_var: "),
        ({"post": ek.GaussianParams(np.full((4, 2), np.nan), np.zeros((4, 2)))}, ek.NonFiniteError, "^loc: "),
        ({"mask": np.ones((4, 2), int)}, ek.DtypeError, "^mask: "),
        ({"mask": np.ones((4, 1), bool)}, ek.ShapeError, "^mask: "),
        ({"prior": ek.GaussianParams(np.zeros(3), np.zeros(3))}, ek.ShapeError, "^prior_loc: "),
        ({"num_particles": 0}, ValueError, "^num_particles: "),
        ({"num_particles": 1.5}, ValueError, "^num_particles: "),
        ({"key": -1}, ValueError, "^key: "),
        ({"key": None}, ValueError, "^key: "),
        ({"first_row": -1}, ValueError, "^first_row: "),
        ({"first_row": 2**64}, ValueError, "^first_row: "),
        ({"kl": "exact"}, ValueError, '^kl: expected "analytic" or "monte_carlo", got \'exact\'; '),
    ],
)
def test_a_bad_argument_is_named_before_the_decoder_runs(change, error, message):
    arguments = {
        "x": np.zeros((4, 2)),
        "post": ek.GaussianParams(np.zeros((4, 2)), np.zeros((4, 2))),
        "decoder": never,
        "likelihood": ek.likelihood.Gaussian(),
        "key": 0,
        "num_particles": 1,
    }
    for form in FORMS:
        with pytest.raises(error, match=message):
            ek.elbo(**{**arguments, "kl": form, **change})
    if not change.keys() & {"kl", "first_row"}:
        with pytest.raises(error, match=message):
            ek.log_weights(**{**arguments, **change})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_and_one_row(form, dtype):
    lg = model()
    for batch in (0, 1):
        x = rows(lg, batch).astype(dtype)
        q = ek.GaussianParams(*(part.astype(dtype) for part in lg.posterior(x)))
        terms = ek.elbo(x, q, lg.decoder, lg.likelihood, key=1, num_particles=2, kl=form)
        assert all(part.shape == (batch,) and part.dtype == dtype for part in terms)
        assert ek.log_weights(x, q, lg.decoder, lg.likelihood, key=1, num_particles=2).shape == (2, batch)
    assert terms._fields == ("elbo", "reconstruction", "kl", "standard_error")


def test_one_particle_has_an_infinite_standard_error():
    lg = model()
    x = rows(lg, 3)
    for form in FORMS:
        terms = ek.elbo(x, lg.posterior(x), lg.decoder, lg.likelihood, key=1, kl=form)
        assert (terms.standard_error == np.inf).all()


def test_draws_past_the_range_weigh_nothing_rather_than_fail():
    post = ek.GaussianParams(np.zeros((1, 1), np.float32), np.full((1, 1), 200, np.float32))

    def decoder(z):
        return np.clip(z, -1, 1)

    weights = ek.log_weights([[0.0]], post, decoder, ek.likelihood.Gaussian(), key=0, num_particles=8)
    assert not np.isnan(weights).any()
    assert np.isneginf(weights).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_draw_past_the_range_has_probability_zero_whatever_its_decoder_makes_of_it(form, full, dtype):
    # Rows 0 and 2 stay inside.
    loc = np.array([[0, 1], [np.finfo(dtype).max, 0], [2, 3]], dtype)
    spread = np.tile(np.eye(2, dtype=dtype) * np.finfo(dtype).max ** 0.9, (3, 1, 1))
    spread[[0, 2]] = np.eye(2)
    q = ek.MvnParams(loc, spread) if full else ek.GaussianParams(loc, 2 * np.log(spread.diagonal(axis1=1, axis2=2)))
    x = np.zeros((3, 2))

    def decoder(z):
        return np.where(np.isfinite(z), z, np.nan)

    terms = ek.elbo(x, q, decoder, ek.likelihood.Gaussian(), key=0, num_particles=20, kl=form)
    assert terms.elbo[1] == -np.inf
    assert np.isfinite(terms.elbo[[0, 2]]).all()
    weights = ek.log_weights(x, q, decoder, ek.likelihood.Gaussian(), key=0, num_particles=20)
    assert not np.isnan(weights).any()
    assert np.isneginf(weights[:, 1]).any()
    assert np.isfinite(weights[:, [0, 2]]).all()


# A posterior so wide that log q of a draw leaves the range too.
TOP = {dtype: np.finfo(dtype).max for dtype in DTYPES}
PRIORS_OF_THREE = {
    "mixture": ek.GaussianMixture([1.0], np.zeros((1, 3)), [1.0]),
    "full": lambda dtype: ek.MvnParams(np.zeros(3, dtype), np.eye(3, dtype=dtype)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", PRIORS_OF_THREE)
def test_a_draw_without_density_under_the_prior_weighs_nothing_however_little_it_has_under_q(kind, dtype):
    q = ek.GaussianParams(np.zeros((1, 3), dtype), np.full((1, 3), TOP[dtype]))
    prior = PRIORS_OF_THREE[kind]
    given = ([[0.0]], q, lambda z: np.zeros((len(z), 1), dtype), ek.likelihood.Gaussian(1.0))
    options = {"key": 0, "num_particles": 2, "prior": prior(dtype) if callable(prior) else prior}
    terms = ek.elbo(*given, kl="monte_carlo", **options)
    assert (terms.elbo, terms.kl, terms.standard_error) == (-np.inf, np.inf, np.inf)
    assert np.isfinite(terms.reconstruction)
    assert np.isneginf(ek.log_weights(*given, **options)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prior", [None, "diagonal", "full"])
def test_a_mean_of_infinities_of_both_signs_is_the_one_that_lowers_the_bound(prior, dtype):
    # Draws inside the range have a ratio of −∞ and a weight of +∞, those outside the reverse.
    q = ek.GaussianParams(np.zeros((1, 3), dtype), np.full((1, 3), TOP[dtype]))
    log_scale = np.log(TOP[dtype]) * 0.9
    diagonal = ek.GaussianParams(np.zeros(3, dtype), np.full(3, 2 * log_scale, dtype))
    full = ek.MvnParams(np.zeros(3, dtype), np.exp(log_scale).astype(dtype) * np.eye(3, dtype=dtype))
    narrow = ek.GaussianParams(np.zeros((1, 3), dtype), np.zeros((1, 3), dtype))
    post, known = (narrow, None) if prior is None else (q, {"diagonal": diagonal, "full": full}[prior])

    def decoder(z):  # log p(x | z) is +∞ for one half of z, −∞ for the other
        log_var = np.where(z[:, :1] > 0, -TOP[dtype], TOP[dtype])
        return np.hstack([np.zeros((len(z), 4), dtype), np.repeat(log_var, 4, axis=1)])

    likelihood = ek.likelihood.Gaussian("predicted")
    options = {"key": 0, "num_particles": 30, "prior": known}
    terms = ek.elbo(np.zeros((1, 4)), post, decoder, likelihood, kl="monte_carlo", **options)
    assert (terms.elbo, terms.reconstruction, terms.standard_error) == (-np.inf, -np.inf, np.inf)
    assert terms.kl == np.inf or (prior is None and np.isfinite(terms.kl))
    assert not np.isnan(ek.log_weights(np.zeros((1, 4)), post, decoder, likelihood, **options)).any()
    exact = ek.elbo(np.zeros((1, 4)), post, decoder, likelihood, **options)
    assert (exact.elbo, exact.reconstruction) == (-np.inf, -np.inf)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bound_of_infinite_parts_is_minus_infinity(form, dtype):
    q = ek.GaussianParams(np.full((1, 1), TOP[dtype]), np.zeros((1, 1), dtype))

    def decoder(z):  # log p(x | z) = +∞
        return np.tile(np.array([0] * 4 + [-TOP[dtype]] * 4, dtype), (len(z), 1))

    terms = ek.elbo(np.zeros((1, 4)), q, decoder, ek.likelihood.Gaussian("predicted"), key=0, num_particles=3, kl=form)
    assert terms == (-np.inf, np.inf, np.inf, np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_var", [-1e4, -2000.0, -1500.0, -200.0, -100.0, 0.0, 100.0])
def test_a_narrow_posterior_is_as_far_from_a_full_prior_as_from_its_diagonal(log_var, dtype):
    loc, log_vars = np.array([[0.5, -1.0]], dtype), np.array([[log_var, 0.3]], dtype)
    q = ek.GaussianParams(loc, log_vars)
    diagonal = ek.GaussianParams(np.array([1.0, 2.0], dtype), np.log([4.0, 0.25]).astype(dtype))
    full = ek.MvnParams(diagonal.loc, np.diag([2.0, 0.5]).astype(dtype))
    x, likelihood = np.zeros((1, 2)), ek.likelihood.Gaussian()
    expected = ek.elbo(x, q, np.zeros_like, likelihood, key=0, prior=diagonal).kl
    got = ek.elbo(x, q, np.zeros_like, likelihood, key=0, prior=full).kl
    np.testing.assert_allclose(got, expected, rtol=3e-7 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_posterior_wider_than_the_range_is_infinitely_far_from_a_full_prior(dtype):
    q = ek.GaussianParams(np.zeros((1, 1), dtype), np.full((1, 1), 1500, dtype))
    full = ek.MvnParams(np.zeros(1, dtype), np.eye(1, dtype=dtype))
    assert ek.elbo([[0.0]], q, np.zeros_like, ek.likelihood.Gaussian(), key=0, prior=full).kl == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_full_posterior_and_a_diagonal_prior_of_any_width(rows, dtype):
    q = ek.MvnParams(np.zeros((3, 2), dtype), np.tile(np.eye(2, dtype=dtype), (3, 1, 1)))

    def divergence(log_var):
        shape = (2,) if rows == 1 else (rows, 2)
        prior = ek.GaussianParams(np.zeros(shape, dtype), np.full(shape, log_var, dtype))
        return ek.elbo(np.zeros((3, 2)), q, np.zeros_like, ek.likelihood.Gaussian(), key=0, prior=prior).kl

    # ½ Σ (1 / variance − 1 + log_var).
    for log_var in (-5.0, 0.0, 3.0, 200.0, 2000.0, 1e4):
        expected = np.exp(-log_var) - 1 + log_var
        np.testing.assert_allclose(
            divergence(log_var), expected, rtol=3e-7 if dtype == np.float32 else 1e-14, atol=1e-15
        )
    assert (divergence(-2000.0) == np.inf).all()


def test_arguments_of_the_wrong_kind_are_named():
    x, post = np.zeros((1, 1)), ek.GaussianParams(np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="likelihood"):
        ek.elbo(x, post, lambda z: z, "gaussian", key=0)
    with pytest.raises(ValueError, match="post"):
        ek.elbo(x, np.zeros((1, 1)), lambda z: z, ek.likelihood.Gaussian(), key=0)
    with pytest.raises(ValueError, match="decoder"):
        ek.elbo(x, post, 3, ek.likelihood.Gaussian(), key=0)
