"""The mixture's assignment bound, its gap, and EM beside scikit-learn from the same start."""

import pickle
import warnings
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer

import elbokit as ek

DTYPES = (np.float32, np.float64)
KINDS = ("spherical", "diagonal", "full")
mp = reference.mp


def mixture(kind, k=3, d=4, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, k)
    half = rng.standard_normal((k, d, d))
    full = half @ half.transpose(0, 2, 1) / d + 0.3 * np.eye(d)
    variances = {"full": full, "diagonal": rng.uniform(0.2, 2, (k, d)), "spherical": rng.uniform(0.2, 2, k)}[kind]
    return ek.GaussianMixture(weights / weights.sum(), spread * rng.standard_normal((k, d)), variances)


def assignments(n, k, dtype=np.float64, seed=1):
    """Soft ones, hard ones and ones with zeros."""
    rng = np.random.default_rng(seed)
    soft = rng.dirichlet(np.ones(k), n)
    hard = np.eye(k)[rng.integers(0, k, n)]
    some = soft * (rng.random((n, k)) < 0.6) + 1e-300
    return [r.astype(dtype) for r in (soft, hard, some / some.sum(1, keepdims=True))]


def scores(gm, x):
    """ln wₖ N(x; k) of one row with 60 digits, and what its error is measured in."""
    d = len(x)
    result, sizes = [], []
    for w, loc, v in zip(gm.weights, gm.locs, gm.variances, strict=True):
        covariance = mp.matrix((v if np.ndim(v) == 2 else np.diag(np.broadcast_to(v, d))).tolist())
        off = mp.matrix([mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x, loc, strict=True)])
        square = (off.T * mp.lu_solve(covariance, off))[0]
        log_det = mp.log(mp.det(covariance))
        result.append(mp.log(mp.mpf(float(w))) - (square + log_det + d * mp.log(2 * mp.pi)) / 2)
        sizes.append(float(square + abs(log_det) + 2 * d) / 2)
    return result, sizes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_gap_and_shares_agree_with_sixty_digits(dtype, kind):
    worst = np.zeros(3)
    for k, d in ((1, 2), (4, 3)):
        gm = mixture(kind, k, d, seed=k, spread=1.0)
        x = 2 * np.random.default_rng(k).standard_normal((7, d)).astype(dtype)
        shares = gm.responsibilities(x)
        assert shares.dtype == dtype
        for r in assignments(7, k, dtype):
            bound, gap = gm.elbo(x, r), gm.gap(x, r)
            assert bound.dtype == gap.dtype == dtype
            for i in range(7):
                s, sizes = scores(gm, x[i])
                total = mp.fsum(mp.exp(a) for a in s)
                size = max(z for z, q in zip(sizes, r[i], strict=True) if q > 0) + 1
                q = [mp.mpf(float(a)) for a in r[i]]
                q = [a / mp.fsum(q) for a in q]
                value = mp.fsum(a * (b - mp.log(a)) for a, b in zip(q, s, strict=True) if a > 0)
                errors = (
                    abs(value - mp.mpf(float(bound[i]))) / size,
                    abs(mp.log(total) - value - mp.mpf(float(gap[i]))) / size,
                    max(
                        abs(mp.exp(a) / total - mp.mpf(float(b))) / (size * max(mp.exp(a) / total, mp.mpf(10) ** -30))
                        for a, b in zip(s, shares[i], strict=True)
                    ),
                )
                worst = np.maximum(worst, [float(e) for e in errors])
    # Measured maxima: 3.3e-16, 3.5e-15, 1.1e-15 in float64; 5.4e-8, 2.5e-8, 5.3e-9 in float32.
    assert (worst < (4e-15 if dtype == np.float64 else 4e-7)).all(), worst


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_and_gap_add_up_to_the_evidence(dtype, kind):
    gm = mixture(kind)
    x = gm.sample(500, key=0, dtype=dtype)
    evidence = gm.log_evidence(x)
    for r in assignments(500, 3, dtype):
        bound, gap = gm.elbo(x, r), gm.gap(x, r)
        assert (gap >= 0).all()
        off = np.abs(bound.astype(np.float64) + gap - evidence) / (np.abs(bound) + gap + 4)
        assert off.max() < (2e-15 if dtype == np.float64 else 2e-7)
    # After the expectation the gap is 0 to rounding.
    shares = gm.responsibilities(x)
    assert gm.gap(x, shares).max() < (1e-28 if dtype == np.float64 else 1e-12)
    rtol = 1e-14 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(gm.elbo(x, shares), evidence, rtol=rtol)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=rtol)


