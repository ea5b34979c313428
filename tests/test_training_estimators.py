"""The estimators of fit: `elbo_grad` of the same draws, what is refused, and what a checkpoint keeps."""

from __future__ import annotations

import numpy as np
import pytest
from fits import counts, fit, same

import elbokit as ek

_COMBINATIONS = [("stl", "elbo"), ("dreg", "elbo"), ("score", "elbo"), ("dreg", "iwae"), ("score", "iwae")]


@pytest.fixture(scope="module")
def rows():
    return counts()


def decoder_vjp(vae):
    """The decoder of one tanh layer, with its pullback."""
    w1, b1, w2, b2 = (vae.parameters()[f"decoder.{i}.{part}"] for i in (0, 1) for part in ("weight", "bias"))

    def run(z):
        h = np.tanh(z @ w1.T + b1)
        return h @ w2.T + b2, lambda d: ((d @ w2) * (1 - h * h)) @ w1

    return run


@pytest.mark.parametrize(("estimator", "objective"), [("pathwise", "elbo"), ("pathwise", "iwae"), *_COMBINATIONS])
def test_a_steps_gradient_of_the_encoders_heads_is_elbo_grad(estimator, objective):
    x = np.array([[True, False, True, True]])
    vae = ek.VAE(3, hidden=(5,), likelihood=ek.likelihood.Bernoulli(), activation="tanh", dtype="float64")
    seen = []

    def look(vae, _):
        steps, m, _ = vae.core.moments()
        assert steps == 1
        lengths = np.cumsum([0, *(values.size for values in vae.parameters().values())])
        at = list(vae.parameters()).index("encoder.1.bias")
        seen.append(-m[lengths[at] : lengths[at + 1]] / 0.1)  # the first moment is a tenth of the gradient of the loss

    vae.fit(
        x, epochs=1, validation=0.0, learning_rate=1e-300, objective=objective, estimator=estimator, num_particles=6,
        callbacks=[look], progress=False, key=4,
    )  # fmt: skip
    noise = ek.random.Key(4).split(4)[1].fold_in(0)
    _, d_loc, d_log_var = ek.elbo_grad(
        x, vae.encode(x), decoder_vjp(vae), vae.likelihood_, key=noise, num_particles=6, estimator=estimator,
        objective=objective,
    )  # fmt: skip
    expected = np.concatenate([d_loc[0], d_log_var[0]])
    assert np.abs(seen[0] - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize(("estimator", "objective"), _COMBINATIONS)
def test_each_estimator_trains_and_the_history_means_the_same(rows, estimator, objective):
    options = {"epochs": 15, "learning_rate": 1e-2, "objective": objective, "num_particles": 4, "kl_weight": 0.7}
    vae, history = fit(rows, estimator=estimator, sample_weight=np.linspace(0, 2, len(rows)), **options)
    assert history.held_out_elbo[-1] > history.held_out_elbo[0]
    assert np.allclose(history.elbo, np.subtract(history.reconstruction, history.kl), rtol=1e-13)
    if objective == "elbo":
        expected = np.subtract(history.reconstruction, np.multiply(0.7, history.kl))
        assert np.allclose(history.objective, expected, rtol=1e-13)
    plain, _ = fit(rows, sample_weight=np.linspace(0, 2, len(rows)), **options)
    assert not same(vae, plain)


def test_pathwise_is_the_default(rows):
    assert same(fit(rows)[0], fit(rows, estimator="pathwise")[0])


def test_the_first_steps_terms_do_not_hang_on_the_estimator(rows):
    options = {"epochs": 1, "batch_size": 1000, "num_particles": 3}
    for objective in ("elbo", "iwae"):
        firsts = [
            fit(rows, estimator=estimator, objective=objective, **options)[1]
            for estimator, of in [("pathwise", objective), *_COMBINATIONS]
            if of == objective
        ]
        for name in ("reconstruction", "kl", "objective"):
            assert len({getattr(first, name)[0] for first in firsts}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "reinforce"}, "estimator: expected one of .*reinforce"),
        ({"estimator": "stl", "objective": "iwae"}, 'estimator: expected .*biased, got "stl"; give estimator="dreg"'),
        ({"estimator": "score"}, "num_particles: expected at least 2 .*give more particles"),
        ({"estimator": "score", "objective": "iwae"}, "num_particles: expected at least 2"),
        (
            {"estimator": "stl", "free_bits": 0.1},
            'free_bits: expected 0 with estimator="stl".*use estimator="pathwise"',
        ),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_a_cure(rows, options, message):
    with pytest.raises(ValueError, match=message):
        fit(rows, **options)


@pytest.mark.parametrize("prior", ["standard", "mixture", "vamp"])
@pytest.mark.parametrize(("estimator", "objective"), [("stl", "elbo"), ("dreg", "iwae"), ("score", "iwae")])
def test_a_fit_that_was_cut_off_goes_on_to_the_same_bits(rows, prior, estimator, objective, tmp_path):
    def trained(epochs, **more):
        vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Binomial(16), prior=prior, prior_components=3)
        vae.fit(
            rows,
            epochs=epochs,
            estimator=estimator,
            objective=objective,
            num_particles=3,
            progress=False,
            key=2,
            **more,
        )
        return vae

    trained(3, checkpoint=tmp_path / "c")
    assert same(trained(6, checkpoint=tmp_path / "c"), trained(6))


def test_a_checkpoint_of_another_estimator_is_refused(rows, tmp_path):
    fit(rows, epochs=2, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match=r"^estimator: expected 'pathwise' as in the checkpoint .*, got 'dreg'"):
        fit(rows, epochs=3, checkpoint=tmp_path / "c", estimator="dreg")
