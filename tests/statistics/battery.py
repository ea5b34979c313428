"""A battery of published tests of random 32-bit words, each with two-sided p-values and no idea of the generator.

A p-value is twice the smaller of P(T ≤ t) and P(T ≥ t), so that a fit too good to be chance fails as well. One below
`EACH` is refused. Whoever runs the battery holds the number of p-values to `WHOLE / EACH`, so that a good generator
fails once in 10⁴ keys.

References
----------
Knuth, The Art of Computer Programming 2, section 3.3.2. Marsaglia, "A current view of random number generators" (1985).
Marsaglia and Tsang, "Some difficult-to-pass tests of randomness" (2002). L'Ecuyer and Simard, "TestU01" (2007). NIST SP
800-22, revision 1a.
"""

import math

import mpmath
import numpy as np
from scipy import stats

WHOLE = 1e-4
EACH = 1e-6
# p-values of one stream.
SIZE = 16


def refused(p_values):
    """Those that chance alone would hardly give."""
    return {name: p for name, p in p_values.items() if not p >= EACH}


def of_normal(z):
    """The p-value of a standard normal."""
    return math.erfc(abs(z) / math.sqrt(2))


def of_poisson(count, mean):
    """The p-value of a Poisson count."""
    return min(1.0, 2 * min(stats.poisson.cdf(count, mean), stats.poisson.sf(count - 1, mean)))


def of_counts(counts, probabilities):
    """The p-value of Pearson's χ² of the classes' counts."""
    counts = np.asarray(counts, np.float64)
    if not counts.any():
        return 0.0
    expected = counts.sum() * np.broadcast_to(np.asarray(probabilities, np.float64), counts.shape)
    statistic = ((counts - expected) ** 2 / expected).sum()
    return of_chi_square(statistic, counts.size - 1)


def of_chi_square(statistic, degrees):
    """The p-value of a χ² variable."""
    law = stats.chi2(degrees)
    return 2 * min(law.cdf(statistic), law.sf(statistic))


def run(words):
    """The p-values of every test, by name; takes 2²¹ words or more."""
    low_bits = np.packbits((words & 1).astype(np.uint8)).view(">u4").astype(np.uint32)
    p_values = {
        **frequency(words),
        "serial, pairs of the top 8 bits": serial(words >> 24, 8, 2),
        "serial, triples of the top 5 bits": serial(words >> 27, 5, 3),
        "serial, pairs of the last 8 bits": serial(words & 0xFF, 8, 2),
        "gap, the top 4 bits": gap(words >> 28),
        "gap, the last 4 bits": gap(words & 0xF),
        "birthday spacings, words": birthday_spacings(words),
        "birthday spacings, the top halves of pairs": birthday_spacings(words[::2] & 0xFFFF0000 | words[1::2] >> 16),
        "collision, pairs of the top 10 bits": collision(words[::2] >> 22 << 10 | words[1::2] >> 22),
        "collision, pairs of the last 10 bits": collision((words[::2] & 0x3FF) << 10 | words[1::2] & 0x3FF),
        "matrix rank, words": matrix_rank(words),
        "matrix rank, last bits": matrix_rank(low_bits),
        "linear complexity, words": linear_complexity(words),
        "linear complexity, last bits": linear_complexity(low_bits),
        "serial correlation": serial_correlation(words),
    }
    assert len(p_values) == SIZE
    return p_values


def frequency(words):
    """The ones in all, and at each of the 32 places (NIST 2.1)."""
    ones = np.array([(words >> bit & 1).sum(dtype=np.int64) for bit in range(32)], np.float64)
    z = (2 * ones - len(words)) / math.sqrt(len(words))
    return {
        "frequency, all bits": of_normal(z.sum() / math.sqrt(32)),
        "frequency, by place": of_chi_square((z**2).sum(), 32),
    }


