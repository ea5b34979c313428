"""A mixture under noising steps against quadrature, every figure of fixtures F3, and the reversal's draws."""

import functools
import pickle

import numpy as np
import pytest

import elbokit as ek

WEIGHTS, LOCS, SCALES = np.array([0.3, 0.7]), np.array([-2.0, 2.0]), np.array([0.2, 1.0])
P0 = ek.GaussianMixture(WEIGHTS, LOCS[:, None], SCALES**2)
# Wide enough for p_0 and N(0, 1), fine enough for the narrower component.
GRID = np.linspace(-9.0, 9.0, 3001)
CELL = GRID[1] - GRID[0]


def density(x, left):
    """log p_t, its score and the score's derivative, by the printed formula."""
    loc, variance = np.sqrt(left) * LOCS, left * SCALES**2 + 1 - left
    s = np.log(WEIGHTS) - 0.5 * np.log(2 * np.pi * variance) - 0.5 * (x[:, None] - loc) ** 2 / variance
    top = s.max(1, keepdims=True)
    share = np.exp(s - top)
    log_p = top[:, 0] + np.log(share.sum(1))
    share /= share.sum(1, keepdims=True)
    pull = (loc - x[:, None]) / variance
    score = (share * pull).sum(1)
    return log_p, score, (share * (pull**2 - 1 / variance)).sum(1) - score**2


@functools.cache
def mean_gaps(alpha, T):
    """E log p_0 − E ELBO: Σ_t E KL(p(x_{t−1} | x_t) ‖ model) + KL(p_T ‖ N(0, 1)) by quadrature, from the entropies."""
    left = alpha ** np.arange(T + 1)
    before = density(GRID, 1.0)[0]
    entropy = -(np.exp(before) * before).sum() * CELL
    totals = dict.fromkeys(("alpha", "optimal", "beta tilde"), 0.0)
    for t in range(1, T + 1):
        log_p, _, slope = density(GRID, left[t])
        p = np.exp(log_p) * CELL
        next_entropy = -(p * log_p).sum()
        exact = (1 - alpha) / alpha * (1 + (1 - alpha) * slope)
        models = {
            "alpha": 1 - alpha,
            "optimal": exact,
            # That of x_{t−1} given x_t and x_0 too, and 1 − α of the last step, where it is 0.
            "beta tilde": (1 - alpha) * ((1 - left[t - 1]) / (1 - left[t]) if t > 1 else 1.0),
        }
        conditional = entropy + 0.5 * np.log(2 * np.pi * np.e * (1 - alpha)) - next_entropy
        for variance, model in models.items():
            totals[variance] += (p * 0.5 * (np.log(2 * np.pi * model) + exact / model)).sum() - conditional
        entropy = next_entropy
    end = (p * (log_p + 0.5 * np.log(2 * np.pi) + 0.5 * GRID**2)).sum()
    return {variance: total + end for variance, total in totals.items()}


def exact_elbo(x0, alpha, T, variance="alpha"):
    """The bound at one x_0, each expectation over x_t by quadrature."""
    left = alpha ** np.arange(T + 1)
    beta = 1 - alpha
    eps = np.linspace(-8.5, 8.5, 2001)
    weight = np.exp(-0.5 * eps**2)
    weight /= weight.sum()
    total = -0.5 * (left[T] * x0**2 + 1 - left[T] - 1 - np.log(1 - left[T]))
    for t in range(1, T + 1):
        x = np.sqrt(left[t]) * x0 + np.sqrt(1 - left[t]) * eps
        _, score, slope = density(x, left[t])
        loc = (x + beta * score) / np.sqrt(alpha)
        model = np.full_like(x, beta) if variance == "alpha" else beta / alpha * (1 + beta * slope)
        if t == 1:
            terms = -0.5 * ((x0 - loc) ** 2 / model + np.log(2 * np.pi * model))
        else:
            own = (1 - left[t - 1]) / (1 - left[t]) * beta
            mean = np.sqrt(left[t - 1]) * beta / (1 - left[t]) * x0
            mean = mean + np.sqrt(alpha) * (1 - left[t - 1]) / (1 - left[t]) * x
            terms = -0.5 * (own / model - 1 + np.log(model / own) + (mean - loc) ** 2 / model)
        total += (weight * terms).sum()
    return total


