"""The generator's words under the battery of `battery`, and generators known to be bad under the same.

What is marked `statistics` runs in `make test-statistics` alone. Keys are fixed: what passes once passes always.
"""

from functools import cache

import battery
import numpy as np
import pytest

import elbokit as ek

_QUICK = 1 << 21
_LONG = 1 << 24


def _blocks(place):
    """The words of the blocks that `place` gives the key and counter of, one after the other."""
    return np.concatenate(
        [ek.random.raw(4, key=key, counter=counter) for key, counter in map(place, range(_QUICK // 4))]
    )


def _folded():
    """Both halves of the seeds of keys folded with 0, 1 and so on."""
    return np.array([ek.Key(0).fold_in(i).seed for i in range(_QUICK // 2)], np.uint64).view(np.uint32)


_STREAMS = {
    "one key": lambda: ek.random.raw(_LONG, key=0),
    "the last key, across the middle of the counter": lambda: ek.random.raw(
        _LONG, key=2**64 - 1, counter=2**127 - _LONG // 8
    ),
    "successive keys": lambda: _blocks(lambda i: (i, 0)),
    "successive particles": lambda: _blocks(lambda i: (0, i << 64)),
    "successive high words": lambda: _blocks(lambda i: (0, i << 32)),
    "folded keys": _folded,
}
assert battery.SIZE * len(_STREAMS) + 1 <= battery.WHOLE / battery.EACH


def test_a_short_stream_passes():
    assert not battery.refused(battery.run(ek.random.raw(_QUICK, key=1)))


@pytest.mark.statistics
@pytest.mark.parametrize("stream", _STREAMS)
def test_a_stream_passes(stream):
    p_values = battery.run(_STREAMS[stream]())
    for name, p in p_values.items():
        print(f"{stream}: {name}: {p:.3g}")
    assert not battery.refused(p_values)


@pytest.mark.statistics
def test_every_bit_of_key_and_counter_turns_every_bit_of_a_block_half_the_time():
    # The strict avalanche criterion of Webster and Tavares (1985): 256 flips of each of 64 + 128 bits, at places that
    # the generator itself gives.
    trials = 256
    flips = np.zeros((192, 128))
    for t in range(trials):
        place = [int(w) for w in ek.random.raw(6, key=2, counter=2 * t)]
        key = place[0] | place[1] << 32
        counter = sum(w << 32 * i for i, w in enumerate(place[2:]))
        here = ek.random.raw(4, key=key, counter=counter)
        for bit in range(192):
            there = (
                ek.random.raw(4, key=key ^ 1 << bit, counter=counter)
                if bit < 64
                else ek.random.raw(4, key=key, counter=counter ^ 1 << bit - 64)
            )
            flips[bit] += np.unpackbits((here ^ there).view(np.uint8))
    z = (2 * flips - trials) / np.sqrt(trials)
    assert battery.of_chi_square((z**2).sum(), z.size) >= battery.EACH


# Each of these is a textbook's example of what not to use, and each of the battery's tests refuses one of them.


def _lcg(multiplier, increment, bits):
    """The linear congruential generator modulo 2ᵇⁱᵗˢ, its bits at the top of the word."""
    x = np.empty(_QUICK, np.uint32)
    value = 1
    for i in range(len(x)):
        value = (multiplier * value + increment) % 2**bits
        x[i] = value << (32 - bits)
    return x


def _shift_register():
    """The bits of the shift register x³¹ + x³ + 1, 32 a word; the recurrence's 32nd power is the same one, of words."""
    bits = [1] * 31
    while len(bits) < 31 * 32:
        bits.append(bits[-3] ^ bits[-31])
    words = np.packbits(np.array(bits, np.uint8)).view(">u4").tolist()
    while len(words) < _QUICK:
        words.append(words[-3] ^ words[-31])
    return np.array(words, np.uint32)


_BAD = {
    "the quick and dirty generator of Numerical Recipes": lambda: _lcg(1664525, 1013904223, 32),
    "RANDU": lambda: _lcg(65539, 0, 31),
    "multiples of the golden ratio": lambda: np.arange(_QUICK, dtype=np.uint32) * np.uint32(0x9E3779B9),
    "a shift register of 31 bits": _shift_register,
}


@cache
def _refused(name):
    return frozenset(battery.refused(battery.run(_BAD[name]())))


def test_a_linear_congruential_generator_is_refused():
    assert len(_refused("the quick and dirty generator of Numerical Recipes")) >= 5


@pytest.mark.statistics
def test_every_test_refuses_a_bad_generator():
    for name in _BAD:
        assert _refused(name)
    assert len(frozenset.union(*map(_refused, _BAD))) == battery.SIZE
