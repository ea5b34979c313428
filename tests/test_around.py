"""More than 120 particles a row, which a relu decoder takes by what differs from their centre, beside the plain way."""

from __future__ import annotations

import numpy as np
import pytest
from fits import counts, put
from scipy.integrate import quad
from scipy.special import logsumexp

import elbokit as ek

# The most particles that go the plain way, and more: one run of the decoder, a whole one, several and a part.
MOST = 120
PARTICLES = (MOST, MOST + 1, 240, 700)
BINOMIAL = ek.likelihood.Binomial(16)
# Two have layers behind those that are seen from a centre; a condition stands beside the latents.
KINDS = {
    "binomial": ({"hidden": (24,), "likelihood": BINOMIAL}, None),
    "deep": ({"hidden": (40, 16, 16), "likelihood": BINOMIAL}, None),
    "residual": ({"hidden": (24, 24, 16), "likelihood": BINOMIAL, "residual": True}, None),
    "mixture": ({"hidden": (24,), "likelihood": BINOMIAL, "prior": "mixture", "prior_components": 3}, None),
    "learned scale": (
        {"hidden": (24,), "likelihood": ek.likelihood.Gaussian("per_feature"), "standardize": False},
        None,
    ),
    "condition": ({"hidden": (32,), "likelihood": BINOMIAL}, np.linspace(-1, 1, 300)[:, None]),
}


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """A function that gives a fitted model of a kind, and its conditions if it has any, by dtype."""
    options, conditions = KINDS[request.param]
    made = {}

    def fitted(dtype):
        if dtype not in made:
            vae = ek.VAE(3, **options, dtype=dtype)
            vae.fit(counts(), condition=conditions, epochs=30, batch_size=50, validation=0.0, progress=False)
            made[dtype] = vae
        return made[dtype], conditions

    return fitted


def beside(conditions, rows):
    return {} if conditions is None else {"condition": conditions[rows]}