def discretised(x0, alpha, T):
    """log p(x_0) of the model of T steps with variance 1 − α and the exact score: N(0, 1) carried back on the grid."""
    left = alpha ** np.arange(T + 1)
    beta = 1 - alpha
    grid = np.linspace(-8, 8, 801)
    p = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    for t in range(T, 0, -1):
        loc = (grid + beta * density(grid, left[t])[1]) / np.sqrt(alpha)
        to = grid if t > 1 else np.array([x0])
        kernel = np.exp(-0.5 * (to[:, None] - loc) ** 2 / beta) / np.sqrt(2 * np.pi * beta)
        p = kernel @ p * (grid[1] - grid[0] if t > 1 else 1.0)
    return float(np.log(p[0]))


# The figures of the fixtures.


@pytest.mark.parametrize(
    ("split", "T", "variance", "gap", "digits"),
    [
        (1, 200, "alpha", 0.0508, 4),
        (4, 1600, "alpha", 0.0136, 4),
        (16, 6400, "alpha", 0.0035, 4),
        (1, 200, "optimal", 0.0024, 4),
        (4, 1600, "optimal", 0.00014, 5),
        (16, 6400, "optimal", 0.00001, 5),
        (1, 400, "alpha", 0.0501, 4),
        (1, 1000, "alpha", 0.0501, 4),
        (1, 200, "beta tilde", 0.24, 2),
    ],
)
def test_the_mean_gap_by_quadrature_is_the_fixtures(split, T, variance, gap, digits):
    # It closes with finer steps, not with T at fixed α, and not with the variance β̃_t.
    assert round(mean_gaps(0.97 ** (1 / split), T)[variance], digits) == gap


@pytest.mark.parametrize(
    ("split", "T", "variance", "rows"),
    [(1, 200, "alpha", 60_000), (4, 1600, "alpha", 6000), (1, 200, "optimal", 20_000), (4, 1600, "optimal", 2000)],
)
def test_the_bound_has_the_mean_gap_of_quadrature(split, T, variance, rows):
    alpha = 0.97 ** (1 / split)
    steps = ek.Diffusion(np.full(T, alpha), variance)
    x0 = P0.sample(rows, key=0)
    gaps = P0.log_evidence(x0) - steps.elbo(x0, steps.score_of(P0), key=1).elbo
    error = gaps.std() / np.sqrt(rows)
    assert error < 0.025
    assert abs(gaps.mean() - mean_gaps(alpha, T)[variance]) < 5 * error


@pytest.mark.parametrize("variance", ["alpha", "optimal"])
def test_the_bound_of_a_row_is_that_of_quadrature(variance):
    steps = ek.Diffusion(np.full(200, 0.97), variance)
    x0 = np.array([[-3.02], [-2.0], [0.1], [2.5]])
    terms = steps.elbo(x0, steps.score_of(P0), key=2, num_particles=4000)
    expected = [exact_elbo(x, 0.97, 200, variance) for x in x0[:, 0]]
    assert (np.abs(terms.elbo - expected) < 5 * terms.standard_error).all()
    assert (terms.standard_error < 0.05).all()
    np.testing.assert_allclose(terms.reconstruction - terms.kl, terms.elbo, rtol=1e-12)


def test_at_one_point_the_bound_may_exceed_the_density():
    # Because it bounds the model of T steps.
    assert round(P0.log_evidence([[-3.02]])[0], 3) == -12.988
    assert round(discretised(-3.02, 0.97, 200), 3) == -9.666
    assert round(exact_elbo(-3.02, 0.97, 200), 3) == -10.049


def test_rows_pushed_step_by_step_have_the_mixtures_moments():
    steps = ek.Diffusion(np.full(200, 0.97))
    n = 20_000
    path = steps.forward(P0.sample(n, key=0), key=1)
    assert path.shape == (201, n, 1)
    for t, x in enumerate(path[..., 0]):
        left = steps.alpha_bar[t - 1] if t else 1.0
        noised = P0.diffuse(left)
        np.testing.assert_allclose(noised.locs[:, 0], np.sqrt(left) * LOCS, rtol=1e-14)
        np.testing.assert_allclose(noised.variances, left * SCALES**2 + 1 - left, rtol=1e-14)
        mean = noised.weights @ noised.locs[:, 0]
        variance = noised.weights @ (noised.variances + noised.locs[:, 0] ** 2) - mean**2
        assert abs(x.mean() - mean) < 5 * np.sqrt(variance / n)
        assert abs(x.var() - variance) < 5 * ((x - mean) ** 2).std() / np.sqrt(n)
        if t:
            jumped = steps.forward(path[0], t=t, key=1)[:, 0]
            assert abs(jumped.mean() - mean) < 5 * np.sqrt(variance / n)
    # p_∞ is N(0, 1).
    assert abs(P0.diffuse(steps.alpha_bar[-1] ** 9).log_evidence([[0.7]])[0] + 0.5 * (0.49 + np.log(2 * np.pi))) < 1e-9


