"""The VAE from outside: quality on real rows, the same bits however called, scaling, missing cells, files, errors."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_digits

import elbokit as ek


@pytest.fixture(scope="module")
def digits():
    rows = load_digits().data.astype(np.int64)
    order = np.random.default_rng(0).permutation(1797)
    return rows[order[:1500]], rows[order[1500:]]


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer().data


@pytest.fixture(scope="module")
def fitted(digits):
    vae = ek.VAE(8, hidden=(32,), likelihood=ek.likelihood.Binomial(16))
    vae.fit(digits[0], epochs=5, validation=digits[1], progress=False, key=0)
    return vae


def same_parameters(a, b):
    first, second = a.parameters(), b.parameters()
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("key", [0, 1, 2])
def test_digits_reach_the_quality_of_the_reference_net(digits, key):
    train, held_out = digits
    vae = ek.VAE(16, hidden=(256,), likelihood=ek.likelihood.Binomial(16), activation="relu")
    history = vae.fit(
        train, epochs=200, batch_size=128, learning_rate=1e-3, validation=held_out, progress=False, key=key
    )
    assert history.skipped_steps == [0] * 200
    elbo = vae.elbo(held_out).elbo.mean()
    evidence = vae.log_evidence(held_out, num_particles=1000, proposal="posterior")
    assert elbo >= -95.0
    assert evidence.lower.mean() >= -88.5
    assert (evidence.lower <= evidence.estimate).all()
    assert (evidence.estimate <= evidence.upper).all()
    # The bound of more particles is tighter: here by several nats.
    assert evidence.lower.mean() > elbo + 1


def test_one_and_two_threads_train_the_same_bits(digits):
    models = []
    for threads in (1, 2):
        with ek.num_threads(threads):
            # Wide enough that a step is shared out.
            vae = ek.VAE(16, hidden=(256,), likelihood=ek.likelihood.Binomial(16))
            vae.fit(digits[0], epochs=1, validation=0.0, progress=False, key=3)
            models.append(vae)
    assert same_parameters(*models)


def test_a_row_scores_the_same_bits_alone_shuffled_chunked_and_repeated(fitted, digits):
    rows = digits[1]
    whole = fitted.elbo(rows, key=5)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = fitted.elbo(rows[order], key=5)
    chunks = [fitted.elbo(rows[i : i + 7], key=5) for i in range(0, len(rows), 7)]
    repeated = fitted.elbo(np.repeat(rows[:3], 4, axis=0), key=5)
    alone = [fitted.elbo(rows[i : i + 1], key=5) for i in range(10)]
    with ek.num_threads(1):
        single = fitted.elbo(rows, key=5)
    for name in ek.ElboTerms._fields:
        value = getattr(whole, name)
        assert np.array_equal(getattr(shuffled, name), value[order])
        assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), value)
        assert np.array_equal(getattr(repeated, name), np.repeat(value[:3], 4))
        assert np.array_equal(np.concatenate([getattr(row, name) for row in alone]), value[:10])
        assert np.array_equal(getattr(single, name), value)
    other = fitted.elbo(rows, key=6)
    assert not np.array_equal(other.elbo, whole.elbo)


def test_evidence_of_a_row_is_the_same_bits_alone_and_in_chunks(fitted, digits):
    rows = digits[1][:20]
    whole = fitted.log_evidence(rows, num_particles=300)
    chunks = [fitted.log_evidence(rows[i : i + 7], num_particles=300) for i in range(0, 20, 7)]
    for name in ek.Evidence._fields:
        assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), getattr(whole, name))


def test_proposals_agree_and_upper_stands_where_khat_allows(fitted, digits):
    rows = digits[1][:60]
    around, from_q = (fitted.log_evidence(rows, num_particles=2000, proposal=p) for p in ("laplace", "posterior"))
    assert np.array_equal(around.estimate, fitted.log_evidence(rows, num_particles=2000).estimate)
    for bounds in (around, from_q):
        assert (np.isinf(bounds.upper) == (bounds.khat > 1 - 1 / np.log10(2000))).all()
        assert (bounds.lower <= bounds.estimate).all()
        assert (bounds.estimate <= bounds.upper).all()
    # Draws of q miss what lies outside of it: there their bound is lower, and nowhere higher but by chance.
    trusted = np.isfinite(around.upper)
    assert trusted.sum() >= 10
    error = np.hypot(around.standard_error, from_q.standard_error)
    assert (from_q.lower <= around.estimate + 6 * error)[trusted].all()
    assert (around.estimate - from_q.estimate).mean() > 0.2
    with pytest.raises(ValueError, match='proposal: expected "laplace" or "posterior", got \'prior\''):
        fitted.log_evidence(rows, proposal="prior")


def test_no_mode_is_told_of_and_q_is_kept():
    rows = np.random.default_rng(0).poisson(2.0, (30, 4))
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Poisson())
    vae.fit(rows, epochs=1, validation=0.0, progress=False)
    huge = {name: values * (1e30 if name.startswith("decoder") else 1) for name, values in vae.parameters().items()}
    vae.core.restore(np.concatenate([values.ravel() for values in huge.values()]))
    with pytest.warns(RuntimeWarning, match="no mode was found for 30 of 30 rows, which are drawn from q"):
        around = vae.log_evidence(rows, num_particles=50)
    for ours, of_q in zip(around, vae.log_evidence(rows, num_particles=50, proposal="posterior"), strict=True):
        assert np.array_equal(ours, of_q)
    holes = rows.astype(np.float64)
    holes[::2, 1] = np.nan
    for draws in (None, 2):
        with pytest.warns(RuntimeWarning, match="impute: no mode was found for 15 of 15 rows, which are drawn from q"):
            filled = vae.impute(holes, draws=draws)
        assert np.array_equal(filled, vae.impute(holes, draws=draws, proposal="posterior"))


def test_one_particle_has_no_upper_bound_and_a_lower_one_that_is_the_weight(fitted, digits):
    bounds = fitted.log_evidence(digits[1][:5], num_particles=1)
    assert np.isinf(bounds.upper).all()
    assert np.isfinite(bounds.lower).all()
    assert np.allclose(bounds.ess, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64, np.dtype(">f8")])
def test_rows_of_any_type_train_and_score_the_same_bits(fitted, digits, dtype):
    vae = ek.VAE(8, hidden=(32,), likelihood=ek.likelihood.Binomial(16))
    vae.fit(digits[0].astype(dtype), epochs=5, validation=digits[1].astype(dtype), progress=False, key=0)
    assert same_parameters(vae, fitted)
    assert np.array_equal(vae.elbo(digits[1].astype(dtype)).elbo, fitted.elbo(digits[1]).elbo)
    assert np.array_equal(vae.elbo(np.asfortranarray(digits[1]).astype(dtype)).elbo, fitted.elbo(digits[1]).elbo)


def test_the_model_is_the_one_that_its_parts_make_by_hand(cancer):
    """encode, decode and likelihood_ go through `ek.elbo` to the same bound, in the units of the rows as given."""
    for likelihood in (ek.likelihood.Gaussian("predicted"), ek.likelihood.Gaussian(0.7)):
        vae = ek.VAE(4, hidden=(16,), likelihood=likelihood, dtype="float64")
        vae.fit(cancer, epochs=5, progress=False)
        rows = cancer[:40]
        own = vae.elbo(rows, num_particles=400)
        by_hand = ek.elbo(rows, vae.encode(rows), vae.decode, vae.likelihood_, key=1, num_particles=400)
        assert np.allclose(own.kl, by_hand.kl, rtol=1e-12)
        error = np.hypot(own.standard_error, by_hand.standard_error)
        # 40 rows at 5 standard errors: a false alarm in 40,000 runs, and the keys are fixed.
        assert (np.abs(own.elbo - by_hand.elbo) <= 5 * error).all()
        assert np.array_equal(vae.likelihood_.mean(vae.decode(vae.encode(rows).loc)), vae.reconstruct(rows))


def test_values_are_of_the_row_as_given_whatever_its_units(cancer):
    rows = np.ascontiguousarray(cancer[:, :6])
    units = np.array([1.0, 8.0, 0.25, 1024.0, 2.0, 0.5])  # powers of two: scaling loses nothing
    models = [ek.VAE(3, hidden=(8,), dtype="float64") for _ in range(2)]
    histories = [
        model.fit(x, epochs=4, progress=False, key=2) for model, x in zip(models, (rows, rows * units), strict=True)
    ]
    shift = np.log(units).sum()
    first, second = (model.encode(x) for model, x in zip(models, (rows, rows * units), strict=True))
    assert np.allclose(first.loc, second.loc, rtol=1e-9, atol=1e-12)
    assert np.allclose(np.array(histories[0].elbo) - shift, histories[1].elbo, rtol=1e-9)


def test_a_scaled_model_reports_the_density_of_the_row(cancer):
    """With loc and scale known, the reconstruction is the density that SciPy gives for the row in its own units."""
    rows = np.ascontiguousarray(cancer[:, :5])
    vae = ek.VAE(2, hidden=(), likelihood=ek.likelihood.Gaussian(0.9), dtype="float64")
    vae.fit(rows, epochs=2, progress=False)
    scale = np.array(vae.likelihood_.scale)
    assert np.allclose(scale, 0.9 * np.array(vae.core.scaling[1]))
    post = vae.encode(rows[:3])
    loc = vae.decode(post.loc)
    expected = norm.logpdf(rows[:3], loc, scale).sum(axis=1)
    assert np.allclose(vae.likelihood_.log_prob(rows[:3], loc), expected, rtol=1e-12)


def test_missing_cells_add_nothing(digits):
    rows = digits[0][:300].astype(float)
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    rows[0] = np.nan
    vae = ek.VAE(4, hidden=(16,), likelihood=ek.likelihood.Binomial(16))
    history = vae.fit(rows, epochs=3, progress=False)
    assert np.isfinite(history.elbo).all()
    terms = vae.elbo(rows)
    assert np.isfinite(terms.elbo).all()
    assert terms.reconstruction[0] == 0
    assert terms.elbo[0] == -terms.kl[0]
    evidence = vae.log_evidence(rows[:2], num_particles=50)
    assert evidence.lower[0] == evidence.estimate[0] == evidence.upper[0] == 0
    assert evidence.num_observed[0] == 0
    assert evidence.num_observed[1] == np.isfinite(rows[1]).sum()


def test_missing_cells_of_a_scaled_model_leave_their_scale_out(cancer):
    rows = cancer[:50].copy()
    rows[0] = np.nan
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(cancer, epochs=2, progress=False)
    assert vae.elbo(rows).reconstruction[0] == 0


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17])
def test_few_rows_train_and_score(digits, rows):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    vae.fit(digits[0][:rows], epochs=2, batch_size=16, validation=0.0, progress=False)
    for n in (0, 1, rows):
        assert vae.elbo(digits[1][:n]).elbo.shape == (n,)
        assert vae.log_evidence(digits[1][:n], num_particles=3).upper.shape == (n,)
        assert vae.reconstruct(digits[1][:n]).shape == (n, 64)
        assert vae.encode(digits[1][:n]).loc.shape == (n, 2)
        assert vae.sample(n, key=0).shape == (n, 64)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "softplus", "gelu"])
def test_every_activation_and_depth_learns(activation):
    rows = ek.likelihood.Bernoulli().sample(
        np.repeat([[3.0] * 10 + [-3.0] * 10, [-3.0] * 10 + [3.0] * 10], 100, axis=0), key=0
    )
    for hidden in ((), (16,), (16, 8)):
        vae = ek.VAE(2, hidden=hidden, likelihood=ek.likelihood.Bernoulli(), activation=activation)
        history = vae.fit(rows, epochs=30, batch_size=32, learning_rate=1e-2, progress=False)
        assert history.elbo[-1] > history.elbo[0] + 2


def test_normalised_and_connected_layers_have_parameters_and_a_name(cancer):
    vae = ek.VAE(2, hidden=(9, 9), layer_norm=True, residual=True)
    assert repr(vae).endswith(", layer_norm=True, residual=True)")
    assert "layer_norm" not in repr(ek.VAE(2))
    history = vae.fit(cancer, epochs=5, progress=False)
    assert history.elbo[-1] > history.elbo[0]
    shapes = {name: values.shape for name, values in vae.parameters().items() if "norm" in name}
    assert shapes == {
        f"{network}.{layer}.norm.{kind}": (9,)
        for network in ("encoder", "decoder")
        for layer in (0, 1)
        for kind in ("weight", "bias")
    }


def test_a_pickle_from_before_these_layers_has_neither(fitted):
    state = fitted.__getstate__()
    del state["layer_norm"], state["residual"]
    old = ek.VAE.__new__(ek.VAE)
    old.__setstate__(state)
    assert not old.layer_norm
    assert not old.residual


def test_samples_are_rows_and_follow_the_key(fitted):
    rows = fitted.sample(200, key=1)
    assert np.array_equal(fitted.sample(50, key=1, first_row=150), rows[150:])
    with pytest.raises(ek.ArgumentError, match=r"^first_row:"):
        fitted.sample(1, key=1, first_row=-1)
    assert np.array_equal(rows, fitted.sample(200, key=1))
    assert not np.array_equal(rows, fitted.sample(200, key=2))
    assert np.array_equal(fitted.sample(5, key=1), rows[:5])
    assert rows.min() >= 0
    assert rows.max() <= 16
    assert (rows == np.round(rows)).all()


def test_the_history_tells_what_happened(digits):
    seen = []

    def note(model, record):
        seen.append((model, len(record.elbo)))

    vae = ek.VAE(4, hidden=(8,), likelihood=ek.likelihood.Binomial(16))
    history = vae.fit(
        digits[0],
        epochs=4,
        validation=0.2,
        kl_weight=0.5,
        progress=False,
        callbacks=[note],
    )
    assert [n for _, n in seen] == [1, 2, 3, 4]
    assert all(model is vae for model, _ in seen)
    for name in (
        "elbo",
        "reconstruction",
        "kl",
        "objective",
        "held_out_elbo",
        "held_out_kl",
        "seconds",
        "rows_per_second",
    ):
        assert len(getattr(history, name)) == 4
    assert np.allclose(history.elbo, np.subtract(history.reconstruction, history.kl))
    assert np.allclose(history.objective, np.subtract(history.reconstruction, np.multiply(0.5, history.kl)))
    assert history.kl_weight == [0.5] * 4
    assert "1200 train, 300 held out" in history.data
    assert "over 16" in history.data


def test_a_callback_stops_the_fit(digits):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    history = vae.fit(digits[0], epochs=50, progress=False, callbacks=[lambda _, h: len(h.elbo) == 3])
    assert len(history.elbo) == 3
    assert history.stopped_early


def test_patience_keeps_the_best_held_out_weights(cancer):
    vae = ek.VAE(10, hidden=(64,), dtype="float64")
    train, held_out = cancer[:40], cancer[40:]  # few rows and a wide net: it must overfit
    history = vae.fit(train, epochs=400, learning_rate=1e-2, validation=held_out, patience=5, progress=False, key=1)
    assert history.stopped_early
    best = int(np.argmax(history.held_out_elbo))
    assert history.best_epoch == best
    assert len(history.elbo) == best + 6
    again = ek.VAE(10, hidden=(64,), dtype="float64")
    again.fit(train, epochs=best + 1, learning_rate=1e-2, validation=held_out, progress=False, key=1)
    assert same_parameters(vae, again)


def test_weights_count_rows(digits):
    rows = digits[0][:64]
    weights = np.r_[np.ones(32), np.zeros(32)]
    models = []
    for scale in (1.0, 7.0):
        vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
        vae.fit(rows, epochs=3, validation=0.0, sample_weight=scale * weights, progress=False)
        models.append(vae)
    assert same_parameters(*models)
    spoiled = rows.copy()
    spoiled[32:] = 16  # weight 0: whatever these rows hold
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    vae.fit(spoiled, epochs=3, validation=0.0, sample_weight=weights, progress=False)
    assert same_parameters(models[0], vae)


def test_a_model_survives_its_file_bit_for_bit(fitted, cancer, digits, tmp_path):
    scaled = ek.VAE(
        3, hidden=(5, 4), likelihood=ek.likelihood.Gaussian(np.linspace(0.5, 1, 30)), activation="silu", dtype="float64"
    )
    scaled.fit(cancer, epochs=1, progress=False)
    deep = ek.VAE(2, hidden=(6, 6), activation="gelu", layer_norm=True, residual=True)
    deep.fit(cancer, epochs=1, progress=False)
    for vae, rows in ((fitted, digits[1]), (scaled, cancer), (deep, cancer)):
        first, second = tmp_path / "first", tmp_path / "second"
        vae.save(first)
        again = ek.VAE.load(first)
        again.save(second)
        assert first.read_bytes() == second.read_bytes()
        assert repr(again) == repr(vae)
        for other in (again, pickle.loads(pickle.dumps(vae))):
            assert same_parameters(other, vae)
            assert np.array_equal(other.elbo(rows).elbo, vae.elbo(rows).elbo)
            assert np.array_equal(other.sample(3, key=0), vae.sample(3, key=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_other_tools_read_the_file(fitted, tmp_path):
    """The layout of safetensors is eight bytes of header length, a JSON header, then the tensors."""
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, value in fitted.parameters().items():
        begin, end = header[name]["data_offsets"]
        stored = np.frombuffer(data[8 + length + begin : 8 + length + end], "<f4").reshape(header[name]["shape"])
        assert np.array_equal(stored, value)


def test_a_broken_file_is_refused_by_name(fitted, tmp_path):
    good = tmp_path / "good"
    fitted.save(good)
    data = good.read_bytes()
    bad = tmp_path / "bad"
    renamed = data.replace(b"encoder.0.weight", b"encoder.9.weight")
    cut = (b"", b"x", data[:50], data[:-4], data + b"1234", bytes(8) + data[8:], b"\xff" * 8 + data[8:])
    for spoiled in (*cut, renamed):
        bad.write_bytes(spoiled)
        with pytest.raises(ek.ModelFileError, match="bad"):
            ek.VAE.load(bad)
    with pytest.raises(FileNotFoundError):
        ek.VAE.load(tmp_path / "missing")


@pytest.mark.parametrize("path", [3, None, "", b"model", "a\0b"])
def test_what_is_no_path_is_refused_by_name(fitted, path):
    for call in (fitted.save, ek.VAE.load):
        with pytest.raises(ek.ArgumentError, match=r"^path: expected a file's path, got .+; give a str or") as caught:
            call(path)
        assert caught.value.argument == "path"


def test_a_failed_save_leaves_the_old_file(fitted, tmp_path):
    target = tmp_path / "model"
    target.mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="model"):
        fitted.save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"hidden": (0,)}, "hidden"),
        ({"activation": "sine"}, "activation"),
        ({"prior": "flat"}, "prior"),
        ({"standardize": "maybe"}, "standardize"),
        ({"likelihood": "gaussian"}, "likelihood"),
        ({"dtype": "int32"}, "dtype"),
        ({"layer_norm": 1}, "layer_norm"),
        ({"residual": "yes"}, "residual"),
    ],
)
def test_a_bad_model_is_refused_when_it_is_made(options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        ek.VAE(**{"latent_dim": 2} | options)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"hidden": None}, ek.ArgumentError, r"hidden: expected a sequence of widths, got None; use \(128, 64\)"),
        ({"hidden": 64}, ek.ArgumentError, r"hidden: expected a sequence of widths, got 64; use \(64,\)"),
        ({"hidden": "64"}, ek.ArgumentError, "hidden: expected a sequence of widths, got '64'; use"),
        ({"hidden": np.array(64)}, ek.ArgumentError, "hidden: expected a sequence of widths, got array.64.; use"),
        ({"hidden": [None]}, ek.ArgumentError, "hidden: expected a whole number, got None; give"),
        ({"dtype": "x"}, ek.DtypeError, "dtype: expected float32 or float64, got 'x'; use one of them"),
        ({"dtype": int}, ek.DtypeError, "dtype: expected float32 or float64, got int64; use one of them"),
    ],
)
def test_options_of_another_kind_are_errors_of_the_same_form(options, error, said):
    with pytest.raises(error, match=f"^{said}") as caught:
        ek.VAE(**options)
    assert caught.value.argument == next(iter(options))


@pytest.mark.parametrize("name", ["free_bits", "kl_weight", "learning_rate", "warmup", "max_grad_norm"])
def test_an_infinite_option_is_told_to_be_finite(digits, name):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    with pytest.raises(ek.ArgumentError, match=f"^{name}: expected a .*finite.*, got inf; use") as caught:
        vae.fit(digits[0], progress=False, **{name: np.inf})
    assert caught.value.argument == name
    with pytest.raises(ek.ArgumentError, match=r"^kl_weight \(epoch 1\): expected a finite number") as caught:
        vae.fit(digits[0], progress=False, epochs=2, kl_weight=lambda epoch: np.inf if epoch else 1.0)
    assert caught.value.argument == "kl_weight"
    with pytest.raises(ek.ArgumentError, match=r"^kl_weight \(epoch 0\): expected a number, got None;") as caught:
        vae.fit(digits[0], progress=False, epochs=2, kl_weight=lambda _: None)
    assert caught.value.argument == "kl_weight"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"latent_dim": 10**12}, "latent_dim"),
        ({"latent_dim": 2**64 - 1, "hidden": ()}, "latent_dim"),
        ({"latent_dim": 10**6, "hidden": (2000,)}, "latent_dim"),
        ({"hidden": (10**12,)}, "hidden"),
        ({"hidden": [10**5, 10**5]}, "hidden"),
        # Many that are each narrower than the latents.
        ({"latent_dim": 2000, "hidden": (1000,) * 3000}, "hidden"),
        ({"prior": "mixture", "prior_components": 10**12}, "prior_components"),
        ({"prior": "vamp", "prior_components": 10**12}, "prior_components"),
        ({"prior": "mixture", "latent_dim": 10**12}, "latent_dim"),
    ],
)
def test_the_option_that_makes_too_many_parameters_is_named(options, name):
    vae = ek.VAE(**options)
    with pytest.raises(ek.ArgumentError, match=rf"^{name}: expected a size for at most 2³¹ parameters, got ") as caught:
        vae.fit(np.zeros((9, 3)), epochs=1, progress=False)
    assert caught.value.argument == name
    assert f"got {getattr(vae, name)}; " in str(caught.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"validation": 1.0}, "validation"),
        ({"validation": np.zeros((3, 5))}, "validation"),
        ({"validation": np.full((3, 64), -1)}, "validation"),
        ({"kl_weight": -1}, "kl_weight"),
        ({"num_particles": 0}, "num_particles"),
        ({"patience": 0}, "patience"),
        ({"patience": 3, "validation": 0.0}, "patience"),
        ({"sample_weight": [1.0]}, "sample_weight"),
        ({"sample_weight": np.full(100, -1.0)}, "sample_weight"),
        ({"sample_weight": np.zeros(100)}, "sample_weight"),
        ({"key": -1}, "seed|key"),
    ],
)
def test_a_bad_fit_is_refused_by_name_before_it_starts(digits, options, name):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    with pytest.raises(ValueError, match=name):
        vae.fit(digits[0][:100], **{"epochs": 1, "progress": False} | options)
    with pytest.raises(ek.NotFittedError):
        vae.elbo(digits[1])


def test_rows_outside_the_support_are_named(digits):
    rows = digits[0][:50].astype(float)
    rows[7, 3] = 17
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    with pytest.raises(ek.SupportError, match=r"Binomial\(17\)") as caught:
        vae.fit(rows, epochs=1, progress=False)
    assert (caught.value.row, caught.value.column, caught.value.value) == (7, 3, 17)
    rows[7, 3] = np.inf
    with pytest.raises(ek.NonFiniteError) as caught:
        ek.VAE(2, hidden=(4,)).fit(rows, epochs=1, progress=False)
    assert (caught.value.row, caught.value.column) == (7, 3)


def test_wrong_rows_are_refused(fitted, digits):
    with pytest.raises(ek.ShapeError, match=r"64.*63"):
        fitted.elbo(digits[1][:, :63])
    with pytest.raises(ek.ShapeError, match="None"):
        fitted.elbo(digits[1][0])
    with pytest.raises(ek.DtypeError):
        fitted.elbo(digits[1].astype(complex))
    with pytest.raises(ek.ShapeError):
        fitted.decode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="num_particles"):
        fitted.elbo(digits[1], num_particles=0)
    with pytest.raises(ek.ShapeError):
        ek.VAE(2).fit(np.zeros((0, 3)), progress=False)


def test_steps_that_leave_the_range_are_not_taken_and_are_counted(cancer):
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Gaussian(1.0))
    with pytest.warns(RuntimeWarning, match="learning_rate"):
        history = vae.fit(cancer, epochs=3, learning_rate=1e36, progress=False)
    assert sum(history.skipped_steps) > 0
    assert all(np.isfinite(value).all() for value in vae.parameters().values())


def test_a_constant_column_is_left_unscaled(cancer):
    rows = cancer[:, :3].copy()
    rows[:, 1] = 5.0
    vae = ek.VAE(2, hidden=(4,))
    history = vae.fit(rows, epochs=2, progress=False)
    assert vae.core.scaling[1][1] == 1.0
    assert np.isfinite(history.elbo).all()


def test_threads_may_score_one_model_at_once(fitted, digits):
    expected = fitted.elbo(digits[1]).elbo
    results = []
    workers = [threading.Thread(target=lambda: results.append(fitted.elbo(digits[1]).elbo)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.slow
def test_ctrl_c_is_heard_within_a_second_and_leaves_the_model_usable():
    script = textwrap.dedent(
        """
        import time, numpy as np, elbokit as ek
        X = ek.random.normal((200_000, 100), key=0)
        vae = ek.VAE(32, hidden=(256, 256))
        print("ready", flush=True)
        try:
            vae.fit(X, epochs=1000, progress=False, validation=0.0)
        except KeyboardInterrupt:
            heard = time.time()
            assert np.isfinite(vae.elbo(X[:3]).elbo).all()
            print("heard", heard, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(3)  # well inside the first epoch
    sent = time.time()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    word, heard = out.split()
    assert word == "heard"
    assert float(heard) - sent < 1.0


def test_rows_at_an_odd_address_are_read_as_they_are(fitted, digits):
    rows = digits[1].astype(np.float64)
    buffer = np.empty(rows.nbytes + 1, np.uint8)
    odd = buffer[1:].view(np.float64).reshape(rows.shape)
    odd[:] = rows
    assert not odd.flags.aligned
    assert np.array_equal(fitted.elbo(odd).elbo, fitted.elbo(rows).elbo)


def test_masked_arrays_are_refused(fitted, digits):
    masked = np.ma.masked_array(digits[1], digits[1] > 3)
    with pytest.raises(ek.DtypeError, match="mask="):
        fitted.elbo(masked)
    with pytest.raises(ek.DtypeError, match="mask="):
        ek.likelihood.Gaussian().log_prob(masked, np.zeros(masked.shape))


def test_an_interrupted_fit_stands_at_its_last_finished_step(cancer):
    def interrupt(_, history):
        if len(history.elbo) == 7:
            raise KeyboardInterrupt

    options = {"learning_rate": 1e-2, "validation": cancer[40:], "progress": False, "key": 1}
    stopped = ek.VAE(10, hidden=(64,), dtype="float64")
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(cancer[:40], epochs=400, patience=5, callbacks=[interrupt], **options)
    again = ek.VAE(10, hidden=(64,), dtype="float64")
    again.fit(cancer[:40], epochs=7, **options)
    assert same_parameters(stopped, again)


def test_a_fit_that_cannot_start_leaves_the_earlier_model(digits):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    vae.fit(digits[0], epochs=2, progress=False)
    before = vae.parameters()
    for bad in ({"batch_size": 1 << 40}, {"num_particles": 1 << 40}, {"epochs": 0}, {"callbacks": [3]}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            vae.fit(digits[0], **{"epochs": 2, "progress": False} | bad)
    after = vae.parameters()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_callback_may_answer_with_numpys_true(digits):
    vae = ek.VAE(2, hidden=(4,), likelihood=ek.likelihood.Binomial(16))
    history = vae.fit(digits[0], epochs=9, progress=False, callbacks=[lambda _, h: np.bool_(len(h.elbo) == 2)])
    assert len(history.elbo) == 2


def test_columns_that_float32_cannot_hold_are_warned_of(cancer):
    rows = cancer[:, :3] + np.array([0.0, 1e9, 0.0])
    with pytest.warns(UserWarning, match="column 1"):
        ek.VAE(2, hidden=(4,)).fit(rows, epochs=1, progress=False)
    ek.VAE(2, hidden=(4,), dtype="float64").fit(rows, epochs=1, progress=False)


def test_a_link_keeps_pointing_at_the_saved_model(fitted, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    fitted.save(link)
    assert link.is_symlink()
    assert same_parameters(ek.VAE.load(target), fitted)
