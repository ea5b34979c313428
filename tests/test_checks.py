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
    assert len(result.checks) > 20
    assert all(np.isfinite(check.found) for check in result.checks)
    assert str(result).count("held") == len(result.checks)


@pytest.mark.parametrize("level", ek.build_info()["simd_available"])
def test_everything_holds_on_every_level(level):
    code = f"import elbokit as ek; r = ek.self_test(); print(r); assert r.held and r.build['simd'] == {level!r}"
    environment = os.environ | {"ELBOKIT_SIMD": level}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def failed():
    """What the self-test calls wrong."""
    result = ek.self_test()
    what = [check.what for check in result.checks if not check.held]
    assert result.held == (not what)
    assert str(result).count("FAILED") == len(what)
    return what


def test_a_wrong_word_and_a_wrong_divergence_are_seen(monkeypatch):
    raw, kl = ek.random.raw, ek.gaussian.kl
    monkeypatch.setattr(ek.random, "raw", lambda n, **given: raw(n, **given) ^ np.uint32(1))
    monkeypatch.setattr(ek.gaussian, "kl", lambda *params: kl(*params) * (1 + 1e-12))
    assert [what.partition(" ")[0] for what in failed()] == [*["Philox4x32-10"] * 3, "KL"]


@pytest.mark.parametrize(("counter", "of"), [(0, "zeros"), (2**128 - 1, "ones")])
def test_one_published_answer_that_is_missed_is_seen(monkeypatch, counter, of):
    raw = ek.random.raw

    def wrong(n, **given):
        return raw(n, **given) ^ np.uint32(given.get("counter", 0) == counter)

    monkeypatch.setattr(ek.random, "raw", wrong)
    assert failed() == [f"Philox4x32-10 of {of}: its published words"]


@pytest.mark.parametrize("nats", [-0.03, 0.03])
@pytest.mark.parametrize(("proposal", "drawn"), [("posterior", "of q"), ("laplace", "around the mode")])
def test_evidence_of_either_proposal_that_is_off_is_seen(monkeypatch, proposal, drawn, nats):
    log_evidence = ek.VAE.log_evidence

    def shifted(vae, *rows, **options):
        found = log_evidence(vae, *rows, **options)
        wrong = options.get("num_particles") == 1000 and options["proposal"] == proposal
        return found._replace(estimate=found.estimate + nats) if wrong else found

    monkeypatch.setattr(ek.VAE, "log_evidence", shifted)
    assert failed() == [f"log evidence of 1000 draws {drawn}, in standard errors"]


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize(("method", "what"), [("forward", "forward to"), ("reverse", "reverse from")])
def test_rows_of_a_diffusion_that_spread_wrongly_are_seen(monkeypatch, method, what, factor):
    drawn = getattr(ek.Diffusion, method)
    monkeypatch.setattr(ek.Diffusion, method, lambda *given, **options: factor * drawn(*given, **options))
    assert failed() == [f"diffusion of a Gaussian, {what} noise: moments, in standard errors"]


@pytest.mark.parametrize("nats", [-0.03, 0.03])
def test_a_diffusions_bound_that_is_off_is_seen(monkeypatch, nats):
    elbo = ek.Diffusion.elbo

    def shifted(*given, **options):
        terms = elbo(*given, **options)
        return terms._replace(elbo=terms.elbo + nats)

    monkeypatch.setattr(ek.Diffusion, "elbo", shifted)
    assert failed() == ["diffusion of a Gaussian: its bound is log p, in standard errors"]


def test_what_is_not_a_number_does_not_hold():
    assert not ek.checks.Check("x", float("nan"), 1.0).held
