"""What `elbokit.plot` draws: the panels, their units, and every size of table."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import elbokit as ek
from elbokit import plot

_RNG = np.random.default_rng(0)


def _axes(figure, title):
    return next(axes for axes in figure.axes if title in axes.get_title() + axes.get_title("left"))


def _rows(n, columns, latent=3, samples=10, **options):
    X = _RNG.random((n, columns))
    return plot.rows(X, X + 0.1, _RNG.random((samples, columns)), _RNG.normal(size=(n, latent)), **options)


def test_images_where_the_columns_are_a_square():
    figure = _rows(30, 64, title="ELBO -93.5 nats a row")
    assert len(_axes(figure, "reconstructions").images) == 1
    assert len(_axes(figure, "samples").images) == 1
    assert figure.get_suptitle() == "ELBO -93.5 nats a row"


def test_rows_stand_over_their_reconstructions_with_their_values():
    X = _RNG.random((4, 64))
    figure = plot.rows(X, -X, X, X[:, :2])
    image = _axes(figure, "reconstructions").images[0].get_array().filled(np.nan)
    for i, row in enumerate(X.reshape(4, 8, 8)):
        across = slice(9 * i, 9 * i + 8)
        np.testing.assert_array_equal(image[:8, across], row)
        np.testing.assert_array_equal(image[9:17, across], -row)


def test_image_shape_of_another_format():
    assert _axes(_rows(3, 12, image_shape=(3, 4)), "samples").images
    assert not _axes(_rows(3, 12), "samples").images


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("columns", [1, 30, 64])
@pytest.mark.parametrize("latent", [1, 8])
def test_every_size_is_drawn(tmp_path, n, columns, latent):
    _rows(n, columns, latent, labels=np.arange(n)).savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_missing_cells_and_constant_columns_are_drawn(tmp_path):
    X = _RNG.random((6, 5))
    X[:, 1] = np.nan
    X[2] = np.nan
    X[:, 3] = 1.0
    plot.rows(X, np.ones((6, 5)), np.zeros((0, 5)), np.zeros((6, 2))).savefig(tmp_path / "x.svg")


def test_the_latent_space_is_drawn_by_its_principal_axes():
    latent = _RNG.normal(size=(50, 3)) * [0.1, 5.0, 1.0]
    axes = _axes(plot.rows(np.zeros((50, 2)), np.zeros((50, 2)), np.zeros((1, 2)), latent), "latent")
    first, second = axes.collections[0].get_offsets().T
    centred = latent - latent.mean(axis=0)
    assert abs(np.corrcoef(first, latent[:, 1])[0, 1]) > 0.99
    np.testing.assert_allclose(np.sum(first**2), np.linalg.svd(centred)[1][0] ** 2)
    assert np.var(first) > np.var(second)
    assert "% of its variance" in axes.get_xlabel()


def test_classes_have_a_legend_and_numbers_a_scale():
    few = _axes(_rows(40, 64, labels=np.arange(40) % 3), "latent")
    assert [text.get_text() for text in few.get_legend().get_texts()] == ["0", "1", "2"]
    many = _rows(40, 64, labels=np.linspace(0, 1, 40))
    assert _axes(many, "latent").get_legend() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((0, 4))}, "X: expected"),
        ({"X": np.zeros(4)}, "X: expected"),
        ({"reconstructions": np.zeros((3, 5))}, "reconstructions: expected"),
        ({"samples": np.zeros((3, 5))}, "samples: expected"),
        ({"latent": np.zeros((2, 5))}, "latent: expected"),
        ({"labels": np.zeros(2)}, "labels: expected"),
        ({"image_shape": (3, 3)}, "image_shape"),
    ],
)
def test_shapes_that_do_not_belong_together_are_named(change, message):
    arrays = {name: np.zeros((3, 4)) for name in ("X", "reconstructions", "samples", "latent")}
    with pytest.raises(ValueError, match=message):
        plot.rows(**(arrays | change))


@pytest.mark.parametrize("held_out", [True, False])
def test_history_shows_the_bound_and_its_terms_in_nats_a_row(held_out):
    epochs = np.arange(40)
    reconstruction, kl = -70 - 400 * np.exp(-epochs), 20 - 10 * np.exp(-epochs)
    terms = {"reconstruction": list(reconstruction), "kl": list(kl), "elbo": list(reconstruction - kl)}
    seen = {f"held_out_{name}": values if held_out else [] for name, values in terms.items()}
    figure = plot.history(SimpleNamespace(**terms, **seen, best_epoch=30 if held_out else None))
    bound, parts = figure.axes
    assert bound.get_ylabel() == parts.get_ylabel() == "nats a row"
    np.testing.assert_array_equal(bound.lines[0].get_ydata(), terms["elbo"])
    np.testing.assert_array_equal(bound.lines[0].get_xdata(), epochs + 1)
    assert len(bound.lines) == (3 if held_out else 1)
    assert bound.get_ylim()[0] > -150


def test_matplotlib_is_imported_by_the_call_and_pyplot_never():
    code = """
