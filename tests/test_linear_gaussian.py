"""The linear Gaussian model against 60 digits and the printed formulas, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)
mp = reference.mp


def model(columns=5, latents=2, seed=0, noise=(0.2, 2.0)):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((columns, latents))
    return ek.LinearGaussian(weight, rng.standard_normal(columns), rng.uniform(*noise, columns))


def rows(lg, n=12, dtype=np.float64, seed=1, missing=0.0):
    rng = np.random.default_rng(seed)
    x = lg.sample(n, key=seed, dtype=dtype) * np.array([0.1, 1, 10])[np.arange(n) % 3, None].astype(dtype)
    return np.where(rng.random(x.shape) < missing, dtype(np.nan), x)


def diagonal(n, latents, dtype=np.float64, seed=2):
    rng = np.random.default_rng(seed)
    return ek.GaussianParams(*(rng.standard_normal((n, latents)).astype(dtype) for _ in range(2)))


def full(n, latents, dtype=np.float64, seed=3, shared=False):
    rng = np.random.default_rng(seed)
    tril = np.tril(rng.standard_normal((n, latents, latents)), -1)
    tril[:, range(latents), range(latents)] = rng.uniform(0.3, 2, (n, latents))
    loc = rng.standard_normal((n, latents)).astype(dtype)
    return ek.MvnParams(loc, (tril[0] if shared else tril).astype(dtype))


def posts(n, latents, dtype=np.float64):
    return diagonal(n, latents, dtype), full(n, latents, dtype), full(n, latents, dtype, shared=True)


def exact_row(lg, x):
    """log evidence, posterior mean and covariance of one row by the textbook's formulas with 60 digits."""
    seen = ~np.isnan(x)
    W = mp.matrix(lg.weight[seen].tolist()) if seen.any() else None
    k = lg.weight.shape[1]
    if W is None:
        return mp.mpf(0), mp.zeros(k, 1), mp.eye(k), mp.mpf(0)
    r = mp.matrix([mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x[seen], lg.offset[seen], strict=True)])
    noise = [mp.mpf(float(v)) for v in lg.noise_var[seen]]
    marginal = W * W.T + mp.diag(noise)
    square = (r.T * mp.lu_solve(marginal, r))[0]
    log_det = mp.log(mp.det(marginal))
    precision = mp.eye(k) + W.T * mp.diag([1 / v for v in noise]) * W
    covariance = precision**-1
    mean = covariance * (W.T * mp.diag([1 / v for v in noise]) * r)
    # What an error is measured in.
    size = square / 2 + sum(abs(mp.log(2 * mp.pi * v)) for v in noise) / 2 + mp.log(mp.det(precision)) / 2 + k
    return -(square + log_det + len(noise) * mp.log(2 * mp.pi)) / 2, mean, covariance, size


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_evidence_and_posterior_agree_with_sixty_digits(dtype, missing):
    worst = np.zeros(3)
    for columns, latents in ((1, 1), (5, 2), (9, 4), (3, 6)):
        lg = model(columns, latents, seed=columns)
        x = rows(lg, 9, dtype, seed=columns, missing=missing)
        evidence, (loc, tril) = lg.log_evidence(x), lg.posterior(x)
        assert evidence.dtype == loc.dtype == tril.dtype == dtype
        tril = np.broadcast_to(tril, (9, latents, latents)).astype(np.float64)
        assert (np.triu(tril, 1) == 0).all()
        for i, row in enumerate(x):
            value, mean, covariance, size = exact_row(lg, row)
            worst[0] = max(worst[0], float(abs(value - mp.mpf(float(evidence[i]))) / (size or 1)))
            scale = max(float(mp.norm(mean)), 1e-30)
            worst[1] = max(worst[1], float(mp.norm(mean - mp.matrix(loc[i].tolist()))) / scale)
            made = mp.matrix(tril[i].tolist())
            worst[2] = max(worst[2], float(mp.norm(made * made.T - covariance)))
    # Measured maxima: 2.8e-16, 2.4e-15 and 1.3e-15 in float64; 5.1e-8, 4.3e-8 and 8.8e-8 in float32.
    assert (worst < (5e-15 if dtype == np.float64 else 4e-7)).all(), worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_and_gap_agree_with_sixty_digits(dtype):
    for columns, latents in ((1, 1), (6, 3)):
        lg = model(columns, latents, seed=columns)
        x = rows(lg, 6, dtype, missing=0.2)
        for post in posts(6, latents, dtype):
            bound, gap = lg.elbo(x, post), lg.gap(x, post)
            assert bound.dtype == gap.dtype == dtype
            for i in range(6):
                value, mean, covariance, size = exact_row(lg, x[i])
                loc = mp.matrix(post[0][i].tolist())
                if isinstance(post, ek.MvnParams):
                    tril = mp.matrix((post[1] if post[1].ndim == 2 else post[1][i]).tolist())
                    spread = tril * tril.T
                else:
                    spread = mp.diag([mp.exp(mp.mpf(float(v))) for v in post[1][i]])
                inverse = covariance**-1
                trace, off = inverse * spread, loc - mean
                logs = mp.log(mp.det(covariance)) - mp.log(mp.det(spread))
                square = (off.T * inverse * off)[0]
                kl = (sum(trace[j, j] for j in range(latents)) - latents + square + logs) / 2
                allowed = (5e-15 if dtype == np.float64 else 4e-7) * float(size + abs(kl) + abs(logs) + latents)
                # The largest errors measured are 0.08 of that in float64 and 0.12 in float32.
                assert abs(float(kl - mp.mpf(float(gap[i])))) <= allowed
                assert abs(float(value - kl - mp.mpf(float(bound[i])))) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_and_gap_add_up_to_the_evidence_for_any_posterior(dtype):
    for missing in (0.0, 0.4):
        lg = model(8, 3)
        x = rows(lg, 300, dtype, missing=missing)
        evidence = lg.log_evidence(x).astype(np.float64)
        for post in posts(300, 3, dtype):
            bound, gap = lg.elbo(x, post), lg.gap(x, post)
            assert (gap >= 0).all()
            error = np.abs(bound.astype(np.float64) + gap - evidence) / (np.abs(evidence) + gap + 8)
            # Measured maxima: 7.8e-16 in float64 and 8.5e-8 in float32.
            assert error.max() < (3e-15 if dtype == np.float64 else 2e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_exact_posterior_leaves_no_gap(dtype):
    for missing in (0.0, 0.4):
        lg = model(8, 3)
        x = rows(lg, 100, dtype, missing=missing)
        post = lg.posterior(x)
        assert post.scale_tril.shape == ((100, 3, 3) if missing else (3, 3))
        assert lg.gap(x, post).max() <= (0 if dtype == np.float64 else 2e-11)
        rtol = 2e-15 if dtype == np.float64 else 2e-7
        np.testing.assert_allclose(lg.elbo(x, post), lg.log_evidence(x), rtol=rtol, atol=10 * rtol)


def test_the_gap_keeps_its_accuracy_near_the_posterior():
    lg = model(8, 3)
    x = rows(lg, 5)
    loc, tril = lg.posterior(x)
    shift = 1e-9 * tril[:, 0]
    # ‖S⁻¹ shift‖²/2 with shift 1e-9 of S's first column.
    np.testing.assert_allclose(lg.gap(x, ek.MvnParams(loc + shift, tril)), 5e-19, rtol=1e-5)


def test_every_draw_of_the_posterior_weighs_the_evidence():
    lg = model(6, 2)
    x = rows(lg, 7)
    likelihood = ek.likelihood.Gaussian(np.sqrt(lg.noise_var))
    post = lg.posterior(x)

    def decoder(z):
        return z @ lg.weight.T + lg.offset

    weights = ek.log_weights(x, post, decoder, likelihood, key=0, num_particles=50)
    np.testing.assert_allclose(weights, np.broadcast_to(lg.log_evidence(x), (50, 7)), rtol=1e-12)
    for q in posts(7, 2):
        terms = ek.elbo(x, q, decoder, likelihood, key=1, num_particles=4000)
        assert (np.abs(terms.elbo - lg.elbo(x, q)) < 5 * terms.standard_error).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_depends_on_itself_alone(dtype):
    lg = model(9, 4)
    x = rows(lg, 4000, dtype, missing=0.05)
    x[1000:2000] = rows(lg, 1000, dtype)
    q, p = diagonal(4000, 4, dtype), full(4000, 4, dtype)

    def everything(at=slice(None)):
        part = x[at]
        results = lg.log_evidence(part), *lg.posterior(part)
        for post in (q, p):
            mine = type(post)(*(array[at] for array in post))
            results += lg.elbo(part, mine), lg.gap(part, mine)
        return results

    with ek.num_threads(1):
        one = everything()
    with ek.num_threads(3):
        many = everything()
    assert [a.tobytes() for a in one] == [a.tobytes() for a in many]
    for at in ([0], [17, 3], list(range(1995, 2009)), [1500], [1500, 1501]):
        for whole, part in zip(one, everything(at), strict=True):
            # The triangle of rows without a missing cell is that of each.
            assert whole[at].tobytes() == np.broadcast_to(part, whole[at].shape).tobytes()


def test_a_missing_cell_is_left_out():
    lg = model(6, 2)
    x = rows(lg, 20)
    mask = np.random.default_rng(4).random(x.shape) < 0.6
    mask[0] = False
    holed = np.where(mask, x, np.nan)
    evidence = lg.log_evidence(holed)
    assert evidence.tobytes() == lg.log_evidence(np.where(mask, x, 1e30), mask=mask).tobytes()
    for i, seen in enumerate(mask[1:], 1):
        part = ek.LinearGaussian(lg.weight[seen], lg.offset[seen], lg.noise_var[seen])
        np.testing.assert_allclose(evidence[i], part.log_evidence(x[i : i + 1, seen])[0], rtol=1e-13)
    # A row with no observed cell: evidence 0, ELBO −KL, the prior as its posterior.
    q = diagonal(20, 2)
    assert evidence[0] == 0
    np.testing.assert_allclose(lg.elbo(holed, q)[0], -ek.gaussian.kl(*q)[0], rtol=1e-14)
    assert lg.elbo(holed, q).tobytes() == lg.elbo(x, q, mask=mask).tobytes()
    assert lg.gap(holed, q).tobytes() == lg.gap(x, q, mask=mask).tobytes()
    loc, tril = lg.posterior(holed)
    assert (loc[0] == 0).all()
    assert (tril[0] == np.eye(2)).all()
    assert lg.posterior(x, mask=mask).loc.tobytes() == loc.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_rows_give_no_nan(dtype):
    top = np.finfo(dtype).max
    ends = np.array([-top, -1e20, 0, np.finfo(dtype).smallest_subnormal, 1e4, top, np.nan], dtype)
    x = np.stack(np.meshgrid(ends, ends, ends), axis=-1).reshape(-1, 3)
    n = len(x)
    for scale, noise in ((1, 1), (1e100, 1e-30), (1e-200, 1e-300), (1e150, 1e300), (1, 1e-200)):
        lg = ek.LinearGaussian(scale * np.array([[1.0, 2.0], [2.0, 4.0], [-1.0, 1.0]]), np.zeros(3), noise)
        evidence, (loc, tril) = lg.log_evidence(x), lg.posterior(x)
        assert not np.isnan(evidence).any()
        assert (evidence < np.inf).all()
        assert not np.isnan(loc).any()
        assert not np.isnan(tril).any()
        for size in (0, 1, 80, -600):
            post = ek.GaussianParams(np.full((n, 2), size, dtype), np.full((n, 2), size, dtype))
            assert not np.isnan(lg.elbo(x, post)).any()


def test_the_gap_of_a_posterior_as_narrow_as_can_be():
    lg = ek.LinearGaussian([[1.0], [2.0]], [0.0, 0.0], 1.0)
    x = np.ones((1, 2))
    for log_var in (-1000.0, -1400.0, -1500.0, -2000.0, -1e4):
        q = ek.GaussianParams([[0.1]], [[log_var]])
        np.testing.assert_allclose(lg.elbo(x, q) + lg.gap(x, q), lg.log_evidence(x), rtol=0, atol=2e-12)


def test_a_posterior_mean_past_the_range_is_infinitely_far():
    lg = ek.LinearGaussian([[1.0], [2.0]], [0.0, 0.0], 1e-3)
    x, q = np.array([[1e308, 1e308], [1.0, 1.0]]), ek.GaussianParams(np.zeros((2, 1)), np.zeros((2, 1)))
    gap = lg.gap(x, q)
    assert gap[0] == np.inf
    assert gap[1] == lg.gap(x[1:], ek.GaussianParams([[0.0]], [[0.0]]))[0] < np.inf


def test_draws_have_the_models_moments_and_are_addressed_by_row():
    lg, n = model(4, 2), 200_000
    x = lg.sample(n, key=5)
    covariance = lg.weight @ lg.weight.T + np.diag(lg.noise_var)
    centred = x - lg.offset
    assert (np.abs(centred.mean(0)) < 5 * np.sqrt(np.diag(covariance) / n)).all()
    products = centred[:, :, None] * centred[:, None]
    assert (np.abs(products.mean(0) - covariance) < 5 * products.std(0) / np.sqrt(n)).all()
    for dtype in DTYPES:
        whole = lg.sample(700, key=3, dtype=dtype)
        assert lg.sample(13, key=3, dtype=dtype, first_row=47).tobytes() == whole[47:60].tobytes()
        with ek.num_threads(1):
            assert lg.sample(700, key=3, dtype=dtype).tobytes() == whole.tobytes()
    first, second = ek.Key(3).split(2)
    z, eps = (ek.random.normal((9, w), key=k, dtype=np.float64) for w, k in ((2, first), (4, second)))
    expected = z @ lg.weight.T + lg.offset + np.sqrt(lg.noise_var) * eps
    np.testing.assert_allclose(lg.sample(9, key=3), expected, rtol=0, atol=1e-14)


def test_draws_are_pinned():
    lg = ek.LinearGaussian([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]], [0.0, 10.0, -10.0], [1.0, 4.0, 0.25])
    np.testing.assert_allclose(lg.sample(3, key=0), PINNED, rtol=0, atol=5e-15)


