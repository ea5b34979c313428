"""The compiled extension, as a file."""

import platform
import struct
import sys
import zlib
from pathlib import Path

import pytest

from elbokit import _core

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="reads an ELF file, and only on x86-64 do the levels differ in their instructions",
)
BINARY = Path(_core.__file__).read_bytes()


def test_every_lane_operation_is_part_of_its_kernel():
    # One that was not inlined is compiled by itself and takes its operands through memory, a call each: every result
    # is right, and training with gelu took twice as long.
    assert b"vectorize_avx2" in BINARY, "names of symbols are needed, which `make wheel` strips"
    assert BINARY.count(b"__fearless_simd_kernel") == 0


def test_the_binary_makes_a_small_wheel():
    # Of the 4 MiB that a wheel may have the Python files take 0.21. The names of symbols, which `make wheel` strips,
    # stand behind all that is loaded.
    (headers,), (size, count) = struct.unpack_from("<Q", BINARY, 32), struct.unpack_from("<HH", BINARY, 54)
    loaded = 0
    for header in range(headers, headers + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", BINARY, header)
        loaded = max(loaded, offset + length if kind == 1 else 0)
    assert loaded > 2**20
    packed = len(zlib.compress(BINARY[:loaded], 9))
    assert packed < 3.79 * 2**20, f"{packed / 2**20:.2f} MiB; was it built without .cargo/config.toml, or as a test?"
