"""Full-covariance Gaussians against their formulas in 60 digits, gradients against differences, draws, the bound."""

import itertools
import re

import numpy as np
import pytest
import reference
from reference import Exact, exact, log, mp

import elbokit as ek

DTYPES = (np.float32, np.float64)
BOUND = reference.BOUND
FORMS = ("analytic", "monte_carlo")


def triangles(rng, rows, width, spread):
    off = rng.standard_normal((rows, width, width)) / np.sqrt(width)
    diagonal = np.exp(spread * rng.standard_normal((rows, width)))
    return np.tril(off * diagonal[:, :, None], -1) + diagonal[:, :, None] * np.eye(width)


def arrays(seed, dtype, rows, width, spread=0.7):
    """z, loc, scale_tril, prior_loc, prior_scale_tril of ordinary size and condition."""
    rng = np.random.default_rng(seed)
    z, loc, prior_loc = (rng.standard_normal((rows, width)) * s for s in (3, 2, 2))
    scale_tril, prior_scale_tril = (triangles(rng, rows, width, spread) for _ in range(2))
    return tuple(x.astype(dtype) for x in (z, loc, scale_tril, prior_loc, prior_scale_tril))


# The formulas as they are printed in every book, a row at a time.


def inverse(lower):
    n = len(lower)
    result = np.full((n, n), mp.mpf(0))
    for i in range(n):
        result[i, i] = 1 / lower[i, i]
        for j in range(i):
            result[i, j] = -sum(lower[i, k] * result[k, j] for k in range(j, i)) / lower[i, i]
    return result


def reference_kl(loc, tril, prior_loc, prior_tril):
    """½ [tr(Σ₂⁻¹ Σ₁) + Δᵀ Σ₂⁻¹ Δ − d + ln det Σ₂ − ln det Σ₁], and its gradient by the covariances."""
    d = len(loc)
    q, p = exact(tril), exact(prior_tril)
    back = inverse(p)
    precision = back.T @ back
    delta = exact(loc) - exact(prior_loc)
    first, second = q @ q.T, p @ p.T
    logs = sum(log(p[i, i]) - log(q[i, i]) for i in range(d))
    value = ((precision * first).sum() + delta @ precision @ delta - d) / 2 + logs
    d_loc = precision @ delta
    diagonal = np.eye(d, dtype=object)
    lower = np.tril(np.ones((d, d), dtype=object))
    d_tril = lower * (precision @ q - diagonal * inverse(q))
    spread = np.outer(delta, delta) + first - second
    # ∂/∂Σ₂ = −½ P (Σ₁ + ΔΔᵀ − Σ₂) P, and Σ₂ = L₂ L₂ᵀ.
    d_prior_tril = lower * (-(precision @ spread @ precision) @ p)
    return value, d_loc, d_tril, -d_loc, d_prior_tril


def reference_log_prob(z, loc, tril):
    q = exact(tril)
    y = inverse(q) @ (exact(z) - exact(loc))
    return -(y @ y) / 2 - sum(log(q[i, i]) for i in range(len(q))) - len(q) * reference.LN_2PI / 2


def near(got, expected, bound):
    """Within `bound` of the largest of the row's numbers."""
    got, expected = np.ravel(got), np.ravel(expected)
    size = max(*(abs(e) for e in expected), mp.mpf("1e-300"))
    return max(abs(mp.mpf(float(g)) - e) for g, e in zip(got, expected, strict=True)) <= bound * size


def stated(name, dtype):
    """The largest error that the function's docstring states."""
    doc = getattr(ek.mvn, name).__doc__
    found = re.search(r"Largest error measured: (\S+) \(float32\) and (\S+) \(float64\)", doc)
    largest = float(found[1 if dtype == np.float32 else 2])
    # A prior's condition number enters the divergence, whose own bound is a backward one (docs/mvn.md).
    assert name == "kl_grad" or largest <= BOUND[np.dtype(dtype)]
    return largest