PINNED = [
    [2.1982274164378066, 9.773984595072408, -10.33916355049364],
    [1.1434962153575103, 11.671333416228968, -11.428509220788282],
    [-0.25903686130705184, 13.929216463449537, -9.155602360634457],
]


def test_equality_repr_and_pickle():
    lg = model()
    again = pickle.loads(pickle.dumps(lg))
    assert again == lg
    assert hash(again) == hash(lg)
    assert again.log_evidence(rows(lg)).tobytes() == lg.log_evidence(rows(lg)).tobytes()
    assert lg != model(seed=9)
    assert lg != "a model"
    assert repr(lg) == "LinearGaussian(columns=5, latents=2)"
    same = ek.LinearGaussian(lg.weight, lg.offset, 0.5)
    assert (same.noise_var == np.full(5, 0.5)).all()
    with pytest.raises(AttributeError, match="does not change"):
        lg.weight = 1
    with pytest.raises(AttributeError, match="does not change"):
        del lg.offset
    with pytest.raises(ValueError, match="read-only"):
        lg.noise_var[0] = 1


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (([[1.0]], [0.0], 0.0), ValueError, "noise_var: .* positive .* column 0"),
        (([[1.0]], [0.0], [-1.0]), ValueError, "noise_var: .* positive"),
        (([[1e200]], [0.0], 1e-200), ValueError, "noise_var: .* range"),
        (([[1.0], [2.0]], [0.0], 1.0), ek.ShapeError, "offset"),
        (([[1.0], [2.0]], [0.0, 0.0], [1.0]), ek.ShapeError, "noise_var"),
        (([1.0], [0.0], 1.0), ek.ShapeError, "weight"),
        ((np.zeros((1, 0)), [0.0], 1.0), ek.ShapeError, "weight: .* latent"),
        (([[np.nan]], [0.0], 1.0), ek.NonFiniteError, "weight"),
        (([[1.0]], [np.inf], 1.0), ek.NonFiniteError, "offset"),
        (([[1.0]], [0.0], "much"), ValueError, "noise_var: expected a number"),
        (([[1j]], [0.0], 1.0), ek.DtypeError, "weight"),
        ((1.0, np.zeros(2), 1.0), ek.ShapeError, r"weight: expected an array \(columns, latents\), got shape \(\)"),
        (([[1.0]], [0.0], np.array([1])), ek.DtypeError, "noise_var: expected float32 or float64, got int64"),
        (([[1.0]], [0.0], [[1.0], [1.0, 2.0]]), ek.ShapeError, "noise_var: expected rows of one length"),
        (([[1.0]], [0.0], np.ma.array([1.0], mask=[True])), ek.DtypeError, "noise_var: expected a plain array"),
    ],
)
def test_what_makes_no_model_is_named(parts, error, message):
    with pytest.raises(error, match=message):
        ek.LinearGaussian(*parts)


