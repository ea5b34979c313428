"""The self-test: that it holds here, on every level of instructions, and that it sees what is wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest

import elbokit as ek


def test_everything_holds_here():
    result = ek.self_test()
    assert result.held, str(result)
    assert len(result.checks) > 10
    assert all(np.isfinite(check.found) for check in result.checks)
    assert str(result).count("held") == len(result.checks)


@pytest.mark.parametrize("level", ek.build_info()["simd_available"])
def test_everything_holds_on_every_level(level):
    code = f"import elbokit as ek; r = ek.self_test(); print(r); assert r.held and r.build['simd'] == {level!r}"
    environment = os.environ | {"ELBOKIT_SIMD": level}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_word_and_a_wrong_divergence_are_seen(monkeypatch):
    raw, kl = ek.random.raw, ek.gaussian.kl
    monkeypatch.setattr(ek.random, "raw", lambda n, **given: raw(n, **given) ^ np.uint32(1))
    monkeypatch.setattr(ek.gaussian, "kl", lambda loc, log_var: kl(loc, log_var) * (1 + 1e-12))
    result = ek.self_test()
    failed = [check.what for check in result.checks if not check.held]
    assert not result.held
    assert [what.partition(" ")[0] for what in failed] == ["Philox4x32-10", "Philox4x32-10", "KL"]
    assert str(result).count("FAILED") == 3


def test_what_is_not_a_number_does_not_hold():
    assert not ek.checks.Check("x", float("nan"), 1.0).held