def test_the_reversal_comes_back_to_the_mixture():
    alpha = 0.97**0.25
    steps = ek.Diffusion(np.full(1200, alpha), "optimal")
    n = 3000
    x = np.sort(steps.reverse(steps.score_of(P0), n, dim=1, key=3)[:, 0])
    erf = np.vectorize(__import__("math").erf)
    cdf = (0.5 * (1 + erf((x[:, None] - LOCS) / SCALES / np.sqrt(2)))) @ WEIGHTS
    distance = np.abs(cdf - np.arange(1, n + 1) / n).max()
    # Kolmogorov's law: 1.95 / √n is passed once in a thousand times.
    assert distance < 1.95 / np.sqrt(n)
    # With too large a variance and few steps the model is not p_0: the bound's gap is seen in the draws.
    rough = ek.Diffusion(np.full(12, 0.6))
    x = np.sort(rough.reverse(rough.score_of(P0), n, dim=1, key=3)[:, 0])
    cdf = (0.5 * (1 + erf((x[:, None] - LOCS) / SCALES / np.sqrt(2)))) @ WEIGHTS
    assert np.abs(cdf - np.arange(1, n + 1) / n).max() > 1.95 / np.sqrt(n)


# What holds for any steps.


def wide(columns=3, kind="full"):
    rng = np.random.default_rng(columns)
    half = rng.standard_normal((2, columns, columns))
    full = half @ half.transpose(0, 2, 1) + 0.2 * np.eye(columns)
    variances = {"full": full, "diagonal": rng.uniform(0.1, 1, (2, columns))}[kind]
    return ek.GaussianMixture([0.4, 0.6], rng.standard_normal((2, columns)) * 2, variances)


@pytest.mark.parametrize("variance", ["alpha", "optimal"])
def test_a_standard_normal_is_known_exactly(variance):
    # p_t = N(0, I) for every t, and the reversal with variance 1 − α_t and score −x is exact: no gap at all.
    gm = ek.GaussianMixture([1.0], np.zeros((1, 3)), [1.0])
    steps = ek.Diffusion(np.linspace(0.9, 0.5, 30), variance)
    x0 = gm.sample(50, key=0) * 2
    terms = steps.elbo(x0, steps.score_of(gm), key=1, num_particles=3000)
    assert (np.abs(terms.elbo - gm.log_evidence(x0)) < 5 * terms.standard_error).all()
    x = steps.reverse(steps.score_of(gm), 20_000, dim=3, key=2)
    assert (np.abs(x.mean(0)) < 5 / np.sqrt(20_000)).all()
    assert (np.abs(x.var(0) - 1) < 5 * np.sqrt(2 / 20_000)).all()


@pytest.mark.parametrize("variance", ["alpha", "optimal"])
def test_the_mean_bound_is_below_the_mean_density_and_worse_for_a_worse_score(variance):
    gm = wide()
    steps = ek.Diffusion(np.full(60, 0.9), variance)
    x0 = gm.sample(4000, key=0)
    exact = steps.score_of(gm)
    best = gm.log_evidence(x0) - steps.elbo(x0, exact, key=1).elbo
    assert best.mean() > -5 * best.std() / np.sqrt(4000)
    worse = gm.log_evidence(x0) - steps.elbo(x0, lambda x, t: 0.8 * exact(x, t), key=1).elbo
    assert worse.mean() > best.mean() + 0.1


