"""Checkpoints: a fit that was cut off, killed or interrupted goes on to the same bits, and in no other fit's place."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from fits import counts, fit, model, same

import elbokit as ek


@pytest.fixture(scope="module")
def rows():
    return counts()


_FITS = {
    "plain": {},
    "clipped adamw along a cosine": {
        "optimizer": "adamw", "schedule": "cosine", "warmup": 1.5, "max_grad_norm": 5.0, "sample_weight": "ramp",
    },
    "plateau, free bits, patience": {
        "schedule": ek.training.Plateau(patience=2), "free_bits": 0.05, "patience": 30, "learning_rate": 0.05,
        "kl_weight": ek.training.Cyclical(2, epochs=12),
    },
    "iwae, sequential test": {
        "objective": "iwae", "num_particles": 3, "learning_rate": 0.02,
        "patience": ek.training.Stopping(improvement=5.0, window=2),
    },
    "iwae, patience for the evidence": {
        "objective": "iwae", "num_particles": 3, "learning_rate": 0.02,
        "patience": ek.training.Patience(30, watch="evidence"),
    },
    "plateau of the objective": {"schedule": ek.training.Plateau(patience=1), "validation": 0.0, "learning_rate": 0.1},
}  # fmt: skip


class CutError(Exception):
    """What ends a fit from within."""


def cut_after(epochs):
    def callback(_, history):
        if len(history.elbo) >= epochs:
            raise CutError

    return callback


def timeless(history):
    return {name: value for name, value in vars(history).items() if name not in ("seconds", "rows_per_second")}


@pytest.mark.parametrize("name", list(_FITS))
def test_a_fit_that_was_cut_off_goes_on_to_the_same_bits(rows, name, tmp_path):
    options = {"epochs": 12, "learning_rate": 1e-2} | _FITS[name]
    if "sample_weight" in options:
        options["sample_weight"] = np.linspace(0, 2, len(rows))
    whole, expected = fit(rows, **options)
    for every, cuts in ((1, [1]), (1, [4, 5, 9]), (5, [4, 7, 11]), (12, [12]), (3, [])):
        path = tmp_path / f"{every}.{len(cuts)}"
        for cut in cuts:
            # A fit that its own rule stops before the cut has nothing to be cut off from.
            with contextlib.suppress(CutError):
                fit(rows, **options, checkpoint=path, checkpoint_every=every, callbacks=[cut_after(cut)])
        vae, history = fit(rows, **options, checkpoint=path, checkpoint_every=every)
        assert same(vae, whole)
        assert timeless(history) == timeless(expected)
        assert len(history.seconds) == len(history.elbo)
        # Once ended, a fit is read back and not trained on.
        written = path.read_bytes()
        again, history = fit(rows, **options, checkpoint=path, checkpoint_every=every)
        assert same(again, whole)
        assert timeless(history) == timeless(expected)
        assert path.read_bytes() == written
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        path.unlink()


def test_a_fit_without_a_cosine_may_be_made_longer(rows, tmp_path):
    long, _ = fit(rows, epochs=9)
    fit(rows, epochs=4, checkpoint=tmp_path / "c")
    vae, history = fit(rows, epochs=9, checkpoint=tmp_path / "c")
    assert same(vae, long)
    assert len(history.elbo) == 9
    with pytest.raises(ValueError, match=r"epochs: expected at least the checkpoint's 9, got 4"):
        fit(rows, epochs=4, checkpoint=tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"key": 5}, "key"),
        ({"batch_size": 51}, "batch_size"),
        ({"learning_rate": 2e-3}, "learning_rate"),
        ({"optimizer": "adamw"}, "optimizer"),
        ({"schedule": "plateau"}, "schedule"),
        ({"warmup": 1}, "warmup"),
        ({"max_grad_norm": 1.0}, "max_grad_norm"),
        ({"objective": "iwae"}, "objective"),
        ({"num_particles": 2}, "num_particles"),
        ({"free_bits": 0.1}, "free_bits"),
        ({"kl_weight": 0.5}, "kl_weight"),
        ({"patience": 3}, "patience"),
        ({"sample_weight": np.ones(300)}, "sample_weight"),
        ({"validation": 0.2}, "validation"),
        ({"validation": 0.0}, "validation"),
        ({"schedule": "cosine"}, "schedule"),
    ],
)
def test_a_checkpoint_of_other_options_is_refused_by_the_option_that_differs(rows, change, name, tmp_path):
    fit(rows, epochs=2, checkpoint=tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(ValueError, match=f"^({name}): expected .* checkpoint"):
        fit(rows, **{"epochs": 3, "checkpoint": tmp_path / "c"} | change)
    assert (tmp_path / "c").read_bytes() == before


def test_a_checkpoint_of_other_rows_or_another_model_is_refused(rows, tmp_path):
    path = tmp_path / "c"
    fit(rows, epochs=2, checkpoint=path)
    other = rows.copy()
    other[7, 3] = (int(other[7, 3]) + 1) % 17
    for changed in (other, rows[:-1], rows.astype(np.int64)):
        with pytest.raises(ValueError, match=r"^X: "):
            fit(changed, epochs=3, checkpoint=path)
    with pytest.raises(ValueError, match=r"^model: "):
        model(hidden=(9,)).fit(rows, epochs=3, batch_size=50, progress=False, key=4, checkpoint=path)


def test_a_broken_checkpoint_is_refused_by_its_name_and_stays(rows, tmp_path):
    path = tmp_path / "broken"
    fit(rows, epochs=2, checkpoint=path)
    good = path.read_bytes()
    text, vectors = ek._core.checkpoint_from_bytes(good)
    header, vectors = json.loads(text), dict(vectors)

    def packed(header, vectors):
        return ek._core.checkpoint_to_bytes(json.dumps(header), list(vectors.items()))

    assert packed(header, vectors) != b""
    vae, _ = fit(rows)
    vae.save(tmp_path / "model")
    bad = [
        b"",
        good[:-3],
        b"\xff" * 8 + good[8:],
        (tmp_path / "model").read_bytes(),
        packed(header | {"format": 2}, vectors),
        packed(header | {"steps": -1}, vectors),
        packed(header | {"steps": 1 << 70}, vectors),
        packed(header | {"best_epoch": 2}, vectors),
        packed(header | {"stopped_early": 1}, vectors),
        packed(header | {"options": []}, vectors),
        packed(header | {"more": 1}, vectors),
        packed({name: value for name, value in header.items() if name != "steps"}, vectors),
        packed(header, vectors | {"more": np.zeros(2)}),
        packed(header, vectors | {"adam.first": vectors["adam.first"][1:]}),
        packed(header, vectors | {"parameters": vectors["parameters"].astype(float)}),
        packed(header, vectors | {"history.elbo": np.zeros(3)}),
        packed([1], vectors),
        ek._core.checkpoint_to_bytes("{", list(vectors.items())),
    ]
    for data in bad:
        path.write_bytes(data)
        with pytest.raises(ek.ModelFileError, match="broken"):
            fit(rows, epochs=3, checkpoint=path)
        assert path.read_bytes() == data


def test_a_refused_checkpoint_leaves_the_earlier_model(rows, tmp_path):
    fit(rows, epochs=2, checkpoint=tmp_path / "c")
    vae, _ = fit(rows, epochs=1)
    before = vae.parameters()
    with pytest.raises(ValueError, match=r"^key: "):
        vae.fit(rows, epochs=3, batch_size=50, progress=False, key=9, checkpoint=tmp_path / "c")
    assert all(np.array_equal(before[name], value) for name, value in vae.parameters().items())


def test_a_fit_that_cannot_write_its_checkpoint_says_so_before_it_trains(rows, tmp_path):
    vae, _ = fit(rows, epochs=1)
    before, trained = vae.parameters(), []
    (tmp_path / "file").write_bytes(b"mine")
    # A draft's name is longer than that of the file itself.
    for place in ("nowhere/c", "file/c", ".", "c" * 240):
        path = tmp_path / place
        with pytest.raises(OSError, match="checkpoint: ") as caught:
            vae.fit(rows, epochs=3, progress=False, checkpoint=path, checkpoint_every=2, callbacks=[trained.append])
        assert caught.value.filename == str(path)
    assert not trained
    assert all(np.array_equal(before[name], value) for name, value in vae.parameters().items())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_fit_that_was_cut_off_before_its_first_write_leaves_no_file(rows, tmp_path):
    with pytest.raises(CutError):
        fit(rows, checkpoint=tmp_path / "c", checkpoint_every=3, callbacks=[cut_after(2)])
    assert not list(tmp_path.iterdir())


def test_a_fit_that_has_ended_is_read_back_where_nothing_can_be_written(rows, tmp_path, monkeypatch):
    whole, _ = fit(rows, checkpoint=tmp_path / "c")
    monkeypatch.setattr(ek._checkpoint, "whole", None)
    assert same(fit(rows, checkpoint=tmp_path / "c")[0], whole)


@pytest.mark.parametrize("path", [3, "", b"c", "a\0b"])
def test_a_checkpoint_that_is_no_path_is_refused_by_name(rows, path):
    with pytest.raises(ek.ArgumentError, match=r"^checkpoint: expected a file's path, got .+; give a str or") as caught:
        fit(rows, checkpoint=path)
    assert caught.value.argument == "checkpoint"


_SCRIPT = textwrap.dedent(
    """
    import sys, numpy as np, elbokit as ek
    rows = np.load(sys.argv[1])
    vae = ek.VAE(3, hidden=(8,), likelihood=ek.likelihood.Binomial(16))
    print("ready", flush=True)
    def tell(_, history):
        print(len(history.elbo), flush=True)
    try:
        vae.fit(rows, epochs=int(sys.argv[3]), batch_size=5, learning_rate=1e-2, patience=1000, key=4, progress=False,
                checkpoint=sys.argv[2], callbacks=[tell])
    except KeyboardInterrupt as interrupt:
        print(interrupt, np.isfinite(vae.elbo(rows).elbo).all(), flush=True)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_process_killed_at_any_time_leaves_a_checkpoint_to_go_on_from(rows, sent, tmp_path):
    epochs, path = 120, tmp_path / "c"
    np.save(tmp_path / "rows.npy", rows)
    options = {"epochs": epochs, "batch_size": 5, "learning_rate": 1e-2, "patience": 1000}
    whole, expected = fit(rows, **options)
    times = random.Random(int(sent))
    reached = 0
    for _ in range(4):
        command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "rows.npy"), str(path), str(epochs)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        reached = int(process.stdout.readline() or reached)
        time.sleep(times.random() * 0.05)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
        if sent == signal.SIGINT and "fit stopped" in out:
            assert "the model stands at its last finished step" in out
            assert f"the same call goes on from {path}" in out
            assert out.rstrip().endswith("True")
    assert reached > 1, "no later process went on from an earlier one's checkpoint"
    vae, history = fit(rows, **options, checkpoint=path)
    assert same(vae, whole)
    assert timeless(history) == timeless(expected)


def test_an_interrupted_fit_says_where_it_stands(rows, tmp_path):
    def interrupt(_, history):
        if len(history.elbo) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped after 3 of 6 epochs; the model stands at its last finished"):
        fit(rows, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt, match="the same call goes on from"):
        fit(rows, callbacks=[interrupt], checkpoint=tmp_path / "c")
