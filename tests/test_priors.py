"""Learned priors from outside: what every method says with them, resumed fits, files, and what they are worth."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import elbokit as ek

QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 64, "progress": False}
PRIORS = ("mixture", "vamp")


def kinds(n: int = 300, key: int = 0) -> np.ndarray:
    """Rows of three kinds, far apart beside what one kind varies by."""
    centres = np.array([[3.0, 0.0, 0.0, 1.0], [0.0, 3.0, 0.0, -1.0], [-3.0, 0.0, 2.0, 0.0]])
    noise = ek.random.normal((n, 4), key=key, dtype=np.float64)
    return centres[np.arange(n) % 3] + 0.3 * noise


def model(prior: str, components: int = 5, **options: Any) -> ek.VAE:
    return ek.VAE(2, hidden=(8,), prior=prior, prior_components=components, **options)


@pytest.fixture(scope="module", params=PRIORS)
def fitted(request) -> ek.VAE:
    vae = model(request.param)
    vae.fit(kinds(), **QUICK)
    return vae


def test_every_method_works_with_it(fitted):
    x = kinds(20, key=3)
    terms = fitted.elbo(x, num_particles=64)
    np.testing.assert_allclose(terms.elbo, terms.reconstruction - terms.kl, rtol=1e-5, atol=1e-5)
    assert (terms.standard_error > 0).all()
    for proposal in ("laplace", "posterior"):
        bound = fitted.log_evidence(x, num_particles=500, proposal=proposal)
        assert (bound.lower <= bound.estimate).all()
        assert (bound.estimate <= bound.upper).all()
        assert (terms.elbo < bound.estimate + 5 * (bound.standard_error + terms.standard_error)).all()
    parts = fitted.elbo_per_column(x, num_particles=64)
    np.testing.assert_allclose(parts.sum(1), terms.reconstruction, rtol=1e-4, atol=1e-4)
    holes = x.copy()
    holes[::2, 1] = np.nan
    assert np.isfinite(fitted.impute(holes, num_particles=50)).all()
    assert fitted.impute(holes, num_particles=50, draws=2).shape == (2, 20, 4)
    fitted.calibrate(x)
    assert fitted.p_value(x).min() == pytest.approx(2 / 21)
    assert fitted.sample(7, key=0).shape == (7, 4)
    assert np.array_equal(fitted.sample(7, key=0), fitted.sample(7, key=0))
    assert np.array_equal(fitted.sample(9, key=0)[7:], fitted.sample(2, key=0, first_row=7))


def test_scores_are_of_the_row_on_any_threads(fitted):
    x = kinds(50, key=5)
    order = np.argsort(ek.random.uniform((50,), key=9))
    for score in (
        lambda x: fitted.elbo(x).elbo,
        lambda x: fitted.log_evidence(x, num_particles=30).estimate,
        lambda x: fitted.impute(np.where(x > 2.5, np.nan, x), num_particles=30),
    ):
        whole = score(x)
        assert np.array_equal(score(x[order]), whole[order])
        assert np.array_equal(np.concatenate([score(x[i : i + 7]) for i in range(0, 50, 7)]), whole)
        with ek.num_threads(1):
            assert np.array_equal(score(x), whole)


def test_the_prior_is_a_mixture_that_the_bounds_know(fitted):
    p = fitted.prior_
    assert p.weights.shape == (5,)
    # The model's own ELBO beside that of the kernels with its parts.
    x = kinds(12, key=6)
    post = fitted.encode(x)
    terms = ek.elbo(
        x, post, lambda z: fitted.decode(z.astype(np.float32)), fitted.likelihood_, key=1, num_particles=3000,
        kl="monte_carlo", prior=p,
    )  # fmt: skip
    own = fitted.elbo(x, num_particles=3000)
    error = np.hypot(terms.standard_error, own.standard_error)
    assert (np.abs(terms.elbo - own.elbo) < 5 * error + 1e-3).all()
    # Draws of z come from it.
    z = fitted.core.sample_prior(20_000, 4)
    mean = p.weights @ p.locs
    spread = np.sqrt(p.weights @ (p.variances + p.locs**2) - mean**2)
    assert (np.abs(z.mean(0) - mean) < 5 * spread / 20_000**0.5).all()
    standard = ek.VAE(2, hidden=(8,))
    standard.fit(kinds(), **QUICK)
    assert (standard.prior_.weights, standard.prior_.locs.tolist()) == ([1.0], [[0.0, 0.0]])
    latents, _ = ek.Key(3).split(2)
    drawn = ek.random.normal((6, 2), key=latents)
    assert np.array_equal(standard.core.sample_prior(6, latents.seed), drawn)


def test_evidence_of_a_linear_model_is_that_of_the_mixture_it_makes():
    x = np.concatenate([-3 + 0.5 * np.arange(-20, 21)[:, None] / 20, 2 + np.arange(-20, 21)[:, None] / 10])
    vae = ek.VAE(
        1, hidden=(), likelihood=ek.likelihood.Gaussian(0.3), prior="mixture", prior_components=3, dtype="float64",
        standardize=False,
    )  # fmt: skip
    vae.fit(x, epochs=400, batch_size=41, learning_rate=1e-2, validation=0.0, progress=False)
    w, b = (float(vae.parameters()[f"decoder.0.{name}"].ravel()[0]) for name in ("weight", "bias"))
    p = vae.prior_
    parts = [
        np.log(weight) + norm.logpdf(x[:, 0], w * loc[0] + b, np.sqrt(w * w * variance[0] + 0.09))
        for weight, loc, variance in zip(p.weights, p.locs, p.variances, strict=True)
    ]
    exact = logsumexp(parts, axis=0)
    for proposal in ("laplace", "posterior"):
        bound = vae.log_evidence(x, num_particles=5000, proposal=proposal)
        # The largest of 82 normals, where the weights' tail lets the error be known at all.
        known = bound.khat < 0.5
        assert known.mean() > 0.8
        assert (np.abs(bound.estimate - exact)[known] < 5 * bound.standard_error[known] + 1e-6).all()
        assert abs((bound.estimate - exact)[known].mean()) < 0.01
    # Two kinds of rows: a prior of one kind of z does not get there.
    plain = ek.VAE(1, hidden=(), likelihood=ek.likelihood.Gaussian(0.3), dtype="float64", standardize=False)
    plain.fit(x, epochs=400, batch_size=41, learning_rate=1e-2, validation=0.0, progress=False)
    assert exact.mean() > plain.log_evidence(x, num_particles=1000).estimate.mean() + 0.3


@pytest.mark.parametrize("prior", PRIORS)
def test_a_fit_is_the_same_bits_resumed_and_on_one_thread(prior, tmp_path):
    x = kinds()
    whole = model(prior)
    whole.fit(x, **QUICK)

    def same(vae):
        parameters = vae.parameters()
        return all(np.array_equal(parameters[name], value) for name, value in whole.parameters().items())

    def stop(_, history):
        return len(history.elbo) == 2

    vae = model(prior)
    # What a callback stops is over; a shorter fit is not, and goes on with the same options.
    vae.fit(x, **QUICK | {"epochs": 2}, checkpoint=tmp_path / "fit")
    assert not same(vae)
    vae.fit(x, **QUICK, checkpoint=tmp_path / "fit")
    assert same(vae)
    with pytest.raises(ValueError, match="model: expected"):
        model(prior, 4).fit(x, **QUICK, checkpoint=tmp_path / "fit")
    with ek.num_threads(1):
        vae = model(prior)
        vae.fit(x, **QUICK)
    assert same(vae)
    stopped = model(prior).fit(x, **QUICK, callbacks=[stop])
    assert len(stopped.elbo) == 2


def test_files_and_pickles_keep_it(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = ek.VAE.load(tmp_path / "model")
    assert (loaded.prior, loaded.prior_components) == (fitted.prior, 5)
    assert loaded._to_bytes() == fitted._to_bytes()
    x = kinds(30, key=7)
    for again in (loaded, pickle.loads(pickle.dumps(fitted))):
        assert repr(again) == repr(fitted)
        assert np.array_equal(again.elbo(x).elbo, fitted.elbo(x).elbo)
    names = {"mixture": {"loc", "log_var", "logits"}, "vamp": {"pseudo_inputs"}}[fitted.prior]
    assert {name for name in fitted.parameters() if name.startswith("prior.")} == {f"prior.{name}" for name in names}


def test_pseudo_inputs_start_at_different_training_rows_and_are_learned():
    x = kinds(40)
    options = {"progress": False, "validation": 0.25, "batch_size": 40}
    vae = model("vamp", 30)
    vae.fit(x, epochs=1, learning_rate=1e-12, **options)
    shift, scale = map(np.array, vae.core.scaling)
    starts = vae.parameters()["prior.pseudo_inputs"] * scale + shift
    nearest = np.abs(starts[:, None] - x[None]).max(2)
    assert nearest.min(1).max() < 1e-5
    assert len(set(nearest.argmin(1))) == 30
    vae.fit(x, epochs=5, **options)
    assert np.abs(vae.parameters()["prior.pseudo_inputs"] * scale + shift - starts).max() > 1e-3
    with pytest.raises(ValueError, match=r"prior_components: expected at most the 30 training rows.*got 31; use fewer"):
        model("vamp", 31).fit(x, epochs=1, **options)


@pytest.mark.parametrize("prior", PRIORS)
def test_with_a_condition_weights_and_the_importance_objective(prior):
    x = kinds()
    c = np.eye(3)[np.arange(300) % 3]
    vae = model(prior, layer_norm=True)
    history = vae.fit(
        x, condition=c, sample_weight=np.arange(300.0), objective="iwae", num_particles=4, optimizer="adamw", **QUICK
    )
    assert np.isfinite(history.objective).all()
    bound = vae.log_evidence(x[:20], condition=c[:20], num_particles=100)
    assert np.isfinite(bound.lower).all()
    assert vae.sample(3, condition=c[:1], key=0).shape == (3, 4)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"prior: expected one of .*got 'gaussian'"):
        ek.VAE(prior="gaussian")
    with pytest.raises(ValueError, match="prior_components: expected at least 1, got 0"):
        ek.VAE(prior="mixture", prior_components=0)
    for prior in PRIORS:
        with pytest.raises(ValueError, match=r"free_bits: expected 0 with prior=.*no part for each latent"):
            model(prior).fit(kinds(), free_bits=0.1, **QUICK)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_learned_prior_raises_the_held_out_bound_of_rows_of_kinds(prior):
    options = {"epochs": 150, "batch_size": 50, "learning_rate": 5e-3, "progress": False}
    held_out = {}
    for name in ("standard", prior):
        vae = model(name, 6, likelihood=ek.likelihood.Gaussian("per_feature"))
        held_out[name] = vae.fit(kinds(600), validation=kinds(300, key=9), **options).held_out_elbo[-1]
    assert held_out[prior] > held_out["standard"] + 0.2