def test_the_optimal_variance_closes_the_gap_of_correlated_columns():
    gm = wide()
    x0 = gm.sample(3000, key=0)
    gaps = []
    for variance in ("alpha", "optimal"):
        steps = ek.Diffusion(np.full(200, 0.97), variance)
        gaps.append((gm.log_evidence(x0) - steps.elbo(x0, steps.score_of(gm), key=1).elbo).mean())
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("variance", ["alpha", "optimal"])
def test_a_row_is_addressed_by_its_number(variance, dtype):
    gm = wide()
    steps = ek.Diffusion(np.full(7, 0.8), variance)
    score = steps.score_of(gm)
    x0 = gm.sample(20, key=0, dtype=dtype)
    terms = steps.elbo(x0, score, key=1, num_particles=5)
    part = steps.elbo(x0[8:13], score, key=1, num_particles=5, first_row=8)
    for whole, some in zip(terms, part, strict=True):
        assert whole.dtype == dtype
        assert whole[8:13].tobytes() == some.tobytes()
    path = steps.forward(x0, key=1)
    assert path.dtype == dtype
    assert path[:, 8:13].tobytes() == steps.forward(x0[8:13], key=1, first_row=8).tobytes()
    assert path[0].tobytes() == x0.tobytes()
    one = steps.forward(x0, t=3, key=1)
    assert one.dtype == dtype
    each = np.array([1, 3, 7, 2] * 5)
    mixed = steps.forward(x0, t=each, key=1)
    for t in (1, 2, 3, 7):
        assert mixed[each == t].tobytes() == steps.forward(x0, t=t, key=1)[each == t].tobytes()
    assert one[8:13].tobytes() == steps.forward(x0[8:13], t=3, key=1, first_row=8).tobytes()
    drawn = steps.reverse(score, 20, dim=3, key=1, dtype=dtype)
    assert drawn.dtype == dtype
    assert drawn[8:13].tobytes() == steps.reverse(score, 5, dim=3, key=1, dtype=dtype, first_row=8).tobytes()
    whole_path = steps.reverse(score, 20, dim=3, key=1, dtype=dtype, return_path=True)
    assert whole_path.shape == (8, 20, 3)
    assert whole_path[0].tobytes() == drawn.tobytes()
    with ek.num_threads(1):
        assert steps.elbo(x0, score, key=1, num_particles=5).elbo.tobytes() == terms.elbo.tobytes()


def test_particles_in_blocks_are_the_same_particles(monkeypatch):
    gm = wide()
    steps = ek.Diffusion(np.full(4, 0.7))
    x0 = gm.sample(10, key=0)
    whole = steps.elbo(x0, steps.score_of(gm), key=1, num_particles=9)
    monkeypatch.setattr("elbokit.diffusion._BLOCK", 60)
    for a, b in zip(whole, steps.elbo(x0, steps.score_of(gm), key=1, num_particles=9), strict=True):
        assert a.tobytes() == b.tobytes()
    assert (steps.elbo(x0, steps.score_of(gm), key=1).standard_error == np.inf).all()


def test_float32_agrees_with_float64():
    gm = wide()
    for variance, atol in (("alpha", 1e-4), ("optimal", 2e-2)):
        steps = ek.Diffusion(np.full(30, 0.9), variance)
        x0 = gm.sample(50, key=0, dtype=np.float32)
        draws = 400
        single = steps.elbo(x0, steps.score_of(gm), key=1, num_particles=draws)
        double = steps.elbo(x0.astype(np.float64), steps.score_of(gm), key=1, num_particles=draws)
        # Other draws: float64's normals are not float32's.
        error = np.hypot(single.standard_error, double.standard_error)
        assert (np.abs(single.elbo - double.elbo) < 5 * error + atol).all()


def test_equality_repr_and_pickle():
    steps = ek.Diffusion(np.full(200, 0.97), "optimal")
    assert repr(steps) == "Diffusion(steps=200, alpha_bar=0.00226, variance='optimal')"
    again = pickle.loads(pickle.dumps(steps))
    assert again == steps
    assert hash(again) == hash(steps)
    assert steps != ek.Diffusion(np.full(200, 0.97))
    assert steps != "steps"
    np.testing.assert_allclose(steps.alpha_bar, 0.97 ** np.arange(1, 201), rtol=1e-13)
    with pytest.raises(AttributeError, match="does not change"):
        steps.alphas = 1
    with pytest.raises(AttributeError, match="does not change"):
        del steps.variance
    with pytest.raises(ValueError, match="read-only"):
        steps.alpha_bar[0] = 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ek.ShapeError, "alphas: .* at least one step"),
        (([[0.9]],), ek.ShapeError, "alphas"),
        (([0.9, 1.0],), ValueError, "alphas: .* got 1.0 at step 2"),
        (([0.0],), ValueError, "alphas: .* got 0.0 at step 1"),
        (([np.nan],), ValueError, "alphas"),
        (([0.9], "beta"), ValueError, 'variance: expected "alpha" or "optimal"'),
        (([0.9], ["alpha"]), ek.errors.ArgumentError, r"variance: expected .*, got \[.alpha.\]"),
        (([0.9], np.array(["alpha", "optimal"])), ek.errors.ArgumentError, "variance: expected "),
    ],
)
def test_what_makes_no_steps_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ek.Diffusion(*arguments)


