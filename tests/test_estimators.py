"""Estimators of the gradient beside each other: the fixture's table, its unfavourable case, and the arithmetic."""

import numpy as np
import pytest

import elbokit as ek

ONE = ek.likelihood.Gaussian(1.0)


def fixture_one(dimensions=5):
    """Fixture one in several dimensions at once: arguments of `compare_estimators`."""
    x = np.tile([[1.6, 1.4]], (1, dimensions))
    prior = ek.GaussianParams(np.full(dimensions, 1.5), np.zeros(dimensions))
    q = ek.GaussianParams(np.full((1, dimensions), 1.88), np.zeros((1, dimensions)))

    def vjp(z):
        return np.repeat(z, 2, axis=1), lambda d_params: d_params.reshape(*z.shape, 2).sum(axis=2)

    return {"x": x, "post": q, "decoder_vjp": vjp, "likelihood": ONE, "prior": prior}


def test_estimators_may_be_any_names_in_order():
    options = {"key": 0, "num_repeats": 3, **fixture_one()}
    listed = ek.compare_estimators(estimators=["pathwise", "stl"], num_particles=2, **options)
    drawn = ek.compare_estimators(estimators=(name for name in ("pathwise", "stl")), num_particles=2, **options)
    assert list(listed) == list(drawn) == ["pathwise", "stl"]


def test_the_signal_to_noise_table():
    # Of loc. At one particle 3 · 0.38 / 3 and 3 · 0.38 / 2; the others by NumPy, of 3e7 draws and more, good to 1 %.
    known = {
        1: (0.380, 0.570),
        10: (0.146, 0.381),
        100: (0.0441, 0.715),
        1000: (0.0137, 2.247),
    }
    measured = {}
    for particles, expected in known.items():
        comparison = ek.compare_estimators(
            key=0,
            num_particles=particles,
            objective="iwae",
            estimators=("pathwise", "dreg"),
            num_repeats={1: 50_000, 10: 20_000, 100: 3000, 1000: 300}[particles],
            **fixture_one(),
        )
        a, b = comparison["pathwise"], comparison["dreg"]
        # Both estimate one gradient,
        for part in range(2):
            off = np.abs(a.mean[part] - b.mean[part])
            assert (off <= 5 * np.hypot(a.standard_error[part], b.standard_error[part])).all()
        # and the pathwise one's own mean of many particles is noise: the calmer one's stands in its place.
        pathwise = (np.abs(b.mean[0]) / np.sqrt(a.variance[0])).mean()
        measured[particles] = (pathwise, b.snr[0])
        np.testing.assert_allclose(measured[particles], expected, rtol=0.05)
        if particles <= 10:
            np.testing.assert_allclose(a.snr[0], expected[0], rtol=0.05)
    pathwise, doubly = np.array(list(measured.values())).T
    # With large K like 1/√K the one, like √K the other.
    assert (np.diff(pathwise) < 0).all()
    np.testing.assert_allclose([pathwise[2] / pathwise[3], doubly[3] / doubly[2]], np.sqrt(10), rtol=0.05)


def test_the_case_against_double_reparameterisation():
    nothing = {"x": [[np.nan]], "decoder_vjp": lambda z: (z, np.zeros_like), "likelihood": ONE}
    prior = ek.GaussianParams(np.array([2.0]), np.array([2 * np.log(3.0)]))
    for loc, scale, ratios in ((-3.0, 1.0, (6.7, 4.7)), (1.8, 2.8, (1 / 50, 1 / 36))):
        comparison = ek.compare_estimators(
            post=ek.GaussianParams(np.array([[loc]]), np.array([[2 * np.log(scale)]])), prior=prior, key=1,
            num_particles=10, objective="iwae", num_repeats=200_000, **nothing,
        )  # fmt: skip
        parts = zip(comparison["dreg"].variance, comparison["pathwise"].variance, strict=True)
        np.testing.assert_allclose([np.sqrt(a / b).item() for a, b in parts], ratios, rtol=0.08)


