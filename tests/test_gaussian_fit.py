"""Gaussians fitted to densities whose best Gaussian is known, and what stops, fails or warns."""

import numpy as np
import pytest

import elbokit as ek

EVIDENCE = -2.397183210743


def fixture_one(z):
    """μ ~ N(1.5, 1), y = (1.6, 1.4), y ~ N(μ, 1)."""
    offs = np.stack([z - 1.5, z - 1.6, z - 1.4])
    return -0.5 * (offs**2).sum(axis=(0, 2)) - 1.5 * np.log(2 * np.pi), -offs.sum(axis=0)


def gaussian(dim, decades, seed=0):
    """A normalised Gaussian whose standard deviations span decades, its mean and its precision."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    scales = np.logspace(-decades / 2, decades / 2, dim)
    precision = axes / scales**2 @ axes.T
    mean = rng.standard_normal(dim) * 10
    constant = np.log(scales).sum() + dim / 2 * np.log(2 * np.pi)

    def density(z):
        pull = -(z - mean) @ precision
        return 0.5 * (pull * (z - mean)).sum(axis=1) - constant, pull

    return density, mean, precision


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("key", range(5))
def test_fixture_one_is_reached(key, covariance):
    fit = ek.fit_gaussian(fixture_one, 1, key=key, covariance=covariance)
    assert fit.converged
    # Asked for is 1e-3; measured maximum: 1e-12.
    assert abs(fit.elbo - EVIDENCE) < 1e-11
    assert abs(fit.estimate - EVIDENCE) < 1e-11
    assert fit.standard_error < 1e-11
    assert fit.khat < 0.2
    assert abs(fit.post.loc[0, 0] - 1.5) < 1e-10
    variance = fit.post.scale_tril[0, 0, 0] ** 2 if covariance == "full" else np.exp(fit.post.log_var[0, 0])
    assert abs(variance - 1 / 3) < 1e-10
    assert fit.num_steps <= 2000
    assert fit.skipped_steps == 0


@pytest.mark.parametrize(("dim", "decades"), [(2, 0), (5, 2), (20, 4), (50, 6)])
def test_a_full_fit_meets_a_gaussian_whatever_its_scales(dim, decades):
    density, mean, precision = gaussian(dim, decades)
    fit = ek.fit_gaussian(density, dim, key=0)
    assert fit.converged
    # The density is normalised, so the bound is −KL. Measured maximum: 9e-7, at a condition of 1e12.
    assert abs(fit.elbo) < 1e-5
    assert fit.khat < 0.5
    covariance = fit.post.scale_tril[0] @ fit.post.scale_tril[0].T
    np.testing.assert_allclose(covariance @ precision, np.eye(dim), rtol=0, atol=1e-3 * 10 ** (decades / 2))
    # In the target's own units.
    off = np.linalg.cholesky(precision).T @ (fit.post.loc[0] - mean)
    assert np.abs(off).max() < 1e-3
    assert (np.triu(fit.post.scale_tril[0], 1) == 0).all()


def test_a_diagonal_fit_finds_the_best_diagonal_gaussian():
    # Its precisions are the diagonal of the target's; the bound is then −½ (Σ ln P_ii − ln det P).
    density, mean, precision = gaussian(4, 1)
    fit = ek.fit_gaussian(density, 4, key=0, covariance="diagonal")
    best = -0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    variance, off = np.exp(fit.post.log_var[0]), fit.post.loc[0] - mean
    reached = -0.5 * (
        np.diag(precision) @ variance + off @ precision @ off - 4 - np.log(variance).sum()
        - np.linalg.slogdet(precision)[1]
    )  # fmt: skip
    assert best - 0.01 < reached <= best + 1e-12
    assert best < -0.5
    assert abs(fit.elbo - reached) <= 5 * fit.standard_error
    assert fit.khat > 0.3


def test_a_fit_that_misses_the_tails_says_so():
    def student(z):  # Three degrees of freedom, without its constant.
        return -2 * np.log1p(z * z / 3).sum(axis=1), -4 * z / 3 / (1 + z * z / 3)

    fit = ek.fit_gaussian(student, 2, key=0)
    assert fit.converged
    assert fit.khat > 0.7
    log_constant = 2 * np.log(np.pi * np.sqrt(3) / 2)
    assert fit.elbo < log_constant
    assert fit.elbo < fit.estimate
    assert abs(fit.estimate - log_constant) < 0.1


def test_a_regression_from_near_and_far():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8))
    counts = rng.poisson(np.exp(X @ np.full(8, 0.5)))

    def poisson(z):
        u = z @ X.T
        with np.errstate(over="ignore"):
            rate = np.exp(u)
            return (u * counts - rate).sum(axis=1) - 0.5 * (z * z).sum(axis=1), (counts - rate) @ X - z

    fits = [
        ek.fit_gaussian(poisson, 8, key=0, init=ek.GaussianParams(np.full((1, 8), at), np.zeros((1, 8))))
        for at in (0.0, 5.0)
    ]
    assert all(fit.converged and fit.khat < 0.5 for fit in fits)
    assert abs(fits[0].elbo - fits[1].elbo) < 0.01
    # Laplace's approximation is near: its bound is not above the fit's.
    mode = fits[0].post.loc[0].copy()
    for _ in range(20):
        rate = np.exp(X @ mode)
        hessian = (X.T * rate) @ X + np.eye(8)
        mode += np.linalg.solve(hessian, (counts - rate) @ X - mode)
    laplace = ek.MvnParams(mode[None], np.linalg.cholesky(np.linalg.inv(hessian))[None])
    terms = ek.elbo_joint(lambda z: poisson(z)[0], laplace, key=1, num_particles=10_000)
    assert terms.elbo[0] <= fits[0].elbo + 5 * terms.standard_error[0]
    assert abs(terms.elbo[0] - fits[0].elbo) < 0.05


def test_what_it_reports_is_of_fresh_draws_and_a_function_of_the_key():
    density = gaussian(3, 1)[0]
    a, b = (ek.fit_gaussian(density, 3, key=4, max_steps=20_000) for _ in range(2))
    assert [part.tobytes() for part in a.post] == [part.tobytes() for part in b.post]
    assert a[1:] == b[1:]
    other = ek.fit_gaussian(density, 3, key=5)
    # At a Gaussian target another way ends in the same place.
    assert other.history[0] != a.history[0]
    np.testing.assert_allclose(other.post.loc, a.post.loc, rtol=1e-10)
    fresh = ek.Key(4).split(2)[1]
    weights = ek.log_weights_joint(lambda z: density(z)[0], a.post, key=fresh, num_particles=10_000)
    assert a.elbo == ek.bounds.elbo(weights)[0]
    assert a.khat == ek.bounds.psis(weights).khat[0]
    assert len(a.history) == -(-a.num_steps // 100)
    assert a.history[-1] > a.history[0]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_starts_of_either_kind(covariance):
    density, mean, precision = gaussian(3, 1)
    tril = np.linalg.cholesky(np.linalg.inv(precision))
    for init in (
        ek.MvnParams(mean[None], tril[None]),
        ek.MvnParams(mean[None], tril),
        ek.GaussianParams(mean[None], np.log(np.diag(np.linalg.inv(precision)))[None]),
    ):
        fit = ek.fit_gaussian(density, 3, key=0, covariance=covariance, init=init)
        assert fit.converged
        assert type(fit.post) is (ek.MvnParams if covariance == "full" else ek.GaussianParams)
        assert [part.shape for part in fit.post] == [(1, 3), (1, 3, 3) if covariance == "full" else (1, 3)]
        if covariance == "full":
            assert -1e-10 < fit.elbo < 1e-10


def test_a_fit_that_max_steps_ends_warns():
    with pytest.warns(
        RuntimeWarning, match=r"^fit_gaussian: stopped by max_steps=150 before .+; raise max_steps"
    ) as caught:
        fit = ek.fit_gaussian(gaussian(3, 1)[0], 3, key=0, max_steps=150)
    assert caught[0].filename == __file__
    assert not fit.converged
    assert fit.num_steps == 150
    assert len(fit.history) == 2


def test_steps_off_the_support_are_not_taken():
    def truncated(z):  # N(0, 1) where every coordinate is above −2.5.
        density = -0.5 * (z * z).sum(axis=1)
        return np.where((z > -2.5).all(axis=1), density, -np.inf), -z

    fit = ek.fit_gaussian(truncated, 1, key=0)
    assert fit.skipped_steps > 0
    assert np.isfinite(fit.post[0]).all()

    def nowhere(z):
        return np.full(len(z), -np.inf), -z

    with pytest.raises(ek.NonFiniteError, match=r"^log_joint_grad: .+ none in 100 steps in a row; start .+ with init="):
        ek.fit_gaussian(nowhere, 1, key=0)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_draw_that_leaves_the_range_is_not_the_models(covariance):
    def flat(z):
        assert np.isfinite(z).all()
        return np.zeros(len(z)), np.zeros_like(z)

    zeros = np.zeros((1, 2))
    # e^1000 is capped at the largest number: of 64 normals one is above 1.
    with pytest.raises(ek.NonFiniteError, match=r"^init: expected draws within float64's range") as caught:
        ek.fit_gaussian(flat, 2, key=0, covariance=covariance, init=ek.GaussianParams(zeros, np.full((1, 2), 2000.0)))
    assert caught.value.argument == "init"
    # A density without an integral leads q there itself.
    with pytest.raises(ek.NonFiniteError, match=r"^log_joint_grad: expected a density with"):
        ek.fit_gaussian(flat, 2, key=0, covariance=covariance, learning_rate=1.0)

    def normal(z):
        return -0.5 * (z * z).sum(axis=1), -z

    fit = ek.fit_gaussian(
        normal, 2, key=0, covariance=covariance, init=ek.GaussianParams(zeros, zeros + 300), learning_rate=1.0
    )
    assert abs(fit.elbo - np.log(2 * np.pi)) < 1e-9


@pytest.mark.parametrize("full", [False, True])
def test_a_starts_scales_are_held_within_the_range(full):
    from elbokit.gaussian_fit import _Frame  # noqa: PLC0415

    normal, zeros = np.finfo(np.float64), np.zeros((1, 2))
    for log_var, expected in ((2000.0, normal.max), (-2000.0, normal.tiny)):
        tril = _Frame(2, full, ek.GaussianParams(zeros, zeros + log_var), 2).tril
        assert (np.diag(tril) if full else tril).tolist() == [expected, expected]
    # Of a triangle's rows, whose squares leave the range.
    for scale in (1e-200, 1e200):
        tril = _Frame(2, full, ek.MvnParams(zeros, scale * np.array([[1.0, 0.0], [3.0, 4.0]])), 2).tril
        np.testing.assert_allclose(tril[1], scale * np.array([3, 4]) if full else scale * 5, rtol=1e-15)


def test_the_mean_of_iterates_whose_sum_leaves_the_range():
    from elbokit.gaussian_fit import _Frame  # noqa: PLC0415

    frame = _Frame(1, False, ek.GaussianParams(np.zeros((1, 1)), np.full((1, 1), 1419.0)), 2)

    def flat(z):
        return np.zeros(len(z)), np.zeros_like(z)

    steps = [frame.step(flat, ek.Key(0).fold_in(i), 0.01) for i in range(40)]
    assert sum(step is not None for step in steps) > 2
    assert np.isfinite(frame.mean()[1]).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"log_joint_grad": 3}, ValueError, "^log_joint_grad: expected a function"),
        ({"log_joint_grad": lambda z: -z}, ValueError, r"^log_joint_grad: expected a pair"),
        ({"log_joint_grad": lambda z: (z, z)}, ek.ShapeError, r"^log_joint: expected shape \(32,\)"),
        ({"log_joint_grad": lambda z: (z[:, 0], z[:, 0])}, ek.ShapeError, r"^d_z: expected shape \(32, 2\) like z"),
        ({"log_joint_grad": lambda z: (z[:, 0] * np.nan, z)}, ek.NonFiniteError, "^log_joint: "),
        ({"log_joint_grad": lambda z: (z[:, 0], z * np.nan)}, ek.NonFiniteError, r"^d_z: .+ row 0, column 0"),
        ({"log_joint_grad": lambda z: (z[:, 0], z.astype("f4"))}, ek.DtypeError, "^d_z: "),
        ({"dim": 0}, ValueError, "^dim: "),
        ({"covariance": "low rank"}, ValueError, "^covariance: "),
        ({"covariance": ["full"]}, ek.errors.ArgumentError, r"^covariance: .+ got \['full'\]"),
        ({"covariance": np.array(["full", "diagonal"])}, ek.errors.ArgumentError, "^covariance: "),
        ({"num_particles": 1}, ValueError, "^num_particles: "),
        ({"learning_rate": 0}, ValueError, "^learning_rate: "),
        ({"learning_rate": 1.5}, ValueError, "^learning_rate: "),
        ({"tolerance": -1}, ValueError, "^tolerance: "),
        ({"max_steps": 0}, ValueError, "^max_steps: "),
        ({"check_particles": 0}, ValueError, "^check_particles: "),
        ({"init": ek.GaussianParams(np.zeros((1, 3)), np.zeros((1, 3)))}, ek.ShapeError, "^init: "),
        ({"init": ek.GaussianParams(np.zeros((2, 2)), np.zeros((2, 2)))}, ek.ShapeError, "^init: "),
        ({"init": np.zeros((1, 2))}, ValueError, "^init: "),
        ({"init": ek.MvnParams(np.zeros((1, 2)), -np.eye(2))}, ek.SupportError, "^scale_tril: "),
        ({"key": -1}, ValueError, "^key: "),
        ({"key": None}, ValueError, "^key: "),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"log_joint_grad": lambda z: (-0.5 * (z * z).sum(axis=1), -z), "dim": 2, "key": 0, **change}
    with pytest.raises(error, match=message) as caught:
        ek.fit_gaussian(**arguments)
    assert str(caught.value).startswith(f"{caught.value.argument}: ")