def log_weights(vae, x, key, num_particles, conditions=None):
    """ln p(x, z) − ln q(z | x) of each row and particle, by decode, which takes the plain way, and then in float64."""
    post = vae.encode(x, condition=conditions)
    hashes = vae.core.hashes(x, conditions)
    p = vae.prior_
    weights = []
    for i, row in enumerate(x):
        shape = (num_particles, vae.latent_dim)
        eps = ek.random.normal(shape, key=ek.Key(key).fold_in(int(hashes[i])), dtype=vae.dtype).astype(np.float64)
        loc, log_var = (part[i].astype(np.float64) for part in post)
        z = (loc + np.exp(log_var / 2) * eps).astype(vae.dtype)
        params = vae.decode(z, condition=None if conditions is None else conditions[i : i + 1])
        value = vae.likelihood_.log_prob(row[None].astype(vae.dtype), params).astype(np.float64)
        z = z.astype(np.float64)
        of_prior = -(z * z + np.log(2 * np.pi)).sum(1) / 2 if p is None else p.log_evidence(z)
        weights.append(value + of_prior + (eps * eps + log_var + np.log(2 * np.pi)).sum(1) / 2)
    return np.array(weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("missing", [False, True])
def test_bounds_are_those_of_the_plain_way(case, dtype, missing):
    vae, conditions = case(dtype)
    rows = np.arange(0, 300, 23)
    x = counts()[rows].astype(dtype)
    if missing:
        x[np.random.default_rng(0).random(x.shape) < 0.4] = np.nan
    given = beside(conditions, rows)
    bound = 2e-6 if dtype == "float32" else 1e-13
    for particles in PARTICLES:
        weights = log_weights(vae, x, 5, particles, given.get("condition"))
        found = vae.log_evidence(x, num_particles=particles, proposal="posterior", key=5, **given)
        size = np.abs(weights).max(1)
        lower = logsumexp(weights, axis=1) - np.log(particles)
        assert (np.abs(found.lower - lower) <= bound * size).all(), particles


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_are_the_rows_own_on_any_threads(case, dtype):
    vae, conditions = case(dtype)
    rows = np.arange(0, 300, 7)
    x = counts()[rows].astype(dtype)
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    scores = (
        lambda x, **given: np.transpose(vae.log_evidence(x, num_particles=250, **given)),
        lambda x, **given: np.transpose(vae.log_evidence(x, num_particles=250, proposal="posterior", **given)),
        lambda x, **given: np.transpose(vae.elbo(x, num_particles=250, **given)),
        lambda x, **given: vae.elbo_per_column(x, num_particles=250, **given),
        lambda x, **given: vae.impute(x, num_particles=250, **given),
        lambda x, **given: np.swapaxes(vae.impute(x, num_particles=250, draws=2, **given), 0, 1),
    )
    for score in scores:
        whole = score(x, **beside(conditions, rows))
        back = score(x[::-1], **beside(conditions, rows[::-1]))
        assert np.array_equal(back[::-1], whole, equal_nan=True)
        some = score(x[4:5], **beside(conditions, rows[4:5]))
        assert np.array_equal(some, whole[4:5], equal_nan=True)
        with ek.num_threads(1):
            assert np.array_equal(score(x, **beside(conditions, rows)), whole, equal_nan=True)


def test_a_row_without_a_posterior_is_drawn_from_the_prior():
    vae = ek.VAE(3, hidden=(24,), likelihood=BINOMIAL)
    vae.fit(counts(), epochs=2, batch_size=50, validation=0.0, progress=False)
    x = counts()[:5].astype("float32")
    plain = {"encoder.1.weight": np.zeros((6, 24)), "encoder.1.bias": np.zeros(6)}
    put(vae, plain)
    expected = vae.log_evidence(x, num_particles=300, proposal="posterior")
    # Hidden units of 1 and weights whose sum leaves the range.
    far = {
        "encoder.0.weight": np.zeros((24, 12)),
        "encoder.0.bias": np.ones(24),
        "encoder.1.weight": np.full((6, 24), 3e38),
    }
    put(vae, far)
    for found, of_prior in zip(vae.log_evidence(x, num_particles=300, proposal="posterior"), expected, strict=True):
        assert np.array_equal(found, of_prior)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-3, 1e-5])
def test_a_sharp_likelihood_sees_no_rounding(scale):
    """What a param may be off by depends on how much the cells tell of it."""
    rng = np.random.default_rng(0)
    turns = rng.uniform(-2, 2, (400, 1)) * rng.uniform(0.5, 2, (1, 12)) + rng.uniform(-1, 1, (1, 12))
    rows = np.sin(turns).astype("float32")
    vae = ek.VAE(3, hidden=(64,), likelihood=ek.likelihood.Gaussian(0.1), standardize=False)
    vae.fit(rows, epochs=60, batch_size=50, validation=0.0, progress=False)
    sharp = ek.VAE(3, hidden=(64,), likelihood=ek.likelihood.Gaussian(scale), standardize=False)
    sharp.fit(rows, epochs=1, batch_size=50, validation=0.0, progress=False)
    put(sharp, vae.parameters())
    x = np.ascontiguousarray(rows[::40])
    for particles in (MOST, MOST + 1, 700):
        lower = sharp.log_evidence(x, num_particles=particles, proposal="posterior").lower
        exact = logsumexp(log_weights(sharp, x, 0, particles), axis=1) - np.log(particles)
        # A last place of a loc, 6e-8, is 1.2e-7 / (z scale) of a log density of z²/2: up to 1e-5 of those at z = 13.
        assert (np.abs(lower - exact) <= 1e-3 + 1e-5 * np.abs(exact)).all(), particles


