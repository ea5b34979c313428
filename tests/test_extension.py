"""The compiled extension, as a file."""

import platform
import struct
import sys
import zlib
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


@pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 2**32, reason="reads the program headers of a 64-bit ELF file")
def test_the_binary_makes_a_small_wheel():
    # With what a wheel holds besides (0.21 MiB) less than 4 MiB; names of symbols, which `make wheel` leaves out, stand behind what is loaded.
    binary = Path(_core.__file__).read_bytes()
    (headers,), (size, count) = struct.unpack_from("<Q", binary, 32), struct.unpack_from("<HH", binary, 54)
    ends = []
    for header in range(headers, headers + size * count, size):
        (kind, _, offset, _, _, length) = struct.unpack_from("<IIQQQQ", binary, header)
        ends += [offset + length] if kind == 1 else []
    assert len(zlib.compress(binary[: max(ends)], 9)) < 3.79 * 2**20
