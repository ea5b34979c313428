"""Gradients of the bound: against differences under fixed noise, against each other, and what a decoder is handed."""

import itertools

import numpy as np
import pytest

import elbokit as ek
from elbokit import evidence

DTYPES = (np.float32, np.float64)
BATCH, LATENT, FEATURES, PARTICLES = 4, 3, 5, 6
RNG = np.random.default_rng(0)
W = RNG.standard_normal((FEATURES, LATENT))
X = RNG.standard_normal((BATCH, FEATURES))
LIKELIHOOD = ek.likelihood.Gaussian(0.8)
DIAGONAL = ek.GaussianParams(RNG.standard_normal((BATCH, LATENT)) * 0.3, RNG.standard_normal((BATCH, LATENT)) * 0.3 - 1)
FULL = ek.MvnParams(
    DIAGONAL.loc, np.tril(RNG.standard_normal((BATCH, LATENT, LATENT)) * 0.3, -1) + 0.6 * np.eye(LATENT)
)
PRIORS = {
    "standard": None,
    "diagonal": ek.GaussianParams(RNG.standard_normal(LATENT), RNG.standard_normal(LATENT)),
    "by row": ek.GaussianParams(RNG.standard_normal((BATCH, LATENT)), RNG.standard_normal((BATCH, LATENT))),
    "full": ek.MvnParams(
        RNG.standard_normal(LATENT), np.tril(RNG.standard_normal((LATENT, LATENT)) * 0.3, -1) + np.eye(LATENT)
    ),
    "mixture": ek.GaussianMixture([0.4, 0.6], RNG.standard_normal((2, LATENT)), np.ones((2, LATENT))),
}
# A mixture has no analytic form.
FORMS = [
    (kl, prior) for prior in PRIORS for kl in ("analytic", "monte_carlo") if (kl, prior) != ("analytic", "mixture")
]
# What is not refused: all combinations but two.
COMBINATIONS = [
    pair
    for pair in itertools.product(("pathwise", "stl", "dreg", "score"), ("elbo", "iwae"))
    if pair != ("stl", "iwae")
]


def decoder_vjp(z):
    w = W.astype(z.dtype)
    params = np.tanh(z @ w.T)
    return params, lambda d_params: (d_params * (1 - params * params)) @ w


def decoder(z):
    return decoder_vjp(z)[0]


def objective_of(name, post, kl, prior, x=X, mask=None, particles=PARTICLES):
    options = {"key": 1, "num_particles": particles, "prior": prior, "mask": mask}
    if name == "elbo":
        return ek.elbo(x, post, decoder, LIKELIHOOD, kl=kl, **options).elbo
    return ek.bounds.iwae(ek.log_weights(x, post, decoder, LIKELIHOOD, **options))


def differences(function, post, step=1e-6):
    """Central differences of a function of a posterior, by row, in both of its arrays."""
    gradients = []
    for name, array in zip(post._fields, post, strict=True):
        gradient = np.zeros_like(array)
        for place in itertools.product(*(range(n) for n in array.shape[1:])):
            if len(place) == 2 and place[1] > place[0]:
                continue
            at = (slice(None), *place)
            values = []
            for sign in (1, -1):
                moved = array.copy()
                moved[at] += sign * step
                values.append(function(post._replace(**{name: moved})))
            gradient[at] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