import sys
from elbokit import plot
assert "matplotlib" not in sys.modules
plot.rows([[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 1.0]], [[0.0]])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "elbokit\[plot\]"'):
        plot.rows([[0.0]], [[0.0]], [[0.0]], [[0.0]])
    with pytest.raises(ImportError, match="matplotlib"):
        plot.formats()


def test_noise_is_drawn_over_the_steps(tmp_path):
    grid, p = np.linspace(-3, 3, 40), _RNG.random((6, 40))
    there, back = _RNG.normal(size=(6, 5)), _RNG.normal(size=(6, 2))
    figure = plot.noising(grid, p, there, back)
    left, right = _axes(figure, "forward"), _axes(figure, "reverse")
    assert len(left.lines) == 5
    assert len(right.lines) == 2
    np.testing.assert_array_equal(left.lines[3].get_ydata(), there[:, 3])
    np.testing.assert_allclose(left.images[0].get_array(), np.sqrt(p.T))
    # Time runs from left to right on both sides.
    assert right.get_xlim()[0] > right.get_xlim()[1]
    figure.savefig(tmp_path / "x.png")
    with pytest.raises(ValueError, match="density"):
        plot.noising(grid[1:], p, there, back)
    with pytest.raises(ValueError, match="reverse: expected paths"):
        plot.noising(grid, p, there, back[1:])


def test_gaps_are_drawn_against_the_step(tmp_path):
    gaps = {"1 − α": [0.1, 0.01], "optimal": [0.01, np.nan]}
    figure = plot.step_gap([0.03, 0.003], gaps)
    assert [line.get_label() for line in figure.axes[0].lines] == list(gaps)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), gaps["optimal"])
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    figure.savefig(tmp_path / "x.png")
    with pytest.raises(ValueError, match="gaps"):
        plot.step_gap([0.03], gaps)


# A model


@pytest.fixture(scope="module", params=["standard", "mixture", "vamp"])
def fitted(request):
    """A model by its prior, and the rows that it was fitted on."""
    X = ek.random.normal((60, 3), key=0, dtype=np.float64) + np.arange(60)[:, None] % 2 * 4
    vae = ek.VAE(2, hidden=(8,), prior=request.param, prior_components=3)
    vae.fit(X, epochs=3, progress=False)
    return vae, X


def test_a_model_is_drawn_with_its_own_samples_and_latents(tmp_path, fitted):
    vae, X = fitted
    figure = plot.model(vae, X, num_samples=7, key=5, title="a model")
    drawn = _axes(figure, "samples from the prior").lines
    spread, mean = X.std(axis=0), X.mean(axis=0)
    # `sample` draws z from the prior that the model has, learned or not.
    np.testing.assert_allclose([line.get_ydata() * spread + mean for line in drawn], vae.sample(7, key=5), atol=1e-5)
    loc = vae.encode(X).loc.astype(np.float64)
    points = _axes(figure, "latent").collections[0].get_offsets()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), np.linalg.norm(loc - loc.mean(0), axis=1), rtol=1e-5)
    assert figure.get_suptitle() == "a model"
    figure.savefig(tmp_path / "x.png")


