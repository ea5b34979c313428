"""The compiled extension, as a file."""

import platform
import sys
from pathlib import Path

import pytest

from elbokit import _core


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="reads symbol names, and only on x86-64 do the levels differ in their instructions",
)
def test_every_lane_operation_is_part_of_its_kernel():
    # One that was not inlined is compiled by itself and takes its operands through memory, a call each: every result
    # is right, and training with gelu took twice as long.
    binary = Path(_core.__file__).read_bytes()
    assert b"vectorize_avx2" in binary
    assert binary.count(b"__fearless_simd_kernel") == 0
