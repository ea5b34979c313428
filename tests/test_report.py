"""`VAE.report`: the library's own numbers, in words that hold, for every model and any rows, as text and file."""

from __future__ import annotations

import re
import sys
import warnings

import fits
import numpy as np
import polars as pl
import pytest
from reference_likelihood import LIKELIHOODS
from test_vae_kinds import rows_of_kind

import elbokit as ek
from elbokit.report.collapse import _cures
from elbokit.report.words import nats

lik = ek.likelihood


@pytest.fixture(scope="module")
def model():
    """A trained model and its rows."""
    rows = fits.counts()
    return fits.fit(rows, epochs=40, learning_rate=1e-2)[0], rows


@pytest.fixture(scope="module")
def report(model):
    vae, rows = model
    return vae.report(rows, num_particles=200)


def clean(report):
    """The report's text, in which nothing is not a number."""
    text = str(report)
    assert not re.search(r"\b(nan|inf|None)\b", text), text
    return text


def section(report, title):
    return next(part for part in report.sections if part.title.startswith(title))


def said(report):
    return " ".join(sentence for part in report.sections for sentence in part.text)


def test_it_opens_with_what_a_gap_of_0_says(report):
    assert str(report).startswith("A gap of 0 says that q is right, not that the model is.\n")
    assert "A gap of 0 says that q is right, not that the model is." in report._repr_html_().split("<h2>")[0]


def test_numbers_are_the_library_s_own(model, report):
    vae, rows = model
    evidence, elbo = vae.log_evidence(rows, num_particles=200), vae.elbo(rows)
    for ours, theirs in ((report.evidence, evidence), (report.elbo, elbo)):
        for a, b in zip(ours, theirs, strict=True):
            assert a.tobytes() == b.tobytes()
    error = evidence.standard_error
    assert np.array_equal(report.interval, np.stack([evidence.lower - 2 * error, evidence.upper + 2 * error], axis=1))
    assert report.rate == elbo.kl.mean(dtype=np.float64)
    loc, log_var = vae.encode(rows)
    assert np.allclose(report.kl_per_latent, ek.gaussian.kl_per_dim(loc, log_var).mean(axis=0), rtol=1e-5)
    assert np.allclose(report.kl_per_latent.sum(), report.rate, rtol=1e-5)
    assert np.allclose(report.loc_variance, loc.astype(np.float64).var(axis=0), rtol=1e-12)
    assert report.active.tolist() == (report.loc_variance > 0.01).tolist()
    for rung in report.ladder:
        found = vae.log_evidence(rows, num_particles=rung.num_particles, proposal=rung.proposal)
        assert np.isclose(rung.lower[0], found.lower.mean(dtype=np.float64), rtol=1e-12)
        assert np.isclose(rung.lower[1], found.lower.astype(np.float64).std(ddof=1) / len(rows) ** 0.5, rtol=1e-12)
        assert rung.bounded == np.isfinite(found.upper).mean()
    assert [r.num_particles for r in report.ladder] == [1, 10, 100, 200] * 2
    table = dict(row[:2] for row in section(report, "Log evidence").rows)
    assert table["estimate"].startswith(nats(evidence.estimate.mean(dtype=np.float64)))
    classes = section(report, "k-hat").rows
    shares = [float(row[2].removesuffix(" %")) for row in classes]
    assert abs(sum(shares) - 100) < 0.3
    limit = 1 - 1 / np.log10(200)
    assert abs(sum(shares[:2]) - 100 * (evidence.khat <= limit).mean()) < 0.11
    assert np.array_equal(np.isfinite(evidence.upper), evidence.khat <= np.float32(limit))


def test_a_row_is_told_of_by_itself(model, report):
    vae, rows = model
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = vae.report(rows[order], num_particles=200)
    assert shuffled.evidence.lower.tobytes() == report.evidence.lower[order].tobytes()
    assert shuffled.interval.tobytes() == report.interval[order].tobytes()
    assert [order[hard.row] for hard in shuffled.hardest] == [hard.row for hard in report.hardest]
    assert np.isclose(shuffled.index_information.value, report.index_information.value, rtol=1e-12)
    assert np.allclose(shuffled.loc_variance, report.loc_variance, rtol=1e-12)
    with ek.num_threads(1):
        assert str(vae.report(rows, num_particles=200)) == str(report)


