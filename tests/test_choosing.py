"""The comparisons of docs/choosing.md run, in a short form, and the page shows the tables that they print."""

import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import elbokit as ek

_ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(_ROOT / "examples" / "choosing.py"))


def _tables(text):
    """{heading line: first cells of the lines below it} of each Markdown table."""
    found = re.findall(r"^(\|.*)\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {heading: [line.split(" | ")[0] for line in lines.splitlines()] for heading, lines in found}


@pytest.mark.slow
def test_the_page_shows_what_the_example_prints(example, tmp_path, capsys):
    example["main"](tmp_path, keys=(0,), epochs=1, num_particles=2)
    printed = _tables(capsys.readouterr().out)
    assert len(printed) >= 10
    shown = _tables((_ROOT / "docs" / "choosing.md").read_text(encoding="utf-8"))
    for heading, choices in printed.items():
        assert shown[heading] == choices

    image = plt.imread(tmp_path / "choosing.png")[..., :3]
    assert (np.abs(image - image[0, 0]).max(axis=-1) > 0.1).mean() > 0.05


def test_the_evidence_of_simulated_counts_is_that_of_their_law(example):
    """Its bounds by importance sampling from the prior lie around it."""
    X, law, decoder = example["simulated"]("NB", 5, key=3)
    few = X[:, :3]
    law_of_few, prior = (lambda z: decoder(z).reshape(len(z), 2, 20)[:, :, :3].reshape(len(z), 6)), np.zeros((5, 2))
    weights = ek.log_weights(few, ek.GaussianParams(prior, prior), law_of_few, law, key=0, num_particles=20_000)
    exact = example["exact"](few, law, law_of_few)
    bounds = ek.bounds.log_evidence(weights)
    assert (np.abs(bounds.estimate - exact) < 4 * bounds.standard_error).all()
    assert (bounds.standard_error < 0.05).all()


def test_rows_of_the_same_kind_are_not_told_apart(example):
    class Same:
        def sample(self, n, *, key):
            return ek.random.normal((n, 4), key=key)

    assert abs(example["alike"](Same(), None, ek.random.normal((200, 4), key=99)) - 0.5) < 0.05
    assert example["alike"](Same(), None, ek.random.normal((200, 4), key=99) + 50) == 1.0