def serial(digits, bits, length):
    """Disjoint runs of so many digits of so many bits are equally frequent (Knuth B)."""
    digits = digits[: len(digits) // length * length].reshape(-1, length)
    cells = np.zeros(len(digits), np.uint32)
    for column in digits.T:
        cells = cells << bits | column
    cell_count = 1 << bits * length
    return of_counts(np.bincount(cells, minlength=cell_count), 1 / cell_count)


def gap(digits):
    """The number of digits between two zeros of 16 digits is geometric (Knuth D)."""
    longest = 100
    gaps = np.minimum(np.diff(np.flatnonzero(digits == 0)) - 1, longest)
    law = stats.geom(1 / 16, loc=-1)
    return of_counts(np.bincount(gaps, minlength=longest + 1), [*law.pmf(np.arange(longest)), law.sf(longest - 1)])


def birthday_spacings(days):
    """Of 4096 birthdays in a year of 2³² days, spacings that repeat number Poisson(4) (Marsaglia and Tsang 2002)."""
    birthdays = 4096
    years = days[: len(days) // birthdays * birthdays].reshape(-1, birthdays)
    spacings = np.diff(np.sort(years, axis=1), axis=1)
    spacings.sort(axis=1)
    repeated = int((np.diff(spacings, axis=1) == 0).sum())
    return of_poisson(repeated, len(years) * birthdays**3 / 2**34)


def collision(urns):
    """Of 2¹⁴ balls in 2²⁰ urns, how many fall into one that is taken (Knuth I), by the exact mean and variance."""
    n, m = 1 << 14, 1 << 20
    throws = np.sort(urns[: len(urns) // n * n].reshape(-1, n), axis=1)
    collisions = int((np.diff(throws, axis=1) == 0).sum())
    with mpmath.workdps(60):
        one, two = (1 - mpmath.mpf(1) / m) ** n, (1 - mpmath.mpf(2) / m) ** n
        mean = float(n - m + m * one)
        variance = float(m * (m - 1) * two + m * one - m**2 * one**2)
    return of_normal((collisions - len(throws) * mean) / math.sqrt(len(throws) * variance))


def matrix_rank(words):
    """Ranks over the field of two elements of 32 × 32 matrices whose rows are words (Marsaglia 1985)."""
    rows = words[: len(words) // 32 * 32].reshape(-1, 32).T.copy()
    rank = np.zeros(rows.shape[1], np.int64)
    for i, pivot in enumerate(rows):
        rank += pivot != 0
        last = pivot & (~pivot + 1)
        rows[i + 1 :] ^= np.where(rows[i + 1 :] & last, pivot, 0)
    # Of full rank, one less and two less; then the rest.
    full = [
        2.0 ** -((32 - r) ** 2) * math.prod((1 - 2.0 ** (i - 32)) ** 2 / (1 - 2.0 ** (i - r)) for i in range(r))
        for r in (32, 31, 30)
    ]
    counts = np.bincount(np.minimum(32 - rank, 3), minlength=4)
    return of_counts(counts, [*full, 1 - sum(full)])


def linear_complexity(words):
    """The shortest shift register that makes each of 1000 blocks of 500 bits, top bits first (NIST 2.10)."""
    blocks, length = 1000, 500
    bits = np.unpackbits(words[: blocks * length // 32].astype(">u4").view(np.uint8)).tolist()
    # The mean and the classes of (−1)ᴹ (L − μ) + 2/9, with the probabilities of NIST 3.10.
    mean = length / 2 + (9 + (-1) ** (length + 1)) / 36 - (length / 3 + 2 / 9) / 2**length
    edges = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    lengths = np.array([register_length(bits[b * length : (b + 1) * length]) for b in range(blocks)])
    classes = np.searchsorted(edges, (-1) ** length * (lengths - mean) + 2 / 9)
    return of_counts(np.bincount(classes, minlength=7), [1 / 96, 1 / 32, 1 / 8, 1 / 2, 1 / 4, 1 / 16, 1 / 48])


def register_length(bits):
    """The linear complexity of bits (Massey 1969); polynomials are whole numbers, coefficient i at bit i."""
    now, before, seen, length, changed = 1, 1, 0, 0, -1
    for n, bit in enumerate(bits):
        seen = seen << 1 | bit
        if (now & seen).bit_count() & 1:
            kept = now
            now ^= before << (n - changed)
            if 2 * length <= n:
                length, changed, before = n + 1 - length, n, kept
    return length


def serial_correlation(words):
    """Correlations of words some places apart (Knuth K), as one χ²."""
    u = words * 2.0**-32 - 0.5
    lags = (1, 2, 3, 4, 5, 8, 16, 17, 64, 128, 1024, 4096)
    # A product's standard deviation is 1/12.
    z = [12 * (u[lag:] @ u[:-lag]) / math.sqrt(len(u) - lag) for lag in lags]
    return of_chi_square(sum(x * x for x in z), len(lags))