def test_large_tables_use_a_choice_of_rows_that_their_order_does_not_change(monkeypatch, model):
    vae, rows = model
    monkeypatch.setattr("elbokit.report.measured.MOST_ROWS", 50)
    monkeypatch.setattr("elbokit.report.asked._BLOCK", 37)
    some, others = (vae.report(x, num_particles=20) for x in (rows, rows[::-1]))
    assert some.ladder_rows == 50
    assert some.index_information.rows == 50
    assert np.allclose([r.lower for r in some.ladder], [r.lower for r in others.ladder], rtol=1e-12, atol=0)
    assert "By the 50 rows of 300 that have the smallest hashes" in said(some)
    whole = vae.encode(rows).loc.astype(np.float64).var(axis=0)
    assert np.allclose(some.loc_variance, whole, rtol=1e-12), "moments join over blocks"
    assert [hard.row for hard in some.hardest] == [299 - hard.row for hard in others.hardest]
    assert [h.columns[0][0] for h in some.hardest] == [h.columns[0][0] for h in others.hardest]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_every_likelihood_with_missing_cells(likelihood):
    rows = rows_of_kind(likelihood)
    rows[0] = np.nan
    vae = ek.VAE(2, hidden=(8,), likelihood=likelihood)
    vae.fit(rows, epochs=3, validation=0.0, progress=False)
    with warnings.catch_warnings():
        # After three epochs a latent may well do nothing yet.
        warnings.filterwarnings("ignore", "report: posterior collapse")
        report = vae.report(rows, num_particles=30)
    text = clean(report)
    assert "Rows lack different cells" in said(report)
    assert f"{np.isnan(rows).sum()} cells missing" in text
    mixed = isinstance(likelihood, lik.Columns)
    real = isinstance(likelihood, (lik.Gaussian, lik.Laplace, lik.StudentT, lik.ContinuousBernoulli))
    last = " ".join(report.sections[-1].text)
    assert ("a sum of log densities" in last) == mixed
    assert ("the log of a density" in last) == real
    assert ("the log of a probability" in last) == (not mixed and not real)


@pytest.mark.parametrize("particles", [1, 2, 24, 25, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 33])
def test_any_number_of_rows_and_particles(model, n, particles):
    vae, rows = model
    report = vae.report(rows[np.linspace(0, 299, n).astype(int)], num_particles=particles)
    text = clean(report)
    assert report.interval.shape == (n, 2)
    assert ("There are no rows" in text) == (n == 0)
    assert len(report.plot().axes) == 4
    if n:
        assert ("needs 25 particles" in text) == (particles < 25)
    if n == 1:
        assert "two rows" in text


def test_one_latent_and_float64():
    rows = np.random.default_rng(0).standard_normal((50, 3)) + 3 * np.arange(50)[:, None] / 50
    vae = ek.VAE(1, hidden=(), dtype="float64")
    vae.fit(rows, epochs=30, learning_rate=1e-2, validation=0.0, progress=False)
    report = vae.report(rows, num_particles=50)
    clean(report)
    assert len(report.active) == 1


@pytest.mark.parametrize("size", [1e2, 1e10, 1e30, 3e38])
def test_rows_that_leave_the_range_are_counted_and_no_nan_is_printed(size):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((60, 4)).astype(np.float32)
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(rows, epochs=2, validation=0.0, progress=False)
    rows[:7] *= np.float32(size) / 4
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "report: posterior collapse")
        report = vae.report(rows, num_particles=40)
        few = vae.report(rows[:3], num_particles=40)
    text = clean(report)
    clean(few)
    assert len(few.plot().axes) == len(report.plot().axes) == 4
    lost = int((~np.isfinite(report.evidence.lower)).sum())
    assert (f"{lost} of 60 rows have no finite lower bound" in said(report)) == (lost > 0)
    assert (lost > 0) == (size > 1e3), text
    assert len(few._repr_html_()) > len(str(few))
    assert {hard.row for hard in report.hardest} <= set(range(7))


def test_a_model_of_broken_parameters_is_reported():
    rows = fits.counts()
    vae, _ = fits.fit(rows, epochs=1)
    names = vae.parameters()
    for factor in (1e10, 1e30):
        with np.errstate(over="ignore"):
            fits.put(vae, {name: np.float32(factor) * values for name, values in names.items()})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "report: posterior collapse")
            clean(vae.report(rows[:40], num_particles=30))


# Latents


def collapsed(scale=1.0, encoder=0.0, decoder=0.0):
    """A model of five columns and two latents of which the second is used by either side as much as is said."""
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((5, 2)) * [1.0, decoder]
    gain = np.zeros((4, 5))
    gain[0, 0], gain[1, 1] = 0.5, encoder
    return fits.linear(weight, np.zeros(5), scale, gain, [0, 0, -1, 0]), rng.standard_normal((200, 5))