def test_a_score_function_is_the_noisiest_and_sticking_the_landing_the_calmest_at_the_posterior():
    arguments = fixture_one(2)
    arguments["post"] = ek.GaussianParams(np.full((1, 2), 1.5), np.full((1, 2), -np.log(3.0)))
    comparison = ek.compare_estimators(key=0, num_particles=10, **arguments)
    assert list(comparison) == ["pathwise", "stl", "dreg", "score"]
    assert len(comparison) == 4
    variance = {name: comparison[name].variance[0].max() for name in comparison}
    assert variance["stl"] < 1e-24
    # Of a constant log weight the leave-one-out baseline leaves nothing either.
    assert variance["score"] < 1e-24
    assert variance["pathwise"] > 0.1
    arguments["post"] = ek.GaussianParams(np.full((1, 2), 1.88), np.zeros((1, 2)))
    comparison = ek.compare_estimators(key=0, num_particles=10, **arguments)
    assert comparison["score"].variance[0].min() > 3 * comparison["pathwise"].variance[0].max()


@pytest.mark.parametrize("full", [False, True])
def test_moments_are_those_of_elbo_grads_rows(full):
    rng = np.random.default_rng(0)
    batch, latent, repeats = 3, 2, 50
    x = rng.standard_normal((batch, latent))
    x[1, 0] = np.nan
    mask = np.ones((batch, latent), bool)
    mask[2, 1] = False
    loc = rng.standard_normal((batch, latent))
    post = ek.MvnParams(loc, np.eye(latent) * 0.5) if full else ek.GaussianParams(loc, loc * 0 - 0.5)
    prior = ek.GaussianParams(loc * 0.1, loc * 0)
    options = {"num_particles": 4, "estimator": "stl", "kl": "monte_carlo"}

    def vjp(z):
        return z, lambda d_params: d_params

    comparison = ek.compare_estimators(
        x, post, vjp, ONE, key=3, num_particles=4, estimators=["stl"], num_repeats=repeats, kl="monte_carlo",
        prior=prior, mask=mask,
    )  # fmt: skip
    tiled = ek.MvnParams(np.tile(loc, (repeats, 1)), post[1]) if full else ek.GaussianParams(
        *(np.tile(part, (repeats, 1)) for part in post)
    )  # fmt: skip
    _, *gradients = ek.elbo_grad(
        np.tile(x, (repeats, 1)), tiled, vjp, ONE, key=ek.Key(3).fold_in(0), mask=np.tile(mask, (repeats, 1)),
        prior=ek.GaussianParams(*(np.tile(part, (repeats, 1)) for part in prior)), **options,
    )  # fmt: skip
    for i, gradient in enumerate(gradients):
        each = gradient.reshape(repeats, batch, *gradient.shape[1:])
        moments = comparison["stl"]
        np.testing.assert_allclose(moments.mean[i], each.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(moments.variance[i], each.var(axis=0, ddof=1), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(moments.standard_error[i], each.std(axis=0, ddof=1) / repeats**0.5, rtol=1e-12, atol=1e-14)  # fmt: skip # noqa: E501
        ratio = np.abs(each.mean(axis=0)) / np.where(each.std(axis=0) > 0, each.std(axis=0, ddof=1), np.inf)
        seen = np.tril(np.ones((batch, latent, latent))) > 0 if i and full else np.ones((batch, latent)) > 0
        np.testing.assert_allclose(moments.snr[i], ratio[seen].mean(), rtol=1e-12)


def test_it_prints_as_a_table():
    comparison = ek.compare_estimators(key=0, num_particles=10, objective="iwae", num_repeats=20, **fixture_one())
    lines = str(comparison).splitlines()
    assert lines[0] == "gradient of iwae, 10 particles, 20 repeats"
    assert lines[1].split() == ["loc", "log_var"]
    assert lines[2].split() == ["estimator", *["mean", "variance", "snr"] * 2]
    assert [line.split()[0] for line in lines[3:]] == ["pathwise", "dreg", "score"]
    assert all(len(line) <= 80 for line in lines)
    assert all(np.isfinite(float(cell)) for line in lines[3:] for cell in line.split()[1:])
    assert repr(comparison) == str(comparison)
    for a, b in zip(comparison["dreg"].snr, map(float, lines[4].split()[3::3]), strict=True):
        assert abs(a - b) <= 0.01 * a


def test_repeats_in_several_calls_do_not_share_draws(monkeypatch):
    from elbokit import estimators  # noqa: PLC0415

    monkeypatch.setattr(estimators, "_BLOCK", 5 * 7)
    comparison = ek.compare_estimators(key=0, estimators=["pathwise"], num_repeats=30, **fixture_one())
    assert comparison["pathwise"].variance[0].min() > 1
    monkeypatch.setattr(estimators, "_BLOCK", 1)
    comparison = ek.compare_estimators(key=0, estimators=["pathwise"], num_repeats=30, **fixture_one())
    assert comparison["pathwise"].variance[0].min() > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coordinates_without_noise_have_no_ratio(dtype):
    x = np.array([[0.3, 1.0], [np.nan, np.nan]], dtype)
    post = ek.GaussianParams(np.full((2, 2), 0.7, dtype), np.full((2, 2), 0.3, dtype))

    def vjp(z):
        return z, lambda d_params: d_params

    options = {"key": 0, "num_particles": 3, "num_repeats": 50}
    both = ek.compare_estimators(x, post, vjp, ONE, **options)
    for name in both:
        assert np.isfinite(both[name].snr).all()
        # What rounding makes of a constant would give 1e6 and more.
        assert max(both[name].snr) < 100
    seen = both["pathwise"]
    for i in range(2):
        # The row without a cell has the divergence's gradient alone.
        assert (seen.variance[i][1] < 1e-12).all()
        expected = (np.abs(seen.mean[i][0]) / np.sqrt(seen.variance[i][0])).mean()
        np.testing.assert_allclose(seen.snr[i], expected, rtol=1e-12)
    assert "inf" not in str(both)
    alone = ek.GaussianParams(*(part[1:] for part in post))
    none = ek.compare_estimators(x[1:], alone, vjp, ONE, estimators=["pathwise"], **options)
    assert none["pathwise"].snr == (np.inf, np.inf)
    at_prior = ek.GaussianParams(np.zeros((1, 2), dtype), np.zeros((1, 2), dtype))
    none = ek.compare_estimators(x[1:], at_prior, vjp, ONE, estimators=["pathwise"], **options)
    assert none["pathwise"].snr == (0, 0)


def test_arrays_are_checked_as_given():
    def vjp(z):
        return z, lambda d_params: d_params

    x, q = np.zeros((2, 3)), ek.GaussianParams(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ek.ShapeError, match=r"^x: .* got \(2, 3\) with \(7, 2\); give x and post the same rows"):
        ek.compare_estimators(x, ek.GaussianParams(np.zeros((7, 2)), np.zeros((7, 2))), vjp, ONE, key=0)
    for bad in (x[0], 1.0):
        with pytest.raises(ek.ShapeError, match=r"^x: expected \(batch, features\)"):
            ek.compare_estimators(bad, q, vjp, ONE, key=0)
    with pytest.raises(ek.ShapeError, match=r"^log_var: expected shape \(2, 3\), got shape \(2, 2\)"):
        ek.compare_estimators(x, ek.GaussianParams(q.loc, q.log_var[:, :2]), vjp, ONE, key=0)
    for rows, columns in ((2, 2), (7, 3)):
        prior = ek.GaussianParams(np.zeros((rows, columns)), np.zeros((rows, columns)))
        with pytest.raises(ek.ShapeError, match=rf"^prior_loc: expected \(2, 3\) .*got shape \({rows}, {columns}\)"):
            ek.compare_estimators(x, q, vjp, ONE, key=0, prior=prior)
    for name in ("post", "prior"):
        with pytest.raises(ek.errors.ArgumentError, match=f"^{name}: expected GaussianParams"):
            ek.compare_estimators(
                **{"x": x, "post": q, "decoder_vjp": vjp, "likelihood": ONE, "key": 0, name: (1, 2, 3)}
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_repeats": 1}, "^num_repeats: "),
        ({"estimators": ["reinforce"]}, "^estimators: expected one of"),
        ({"objective": "cubo"}, "^objective: "),
        ({"estimators": ["stl"], "objective": "iwae"}, "^estimator: "),
        ({"estimators": ["score"]}, "^num_particles: "),
        ({"estimators": "stl"}, "^estimators: expected names, got 'stl'"),
        ({"estimators": 3}, "^estimators: expected names"),
        ({"estimators": np.array("stl")}, "^estimators: expected names"),
        ({"estimators": [np.array(["stl", "dreg"])]}, "^estimators: expected one of"),
        ({"objective": np.array(["elbo", "iwae"])}, '^objective: expected "elbo" or "iwae"'),
        ({"key": -1}, "^key: "),
        ({"key": None}, "^key: "),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ek.errors.ArgumentError, match=message):
        ek.compare_estimators(**{"key": 0, **fixture_one(), **change})
