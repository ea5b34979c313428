"""What `elbokit.plot` draws: the panels, their units, and every size of table."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

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