@pytest.mark.parametrize(("kl", "prior"), FORMS)
@pytest.mark.parametrize("post", [DIAGONAL, FULL], ids=["diagonal", "full"])
def test_the_pathwise_gradient_is_that_of_what_was_drawn(post, prior, kl, objective):
    prior = PRIORS[prior]
    _, *got = ek.elbo_grad(
        X, post, decoder_vjp, LIKELIHOOD, key=1, num_particles=PARTICLES, objective=objective, kl=kl, prior=prior
    )
    expected = differences(lambda q: objective_of(objective, q, kl, prior), post)
    # Measured maximum: 1.7e-9, the differences' own error.
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("kl", "prior"), FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_terms_are_those_of_elbo_bit_for_bit(dtype, prior, kl, monkeypatch):
    prior = PRIORS[prior]
    if isinstance(prior, tuple):
        prior = type(prior)(*(part.astype(dtype) for part in prior))
    mask = np.random.default_rng(1).random(X.shape) < 0.7
    for block, post in itertools.product((1 << 18, 2 * BATCH * LATENT), (DIAGONAL, FULL)):
        monkeypatch.setattr(evidence, "_BLOCK", block)
        q = type(post)(*(part.astype(dtype) for part in post))
        options = {"key": 4, "num_particles": PARTICLES, "kl": kl, "prior": prior, "mask": mask}
        expected = ek.elbo(X, q, decoder, LIKELIHOOD, **options)
        for estimator, objective in COMBINATIONS:
            terms, *gradients = ek.elbo_grad(
                X, q, decoder_vjp, LIKELIHOOD, estimator=estimator, objective=objective, **options
            )
            assert isinstance(terms, ek.ElboTerms)
            assert [part.tobytes() for part in terms] == [part.tobytes() for part in expected]
            assert [part.shape for part in gradients] == [part.shape for part in q]
            assert all(part.dtype == dtype for part in gradients)
            assert np.isfinite(gradients[0]).all()
            assert np.isfinite(gradients[1]).all()


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
@pytest.mark.parametrize("post", [DIAGONAL, FULL], ids=["diagonal", "full"])
def test_blocks_and_types_change_rounding_alone(post, estimator, objective, monkeypatch):
    def gradients(q):
        _, *both = ek.elbo_grad(
            X.astype(q[0].dtype), q, decoder_vjp, LIKELIHOOD, key=4, num_particles=20, estimator=estimator,
            objective=objective,
        )  # fmt: skip
        return both

    whole = gradients(post)
    single = type(post)(*(part.astype(np.float32) for part in post))
    # float32 draws are others: of the same parameters they are compared by their own blocks.
    whole_single = gradients(single)
    monkeypatch.setattr(evidence, "_BLOCK", 3 * BATCH * LATENT)
    for a, b in zip(gradients(post), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    for a, b in zip(gradients(single), whole_single, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_rows_do_not_meet():
    for post, (estimator, objective) in itertools.product((DIAGONAL, FULL), COMBINATIONS):
        options = {"key": 4, "num_particles": 5, "estimator": estimator, "objective": objective}

        # A product by a matrix library may depend on the number of rows, which is the decoder's affair.
        def vjp(z):
            return z[:, [0, 1, 2, 0, 1]] ** 2, lambda d: 2 * z * (d[:, :3] + np.pad(d[:, 3:], ((0, 0), (0, 1))))

        whole = ek.elbo_grad(X, post, vjp, LIKELIHOOD, **options)
        part = ek.elbo_grad(X[:1], type(post)(*(p[:1] for p in post)), vjp, LIKELIHOOD, **options)
        for a, b in zip(whole[1:], part[1:], strict=True):
            assert a[:1].tobytes() == b.tobytes()


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("post", [DIAGONAL, FULL], ids=["diagonal", "full"])
def test_estimators_agree_in_expectation(post, prior, objective):
    # One row of the data 20000 times, each with draws of its own.
    n, prior = 20_000, PRIORS[prior]
    if prior is PRIORS["by row"]:
        prior = ek.GaussianParams(*(part[0] for part in prior))
    q = type(post)(*(np.repeat(part[:1], n, axis=0) for part in post))
    x = np.repeat(X[:1], n, axis=0)
    means, errors = {}, {}
    for key, estimator in enumerate(e for e, o in COMBINATIONS if o == objective):
        _, *gradients = ek.elbo_grad(
            x, q, decoder_vjp, LIKELIHOOD, key=key, num_particles=4, estimator=estimator, objective=objective,
            kl="monte_carlo", prior=prior,
        )  # fmt: skip
        flat = np.concatenate([part.reshape(n, -1) for part in gradients], axis=1)
        means[estimator], errors[estimator] = flat.mean(axis=0), flat.std(axis=0) / np.sqrt(n)
    for estimator, mean in means.items():
        off = np.abs(mean - means["pathwise"])
        assert (off <= 5 * np.hypot(errors[estimator], errors["pathwise"]) + 1e-12).all(), estimator
    # The comparison can fail: gradients stand far above its error.
    assert np.abs(means["pathwise"]).max() > 30 * errors["pathwise"].max()
    if objective == "elbo":
        analytic = differences(lambda p: objective_of("elbo", p, "monte_carlo", prior, X[:1], None, 20_000),
                               type(post)(*(part[:1] for part in post)), 1e-4)  # fmt: skip
        flat = np.concatenate([part.reshape(-1) for part in analytic])
        np.testing.assert_allclose(means["stl"], flat, atol=0.15 + 5 * errors["stl"].max())


# What is known of the estimators.


def against(target_loc, target_scale, loc, scale, rows, **options):
    """Gradients of rows of a q = N(loc, scale²) whose target is N(target_loc, target_scale²), nothing observed."""
    prior = ek.GaussianParams(np.array([float(target_loc)]), np.array([2 * np.log(target_scale)]))
    q = ek.GaussianParams(np.full((rows, 1), float(loc)), np.full((rows, 1), 2 * np.log(scale)))
    _, d_loc, d_log_var = ek.elbo_grad(
        np.full((rows, 1), np.nan), q, lambda z: (z, np.zeros_like), LIKELIHOOD, prior=prior, **options
    )
    # By the scale, as the fixture has it.
    return d_loc[:, 0], d_log_var[:, 0] * 2 / scale


@pytest.mark.parametrize("particles", [1, 7])
def test_sticking_the_landing_is_0_at_the_posterior_for_each_draw(particles):
    sigma, batch = 0.7, 6
    rng = np.random.default_rng(3)
    x = rng.standard_normal((batch, FEATURES))
    covariance = np.linalg.inv(np.eye(LATENT) + W.T @ W / sigma**2)
    exact = ek.MvnParams(x @ W @ covariance / sigma**2, np.linalg.cholesky(covariance))
    # Orthogonal columns make the posterior diagonal.
    V = np.linalg.qr(W)[0]
    precision = 1 + 1 / sigma**2
    diagonal = ek.GaussianParams(x @ V / sigma**2 / precision, np.full((batch, LATENT), -np.log(precision)))
    for post, w in ((exact, W), (diagonal, V)):

        def linear(z, w=w):
            return z @ w.T, lambda d_params: d_params @ w

        for key in range(20):
            options = {"key": key, "num_particles": particles}
            likelihood = ek.likelihood.Gaussian(sigma)
            for estimator, objective in (("stl", "elbo"), ("dreg", "elbo"), ("dreg", "iwae")):
                _, *zero = ek.elbo_grad(
                    x, post, linear, likelihood, estimator=estimator, objective=objective, **options
                )
                assert max(np.abs(part).max() for part in zero) < 1e-12
            _, *pathwise = ek.elbo_grad(x, post, linear, likelihood, **options)
            assert min(np.abs(part).max() for part in pathwise) > 1e-2


def test_sticking_the_landing_is_biased_for_many_particles_and_refused():
    # q = N(−3, 1), target N(2, 3²), 10 particles: 1.158 against 0.480 in loc.
    rows = 100_000
    pathwise, _ = against(2, 3, -3, 1, rows, key=0, num_particles=10, objective="iwae", estimator="pathwise")
    doubly, _ = against(2, 3, -3, 1, rows, key=0, num_particles=10, objective="iwae", estimator="dreg")
    for estimate in (pathwise, doubly):
        assert abs(estimate.mean() - 0.480) <= 0.0005 + 5 * estimate.std() / np.sqrt(rows)
    # What it would be: Σ w̃ ∂ln w/∂z.
    eps = np.random.default_rng(0).standard_normal((10, rows))
    z = eps - 3
    log_weights = -0.5 * ((z - 2) / 3) ** 2 + 0.5 * eps**2
    share = np.exp(log_weights - log_weights.max(axis=0))
    stuck = (share / share.sum(axis=0) * (-(z - 2) / 9 + eps)).sum(axis=0)
    assert abs(stuck.mean() - 1.158) <= 0.0005 + 5 * stuck.std() / np.sqrt(rows)
    with pytest.raises(
        ValueError, match=r'^estimator: expected .+ of which "stl" is biased, .+; give estimator="dreg"$'
    ):
        against(2, 3, -3, 1, 2, key=0, num_particles=10, objective="iwae", estimator="stl")


def test_doubly_reparameterised_gradients_are_not_always_better():
    def deviations(loc, scale):
        for estimator in ("dreg", "pathwise"):
            options = {"key": 1, "num_particles": 10, "objective": "iwae", "estimator": estimator}
            yield [part.std() for part in against(2, 3, loc, scale, 400_000, **options)]

    worse = np.divide(*deviations(-3, 1))
    np.testing.assert_allclose(worse, [6.7, 4.7], rtol=0.03)
    better = 1 / np.divide(*deviations(1.8, 2.8))
    # Measured: 53 and 38, by NumPy alone too; the quoted ones are of fewer draws.
    np.testing.assert_allclose(better, [50, 36], rtol=0.08)


# What the decoder is handed.


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
def test_the_pullback_receives_the_cotangent_of_the_decoders_own_parameters(estimator, objective, monkeypatch):
    monkeypatch.setattr(evidence, "_BLOCK", 4 * BATCH * LATENT)
    seen, calls = [], []

    def recording(z):
        params, pullback = decoder_vjp(z)
        calls.append(len(z))

        def recorded(d_params):
            seen.append((z.copy(), params, d_params.copy()))
            return pullback(d_params)

        return params, recorded

    options = {"key": 2, "num_particles": PARTICLES}
    ek.elbo_grad(X, DIAGONAL, recording, LIKELIHOOD, estimator=estimator, objective=objective, **options)
    # Two blocks; decoded a first time where all weights are needed before the first is used.
    assert calls == [4 * BATCH, 2 * BATCH] * (2 if objective == "iwae" or estimator == "score" else 1)
    assert len(seen) == 2
    z, params, d_params = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    weights = ek.log_weights(X, DIAGONAL, decoder, LIKELIHOOD, **options)
    share = np.exp(weights - weights.max(axis=0))
    share = share / share.sum(axis=0) if objective == "iwae" else np.full_like(share, 1 / PARTICLES)
    _, expected = LIKELIHOOD.log_prob_grad(X, params)
    np.testing.assert_allclose(d_params, share.reshape(-1, 1) * expected, rtol=1e-12)
    # So a weight's gradient, gathered in the pullback, is that of the objective, summed over rows.
    d_w = (d_params * (1 - params**2)).T @ z
    for place in ((0, 0), (4, 2)):
        values = []
        for step in (1e-6, -1e-6):
            moved = W.copy()
            moved[place] += step
            w = ek.log_weights(X, DIAGONAL, lambda z, w=moved: np.tanh(z @ w.T), LIKELIHOOD, **options)
            values.append((ek.bounds.iwae if objective == "iwae" else ek.bounds.elbo)(w).sum())
        assert abs(d_w[place] - (values[0] - values[1]) / 2e-6) < 1e-7


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
def test_a_linear_model_trains_to_its_exact_evidence(estimator, objective):
    # Encoder loc = A x and one log_var a latent, decoder V z: principal components, whose best fit is known.
    rng = np.random.default_rng(5)
    n, features, latent, sigma = 400, 4, 2, 0.5
    x = rng.standard_normal((n, latent)) @ (rng.standard_normal((latent, features)) * 1.2)
    x += sigma * rng.standard_normal((n, features))
    state = [rng.standard_normal(shape) * 0.1 for shape in ((latent, features), (features, latent), (latent,))]
    moments = [np.zeros((2, *p.shape)) for p in state]
    likelihood = ek.likelihood.Gaussian(sigma)
    for step in range(1200):
        gathered = [np.zeros_like(p) for p in state]
        encoder, weight, log_var = state

        def linear(z, weight=weight, gathered=gathered):
            def pullback(d_params):
                gathered[1] += d_params.T @ z
                return d_params @ weight

            return z @ weight.T, pullback

        q = ek.GaussianParams(x @ encoder.T, np.tile(log_var, (n, 1)))
        _, d_loc, d_log_var = ek.elbo_grad(
            x, q, linear, likelihood, key=step, num_particles=4, estimator=estimator, objective=objective
        )
        gathered[0], gathered[2] = d_loc.T @ x, d_log_var.sum(axis=0)
        rate = 0.05 * (1 - step / 1200)
        for i, gradient in enumerate(gathered):
            moments[i] += np.stack([0.1 * (gradient / n - moments[i][0]), 0.01 * ((gradient / n) ** 2 - moments[i][1])])
            first, second = (m / (1 - beta ** (step + 1)) for m, beta in zip(moments[i], (0.9, 0.99), strict=True))
            state[i] = state[i] + rate * first / (np.sqrt(second) + 1e-8)
    values, _ = np.linalg.eigh(x.T @ x / n)
    best = values[::-1].copy()
    best[latent:] = sigma**2
    optimum = -0.5 * (np.log(2 * np.pi * best) + values[::-1] / best).sum()
    marginal = state[1] @ state[1].T + sigma**2 * np.eye(features)
    reached = -0.5 * (np.linalg.slogdet(2 * np.pi * marginal)[1] + np.trace(np.linalg.solve(marginal, x.T @ x / n)))
    assert optimum - 0.05 < reached <= optimum + 1e-12


# Missing cells, the ends of the range, and what is refused.


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
def test_missing_cells_add_nothing(estimator, objective):
    mask = np.random.default_rng(3).random(X.shape) < 0.5
    mask[2] = False
    options = {"key": 1, "num_particles": 5, "estimator": estimator, "objective": objective}
    got = ek.elbo_grad(X, DIAGONAL, decoder_vjp, LIKELIHOOD, mask=mask, **options)
    for fill in (np.nan, 1e300, np.inf):
        filled = ek.elbo_grad(np.where(mask, X, fill), DIAGONAL, decoder_vjp, LIKELIHOOD, mask=mask, **options)
        assert [part.tobytes() for part in filled[1:]] == [part.tobytes() for part in got[1:]]
    unmasked = ek.elbo_grad(np.where(mask, X, np.nan), DIAGONAL, decoder_vjp, LIKELIHOOD, **options)
    assert [part.tobytes() for part in unmasked[1:]] == [part.tobytes() for part in got[1:]]
    if (estimator, objective) == ("pathwise", "elbo"):
        # Where nothing is observed the bound is −KL.
        _, d_loc, d_log_var = ek.gaussian.kl_grad(*DIAGONAL)
        np.testing.assert_array_equal(got[1][2], -d_loc[2])
        np.testing.assert_array_equal(got[2][2], -d_log_var[2])
    if estimator == "pathwise":
        expected = differences(lambda q: objective_of(objective, q, "analytic", None, X, mask, 5), DIAGONAL)
        for a, b in zip(got[1:], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_finite_input_gives_nan(dtype, estimator, objective):
    big = float(np.finfo(dtype).max) / 4
    edge = 2 * np.log(big)
    for loc, log_var, x in ((0, edge, 0), (big, 0, 0), (0, -edge, big), (big, edge, -big), (0, 0, big)):
        q = ek.GaussianParams(np.full((2, 2), loc, dtype), np.full((2, 2), log_var, dtype))
        wide = ek.MvnParams(np.full(2, -big, dtype), np.eye(2, dtype=dtype))
        for prior in (None, wide, ek.GaussianParams(np.zeros(2, dtype), np.full(2, -10, dtype))):
            _, *gradients = ek.elbo_grad(
                np.full((2, 2), x, dtype), q, lambda z: (np.clip(z, -1, 1), lambda d: d * 0), LIKELIHOOD, key=0,
                num_particles=4, estimator=estimator, objective=objective, kl="monte_carlo", prior=prior,
            )  # fmt: skip
            assert not any(np.isnan(part).any() for part in gradients), (loc, log_var, x)


@pytest.mark.parametrize(("estimator", "objective"), COMBINATIONS)
@pytest.mark.parametrize("kl", ["analytic", "monte_carlo"])
def test_terms_of_infinite_parts_are_those_of_elbo_too(kl, estimator, objective):
    top = np.finfo(np.float64).max
    q = ek.GaussianParams(np.zeros((1, 3)), np.full((1, 3), top))
    options = {"key": 0, "num_particles": 30, "kl": kl, "prior": ek.MvnParams(np.zeros(3), np.eye(3))}

    def vjp(z):
        log_var = np.where(z[:, :1] > 0, -top, top)
        return np.hstack([np.zeros((len(z), 4)), np.repeat(log_var, 4, axis=1)]), lambda _: np.zeros_like(z)

    given = (np.zeros((1, 4)), q, vjp, ek.likelihood.Gaussian("predicted"))
    terms, *gradients = ek.elbo_grad(*given, estimator=estimator, objective=objective, **options)
    expected = ek.elbo(given[0], q, lambda z: vjp(z)[0], given[3], **options)
    np.testing.assert_array_equal(terms, expected)
    assert not any(np.isnan(part).any() for part in (*terms, *gradients))


def test_sizes_0_and_1():
    for estimator, objective in COMBINATIONS:
        for batch, latent in ((0, 3), (1, 1), (2, 0)):
            q = ek.GaussianParams(np.zeros((batch, latent)), np.zeros((batch, latent)))
            for post in (q, ek.MvnParams(q.loc, np.tile(np.eye(latent), (batch, 1, 1)))):
                _, *gradients = ek.elbo_grad(
                    np.zeros((batch, 2)), post, lambda z: (np.zeros((len(z), 2)), lambda _, z=z: np.zeros_like(z)),
                    LIKELIHOOD, key=0, num_particles=3, estimator=estimator, objective=objective,
                )  # fmt: skip
                assert [part.shape for part in gradients] == [part.shape for part in post]


def test_a_shared_triangle_has_a_gradient_by_row():
    shared = ek.MvnParams(FULL.loc, FULL.scale_tril[0])
    apart = ek.MvnParams(FULL.loc, np.tile(FULL.scale_tril[:1], (BATCH, 1, 1)))
    for estimator, objective in COMBINATIONS:
        options = {"key": 0, "num_particles": 3, "estimator": estimator, "objective": objective}
        a, b = (ek.elbo_grad(X, post, decoder_vjp, LIKELIHOOD, **options) for post in (shared, apart))
        for got, expected in zip(a[1:], b[1:], strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
        assert a[2].shape == (BATCH, LATENT, LATENT)
        assert (np.triu(a[2], 1) == 0).all()


def never(_):
    raise AssertionError("a bad argument is found before the decoder runs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "stl", "objective": "iwae"}, r'^estimator: .+; give estimator="dreg"$'),
        ({"estimator": "score", "num_particles": 1}, r"^num_particles: expected at least 2 .+; give more particles"),
        ({"estimator": "reinforce"}, r"^estimator: expected one of .+, got 'reinforce'; use one of them$"),
        ({"objective": "cubo"}, r"^objective: expected \"elbo\" or \"iwae\", got 'cubo'; use one of them$"),
        ({"kl": "exact"}, r"^kl: "),
        ({"prior": PRIORS["mixture"]}, r'^kl: .+; give kl="monte_carlo"$'),
        ({"num_particles": 0}, r"^num_particles: "),
        ({"post": ek.GaussianParams(DIAGONAL.loc, DIAGONAL.log_var * np.nan)}, r"^log_var: "),
        ({"x": X[:2]}, r"^x: "),
        ({"likelihood": "gaussian"}, r"^likelihood: "),
        ({"decoder_vjp": 3}, r"^decoder_vjp: expected a function"),
        ({"mask": np.ones((2, 2), bool)}, r"^mask: "),
    ],
)
def test_a_bad_argument_is_named_before_the_decoder_runs(change, message):
    arguments = {"x": X, "post": DIAGONAL, "decoder_vjp": never, "likelihood": LIKELIHOOD, "key": 0, **change}
    with pytest.raises(ValueError, match=message):
        ek.elbo_grad(**arguments)


@pytest.mark.parametrize(
    ("vjp", "error", "message"),
    [
        (lambda z: z, ValueError, r"^decoder_vjp: expected a pair"),
        (lambda z: (z, z), ValueError, r"^decoder_vjp: expected a pair"),
        (lambda z: (z[:-1], lambda d: d), ek.ShapeError, r"^params: "),
        (lambda z: (z, lambda d: d[:-1]), ek.ShapeError, r"^d_z: expected shape \(8, 3\) like z"),
        (lambda z: (z, lambda d: d[:, :1]), ek.ShapeError, r"^d_z: expected shape \(8, 3\) like z"),
        (lambda z: (z, lambda d: d.astype(np.float32)), ek.DtypeError, r"^d_z: expected float64 like z, got float32"),
        (lambda z: (z, lambda d: d * np.nan), ek.NonFiniteError, r"^d_z: .+ got nan at row 0, column 0; look"),
        (lambda z: (z * np.nan, lambda d: d), ek.NonFiniteError, r"^params: "),
    ],
)
def test_what_a_decoder_must_not_return(vjp, error, message):
    with pytest.raises(error, match=message):
        ek.elbo_grad(X[:, :3], DIAGONAL, vjp, LIKELIHOOD, key=0, num_particles=2)


def test_what_numpy_warns_of_in_a_decoder_is_not_hushed():
    def overflowing(z):
        return np.exp(z * 0 + 1000), lambda d_params: d_params

    def in_the_pullback(z):
        return z, lambda d_params: np.exp(d_params * 0 + 1000) * 0

    for vjp in (overflowing, in_the_pullback):
        with pytest.raises(RuntimeWarning, match="overflow"):
            ek.elbo_grad(X[:, :3], DIAGONAL, vjp, LIKELIHOOD, key=0)


def test_a_decoder_may_write_over_what_it_gets():
    def overwriting(z):
        params, pullback = decoder_vjp(z.copy())
        z[:] = np.nan

        def pulled(d_params):
            d_z = pullback(d_params)
            d_params[:] = np.nan
            return d_z

        return params, pulled

    for post, (estimator, objective) in itertools.product((DIAGONAL, FULL), COMBINATIONS):
        options = {"key": 0, "num_particles": 3, "estimator": estimator, "objective": objective}
        a, b = (ek.elbo_grad(X, post, vjp, LIKELIHOOD, **options) for vjp in (decoder_vjp, overwriting))
        assert [part.tobytes() for part in a[1:]] == [part.tobytes() for part in b[1:]]


@pytest.mark.parametrize(
    ("objective", "estimator"),
    [("elbo", "pathwise"), ("elbo", "stl"), ("elbo", "score"), ("iwae", "pathwise"), ("iwae", "score")],
)
def test_draws_past_the_range_weigh_nothing_rather_than_fail(objective, estimator):
    q = ek.GaussianParams(np.zeros((2, 1)), np.array([[1e4], [0.0]]))

    def decoder_vjp(z):
        inside = np.isfinite(z)
        return np.where(inside, z, np.nan), lambda d: np.where(inside, d, np.nan)

    given = (np.ones((2, 1)), q, decoder_vjp, ek.likelihood.Gaussian())
    options = {"key": 0, "num_particles": 30, "kl": "monte_carlo"}
    terms, *gradients = ek.elbo_grad(*given, estimator=estimator, objective=objective, **options)
    assert not any(np.isnan(part).any() for part in (*terms, *gradients))
    assert all(np.isfinite(part[1]).all() for part in gradients)
    if objective == "elbo":
        bound = ek.elbo(given[0], q, lambda z: decoder_vjp(z)[0], given[3], **options)
        np.testing.assert_array_equal(terms.elbo, bound.elbo)
        assert terms.elbo[0] == -np.inf