def test_a_learned_prior_stands_over_the_latents(fitted):
    vae, X = fitted
    axes = _axes(plot.model(vae, X), "latent")
    if vae.prior == "standard":
        assert not axes.lines
        assert "prior" not in axes.get_title()
        return
    p, loc = vae.prior_, vae.encode(X).loc.astype(np.float64)
    assert "prior at 2 deviations" in axes.get_title()
    plane = np.linalg.svd(loc - loc.mean(0), full_matrices=False)[2]
    for line, centre, variance in zip(axes.lines, p.locs, p.variances, strict=True):
        # Two latents fill the plane: each point is two standard deviations from the component's own centre.
        z = line.get_xydata() @ plane + loc.mean(0)
        np.testing.assert_allclose(((z - centre) ** 2 / variance).sum(axis=1), 4.0, rtol=1e-9)


@pytest.mark.parametrize("variances", [[1.0, 2.0], [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], [np.eye(3), 2 * np.eye(3)]])
@pytest.mark.parametrize("latent", [1, 3])
def test_any_mixture_is_drawn_as_a_prior(tmp_path, variances, latent):
    variances = np.array(variances, dtype=np.float64)
    if latent == 1:
        variances = variances[(..., *[slice(1)] * (variances.ndim - 1))]
    prior = ek.GaussianMixture([0.1, 0.9], np.zeros((2, latent)), variances)
    for n in (1, 9):
        figure = _rows(n, 5, latent, prior=prior)
        light, strong = _axes(figure, "latent").lines
        assert light.get_alpha() < strong.get_alpha()
        figure.savefig(tmp_path / "x.png")


def test_samples_of_a_conditional_model_stand_beside_the_rows_conditions_or_given_ones(tmp_path):
    c = np.arange(40)[:, None] % 3 * 1.0
    X = ek.random.normal((40, 3), key=0, dtype=np.float64) + 5 * c
    vae = ek.VAE(2, hidden=(8,))
    vae.fit(X, condition=c, epochs=3, progress=False)
    spread, mean = X.std(axis=0), X.mean(axis=0)

    def drawn(figure):
        return np.array([line.get_ydata() for line in _axes(figure, "samples").lines]) * spread + mean

    by_rows = plot.model(vae, X[:8], condition=c[:8], num_samples=20)
    spread, mean = X[:8].std(axis=0), X[:8].mean(axis=0)
    expected = vae.sample(20, key=0, condition=c[np.arange(20) % 8])
    np.testing.assert_allclose(drawn(by_rows), expected, rtol=1e-4, atol=1e-4)
    assert "at rows' conditions" in _axes(by_rows, "samples").get_title("left")
    given = plot.model(vae, X[:8], condition=c[:8], sample_condition=[[0.0], [2.0]], num_samples=3)
    expected = vae.sample(3, key=0, condition=[[0.0], [2.0], [0.0]])
    np.testing.assert_allclose(drawn(given), expected, rtol=1e-4, atol=1e-4)
    assert "at given conditions" in _axes(given, "samples").get_title("left")
    given.savefig(tmp_path / "x.png")
    with pytest.raises(ek.ShapeError, match="give condition="):
        plot.model(vae, X)
    with pytest.raises(ek.ShapeError, match="condition: expected 1 columns, got 2"):
        plot.model(vae, X, condition=c, sample_condition=[[0.0, 1.0]])
    with pytest.raises(ValueError, match="X: expected"):
        plot.model(vae, X[:0], condition=c[:0])


def test_a_model_of_codes_is_drawn_by_its_likeliest_codes():
    X = np.random.default_rng(0).integers(0, 3, (30, 4))
    vae = ek.VAE(2, hidden=(8,), likelihood=ek.likelihood.Categorical(3))
    vae.fit(X, epochs=2, progress=False)
    lines = _axes(plot.model(vae, X), "reconstructions").lines
    codes = lines[1].get_ydata() * X.std(axis=0) + X.mean(axis=0)
    np.testing.assert_allclose(codes, vae.reconstruct(X[:1]).reshape(4, 3).argmax(axis=1), atol=1e-9)