def test_the_gap_keeps_its_accuracy_near_the_posterior():
    gm = ek.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], [1.0, 1.0])
    # Σ r ln(r / ½) = δ²·2 + O(δ⁴).
    np.testing.assert_allclose(gm.gap([[0.3]], [[0.5 - 1e-9, 0.5 + 1e-9]]), 2e-18, rtol=1e-6)


def test_rows_out_of_range_belong_to_the_nearest_component():
    gm = ek.GaussianMixture([0.3, 0.7], [[-1e200, 0.0], [1e200, 0.0]], [[1.0, 1.0], [1.0, 1.0]])
    x = np.array([[9e199, 1.0], [-9e199, 0.0], [-1e200, 0.0]])
    np.testing.assert_array_equal(gm.responsibilities(x)[:2], [[0, 1], [1, 0]])
    for r in assignments(3, 2):
        assert not np.isnan(gm.elbo(x, r)).any()
        assert (gm.gap(x, r) >= 0).all()
    # A share that float64 cannot hold beside another is left out without harm.
    assert gm.gap(x[2:], [[1e-310, 1.0]])[0] == np.inf
    near = ek.GaussianMixture([0.5, 0.5], [[0.0], [40.0]], [1.0, 1.0])
    np.testing.assert_allclose(near.gap([[0.0]], [[1e-310, 1.0]]), 800, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_depends_on_itself_alone(dtype, kind):
    gm = mixture(kind)
    x = gm.sample(5000, key=2, dtype=dtype)
    r = assignments(5000, 3, dtype)[0]

    def everything(at=slice(None)):
        return gm.responsibilities(x[at]), gm.elbo(x[at], r[at]), gm.gap(x[at], r[at])

    with ek.num_threads(1):
        one = everything()
    with ek.num_threads(3):
        many = everything()
    assert [a.tobytes() for a in one] == [a.tobytes() for a in many]
    for at in ([0], [17, 3], list(range(4991, 5000))):
        for whole, part in zip(one, everything(at), strict=True):
            assert whole[at].tobytes() == part.tobytes()


def test_bad_assignments_are_named():
    gm = mixture("full")
    x = np.zeros((3, 4))
    good = np.full((3, 3), 1 / 3)
    bad = good.copy()
    bad[1] = [1.5, -0.5, 0]
    for function in (gm.elbo, gm.gap):
        with pytest.raises(ek.SupportError, match=r"responsibilities: .* -0.5 at row 1, column 1"):
            function(x, bad)
        with pytest.raises(ValueError, match=r"responsibilities: .* sum to 1, got 0.[89].* in row 0"):
            function(x, 0.9 * good)
        with pytest.raises(ek.ShapeError, match="responsibilities"):
            function(x, good[:, :2])
        with pytest.raises(ek.NonFiniteError, match="responsibilities"):
            function(x, good * np.nan)
        with pytest.raises(ek.DtypeError, match="responsibilities"):
            function(x, good.astype(np.float32))
        with pytest.raises(ek.NonFiniteError, match=r"X: .* row 0"):
            function(np.full((3, 4), np.nan), good)
        assert function(x[:0], good[:0]).shape == (0,)
    assert gm.responsibilities(x[:0]).shape == (0, 3)


# Expectation and maximisation.


def peer_fit(X, start, kind, iterations, regularisation):
    """scikit-learn's parameters after so many iterations from the same start."""
    d = X.shape[1]
    names = {"spherical": "spherical", "diagonal": "diag", "full": "full"}
    precisions = np.linalg.inv(start.variances) if kind == "full" else 1 / start.variances
    peer = Peer(
        len(start.weights), covariance_type=names[kind], tol=0, max_iter=iterations, reg_covar=regularisation,
        weights_init=start.weights, means_init=start.locs, precisions_init=precisions, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X)
    assert peer.covariances_.shape == (len(start.weights), d, d)[: start.variances.ndim]
    return peer


def fit(*args, **options):
    """A fit that may have iterated for as long as it may."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "GaussianMixture.fit: max_iter")
        return ek.GaussianMixture.fit(*args, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_iterations_are_scikit_learns_from_the_same_start(kind):
    truth = mixture(kind, 4, 5)
    X = truth.sample(3000, key=1) + 10
    start = mixture(kind, 4, 5, seed=8)
    start = ek.GaussianMixture(start.weights, start.locs + 10, start.variances * 5)
    for iterations, regularisation in ((1, 0.0), (7, 1e-6), (40, 1e-3)):
        options = {"covariance": kind, "start": start, "tol": -1.0, "max_iter": iterations}
        fitted = fit(X, 4, key=0, regularisation=regularisation, **options)
        peer = peer_fit(X, start, kind, iterations, regularisation)
        assert len(fitted.history) == iterations
        np.testing.assert_allclose(fitted.weights, peer.weights_, rtol=1e-9)
        np.testing.assert_allclose(fitted.locs, peer.means_, rtol=1e-9)
        np.testing.assert_allclose(fitted.variances, peer.covariances_, rtol=0, atol=1e-9)
        np.testing.assert_allclose(fitted.log_evidence(X), peer.score_samples(X), rtol=1e-9)
        np.testing.assert_allclose(fitted.responsibilities(X), peer.predict_proba(X), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_never_falls_without_regularisation(kind, dtype):
    X = mixture(kind, 5, 3, spread=1.5).sample(4000, key=3, dtype=dtype)
    for key in range(3):
        fitted = fit(X, 5, key=key, covariance=kind, regularisation=0, tol=-1.0, max_iter=150)
        assert np.diff(fitted.history).min() > -1e-12
        assert fitted.history[-1] > fitted.history[0]
    assert fitted.log_evidence(X).mean(dtype=np.float64) >= fitted.history[-1] - 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_clear_clusters_are_found_again_from_any_key(kind):
    locs = np.array([[0.0, 0.0], [0.0, 300.0], [2e4, 0.0]])
    wide = {"spherical": np.full(3, 100.0), "diagonal": np.tile([1e4, 25.0], (3, 1))}
    variances = wide.get(kind, np.array([[[1e4, 100.0], [100.0, 25.0]]] * 3))
    truth = ek.GaussianMixture([0.5, 0.3, 0.2], locs, variances)
    X = truth.sample(6000, key=0)
    for key in range(4):
        fitted = ek.GaussianMixture.fit(X, 3, key=key, covariance=kind)
        order = np.argsort(fitted.locs @ [1.0, 30.0])
        np.testing.assert_allclose(fitted.weights[order], [0.5, 0.3, 0.2], atol=0.03)
        assert (np.abs(fitted.locs[order] - locs) < [10, 1]).all()
        np.testing.assert_allclose(fitted.variances[order], variances, rtol=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_fits_do_not_depend_on_threads_and_are_addressed_by_key(kind):
    X = mixture(kind, 4, 5).sample(20_000, key=0)
    options = {"covariance": kind, "max_iter": 20}
    with ek.num_threads(1):
        one = fit(X, 4, key=5, **options)
    with ek.num_threads(3):
        many = fit(X, 4, key=ek.Key(5), **options)
    assert one == many
    assert one.history.tobytes() == many.history.tobytes()
    assert fit(X, 4, key=6, max_iter=1, covariance=kind) != fit(X, 4, key=5, max_iter=1, covariance=kind)


def test_one_component_is_the_rows_own_moments():
    X = mixture("full").sample(1000, key=0) * 3 + 1e6
    fitted = ek.GaussianMixture.fit(X, 1, key=0, regularisation=0)
    np.testing.assert_allclose(fitted.locs[0], X.mean(0), rtol=1e-14)
    np.testing.assert_allclose(fitted.variances[0], np.cov(X.T, bias=True), rtol=0, atol=1e-8)
    assert (fitted.weights == 1).all()


def test_a_fit_carries_its_history_and_no_more():
    X = mixture("full").sample(500, key=0)
    fitted = ek.GaussianMixture.fit(X, 2, key=0)
    made = ek.GaussianMixture(fitted.weights, fitted.locs, fitted.variances)
    assert fitted == made
    assert made.history is None
    assert pickle.loads(pickle.dumps(fitted)) == fitted
    assert (fitted.variances == fitted.variances.transpose(0, 2, 1)).all()
    with pytest.raises(ValueError, match="read-only"):
        fitted.history[0] = 1


def test_what_cannot_be_fitted_is_named():
    X = mixture("full").sample(50, key=0)
    flat = X.copy()
    flat[:, 1] = 7
    twins = np.repeat(X[:3], 5, axis=0)
    spherical = mixture("spherical")
    for arguments, error, message in (
        ({"covariance": "tied"}, ValueError, "covariance: expected one of .full., .diagonal., .spherical., got 'tied'"),
        ({"n_components": 0}, ValueError, "n_components: expected at least 1"),
        ({"n_components": 51}, ValueError, "n_components: expected 1 to 50"),
        ({"X": twins, "n_components": 4}, ValueError, "n_components: expected at most 3, the number of different rows"),
        ({"X": flat, "regularisation": 0}, ValueError, "regularisation: .* column 1 is constant"),
        ({"X": X[:6], "n_components": 3, "regularisation": 0}, ValueError, "regularisation: .* positive definite"),
        ({"regularisation": -1}, ValueError, "regularisation: expected a number that is not negative"),
        ({"X": X[0]}, ek.ShapeError, "X"),
        ({"X": X * np.nan}, ek.NonFiniteError, "X: .* row 0, column 0"),
        ({"X": np.ones((5, 2))}, ValueError, "X: expected a column that varies"),
        ({"X": X[:0]}, ek.ShapeError, "X: expected at least two rows, got 0"),
        ({"X": X[:1], "n_components": 1}, ek.ShapeError, "X: expected at least two rows, got 1"),
        ({"X": X * 1e-160}, ValueError, "X: expected variances within float64's range, got an underflow"),
        ({"X": X * 1e-200}, ValueError, "X: expected variances within float64's range, got an underflow"),
        ({"X": X * 1e-200, "n_components": 51}, ValueError, "n_components: expected 1 to 50"),
        ({"covariance": ["full"]}, ValueError, "covariance: expected one of \"full\", .*, got .'full'"),
        ({"tol": np.nan}, ek.ArgumentError, "tol: expected a number, got nan"),
        ({"tol": 10**400}, ek.ArgumentError, "tol: expected a number, got 1000"),
        ({"regularisation": np.nan}, ek.ArgumentError, "regularisation: expected a number that is not negative"),
        ({"regularisation": np.inf}, ek.ArgumentError, "regularisation: expected a number that is not negative"),
        ({"start": spherical, "n_components": 3}, ValueError, r'start: .* shape \(3, 4, 4\) for covariance="full"'),
        ({"start": "k-means"}, ValueError, "start: expected a GaussianMixture"),
        ({"start": SimpleNamespace(variances=np.zeros((2, 4, 4)))}, ValueError, "start: expected a GaussianMixture"),
        (
            {"start": mixture("spherical", 2, 3), "covariance": "spherical"},
            ValueError,
            r"start: .* locs of shape \(2, 4\) .*, got \(2, 3\) and \(2,\)",
        ),
        ({"X": X[0], "start": mixture("full", 2)}, ek.ShapeError, "X"),
    ):
        with pytest.raises(error, match=message):
            fit(**{"X": X, "n_components": 2, "key": 0} | arguments)
    with pytest.warns(UserWarning, match="max_iter: the last of 2 iterations gained"):
        ek.GaussianMixture.fit(X, 3, key=0, max_iter=2, tol=1e-9)
    # A constant column is one like others where something is added to it.
    assert fit(flat, 2, key=0, max_iter=5).variances.shape == (2, 4, 4)


# At 1e10 rounding alone makes a covariance that is not positive definite, further out squares overflow.
@pytest.mark.parametrize(("kind", "place"), [("full", 1e10), *product(KINDS, (1e155, 1e200, 1e308))])
def test_a_start_far_from_the_rows_is_named(kind, place):
    X = mixture("full").sample(50, key=0)
    variances = np.ones((2, 4, 4)[: {"spherical": 1, "diagonal": 2, "full": 3}[kind]])
    if kind == "full":
        variances = variances * np.eye(4)
    start = ek.GaussianMixture([0.5, 0.5], [[place] * 4, [-place] * 4], variances)
    with pytest.raises(ek.ArgumentError, match=r"start: expected locs near the rows, got -?1e\+\d+ at row") as caught:
        fit(X, 2, key=0, covariance=kind, start=start)
    assert caught.value.argument == "start"
    assert abs(caught.value.value) == place == abs(start.locs[caught.value.row, caught.value.column])


def test_what_fails_for_another_reason_is_not_the_starts():
    X = mixture("full").sample(50, key=0)
    ones = np.tile(np.eye(4), (2, 1, 1))
    near = ek.GaussianMixture([0.5, 0.5], X[:2], ones)
    small = ek.GaussianMixture([0.5, 0.5], X[:2] * 1e-200, np.ones((2, 4)))
    with pytest.raises(ek.ArgumentError, match="X: expected variances within float64's range, got an underflow"):
        fit(X * 1e-200, 2, key=0, start=small, covariance="diagonal", regularisation=0)
    with pytest.raises(ek.ArgumentError, match="X: expected variances within float64's range, got an overflow"):
        fit(X * 1e200, 2, key=0, start=ek.GaussianMixture([0.5, 0.5], X[:2] * 1e200, ones))
    # A component that no row belongs to stays where it is and does no harm; one of few rows is too narrow.
    flat = X.copy()
    flat[:, 1] = 7
    for start in (near, ek.GaussianMixture([0.5, 0.5], [X[0], np.full(4, 1e200)], ones)):
        with pytest.raises(ek.ArgumentError, match=r"regularisation: .* positive definite"):
            fit(flat, 2, key=0, start=start, regularisation=0)
    with pytest.raises(ek.ArgumentError, match="regularisation: expected a number that is not negative"):
        fit(X, 2, key=0, start=near, regularisation=-1)


def test_a_start_makes_one_row_enough():
    start = ek.GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 1.0]])
    fitted = fit([[3.0, 4.0]], 1, key=0, covariance="diagonal", start=start)
    np.testing.assert_allclose(fitted.locs, [[3, 4]])
    np.testing.assert_allclose(fitted.variances, 1e-6)


# Under noise.


@pytest.mark.parametrize("kind", KINDS)
def test_a_diffused_mixture_is_that_of_noised_rows(kind):
    gm = mixture(kind)
    noised = gm.diffuse(0.4)
    n = 200_000
    x = np.sqrt(0.4) * gm.sample(n, key=0) + np.sqrt(0.6) * ek.random.normal((n, 4), key=9, dtype=np.float64)
    # A law is known by its characteristic function; 5 standard errors at a few points.
    for seed in range(5):
        t = np.random.default_rng(seed).standard_normal(4) * 0.5
        full = [v if np.ndim(v) == 2 else np.diag(np.broadcast_to(v, 4)) for v in noised.variances]
        parts = [np.exp(1j * t @ m - t @ v @ t / 2) for m, v in zip(noised.locs, full, strict=True)]
        expected = noised.weights @ parts
        assert abs(np.exp(1j * x @ t).mean() - expected) < 5 / np.sqrt(n)
    assert gm.diffuse(1) == gm
    end = gm.diffuse(0)
    assert (end.locs == 0).all()
    np.testing.assert_allclose(end.log_evidence(x[:9]), -0.5 * (x[:9] ** 2).sum(1) - 2 * np.log(2 * np.pi), rtol=1e-14)
    # Twice by a half is once by a quarter.
    np.testing.assert_allclose(gm.diffuse(0.5).diffuse(0.5).variances, gm.diffuse(0.25).variances, rtol=1e-15)
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="alpha_bar: expected a number from 0 to 1"):
            gm.diffuse(bad)
