"""A fit's options from outside: optimisers, schedules, objectives, history, checkpoints, what a stopped fit leaves."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fits import counts, fit, model, same

import elbokit as ek


@pytest.fixture(scope="module")
def rows():
    return counts()


# Optimisers and the learning rate


def test_a_decay_of_zero_is_adam_to_the_bit_and_any_other_shrinks_the_parameters(rows):
    adam, _ = fit(rows)
    none, _ = fit(rows, optimizer="adamw", weight_decay=0.0)
    default, _ = fit(rows, optimizer="adamw")
    stated, _ = fit(rows, optimizer="adamw", weight_decay=0.01)
    strong, _ = fit(rows, optimizer="adamw", weight_decay=100.0)
    assert same(adam, none)
    assert same(default, stated)
    assert not same(adam, default)

    def norm(vae):
        return math.sqrt(sum((value**2).sum() for value in vae.parameters().values()))

    assert norm(strong) < 0.5 * norm(adam)


def test_the_learning_rates_of_the_history_are_the_schedules_closed_form(rows):
    epochs, steps = 8, 6  # 270 rows train in batches of 50
    last = np.arange(1, epochs + 1) * steps - 1
    _, constant = fit(rows, epochs=epochs, learning_rate=0.02)
    assert constant.learning_rate == [0.02] * epochs
    _, cosine = fit(rows, epochs=epochs, learning_rate=0.02, schedule="cosine")
    expected = 0.01 * (1 + np.cos(np.pi * last / (epochs * steps)))
    assert np.allclose(cosine.learning_rate, expected, rtol=1e-14, atol=0)
    _, both = fit(rows, epochs=epochs, learning_rate=0.02, schedule="cosine", warmup=2.5)
    first = 15
    expected = np.where(
        last < first,
        0.02 * (last + 1) / first,
        0.01 * (1 + np.cos(np.pi * (last - first) / (epochs * steps - first))),
    )
    assert np.allclose(both.learning_rate, expected, rtol=1e-14, atol=0)
    _, warm = fit(rows, epochs=epochs, learning_rate=0.02, warmup=epochs)
    assert np.allclose(warm.learning_rate, 0.02 * (last + 1) / (epochs * steps), rtol=1e-14, atol=0)


@pytest.mark.parametrize("validation", [0.1, 0.0])
def test_a_plateau_cuts_the_rate_when_nothing_new_came_for_long_enough(rows, validation):
    plateau = ek.training.Plateau(factor=0.25, patience=2, least=0.01)
    _, history = fit(rows, epochs=40, learning_rate=0.1, schedule=plateau, validation=validation)
    watched = history.held_out_elbo if validation else history.objective
    share, best, waited = 1.0, -np.inf, 0
    for rate, value in zip(history.learning_rate, watched, strict=True):
        assert rate == 0.1 * share
        waited = 0 if value > best else waited + 1
        best = max(best, value)
        if waited == 2:
            share, waited = max(0.25 * share, 0.01), 0
    assert share == 0.01
    _, named = fit(rows, epochs=15, learning_rate=0.1, schedule="plateau")
    _, stated = fit(rows, epochs=15, learning_rate=0.1, schedule=ek.training.Plateau(0.5, 10, 1e-3))
    assert named.elbo == stated.elbo


def test_clipping_bounds_what_a_step_sees_and_leaves_smaller_gradients_alone(rows):
    free, history = fit(rows)
    loose, _ = fit(rows, max_grad_norm=1e9)
    tight, clipped = fit(rows, max_grad_norm=0.5 * min(history.gradient_norm))
    assert same(free, loose)
    assert not same(free, tight)
    # The first epoch's norms are those before clipping, of models that differ only after the first step.
    assert clipped.gradient_norm[0] > 0.5 * min(history.gradient_norm)


def test_the_norm_is_that_of_the_gradient(rows, tmp_path):
    """Where Adam's step is known: with one step, m = (1 − β₁) g, which the checkpoint holds."""
    vae = model(dtype="float64")
    path = tmp_path / "norm"
    history = vae.fit(rows, epochs=1, batch_size=300, validation=0.0, progress=False, checkpoint=path)
    _, vectors = ek._core.checkpoint_from_bytes(path.read_bytes())
    assert np.isclose(history.gradient_norm[0], np.linalg.norm(dict(vectors)["adam.first"] / 0.1), rtol=1e-13)


