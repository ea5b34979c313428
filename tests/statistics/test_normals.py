"""The normals under the battery of `normal_battery`, and numbers that are not quite normal under the same.

What is marked `statistics` runs in `make test-statistics` alone. Keys are fixed: what passes once passes always.
"""

from typing import NamedTuple

import battery
import normal_battery
import numpy as np
import pytest

import elbokit as ek

_DTYPES = (np.float32, np.float64)
_COLUMNS = 64


class _Size(NamedTuple):
    """How many numbers a test looks at."""

    numbers: int
    tail_parts: int


_QUICK = _Size(1 << 20, 1 << 2)
_SIZES = (
    pytest.param(_QUICK, id="quick"),
    pytest.param(_Size(1 << 24, 1 << 9), id="long", marks=pytest.mark.statistics),
)
_PART = (1 << 16, _COLUMNS)

_TAKEN_APART = ("columns", "rows", "particles", "keys")
assert 2 * (sum(normal_battery.SIZES[:3]) + len(_TAKEN_APART) * normal_battery.SIZES[3]) <= battery.WHOLE / battery.EACH


def _passes(p_values, size):
    for name, p in p_values.items():
        print(f"{name}: {p:.3g}")
    assert len(p_values) == size
    assert not battery.refused(p_values)


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("size", _SIZES)
def test_the_distribution_is_normal(size, dtype):
    x = ek.random.normal(size.numbers, key=30, dtype=dtype)
    _passes(normal_battery.distribution(x), normal_battery.SIZES[0])


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("size", _SIZES)
def test_the_tails_are_normal(size, dtype):
    parts = (ek.random.normal(_PART, key=31, dtype=dtype, first_row=part * _PART[0]) for part in range(size.tail_parts))
    _passes(normal_battery.tails(parts), normal_battery.SIZES[1])


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("size", _SIZES)
def test_pairs_have_a_normal_radius_and_a_uniform_angle(size, dtype):
    # Numbers 0 and 1 of a block, and 2 and 3, stand sixteen apart.
    x = ek.random.normal(size.numbers, key=32, dtype=dtype).reshape(-1, 2, 16)
    _passes(normal_battery.pairs(x[:, 0], x[:, 1]), normal_battery.SIZES[2])


def _apart(how, rows, dtype):
    """`rows` numbers of 64 columns, rows, particles or keys, each in a column of its own."""
    if how == "columns":
        return ek.random.normal((rows, _COLUMNS), key=33, dtype=dtype)
    if how == "rows":
        # Row 64 i + j is in column j.
        return (
            ek.random.normal((rows // 8 * _COLUMNS, 8), key=34, dtype=dtype)
            .reshape(-1, _COLUMNS, 8)
            .swapaxes(1, 2)
            .reshape(-1, _COLUMNS)
        )
    zero = np.zeros((rows // 8, 8), dtype)
    if how == "particles":
        return ek.gaussian.rsample(zero, zero, key=35, num_particles=_COLUMNS).reshape(_COLUMNS, -1).T
    return np.stack([ek.random.normal(rows, key=key, dtype=dtype) for key in range(_COLUMNS)], axis=1)


@pytest.mark.parametrize("how", _TAKEN_APART)
@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("size", _SIZES)
def test_no_two_are_correlated(size, dtype, how):
    x = _apart(how, size.numbers // _COLUMNS, dtype)
    assert x.shape == (size.numbers // _COLUMNS, _COLUMNS)
    _passes(normal_battery.dependence(x), normal_battery.SIZES[3])


def test_what_is_not_quite_normal_is_refused():
    u = ek.random.uniform((_QUICK.numbers, 12), key=36)
    # Twelve uniforms' sum, which has a normal's first three moments.
    assert len(battery.refused(normal_battery.distribution(u.sum(axis=1, dtype=np.float64) - 6))) >= 4
    x = ek.random.normal((_QUICK.numbers // _COLUMNS, _COLUMNS), key=37)
    assert battery.refused(normal_battery.distribution(1.01 * x))
    assert battery.refused(normal_battery.tails([np.clip(x, -3.5, 3.5)]))
    mixed = x.copy()
    mixed[:, 1:] = np.sqrt(1 - 0.04**2) * x[:, 1:] + 0.04 * x[:, :-1]
    assert battery.refused(normal_battery.dependence(mixed))
    assert not battery.refused(normal_battery.dependence(x))
    assert battery.refused(normal_battery.pairs(x[:, ::2], 1.05 * x[:, 1::2]))