def test_a_latent_that_both_sides_let_go_is_told_from_one_that_the_encoder_ignores():
    vae, rows = collapsed()
    report = vae.report(rows, num_particles=30)
    assert report.active.tolist() == [True, False]
    text = " ".join(section(report, "Latents").text)
    assert "1 of 2 latents are active" in text
    assert "encoder and decoder have both let go" in text
    assert "latent_dim=1 gives the same model" in text
    assert "scale=1 is fixed" in text
    vae, rows = collapsed(decoder=1.0)
    text = " ".join(section(vae.report(rows, num_particles=30), "Latents").text)
    assert "The decoder does use one latent that q ignores" in text
    assert "both let go" not in text
    vae, rows = collapsed(encoder=0.5, decoder=1.0)
    assert "No latent has collapsed" in said(vae.report(rows, num_particles=30))


def test_posterior_collapse_is_warned_of_with_its_cure():
    rows = np.random.default_rng(0).standard_normal((300, 4))
    vae = ek.VAE(2, hidden=(8,), likelihood=lik.Gaussian(3.0))
    vae.fit(rows, epochs=60, learning_rate=1e-2, validation=0.0, progress=False)
    with pytest.warns(UserWarning, match="posterior collapse, none of 2 latents is active") as caught:
        report = vae.report(rows, num_particles=30)
    assert caught[0].filename == __file__
    assert "kl_weight=ek.training.Linear(0, 1, 50)" in str(caught[0].message)
    assert not report.active.any()
    assert "Posterior collapse" in said(report)
    assert "free_bits=0.1" in said(report)
    assert "scale=3 is fixed" in said(report)
    # The cure that is named can be taken as it stands.
    vae.fit(rows, epochs=1, kl_weight=ek.training.Linear(0, 1, 50), free_bits=0.1, validation=0.0, progress=False)


def test_index_information_of_a_line_of_gaussians():
    # q(z | x) = N(a x, s²) and x ~ N(0, 1): ½ ln (1 + a²/s²), to which 2000 rows add no more than their own places.
    for a, s in ((0.0, 1.0), (0.5, 1.0), (1.0, 0.3)):
        vae = fits.linear([[1.0]], [0.0], 1.0, [[a], [0.0]], [0.0, 2 * np.log(s)])
        x = ek.random.normal((2000, 1), key=3, dtype=np.float64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "report: posterior collapse")
            found = vae.report(x, num_particles=1).index_information
        expected = 0.5 * np.log1p(a**2 / s**2)
        assert abs(found.value - expected) < 5 * found.standard_error + 0.01
        assert not found.reached
        assert np.isclose(found.ceiling, np.log(2000))
    report = fits.linear([[1.0]], [0.0], 1.0, [[1.0], [0.0]], [0.0, -20.0]).report(x, num_particles=1)
    assert report.index_information.reached
    assert abs(report.index_information.value - np.log(2000)) < 0.1
    assert "has reached its ceiling ln 2000 = 7.60" in said(report)


# Rows


def test_the_odd_row_and_its_odd_column_come_first(model):
    vae, rows = model
    odd = rows.copy()
    odd[123, 4] = 16 - odd[123, 4]
    report = vae.report(odd, num_particles=50)
    assert report.hardest[0].row == 123
    assert report.hardest[0].columns[0][0] == "column 4"
    assert section(report, "Rows hardest").rows[0][0] == "123"
    parts = vae.elbo_per_column(odd).astype(np.float64)
    assert np.isclose(report.hardest[0].columns[0][1], parts[:, 4].mean() - parts[123, 4], rtol=1e-9)


def test_a_table_s_columns_have_their_names():
    rng = np.random.default_rng(0)
    group = rng.integers(2, size=200)
    df = pl.DataFrame(
        {
            "<b>&": rng.normal(size=200) + 4 * group,
            "city": np.array(["Bern", "Genf"])[group],
            "visits": rng.poisson(9, 200),
        }
    )
    vae = ek.VAE.for_table(df, latent_dim=1, hidden=(8,))
    vae.fit(df, epochs=40, learning_rate=1e-2, progress=False)
    report = vae.report(df, num_particles=50)
    names = {name for hard in report.hardest for name, _ in hard.columns}
    assert names
    assert names <= set(df.columns)
    assert "a sum of log densities" in said(report)
    page = report._repr_html_()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page or "<b>&" not in names


def test_what_is_refused(model):
    vae, rows = model
    with pytest.raises(ek.ShapeError, match=r"^X: expected 12 columns"):
        vae.report(rows[:, :3])
    with pytest.raises(ek.SupportError, match="row 0"):
        vae.report(rows + 17)
    with pytest.raises(ValueError, match=r"^num_particles: expected"):
        vae.report(rows, num_particles=0)
    with pytest.raises(ek.NotFittedError):
        ek.VAE(2).report(rows)


# What is written


