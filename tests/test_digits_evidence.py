"""The evidence of held-out digits: draws of q, few and many around the mode, beside twenty thousand of another key."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import elbokit as ek


@pytest.fixture(scope="module")
def scored():
    """Each row's reference, from 20 000 draws around the mode, and the evidence or bound that others give it."""
    rows = load_digits().data.astype(np.int64)
    order = np.random.default_rng(0).permutation(1797)
    train, held_out = rows[order[:1500]], rows[order[1500:]]
    vae = ek.VAE(16, hidden=(256,), likelihood=ek.likelihood.Binomial(16), activation="relu")
    vae.fit(train, epochs=200, batch_size=128, learning_rate=1e-3, validation=0.0, progress=False, key=0)
    reference = vae.log_evidence(held_out, num_particles=20_000, key=1)
    return reference.lower, {
        "one draw": vae.elbo(held_out, num_particles=1),
        "q": vae.log_evidence(held_out, proposal="posterior"),
        "few": vae.log_evidence(held_out, num_particles=8),
        "many": vae.log_evidence(held_out),
    }


# What fits of the keys 0 to 7 have given, each row's bound less its reference:
#
#            mean                standard deviation   rank correlation
# one draw   −7.87 to −6.96      5.06 to 5.53         0.892 to 0.904
# q          −1.79 to −1.47      1.34 to 1.65         0.9864 to 0.9916
# few        −0.23 to −0.14      0.59 to 0.72         0.9967 to 0.9978
# many       −0.0205 to +0.0027  0.088 to 0.188       0.99984 to 0.99993
@pytest.mark.parametrize(
    ("name", "mean", "deviation", "rank"),
    [
        ("one draw", (-8.6, -6.2), (4.5, 6.1), (0.86, 0.93)),
        ("q", (-2.0, -1.25), (1.2, 1.85), (0.98, 0.995)),
        ("few", (-0.3, -0.1), (0.5, 0.85), (0.995, 0.9990)),
        ("many", (-0.03, 0.02), (0.05, 0.25), (0.9995, 1.0)),
    ],
)
def test_each_misses_the_reference_by_as_much_as_its_draws_should(scored, name, mean, deviation, rank):
    reference, others = scored
    bound = others[name][0]
    off = bound - reference
    for found, (least, most) in (
        (off.mean(), mean),
        (off.std(), deviation),
        (spearmanr(bound, reference).statistic, rank),
    ):
        assert least < found < most


def test_the_reference_is_the_evidence_that_the_net_reaches(scored):
    # Eight keys: −86.1 to −85.6.
    assert -86.8 < scored[0].mean() < -85.0


def test_k_hat_trusts_the_rows_around_the_mode_and_hardly_one_of_q(scored):
    trusted = {name: (scored[1][name].khat < 2 / 3).mean() for name in ("q", "many")}
    # Eight keys: 0.3 to 3 % and 94 to 96 %.
    assert trusted["q"] < 0.04
    assert 0.91 < trusted["many"] < 0.99


def test_eight_draws_around_the_mode_beat_a_thousand_of_q(scored):
    estimates = {name: scored[1][name].estimate for name in ("q", "few", "many")}
    off, off_q = (np.abs(estimates[name] - estimates["many"]) for name in ("few", "q"))
    assert off.mean() < 0.5 * off_q.mean()
    assert off_q.mean() > 0.5