def test_bad_rows_and_scores_are_named():
    steps = ek.Diffusion([0.9, 0.8])
    x0 = np.zeros((3, 2))

    def broken(x, t):
        value = -x
        if t == 2:
            value[1, 0] = np.nan
        return value

    calls = []

    def broken_beside_a_row(x, t):
        calls.append(t)
        return -x if len(calls) == 1 else np.full_like(x, np.nan)

    with pytest.raises(ek.NonFiniteError, match=r"score: .* nan at row 0, column 0 of t = 1"):
        ek.Diffusion([0.9, 0.8], "optimal").elbo(x0, broken_beside_a_row, key=0)
    with pytest.raises(ek.NonFiniteError, match=r"score: .* nan at row 1, column 0 of t = 2") as caught:
        steps.elbo(x0, broken, key=0)
    assert (caught.value.argument, caught.value.row, caught.value.column) == ("score", 1, 0)
    with pytest.raises(ek.NonFiniteError, match="score"):
        steps.reverse(broken, 3, dim=2, key=0)
    with pytest.raises(ek.ShapeError, match=r"score: expected shape \(3, 2\) like x_t at t = 1"):
        steps.elbo(x0, lambda x, _: x[:, 0], key=0)
    with pytest.raises(ek.DtypeError, match="score"):
        steps.elbo(x0, lambda x, _: x.astype(np.float32), key=0)
    with pytest.raises(ek.ShapeError, match="x0"):
        steps.forward(x0[0], key=0)
    with pytest.raises(ek.NonFiniteError, match=r"x0: .* row 0, column 0"):
        steps.forward(x0 * np.nan, key=0)
    for t in (0, 3, 1.5, [1, 2]):
        with pytest.raises(ValueError, match="t: expected whole numbers from 1 to 2"):
            steps.forward(x0, t=t, key=0)
    with pytest.raises(ValueError, match="num_particles"):
        steps.elbo(x0, lambda x, _: -x, key=0, num_particles=0)
    assert steps.elbo(x0[:0], lambda x, _: -x, key=0).elbo.shape == (0,)
    assert steps.reverse(lambda x, _: -x, 0, dim=2, key=0).shape == (0, 2)
    assert steps.forward(x0[:0], key=0).shape == (3, 0, 2)
    for call in (lambda: steps.elbo(x0, 3, key=0), lambda: steps.reverse(None, 3, dim=2, key=0)):
        with pytest.raises(ek.errors.ArgumentError, match=r"score: expected a function") as refused:
            call()
        assert refused.value.argument == "score"
    # What a mixture calls X is what the score was given.
    exact = steps.score_of(P0)
    for call in (lambda: steps.elbo(x0, exact, key=0), lambda: steps.reverse(exact, 3, dim=2, key=0)):
        with pytest.raises(ek.ShapeError, match=r"score: x_t: expected \(rows, 1\), got shape \(3, 2\)") as refused:
            call()
        assert refused.value.argument == "score"


# What rounding leaves.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_a_difference_is_not_resolved_the_variance_is_that_of_alpha(dtype):
    far = ek.GaussianMixture([1.0], [[2200.0]], [1.0])
    steps = ek.Diffusion(1 - np.linspace(1e-4, 0.02, 1000), "optimal")
    x = steps.reverse(steps.score_of(far), 2000, dim=1, key=0, dtype=dtype)
    assert abs(x.mean() - 2200) < 0.2
    assert abs(x.std() - 1) < 0.1
    # No neighbour of x_t is near it in p_t, and the score's last bit is more than its slope.
    far_off = np.array([[1e5 if dtype == np.float32 else 1e14]], dtype)
    bounds = [
        ek.Diffusion([0.9, 0.9], variance).elbo(far_off, lambda z, _: -z, key=0) for variance in ("alpha", "optimal")
    ]
    assert np.isfinite(bounds[1].elbo).all()
    np.testing.assert_allclose(bounds[1].elbo, bounds[0].elbo, rtol=1e-6)
    draws = [
        ek.Diffusion([0.5] * 10, variance).reverse(lambda z, _: np.full_like(z, 1e12), 2, dim=1, key=0, dtype=dtype)
        for variance in ("alpha", "optimal")
    ]
    assert np.isfinite(draws[1]).all()
    np.testing.assert_allclose(draws[1], draws[0], rtol=1e-6)