def test_patience_for_the_evidence_watches_that_of_the_held_out_rows(rows):
    train, held_out = rows[:250], rows[250:]
    scoring = ek.Key(4).split(4)[3]
    seen, kept = [], []

    def watch(vae, _):
        seen.append(vae.log_evidence(held_out, key=scoring, num_particles=32).lower.mean(dtype=np.float64))
        kept.append(vae.core.snapshot())

    rule = ek.training.Patience(3, watch="evidence")
    options = {"objective": "iwae", "num_particles": 5, "learning_rate": 3e-2, "epochs": 200}
    vae, history = fit(train, validation=held_out, patience=rule, callbacks=[watch], **options)
    assert np.allclose(history.held_out_evidence, seen, rtol=1e-12)
    assert history.stopped_early
    assert history.best_epoch == int(np.argmax(seen)) == len(seen) - 4
    assert np.array_equal(vae.core.snapshot(), kept[history.best_epoch])
    assert history.to_frame()["held_out_evidence"].to_list() == history.held_out_evidence
    # A share of the rows, which are numbered among all, and 5000 of them: more than are copied at a time.
    many = np.repeat(rows, 20, axis=0)
    _, shared = fit(many, validation=5000 / len(many), patience=rule, epochs=1)
    assert len(shared.held_out_evidence) == 1
    assert np.isfinite(shared.held_out_evidence[0])
    assert "held_out_evidence" not in fit(rows, patience=3)[1].by_epoch()


# Objectives


def test_schedules_of_the_kl_are_their_closed_forms(rows):
    line = ek.training.Linear(0.2, 0.8, epochs=5)
    assert np.allclose([line(e) for e in range(8)], [0.2, 0.32, 0.44, 0.56, 0.68, 0.8, 0.8, 0.8], rtol=1e-15)
    wave = ek.training.Cyclical(3, epochs=10, ratio=0.4, start=0.1, end=2.0)
    for epoch in range(14):
        tau = math.fmod(epoch, 10 / 3) / (10 / 3)
        expected = 2.0 if epoch >= 10 else 0.1 + 1.9 * min(tau / 0.4, 1)
        assert math.isclose(wave(epoch), expected, rel_tol=1e-12)
    _, history = fit(rows, kl_weight=line)
    assert history.kl_weight == [line(epoch) for epoch in range(6)]
    expected = np.subtract(history.reconstruction, np.multiply(history.kl_weight, history.kl))
    assert np.allclose(history.objective, expected, rtol=1e-13)
    assert np.allclose(history.elbo, np.subtract(history.reconstruction, history.kl), rtol=1e-13)
    plain, _ = fit(rows, kl_weight=0.5)
    called, _ = fit(rows, kl_weight=lambda _: 0.5)
    assert same(plain, called)


def test_free_bits_put_a_floor_under_each_latents_batch_mean(rows):
    weights = np.linspace(0.1, 2.0, len(rows))
    options = {"epochs": 1, "batch_size": 300, "validation": 0.0, "learning_rate": 1e-300, "kl_weight": 0.7}
    vae, history = fit(rows, free_bits=0.02, sample_weight=weights, **options)
    kl = ek.gaussian.kl_per_dim(*(part.astype(float) for part in vae.encode(rows)))
    weights /= weights.mean()
    means = (weights[:, None] * kl).mean(axis=0)
    assert 0 < (means < 0.02).sum() < 3
    expected = history.reconstruction[0] - 0.7 * np.maximum(means, 0.02).sum()
    assert math.isclose(history.objective[0], expected, rel_tol=1e-6)
    assert math.isclose(history.kl[0], means.sum(), rel_tol=1e-5)