@pytest.mark.parametrize("width", [1, 2, 5, 9, 17])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_agree_with_sixty_digits(dtype, width):
    z, loc, tril, prior_loc, prior_tril = arrays(width, dtype, 3, width)
    standard = np.zeros(width), np.eye(width)
    for prior in (None, (prior_loc, prior_tril)):
        arguments = () if prior is None else prior
        results = ek.mvn.kl_grad(loc, tril, *arguments)
        assert len(results) == (3 if prior is None else 5)
        assert results[0].tobytes() == ek.mvn.kl(loc, tril, *arguments).tobytes()
        for row in range(3):
            of = standard if prior is None else (prior_loc[row], prior_tril[row])
            expected = reference_kl(loc[row], tril[row], *of)
            for got, wanted in zip(results, expected, strict=False):
                assert got.dtype == dtype
                assert near(got[row], wanted, stated("kl_grad", dtype))
    log_prob, entropy = ek.mvn.log_prob(z, loc, tril), ek.mvn.entropy(tril)
    for row in range(3):
        assert near(log_prob[row], reference_log_prob(z[row], loc[row], tril[row]), stated("log_prob", dtype))
        logs = sum(log(exact(tril[row])[i, i]) for i in range(width))
        off = abs(mp.mpf(float(entropy[row])) - logs - width * (1 + reference.LN_2PI) / 2)
        assert off <= stated("entropy", dtype) * width * 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_divergence_keeps_its_relative_accuracy_near_the_prior(dtype):
    _, _, _, prior_loc, prior_tril = arrays(5, dtype, 4, 6)
    rng = np.random.default_rng(6)
    for size in (1e-3, 1e-5, 2e-7):
        loc, tril = ((x * (1 + size * rng.uniform(-1, 1, x.shape))).astype(dtype) for x in (prior_loc, prior_tril))
        got = ek.mvn.kl(loc, tril, prior_loc, prior_tril)
        assert (got >= 0).all()
        for row in range(4):
            # Measured maxima: 4.3e-8 and 2.5e-16.
            expected = reference_kl(loc[row], tril[row], prior_loc[row], prior_tril[row])[0]
            assert abs(mp.mpf(float(got[row])) - expected) <= BOUND[np.dtype(dtype)] * expected
    for result in ek.mvn.kl_grad(prior_loc, prior_tril, prior_loc, prior_tril):
        assert not result.any()