def test_a_step_at_a_large_row_is_of_numbers_there_are():
    # 1e-2 of the noise's width is a third of a last place here; p_t is N(2200, 1 and more), its variance known.
    wide = ek.GaussianMixture([1.0], [[2200.0]], [1.0])
    steps = ek.Diffusion([1 - 1e-4, 0.5], "optimal")
    x_t = np.full((1, 1), np.sqrt(steps.alpha_bar[1]) * 2200, np.float32)
    score = steps.score_of(wide)
    seen = []

    def watched(z, t):
        seen.append(z.copy())
        return score(z, t)

    _, variance = steps._reverse_step(x_t, 2, score(x_t, 2), watched)
    assert all(z.dtype == np.float32 for z in seen)
    np.testing.assert_allclose(variance, 0.5 / 0.5 * (1 - 0.5), rtol=1e-3)
    # A slope that leaves the range is none.
    steep = steps._reverse_step(x_t, 2, x_t, lambda z, _: (3e38 * np.sign(z - x_t)).astype(np.float32))[1]
    assert steep == np.float32(0.5)


@pytest.mark.parametrize("variance", ["alpha", "optimal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_leaves_the_range_is_infinite_and_stays(variance, dtype):
    steps = ek.Diffusion([0.5] * 3000, variance)

    def still(z, _):
        assert np.isfinite(z).all()
        return np.zeros_like(z)

    path = steps.reverse(still, 5, dim=2, key=0, dtype=dtype, return_path=True)
    assert path.dtype == dtype
    assert not np.isnan(path).any()
    lost = np.isinf(path[0]).any(axis=1)
    assert lost.all()
    for row in range(5):
        # The path runs from x_0 back.
        left = int(np.isinf(path[:, row]).any(axis=1).sum())
        assert (path[:left, row] == path[0, row]).all()
        gone = np.isinf(path[0, row])
        assert (np.sign(path[0, row]) == np.sign(path[left, row]))[gone].all()
    # With the exact score of a mixture too no error speaks of rows that nobody gave.
    half = ek.Diffusion([0.5] * 3000)
    exact = half.score_of(ek.GaussianMixture([1.0], np.zeros((1, 2)), [1e300]))
    blown = half.reverse(lambda z, t: 3 - exact(z, t), 3, dim=2, key=0, dtype=dtype)
    assert np.isinf(blown).any(axis=1).all()
    top = np.finfo(dtype).max
    terms = ek.Diffusion([0.9, 0.9], variance).elbo(np.array([[top, 1], [0, 0]], dtype), lambda z, _: z, key=0)
    assert terms.elbo[0] == terms.reconstruction[0] == -np.inf
    assert terms.kl[0] == np.inf
    assert np.isfinite(terms.elbo[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 1e-100, 5e-324])
def test_the_optimal_variance_of_a_small_alpha_is_no_worse_than_alphas(alpha, dtype):
    one = ek.GaussianMixture([1.0], [[0.0]], [1.0])
    x0 = one.sample(2000, key=0, dtype=dtype)
    for variance in ("alpha", "optimal"):
        steps = ek.Diffusion([alpha], variance)
        # Whatever α is, the bound is exact. Measured maximum with "optimal": 7e-5, of single draws.
        terms = steps.elbo(x0, steps.score_of(one), key=1)
        truth = one.log_evidence(x0)
        noise = terms.elbo.std() / np.sqrt(2000)
        assert abs((terms.elbo - truth).mean()) < (5 * noise if alpha > 1e-3 else 1e-2)
        x = steps.reverse(steps.score_of(one), 2000, dim=1, key=2, dtype=dtype)
        assert abs(x.std() - 1) < 5 / np.sqrt(4000)
    # A mixture has more than one slope; of several steps √α may be below float32's range.
    alphas = [alpha] * 5
    bounds = []
    for variance in ("alpha", "optimal"):
        steps = ek.Diffusion(alphas, variance)
        terms = steps.elbo(x0, steps.score_of(P0), key=1)
        assert not any(np.isnan(part).any() for part in terms[:3])
        bounds.append(terms.elbo.mean())
    if alpha > (1e-10 if dtype == np.float32 else 1e-20):
        assert bounds[1] > bounds[0] - 0.3