def test_free_bits_keep_latents_from_collapsing(rows):
    """Four groups need less than three latents; with a floor all of them are used up to it."""
    options = {"epochs": 60, "learning_rate": 1e-2, "kl_weight": 4.0, "validation": 0.0}
    kls = []
    for free_bits in (0.0, 0.5):
        vae, _ = fit(rows, free_bits=free_bits, **options)
        kls.append(ek.gaussian.kl_per_dim(*vae.encode(rows)).mean(axis=0))
    assert kls[0].min() < 0.05
    assert kls[1].min() > 0.3


def test_the_importance_weighted_objective_is_tighter_and_trains(rows):
    vae, history = fit(rows, objective="iwae", num_particles=8, epochs=40, learning_rate=5e-3)
    assert (np.array(history.objective) > history.elbo).all()
    assert history.objective[-1] > history.objective[0] + 5
    assert np.isfinite(vae.elbo(rows).elbo).all()
    # One draw is the Monte Carlo form of the ELBO: its objective is the ELBO's but for noise.
    _, one = fit(rows, objective="iwae", epochs=2)
    assert math.isclose(one.objective[0], one.elbo[0], abs_tol=0.5)


def test_objectives_are_the_same_bits_for_any_number_of_threads(rows):
    wide = np.tile(rows, (1, 8))
    for options in ({"free_bits": 0.1, "max_grad_norm": 1.0}, {"objective": "iwae", "num_particles": 4}):
        models = []
        for threads in (1, 2):
            with ek.num_threads(threads):
                vae = model(hidden=(256,))
                vae.fit(wide, epochs=1, batch_size=128, progress=False, optimizer="adamw", **options)
                models.append(vae)
        assert same(*models)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"optimizer": "sgd"}, "optimizer"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"optimizer": "adamw", "weight_decay": -1}, "weight_decay"),
        ({"optimizer": "adamw", "weight_decay": 1e6}, "weight_decay"),
        ({"schedule": "step"}, "schedule"),
        ({"schedule": 3}, "schedule"),
        ({"warmup": -1}, "warmup"),
        ({"warmup": 7}, "warmup"),
        ({"max_grad_norm": 0}, "max_grad_norm"),
        ({"max_grad_norm": "big"}, "max_grad_norm"),
        ({"objective": "renyi"}, "objective"),
        ({"free_bits": -0.1}, "free_bits"),
        ({"free_bits": 0.1, "objective": "iwae"}, "free_bits"),
        ({"kl_weight": lambda epoch: 1.0 - epoch}, "kl_weight.*epoch 2"),
        ({"kl_weight": lambda _: None}, "kl_weight"),
        ({"patience": ek.training.Stopping(), "validation": 0.0}, "patience"),
        ({"patience": ek.training.Patience(watch="evidence"), "validation": 0.0}, "patience"),
        ({"checkpoint": "c", "checkpoint_every": 0}, "checkpoint_every"),
        ({"callbacks": print}, "callbacks"),
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(rows, options, name):
    vae = model()
    with pytest.raises(ValueError, match=name):
        vae.fit(rows, **{"epochs": 6, "progress": False} | options)
    assert not Path("c").exists()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ek.training.Linear(0, "one", 3), "end"),
        (lambda: ek.training.Linear(0, 1, 0), "epochs"),
        (lambda: ek.training.Cyclical(0, 10), "cycles"),
        (lambda: ek.training.Cyclical(2, 10, ratio=0), "ratio"),
        (lambda: ek.training.Plateau(factor=1.0), "factor"),
        (lambda: ek.training.Plateau(patience=0), "patience"),
        (lambda: ek.training.Plateau(least=2), "least"),
        (lambda: ek.training.Patience(0), "epochs"),
        (lambda: ek.training.Patience(watch="loss"), "watch"),
        (lambda: ek.training.Stopping(window=1), "window"),
        (lambda: ek.training.Stopping(alpha=1.0), "alpha"),
        (lambda: ek.training.Stopping(improvement=math.inf), "improvement"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_when_it_is_made(make, name):
    with pytest.raises(ValueError, match=name):
        make()


# History and callbacks


def test_the_history_is_a_frame_and_a_picture(rows, monkeypatch):
    _, history = fit(rows)
    frame = history.to_frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame["epoch"].to_list() == list(range(6))
    assert set(frame.columns) == {"epoch", *history.by_epoch()}
    for name, values in history.by_epoch().items():
        assert frame[name].to_list() == values
        assert len(values) == 6
    _, without = fit(rows, validation=0.0)
    assert not any(name.startswith("held_out") for name in without.to_frame().columns)
    assert history.plot().axes[0].get_title() == "ELBO"
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install polars"):
        history.to_frame()


def test_callbacks_see_a_usable_model_and_end_the_fit_as_they_say(rows):
    seen = []

    def score(vae, history):
        seen.append((len(history.elbo), vae.elbo(rows[:3]).elbo.shape))

    class Count:
        calls = 0

        def __call__(self, *_):
            self.calls += 1
            return "a true thing that is not True"

    count = Count()
    _, history = fit(rows, callbacks=[lambda _, h: len(h.elbo) == 4, score, count])
    assert history.stopped_early
    # All of them are called in the epoch in which one asks to stop.
    assert seen == [(n, (3,)) for n in (1, 2, 3, 4)]
    assert count.calls == 4

    def fail(*_):
        raise LookupError("mine")

    vae = model()
    with pytest.raises(LookupError, match="mine"):
        vae.fit(rows, epochs=5, progress=False, callbacks=[fail])
    assert np.isfinite(vae.elbo(rows).elbo).all()


def test_memory_mapped_rows_train_without_a_copy(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    plain, _ = fit(rows)
    through, _ = fit(mapped)
    assert same(plain, through)
    assert np.shares_memory(ek._arrays.rows_of("X", mapped), mapped)


@pytest.mark.parametrize(
    ("scale", "options", "said"),
    [
        (
            1e10,
            {"standardize": False},
            "after epoch 0 the reconstruction of \\d+ and the KL of \\d+ of 36 rows are",
        ),
        (
            1e6,
            {"likelihood": ek.likelihood.Poisson()},
            "after epoch 0 reconstruction and KL are finite, and the gradient",
        ),
        # A row of no weight is not looked at.
        (1e10, {"standardize": False, "sample_weight": True}, r"after epoch 0 .* of (1[0-9]|20) rows are not finite"),
    ],
)
def test_a_warning_of_skipped_steps_names_the_term(scale, options, said):
    rows = np.random.default_rng(0).normal(size=(40, 3)) * scale
    options, weights = dict(options), None
    if options.pop("sample_weight", False):
        weights = np.arange(40) % 2
    if "likelihood" in options:
        rows = np.full((40, 3), scale)
    vae = ek.VAE(2, hidden=(8,), **options)
    text = (
        rf"^2 of 2 steps had a gradient that was not finite and were not taken: {said}.*; lower learning_rate, or look"
    )
    with pytest.warns(RuntimeWarning, match=text):
        vae.fit(rows, epochs=2, sample_weight=weights, progress=False, key=1)


def test_a_training_that_diverges_names_the_epoch_and_the_term():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    vae = ek.VAE(2, hidden=(8,))
    with pytest.warns(
        RuntimeWarning, match=r"not taken: after epoch 1 the reconstruction of \d+ .* rows are not finite;"
    ):
        vae.fit(rows, epochs=4, learning_rate=100.0, patience=2, progress=False, key=1)