@pytest.mark.parametrize(("scale", "slope"), [(1e-3, 5000), (1e-4, 5000), (1e-4, 300), (1e-5, 300), (1e-5, 30)])
def test_a_sharp_likelihood_of_what_is_dead_sees_no_rounding(scale, slope):
    """q = N(1, 1), loc = slope · relu(z + 0.3), rows of 0: all of their evidence is made where loc is exactly 0."""
    vae = ek.VAE(1, hidden=(4,), likelihood=ek.likelihood.Gaussian(scale), standardize=False)
    vae.fit(np.zeros((4, 10)), epochs=1, validation=0.0, progress=False)
    given = {name: np.zeros_like(values) for name, values in vae.parameters().items()}
    given["encoder.1.bias"][:] = [1, 0]
    given["decoder.0.weight"][0, 0], given["decoder.0.bias"][0] = 1, 0.3
    given["decoder.1.weight"][:, 0] = slope
    put(vae, given)
    x = np.zeros((1, 10), np.float32)
    for key in range(20):
        weights = log_weights(vae, x, key, MOST + 1)
        exact = logsumexp(weights, axis=1) - np.log(MOST + 1)
        lower = vae.log_evidence(x, num_particles=MOST + 1, proposal="posterior", key=key).lower
        assert abs(lower[0] - exact[0]) < 1e-4


@pytest.mark.parametrize("layer", ["decoder.0.weight", "decoder.1.weight", "decoder.1.bias"])
@pytest.mark.parametrize("factor", [1e2, 1e4, 1e8, 1e30])
def test_large_weights_are_no_less_exact(layer, factor):
    """Seen from a centre, numbers cancel that the plain way has not: then it is taken."""
    vae = ek.VAE(3, hidden=(24,), likelihood=BINOMIAL)
    vae.fit(counts(), epochs=10, batch_size=50, validation=0.0, progress=False)
    put(vae, {layer: vae.parameters()[layer] * factor})
    x = counts()[::23].astype("float32")
    for particles in (MOST, MOST + 1):
        lower = vae.log_evidence(x, num_particles=particles, proposal="posterior").lower
        exact = logsumexp(log_weights(vae, x, 0, particles), axis=1) - np.log(particles)
        assert (np.abs(lower - exact) <= 1e-4 + 2e-6 * np.abs(exact)).all(), particles


@pytest.mark.parametrize("weight", [1e2, 1e4, 1e6, 1e7, 1e8])
def test_what_is_dead_where_it_counts_leaves_no_rounding(weight):
    """One latent, q = N(1, 1); h = relu(z + 0.3), and a = relu(weight h), b = relu(weight h − 100), logits a − 2 b.

    The rows' evidence is made where h is 0, to the left of the centre, and there a and b must be exactly 0.
    """
    x = np.ones((1, 10))
    vae = ek.VAE(1, hidden=(4, 4), likelihood=ek.likelihood.Bernoulli())
    vae.fit(np.ones((4, 10)), epochs=1, validation=0.0, progress=False)
    given = {name: np.zeros_like(values) for name, values in vae.parameters().items()}
    given["encoder.2.bias"][:] = [1, 0]
    given["decoder.0.weight"][0, 0], given["decoder.0.bias"][0] = 1, 0.3
    given["decoder.1.weight"][:2, 0], given["decoder.1.bias"][1] = weight, -100
    given["decoder.2.weight"][:, 0], given["decoder.2.weight"][:, 1] = 1, -2
    put(vae, given)

    def density(z):
        h = max(z + 0.3, 0.0)
        logit = max(weight * h, 0.0) - 2 * max(weight * h - 100, 0.0)
        return np.exp(-10 * np.logaddexp(0, -logit) - z * z / 2) / np.sqrt(2 * np.pi)

    bends = [-0.3, -0.3 + 100 / weight, -0.3 + 200 / weight]
    exact = np.log(quad(density, -12, 12, points=bends, limit=500)[0])
    for particles in (MOST + 1, 1000):
        lower = [vae.log_evidence(x, num_particles=particles, proposal="posterior", key=k).lower[0] for k in range(100)]
        assert np.mean(lower) < exact + 5 * np.std(lower) / 10, particles