def test_the_file_is_one_with_its_picture_and_always_the_same(report, tmp_path):
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/png;base64,") == 1
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)
    for part in report.sections:
        assert part.title in page
    report.save(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.html", "report.html"]


def test_without_matplotlib_the_tables_stand_and_the_file_says_what_is_missing(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"elbokit\[plot\]"):
        report.plot()
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image" not in page
    assert "The picture is missing, since matplotlib is" in page
    assert "<table>" in page


def test_a_file_is_written_whole_or_not_at_all(report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(OSError, match="nowhere"):
        report.save(tmp_path / "nowhere" / "report.html")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        report.save(tmp_path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_picture_has_the_bounds_the_ladder_k_hat_and_the_latents(report):
    axes = report.plot().axes
    titles = " ".join(a.get_title() for a in axes)
    for word in ("bounds of each row", "ladder", "k-hat", "KL of each latent"):
        assert word in titles
    assert len(axes[3].patches) == 3
    assert axes[1].lines[0].get_ydata().tolist() == [r.lower[0] for r in report.ladder[4:]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234, "1.23"),
        (-0.001, "0.00"),
        (-2.5, "−2.50"),
        (np.inf, "∞"),
        (-np.inf, "−∞"),
        (np.nan, "–"),
        (-3e9, "−3.000e+09"),
    ],
)
def test_numbers_as_they_are_read(value, text):
    assert nats(value) == text


def test_scikit_learn_s_estimator_reports_too():
    import pandas as pd  # noqa: PLC0415

    from elbokit.sklearn import VAE  # noqa: PLC0415

    rng = np.random.default_rng(0)
    df = pd.DataFrame(rng.normal(size=(120, 1)) + 0.3 * rng.normal(size=(120, 3)), columns=["first", "second", "third"])
    fitted = VAE(latent_dim=1, hidden=(8,), epochs=60, learning_rate=1e-2, progress=False, random_state=0).fit(df)
    report = fitted.report(df, num_particles=40)
    assert {name for hard in report.hardest for name, _ in hard.columns} <= set(df.columns)
    assert np.array_equal(report.elbo.elbo, fitted.score_samples(df).astype(np.float32))
    clean(report)


def conditional(n=200, **options):
    """A conditional model, its rows and their conditions, on which the mean of every column hangs."""
    condition = np.arange(n, dtype=np.float32)[:, None] % 3
    rows = 4 * condition + ek.random.normal((n, 1), key=0) + 0.5 * ek.random.normal((n, 4), key=1)
    vae = ek.VAE(2, hidden=(16,), **options)
    vae.fit(rows, condition=condition, epochs=60, learning_rate=1e-2, validation=0.0, progress=False)
    return vae, rows, condition


def test_a_conditional_model_is_reported_beside_its_conditions(monkeypatch):
    vae, rows, condition = conditional()
    monkeypatch.setattr("elbokit.report.asked._BLOCK", 37)
    monkeypatch.setattr("elbokit.report.measured.MOST_ROWS", 60)
    report = vae.report(rows, condition=condition, num_particles=50)
    clean(report)
    evidence = vae.log_evidence(rows, condition=condition, num_particles=50)
    assert report.evidence.lower.tobytes() == evidence.lower.tobytes()
    loc = vae.encode(rows, condition=condition).loc
    assert np.allclose(report.loc_variance, loc.astype(np.float64).var(axis=0), rtol=1e-12)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = vae.report(rows[order], condition=condition[order], num_particles=50)
    assert shuffled.evidence.lower.tobytes() == report.evidence.lower[order].tobytes()
    assert np.allclose([r.lower for r in shuffled.ladder], [r.lower for r in report.ladder], rtol=1e-12, atol=0)
    assert [order[hard.row] for hard in shuffled.hardest] == [hard.row for hard in report.hardest]
    for wrong in (None, condition[1:], np.hstack([condition] * 2)):
        with pytest.raises(ek.ShapeError, match=r"^condition: expected"):
            vae.report(rows, condition=wrong)


def test_a_collapsed_conditional_model_is_reported_too():
    vae, rows, condition = conditional(likelihood=lik.Gaussian(30.0))
    with pytest.warns(UserWarning, match="posterior collapse"):
        report = vae.report(rows, condition=condition, num_particles=30)
    assert not report.active.any()
    clean(report)


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_a_learned_prior_is_named_and_its_cures_are_its_own(prior):
    rows = ek.random.normal((120, 4), key=0)
    vae = ek.VAE(2, hidden=(8,), likelihood=lik.Gaussian(1.0), prior=prior, prior_components=3)
    vae.fit(rows, epochs=3, progress=False)
    report = vae.report(rows, num_particles=30)
    clean(report)
    assert "to the Gaussian of the learned prior's mean and variance" in str(report)
    assert np.isfinite(report.kl_per_latent).all()
    # A floor by latent, which fit refuses for such a prior, is no cure.
    assert "free_bits" not in _cures(vae)
    assert "free_bits" in _cures(ek.VAE(2, hidden=(8,), likelihood=lik.Gaussian(1.0)))