def test_lists_of_whole_numbers_are_float64():
    lg = ek.LinearGaussian([[1], [1]], [0, 0], [1, 2])
    assert lg == ek.LinearGaussian([[1.0], [1.0]], [0.0, 0.0], np.array([1.0, 2.0]))
    assert {part.dtype for part in (lg.weight, lg.offset, lg.noise_var)} == {np.dtype(np.float64)}
    assert ek.LinearGaussian([[1], [1]], [0, 0], (1, 2)) == lg


def test_bad_rows_and_posteriors_are_named():
    lg = model()
    x = np.zeros((3, 5))
    x[2, 1] = np.inf
    good = diagonal(3, 2)
    for function in (lg.log_evidence, lg.posterior, lambda x: lg.elbo(x, good), lambda x: lg.gap(x, good)):
        with pytest.raises(ek.ShapeError, match=r"X: expected \(rows, 5\)"):
            function(np.zeros((3, 4)))
        with pytest.raises(ek.NonFiniteError, match=r"X: .* inf at row 2, column 1"):
            function(x)
    x = np.zeros((3, 5))
    for function in (lg.elbo, lg.gap):
        with pytest.raises(ek.ShapeError, match="loc"):
            function(x, diagonal(2, 2))
        with pytest.raises(ek.ShapeError, match="log_var"):
            function(x, ek.GaussianParams(np.zeros((3, 2)), np.zeros((2, 2))))
        with pytest.raises(ek.NonFiniteError, match=r"log_var: .* row 1, column 0"):
            function(x, ek.GaussianParams(np.zeros((3, 2)), [[0, 0], [np.nan, 0], [0, 0.0]]))
        with pytest.raises(ek.SupportError, match="scale_tril"):
            function(x, ek.MvnParams(np.zeros((3, 2)), -np.eye(2)))
        with pytest.raises(ek.DtypeError, match="log_var"):
            function(x, ek.GaussianParams(np.zeros((3, 2)), np.zeros((3, 2), np.float32)))
        with pytest.raises(ValueError, match="post: expected GaussianParams"):
            function(x, "q")
        with pytest.raises(ek.ArgumentError, match="post: expected GaussianParams"):
            function(x, (*good, good[1]))
    empty = np.zeros((0, 5))
    assert (
        lg.log_evidence(empty).shape == lg.elbo(empty, diagonal(0, 2)).shape == lg.gap(empty, full(0, 2)).shape == (0,)
    )
    assert lg.posterior(empty).loc.shape == lg.posterior(empty).loc.shape == (0, 2)
    assert lg.sample(0, key=0).shape == (0, 5)
    out = np.empty(3)
    assert lg.log_evidence(x, out=out) is out
    # Whole numbers are observations.
    whole = x.astype(np.int8)
    assert lg.log_evidence(whole).tobytes() == lg.log_evidence(x).tobytes()
    assert lg.posterior(whole).loc.tobytes() == lg.posterior(x).loc.tobytes()
    assert lg.elbo(x.astype(np.int8), good).tobytes() == lg.elbo(x, good).tobytes()


def test_nothing_warns():
    lg = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lg.gap(rows(lg, 50, missing=0.5), diagonal(50, 2))
