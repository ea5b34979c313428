"""p-values of rows beside reference rows: their law, their ties, and that they travel with the model."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import elbokit as ek
from elbokit import _metadata
from elbokit._metadata import CALIBRATION


@pytest.fixture(scope="module")
def rows():
    return ek.random.normal((900, 4), key=3) * np.array([1.0, 2.0, 0.5, 1.0], np.float32)


@pytest.fixture
def vae(rows):
    made = ek.VAE(2, hidden=(8,))
    made.fit(rows[:300], epochs=5, validation=0.0, progress=False)
    return made


def test_p_values_are_shares_of_the_reference_rows(vae, rows):
    reference, others = rows[300:400], rows[400:500]
    vae.calibrate(reference, key=5, num_particles=3)
    ref, scores = (vae.elbo(x, key=5, num_particles=3).elbo for x in (reference, others))
    by_hand = [(1 + sum(r <= s for r in ref)) / 101 for s in scores]
    assert vae.p_value(others).tolist() == by_hand
    # The scores of reference rows are ties with themselves, and take every value there is.
    assert np.array_equal(np.sort(vae.p_value(reference)), np.arange(2, 102) / 101)
    assert np.array_equal(vae.p_value(others[::-1]), by_hand[::-1])
    assert vae.p_value(others[:0]).shape == (0,)


def test_an_odd_row_has_the_smallest_p_value_there_is(vae, rows):
    vae.calibrate(rows[300:499])
    assert vae.p_value([[0.0, 0.0, 40.0, 0.0]]).tolist() == [1 / 200]


def test_ordinary_rows_have_uniform_p_values(vae, rows):
    vae.calibrate(rows[300:600])
    p = vae.p_value(rows[600:])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        # 300 rows beside 300 others: the share below a level spreads by √(2 α (1 − α) / 300); four of them.
        assert abs((p <= level).mean() - level) <= 4 * np.sqrt(2 * level * (1 - level) / 300)


def test_more_reference_rows_than_a_file_holds_are_refused(vae, rows, monkeypatch):
    monkeypatch.setattr("elbokit._calibration._MOST_ROWS", 100)
    vae.calibrate(rows[:100])
    with pytest.raises(ek.ShapeError, match="got 101; give a part"):
        vae.calibrate(rows[:101])


def test_what_is_missing_or_wrong_is_named(rows):
    vae = ek.VAE(2, hidden=(8,))
    with pytest.raises(ek.NotFittedError, match="not fitted"):
        vae.calibrate(rows)
    with pytest.raises(ek.NotFittedError, match="not calibrated"):
        vae.p_value(rows)
    vae.fit(rows[:50], epochs=1, validation=0.0, progress=False)
    with pytest.raises(ek.NotFittedError, match="call calibrate"):
        vae.p_value(rows)
    with pytest.raises(ek.ShapeError, match="X_ref: expected at least one row"):
        vae.calibrate(rows[:0])
    vae.calibrate(rows[:50])
    vae.fit(rows[:50], epochs=1, validation=0.0, progress=False)
    with pytest.raises(ek.NotFittedError, match="not calibrated"):
        vae.p_value(rows)


def test_the_reference_travels_with_file_and_pickle(vae, rows, tmp_path):
    plain = tmp_path / "plain"
    vae.save(plain)
    vae.calibrate(rows[300:400], key=2**64 - 1, num_particles=2)
    first, second = tmp_path / "first", tmp_path / "second"
    vae.save(first)
    loaded = ek.VAE.load(first)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()
    for other in (loaded, pickle.loads(pickle.dumps(vae))):
        assert np.array_equal(other.p_value(rows), vae.p_value(rows))
        assert np.array_equal(other.elbo(rows).elbo, vae.elbo(rows).elbo)
    with pytest.raises(ek.NotFittedError, match="not calibrated"):
        ek.VAE.load(plain).p_value(rows)
    # The tensors start on a multiple of eight, as safetensors asks.
    assert int.from_bytes(first.read_bytes()[:8], "little") % 8 == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "in JSON"),
        ("[]", "to hold key"),
        ('{"key": 0, "num_particles": 1}', "alone"),
        ('{"key": 0, "num_particles": true, "scores": ""}', "alone"),
        ('{"key": 0, "num_particles": 1, "scores": "AAAA"}', "base64"),
        ('{"key": 0, "num_particles": 1, "scores": "A"}', "base64"),
        ('{"key": 0, "num_particles": 1, "scores": ""}', "in order"),
        ('{"key": -1, "num_particles": 1, "scores": "AAAAAAAAAAA="}', "a key"),
        ('{"key": 0, "num_particles": 1, "scores": "AAAAAAAA+H8="}', "in order"),  # NaN
        ('{"key": 0, "num_particles": 1, "scores": "AAAAAAAA8D8AAAAAAAAAAA=="}', "in order"),  # 1, 0
        # Not base64, which a lenient reader would pass over.
        ('{"key": 0, "num_particles": 1, "scores": "AAAA!AAAAAAA="}', "base64"),
        ('{"key": 0, "num_particles": 1, "scores": "AAAAAAAAAAA=AAAA"}', "base64"),
        ('{"key": 0, "num_particles": 1, "scores": "é"}', "base64"),
        # Neither loading nor a score may be as long as a number says.
        ('{"key": 0, "num_particles": 65537, "scores": "AAAAAAAAAAA="}', "at most 65536 particles"),
        ('{"key": 0, "num_particles": 1' + "0" * 5000 + ', "scores": "AAAAAAAAAAA="}', "in JSON|particles"),
        ("[" * 100_000, "in JSON"),
    ],
)
def test_a_broken_reference_is_a_model_file_error(vae, text, said, tmp_path):
    path = tmp_path / "broken"
    vae.save(path)
    path.write_bytes(_metadata.added(path.read_bytes(), {CALIBRATION: text}))
    with pytest.raises(ek.ModelFileError, match=said):
        ek.VAE.load(path)


@pytest.mark.parametrize("key", ["elbokit.calibratioo", "elbokit.calibration ", "format", ""])
def test_an_unknown_key_is_a_model_file_error_and_drops_nothing(vae, rows, key, tmp_path):
    path = tmp_path / "model"
    vae.calibrate(rows[300:400])
    vae.save(path)
    data = path.read_bytes()
    path.write_bytes(_metadata.added(data, {key: "{}"}))
    with pytest.raises(ek.ModelFileError, match=r"model: model file: expected known keys alone in metadata, got '"):
        ek.VAE.load(path)
    # A damaged key of our own is such a one.
    assert data.count(CALIBRATION.encode()) == 1
    path.write_bytes(data.replace(CALIBRATION.encode(), b"elbokit.calibratiom"))
    with pytest.raises(ek.ModelFileError, match=r"got 'elbokit\.calibratiom'; update elbokit, or give a file"):
        ek.VAE.load(path)


def test_a_calibration_takes_no_more_particles_than_its_file_may_hold(vae, rows):
    with pytest.raises(ek.ArgumentError, match=r"^num_particles: expected at most 65536 .*, got 65537; give fewer$"):
        vae.calibrate(rows[:2], num_particles=65537)
    vae.calibrate(rows[:2], num_particles=65536)