def test_gradients_agree_with_central_differences():
    # Diagonals near 1, whose third powers the differences' own error goes with.
    _, *where = arrays(7, np.float64, 2, 4, spread=0.1)
    _, *gradients = ek.mvn.kl_grad(*where)
    for i, got in enumerate(gradients):

        def moved(x, i=i):
            return ek.mvn.kl(*[x.reshape(y.shape) if j == i else y for j, y in enumerate(where)])

        expected = reference.central_differences(moved, where[i].reshape(2, -1)).reshape(got.shape)
        # Measured maximum: 2.8e-10. Above the diagonal both are exactly 0.
        assert np.abs(got - expected).max() <= 1e-9 * np.abs(got).max()
        if got.ndim == 3:
            assert not np.triu(got, 1).any()
            assert not np.triu(expected, 1).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_triangle_is_that_of_every_row(dtype):
    z, loc, tril, prior_loc, prior_tril = arrays(8, dtype, 6, 5)
    whole = [np.tile(x[:1], (6,) + (1,) * (x.ndim - 1)) for x in (tril, prior_loc, prior_tril)]
    for function in (ek.mvn.kl, ek.mvn.kl_grad):
        expected = np.concatenate([np.ravel(x) for x in function(loc, *whole)])
        for arguments in itertools.product(*zip((tril[0], prior_loc[0], prior_tril[0]), whole, strict=True)):
            got = function(loc, *arguments)
            assert np.concatenate([np.ravel(x) for x in got]).tobytes() == expected.tobytes()
    assert ek.mvn.log_prob(z, loc, tril[0]).tobytes() == ek.mvn.log_prob(z, loc, whole[0]).tobytes()
    assert ek.mvn.entropy(tril[0]).tobytes() == ek.mvn.entropy(whole[0][:1]).tobytes()
    assert ek.mvn.entropy(tril[0]).shape == (1,)
    for function in (ek.mvn.rsample, ek.mvn.rsample_and_log_prob):
        a, b = (function(loc, t, key=3, num_particles=2) for t in (tril[0], whole[0]))
        assert np.concatenate([np.ravel(x) for x in a]).tobytes() == np.concatenate([np.ravel(x) for x in b]).tobytes()
    # The one that is left out is the standard normal's.
    zeros, eye = np.zeros(5, dtype), np.eye(5, dtype=dtype)
    np.testing.assert_array_equal(ek.mvn.kl(loc, tril, prior_loc), ek.mvn.kl(loc, tril, prior_loc, eye))
    np.testing.assert_array_equal(
        ek.mvn.kl(loc, tril, prior_scale_tril=prior_tril), ek.mvn.kl(loc, tril, zeros, prior_tril)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_loc_plus_the_triangle_times_the_normals_of_their_key(dtype):
    _, loc, tril, *_ = arrays(11, dtype, 7, 9)
    eps = ek.random.normal(loc.shape, key=5, dtype=dtype, first_row=30)
    z, log_prob = ek.mvn.rsample_and_log_prob(loc, tril, key=5, first_row=30)
    assert z.tobytes() == ek.mvn.rsample(loc, tril, key=5, first_row=30).tobytes()
    expected = reference.by_row(exact(tril) * exact(eps)[:, None, :])
    expected = Exact(expected.value + exact(loc), expected.magnitude + abs(exact(loc)))
    assert reference.worst(z, expected) <= BOUND[z.dtype]
    logs = log(exact(tril)[:, range(9), range(9)])
    of_eps = reference.by_row(-(exact(eps) ** 2) / 2, -logs, 0 * logs - reference.LN_2PI / 2)
    assert reference.worst(log_prob, of_eps) <= BOUND[z.dtype]
    # The diagonal Gaussian's draws, where the triangle is diagonal.
    log_var = np.linspace(-2, 2, 63).reshape(7, 9).astype(dtype)
    diagonal = np.exp(log_var / 2)[:, :, None] * np.eye(9, dtype=dtype)
    np.testing.assert_allclose(
        ek.mvn.rsample(loc, diagonal, key=5, num_particles=3),
        ek.gaussian.rsample(loc, log_var, key=5, num_particles=3),
        rtol=8 * np.finfo(dtype).eps,
        atol=8 * np.finfo(dtype).eps,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_draw_is_addressed_by_key_row_and_particle(dtype):
    _, loc, tril, *_ = arrays(12, dtype, 7, 5)
    g = ek.mvn
    z, log_prob = g.rsample_and_log_prob(loc, tril, key=1, num_particles=4)
    assert z.shape == (4, 7, 5)
    assert log_prob.shape == (4, 7)
    assert z.tobytes() == g.rsample(loc, tril, key=ek.Key(1), num_particles=4).tobytes()
    assert g.rsample(loc, tril, key=1).tobytes() == z[0].tobytes()
    assert g.rsample(loc, tril, key=1, num_particles=1).tobytes() == z[:1].tobytes()
    for first, last in ((0, 3), (3, 4), (4, 7), (2, 2)):
        part = g.rsample_and_log_prob(loc[first:last], tril[first:last], key=1, num_particles=4, first_row=first)
        assert part[0].tobytes() == z[:, first:last].tobytes()
        assert part[1].tobytes() == log_prob[:, first:last].tobytes()
    # log_prob of the particles is that of each.
    together = g.log_prob(z, loc, tril)
    assert together.shape == (4, 7)
    assert together.tobytes() == b"".join(g.log_prob(particle, loc, tril).tobytes() for particle in z)


def test_draws_have_their_covariance():
    tril = triangles(np.random.default_rng(0), 1, 4, 0.7)[0]
    n = 200_000
    z = ek.mvn.rsample(np.zeros((n, 4)), tril, key=0)
    # A covariance's standard error is at most √(2/n) of the product of the deviations; 5 of them.
    deviation = np.sqrt(np.diag(tril @ tril.T))
    off = np.abs(z.T @ z / n - tril @ tril.T) / np.outer(deviation, deviation)
    assert off.max() <= 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_written_and_returned(dtype):
    z, loc, tril, prior_loc, prior_tril = arrays(13, dtype, 4, 3)
    for function, arguments in (
        (ek.mvn.kl, (loc, tril, prior_loc, prior_tril)),
        (ek.mvn.log_prob, (z, loc, tril)),
        (ek.mvn.entropy, (tril,)),
    ):
        out = np.empty(4, dtype)
        assert function(*arguments, out=out) is out
        assert out.tobytes() == function(*arguments).tobytes()
        with pytest.raises(ek.ShapeError, match=r"^out: "):
            function(*arguments, out=np.empty(5, dtype))
    out = np.empty((2, 4, 3), dtype)
    assert ek.mvn.rsample(loc, tril, key=0, num_particles=2, out=out) is out


def test_shapes_types_and_values_that_do_not_fit_are_named():
    z, loc, tril, prior_loc, prior_tril = arrays(14, np.float64, 4, 3)
    for call, argument in (
        (lambda: ek.mvn.kl(loc[0], tril), "loc"),
        (lambda: ek.mvn.kl(loc, tril[:3]), "scale_tril"),
        (lambda: ek.mvn.kl(loc, tril[:, :, :2]), "scale_tril"),
        (lambda: ek.mvn.kl(loc, tril, prior_loc[:, :2], prior_tril), "prior_loc"),
        (lambda: ek.mvn.kl(loc, tril, prior_loc, prior_tril[0, 0]), "prior_scale_tril"),
        (lambda: ek.mvn.log_prob(z[:2], loc, tril), "z"),
        (lambda: ek.mvn.log_prob(z[0], loc, tril), "z"),
        (lambda: ek.mvn.entropy(tril[0, 0]), "scale_tril"),
        (lambda: ek.mvn.entropy(tril[:, :2]), "scale_tril"),
        (lambda: ek.mvn.rsample(loc, tril[:2], key=0), "scale_tril"),
    ):
        with pytest.raises(ek.ShapeError, match=rf"^{argument}: expected .+, got .+; ") as caught:
            call()
        assert caught.value.argument == argument
    with pytest.raises(ek.DtypeError, match=r"^scale_tril: expected float64 like loc"):
        ek.mvn.kl(loc, tril.astype(np.float32))
    with pytest.raises(ek.DtypeError, match=r"^prior_scale_tril: "):
        ek.mvn.kl(loc, tril, prior_loc, prior_tril.astype(np.float32))
    for bad, kind in ((np.nan, ek.NonFiniteError), (-np.inf, ek.NonFiniteError), (0.0, ek.SupportError)):
        spoilt = tril.copy()
        spoilt[2, 1, 1] = bad
        for call, argument in (
            (lambda x: ek.mvn.kl(loc, x), "scale_tril"),
            (lambda x: ek.mvn.kl_grad(loc, tril, prior_loc, x), "prior_scale_tril"),
            (lambda x: ek.mvn.log_prob(z, loc, x), "scale_tril"),
            (ek.mvn.entropy, "scale_tril"),
            (lambda x: ek.mvn.rsample(loc, x, key=0), "scale_tril"),
        ):
            with pytest.raises(kind, match=rf"^{argument}: expected .+, got .+ at row 2, column 1; ") as caught:
                call(spoilt)
            error = caught.value
            assert (error.argument, error.row, error.column) == (argument, 2, 1)
            np.testing.assert_equal(error.value, bad)
        # A shared triangle's place is its own row.
        with pytest.raises(kind, match="at row 1, column 1; "):
            ek.mvn.entropy(spoilt[2])


def test_no_rows_no_latents_and_lists():
    assert ek.mvn.kl(np.empty((0, 3)), np.empty((0, 3, 3))).shape == (0,)
    assert ek.mvn.kl(np.empty((0, 3)), np.eye(3)).shape == (0,)
    np.testing.assert_array_equal(ek.mvn.kl(np.empty((2, 0)), np.empty((2, 0, 0))), [0.0, 0.0])
    np.testing.assert_array_equal(ek.mvn.log_prob(np.empty((3, 2, 0)), np.empty((2, 0)), np.empty((0, 0))), 0)
    assert ek.mvn.rsample(np.empty((0, 3)), np.eye(3), key=0, num_particles=4).shape == (4, 0, 3)
    np.testing.assert_array_equal(ek.mvn.kl([[1, 0]], [[1, 0], [2, 1]]), [2.5])


# In the bound.


class Model:
    """p(x | z) = N(W z + b, σ² I) under a prior with a full covariance: the posterior is no product."""

    def __init__(self, prior=None, latent=3, features=5, scale=0.6):
        rng = np.random.default_rng(2)
        self.W, self.b, self.scale = rng.standard_normal((features, latent)), rng.standard_normal(features), scale
        self.loc, self.tril = (np.zeros(latent), np.eye(latent)) if prior is None else prior
        self.likelihood = ek.likelihood.Gaussian(scale)

    def decoder(self, z):
        return (z @ self.W.T.astype(z.dtype) + self.b.astype(z.dtype)).astype(z.dtype)

    def rows(self, n):
        rng = np.random.default_rng(3)
        z = self.loc + rng.standard_normal((n, len(self.loc))) @ self.tril.T
        return self.decoder(z) + self.scale * rng.standard_normal((n, len(self.b)))

    def log_evidence(self, x):
        spread = self.W @ self.tril
        covariance = spread @ spread.T + self.scale**2 * np.eye(len(self.b))
        off = x - self.b - self.W @ self.loc
        _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (np.einsum("ij,ij->i", off, np.linalg.solve(covariance, off.T).T) + log_det)

    def posterior(self, x):
        precision = np.linalg.inv(self.tril @ self.tril.T)
        covariance = np.linalg.inv(precision + self.W.T @ self.W / self.scale**2)
        loc = ((x - self.b) @ self.W / self.scale**2 + precision @ self.loc) @ covariance
        return ek.MvnParams(loc, np.linalg.cholesky(covariance))


FULL = (np.array([0.3, -1.0, 0.5]), np.array([[1.0, 0, 0], [0.8, 0.6, 0], [-0.5, 0.2, 1.4]]))


@pytest.mark.parametrize("prior", [None, FULL], ids=["standard", "full"])
def test_with_the_exact_posterior_every_draw_is_the_log_evidence(prior):
    model = Model(prior)
    x = model.rows(9)
    post, expected = model.posterior(x), model.log_evidence(x)
    given = None if prior is None else ek.MvnParams(*prior)
    arguments = (x, post, model.decoder, model.likelihood)
    weights = ek.log_weights(*arguments, key=0, num_particles=200, prior=given)
    # Measured maximum: 4.7e-14.
    np.testing.assert_allclose(weights, np.tile(expected, (200, 1)), rtol=0, atol=2e-13)
    terms = ek.elbo(*arguments, key=0, num_particles=200, kl="monte_carlo", prior=given)
    np.testing.assert_allclose(terms.elbo, expected, rtol=0, atol=2e-13)
    analytic = ek.elbo(*arguments, key=0, num_particles=4000, prior=given)
    assert (np.abs(analytic.elbo - expected) <= 5 * analytic.standard_error).all()
    assert analytic.kl.tobytes() == ek.mvn.kl(*post, *(() if given is None else given)).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_posteriors_and_priors_of_either_kind_combine(dtype):
    model = Model()
    x = model.rows(6).astype(dtype)
    rng = np.random.default_rng(5)
    log_var, prior_log_var = rng.uniform(-1, 1, (6, 3)).astype(dtype), rng.uniform(-1, 1, 3).astype(dtype)
    loc, prior_loc = rng.standard_normal((6, 3)).astype(dtype), rng.standard_normal(3).astype(dtype)

    def full(loc, log_var):
        return ek.MvnParams(loc, np.exp(log_var / 2)[..., None] * np.eye(3, dtype=dtype))

    def run(post, prior, form):
        return ek.elbo(x, post, model.decoder, model.likelihood, key=1, num_particles=9, kl=form, prior=prior)

    post, prior = ek.GaussianParams(loc, log_var), ek.GaussianParams(prior_loc, prior_log_var)
    tolerance = 200 * np.finfo(dtype).eps
    for form in FORMS:
        expected = run(post, prior, form)
        for a, b in itertools.product((post, full(*post)), (prior, full(*prior))):
            got = run(a, b, form)
            for part, wanted in zip(got, expected, strict=True):
                assert part.dtype == dtype
                np.testing.assert_allclose(part, wanted, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(
            run(full(*post), None, form).elbo, run(post, None, form).elbo, rtol=tolerance, atol=tolerance
        )
        # A triangle for every row, and a prior for each.
        each = ek.MvnParams(*(np.tile(part, (6,) + (1,) * part.ndim) for part in full(*prior)))
        one = ek.MvnParams(loc, full(*post).scale_tril[0])
        tiled = ek.MvnParams(loc, np.tile(one.scale_tril, (6, 1, 1)))
        a, b = run(one, full(*prior), form), run(tiled, each, form)
        assert [part.tobytes() for part in a] == [part.tobytes() for part in b]
    with pytest.raises(ek.ShapeError, match=r"^prior_log_var: "):
        run(full(*post), ek.GaussianParams(prior_loc, prior_log_var[:2]), "analytic")
    bad = log_var.copy()
    bad[2, 1] = np.nan
    with pytest.raises(ek.NonFiniteError, match=r"^log_var: .+ at row 2, column 1; "):
        run(ek.GaussianParams(loc, bad), full(*prior), "monte_carlo")
    with pytest.raises(ValueError, match=r"^prior: expected GaussianParams"):
        run(post, prior_loc, "analytic")
    # A scale that rounds to 0 has a triangle too.
    for far in (-1e4, 20.0):
        got = run(ek.GaussianParams(loc, np.full_like(log_var, far)), full(*prior), "analytic")
        assert not np.isnan(np.concatenate(got)).any()


def test_partitions_with_first_row_are_the_whole_bit_for_bit():
    model = Model(FULL)
    x = model.rows(11)
    post, prior = model.posterior(x), ek.MvnParams(*FULL)
    each = post.scale_tril * np.linspace(0.8, 1.2, 11)[:, None, None]

    # A decoder whose rows do not depend on their number, as no BLAS promises.
    def decoder(z):
        return (z[:, :, None] * model.W.T).sum(axis=1) + model.b

    def terms(part, form):
        q = ek.MvnParams(post.loc[part], each[part])
        return ek.elbo(
            x[part], q, decoder, model.likelihood, key=9, num_particles=8, kl=form, prior=prior, first_row=part.start
        )

    for form in FORMS:
        whole, parts = terms(slice(0, 11), form), [terms(slice(a, b), form) for a, b in ((0, 4), (4, 11))]
        for field in whole._fields:
            joined = np.concatenate([getattr(part, field) for part in parts])
            assert joined.tobytes() == getattr(whole, field).tobytes()
