"""Both sides of the evidence and the ELBO's errors, counted on 200 random models whose evidence is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import elbokit as ek

_ROWS = 100


class Instance(NamedTuple):
    """A model's log weights (particles, rows), and what is known of them."""

    log_weights: np.ndarray
    evidence: np.ndarray
    elbo: np.ndarray


def instance(seed, variance, particles=1000):
    """A random linear Gaussian model, its own rows, and a q about the posterior, of a variance made from its axes'."""
    rng = np.random.default_rng(seed)
    latents, columns = rng.integers(1, 4), rng.integers(2, 7)
    noise = rng.uniform(0.2, 2.0, columns)
    lg = ek.LinearGaussian(rng.standard_normal((columns, latents)), rng.standard_normal(columns), noise)
    x = lg.sample(_ROWS, key=seed)
    axes = np.linalg.eigvalsh(np.linalg.inv(np.eye(latents) + lg.weight.T @ (lg.weight / noise[:, None])))
    shift = 0.3 * np.sqrt(axes[-1]) * rng.standard_normal((_ROWS, latents))
    post = ek.GaussianParams(lg.posterior(x).loc + shift, np.full((_ROWS, latents), np.log(variance(axes))))

    def decoder(z):
        return z @ lg.weight.T + lg.offset

    likelihood = ek.likelihood.Gaussian(np.sqrt(noise))
    w = ek.log_weights(x, post, decoder, likelihood, key=seed, num_particles=particles)
    return Instance(w, lg.log_evidence(x), lg.elbo(x, post))


@pytest.fixture(scope="module")
def wide():
    """q wider than the posterior in every direction: the weights are bounded."""
    return [instance(seed, lambda axes: 1.5 * axes[-1]) for seed in range(200)]


def errors(values):
    """The mean in its standard errors."""
    return values.mean() / (values.std(ddof=1) / len(values) ** 0.5)


@pytest.mark.parametrize(("particles", "bounded"), [(100, 0.97), (1000, 0.999)])
def test_neither_side_of_the_evidence_is_wrong(wide, particles, bounded):
    below, above = [], []
    for log_weights, evidence, _ in wide:
        found = ek.bounds.log_evidence(log_weights[:particles])
        # Of every instance, and below of all its rows; a row without an upper bound is not wrong.
        below.append(found.lower - evidence)
        kept = np.isfinite(found.upper)
        above.append((found.upper - evidence)[kept])
        assert errors(below[-1]) < 5
        assert errors(above[-1]) > -5
    lower, upper = np.concatenate(below), np.concatenate(above)
    assert errors(lower) < 5
    assert errors(upper) > -5
    assert len(upper) >= bounded * len(lower)
    # Nor are they bounds by being loose: both are within a hundredth of a nat, and what one misses the other shows.
    width = upper.mean() - lower.mean()
    assert 0 < width < (0.03 if particles == 100 else 0.003)


def test_two_standard_errors_of_the_elbo_hold_it_as_often_as_they_should(wide):
    held = []
    for log_weights, _, exact in wide:
        value, error = ek.bounds.elbo(log_weights, return_error=True)
        held.append(np.abs(value - exact) <= 2 * error)
    assert 0.945 <= np.mean(held) <= 0.965


def test_k_hat_warns_of_a_q_that_is_too_narrow(wide):
    narrow = [instance(seed, lambda axes: 0.1 * axes[0]) for seed in range(50)]
    limit = 1 - 1 / np.log10(1000)
    flagged = [np.mean(ek.bounds.log_evidence(w).khat > limit) for w, _, _ in narrow]
    # k is 1 − 0.1 and more in the limit, and its estimate from 1000 weights scatters by 0.2.
    assert np.mean(flagged) > 0.8
    assert min(flagged) > 0.5
    for w, evidence, _ in narrow:
        found = ek.bounds.log_evidence(w)
        assert np.isposinf(found.upper[found.khat > limit]).all()
        assert errors(found.lower - evidence) < 5
    assert np.mean([ek.bounds.log_evidence(w).khat > limit for w, _, _ in wide]) < 0.001
