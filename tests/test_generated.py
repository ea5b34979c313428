"""What a script made is what the script makes: each generated Rust file, up to layout, is its generator's output."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_CORE = Path(__file__).parent.parent / "rust" / "core"
_GENERATORS = [
    _CORE / "src" / "vmath" / "coefficients.py",
    _CORE / "src" / "vmath" / "gamma_coefficients.py",
    _CORE / "tests" / "reference" / "gamma_values.py",
]


def _tokens(source):
    """Words and numbers, without the spaces and commas that rustfmt lays out."""
    return re.sub(r"[\s,]+", " ", re.sub(r",?\s*([\[\](){}])\s*", r" \1 ", source)).split()


@pytest.mark.parametrize("generator", _GENERATORS, ids=lambda path: path.stem)
def test_generated_file_is_its_generators_output(generator):
    made = subprocess.run([sys.executable, generator], check=True, capture_output=True, encoding="utf-8").stdout
    assert _tokens(made) == _tokens(generator.with_suffix(".rs").read_text(encoding="utf-8"))
