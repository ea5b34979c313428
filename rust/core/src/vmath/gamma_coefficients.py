"""Prints gamma_coefficients.rs: the polynomials and rational functions of the gamma family, for float32 and float64.

    python rust/core/src/vmath/gamma_coefficients.py > rust/core/src/vmath/gamma_coefficients.rs && cargo fmt

J(x) = lgamma(x) - [(x - 1/2) ln x - x + ln(2 pi)/2] is Binet's function. Polynomials are made as in coefficients.py. A rational function
interpolates too: at nodes whose images under v = (x - c)/(x + c) are the Chebyshev nodes of the interval's image, c chosen by trial;
the denominator's coefficients come out positive, so that it has no zero for x > 0. What is fitted is the small rest of a product
that hardly varies, x J(x) = 1/12 - rest, so that the rational function's rounding errors count for a tenth.
"""

from coefficients import interpolate, literal, worst
from mpmath import mp, mpf

HALF_LN_2PI = mp.log(2 * mp.pi) / 2
HALF = mpf(1) / 2
TWELFTH = mpf(1) / 12
# psi's zero.
ROOT = mp.findroot(mp.digamma, mpf("1.4616321449683623"))


def binet(x):
    """J(x); beyond 60 from its series (DLMF 5.11.1), where the closed form cancels."""
    if x > 60:
        return mp.fsum(mp.bernoulli(2 * k) / (2 * k * (2 * k - 1)) * x ** (1 - 2 * k) for k in range(1, 40))
    return mp.loggamma(x) - ((x - HALF) * mp.log(x) - x + HALF_LN_2PI)


def binet_slope(x):
    """J'(x) (DLMF 5.11.2)."""
    if x > 60:
        return -mp.fsum(mp.bernoulli(2 * k) / (2 * k) * x ** (-2 * k) for k in range(1, 40))
    return mp.digamma(x) - mp.log(x) + 1 / (2 * x)


def far(u):
    """(x J(x) - 1/12) / u in u = 1/x^2."""
    return (binet(1 / mp.sqrt(u)) / mp.sqrt(u) - TWELFTH) / u if u else -mpf(1) / 360


def far_slope(u):
    """(-x^2 J'(x) - 1/12) / u in u = 1/x^2."""
    return (-binet_slope(1 / mp.sqrt(u)) / u - TWELFTH) / u if u else -mpf(1) / 120


def gamma_1p(x):
    """(lgamma(1 + x) + gamma x) / x^2."""
    return (mp.loggamma(1 + x) + mp.euler * x) / x**2 if x else mp.zeta(2) / 2


def digamma_1p(x):
    """(psi(1 + x) + gamma) / x."""
    return (mp.digamma(1 + x) + mp.euler) / x if x else mp.zeta(2)


def gamma_2p(d):
    """(lgamma(2 + d) - (1 - gamma) d) / d^2."""
    # A node is 0 but for rounding.
    return (mp.loggamma(2 + d) - (1 - mp.euler) * d) / d**2 if abs(d) > 1e-30 else (mp.zeta(2) - 1) / 2


def digamma_root(w):
    """psi(r + w) / w, r the zero."""
    return mp.digamma(ROOT + w) / w if w else mp.polygamma(1, ROOT)


POLYNOMIALS = [
    # name, function, intervals and degrees for float32 and float64, weight of the polynomial's error in the result, doc
    ("BINET_FAR", far, ((mpf(0), mpf(1) / 16), (mpf(0), mpf(1) / 64)), (2, 6), lambda u: 12 * u, "`(x J(x) − 1/12) x²` in u = 1/x² for x ≥ [`BINET_FAR_FROM`](Self::BINET_FAR_FROM)"),
    ("SLOPE_FAR", far_slope, ((mpf(0), mpf(1) / 16), (mpf(0), mpf(1) / 64)), (3, 6), lambda u: 12 * u, "`(−x² J'(x) − 1/12) x²`, as [`BINET_FAR`](Self::BINET_FAR)"),
    ("GAMMA_1P", gamma_1p, ((mpf(0), HALF),) * 2, (7, 16), lambda x: x**2 / binet(x) if x else mpf(0), "`(lgamma(1 + x) + γ x) / x²` for 0 ≤ x ≤ ½"),
    ("DIGAMMA_1P", digamma_1p, ((mpf(0), HALF),) * 2, (8, 17), lambda x: x / binet_slope(x) if x else mpf(0), "`(ψ(1 + x) + γ) / x` for 0 ≤ x ≤ ½"),
    ("GAMMA_2P", gamma_2p, ((-HALF, HALF),) * 2, (8, 18), lambda d: d**2 / mp.loggamma(1 + d) if d else mpf(0), "`(lgamma(2 + d) − (1 − γ) d) / d²` for |d| ≤ ½"),
    ("DIGAMMA_ROOT", digamma_root, ((1 - ROOT, 2 - ROOT),) * 2, (10, 22), lambda w: 1 / digamma_root(w), "`ψ(r + w) / w` for 1 ≤ r + w ≤ 2, r the zero of ψ"),
]

RATIONALS = [
    # name, function, upper ends of the intervals from 1/2, degrees of both polynomials, c, doc
    ("BINET_NEAR", lambda x: TWELFTH - x * binet(x), (4, 8), (4, 9), ("0.75", "0.75"), "`1/12 − x J(x)` for ½ ≤ x ≤ [`BINET_FAR_FROM`](Self::BINET_FAR_FROM)"),
    ("SLOPE_NEAR", lambda x: TWELFTH + x * x * binet_slope(x), (4, 8), (4, 9), ("0.75", "1"), "`1/12 + x² J'(x)`, as [`BINET_NEAR_OVER`](Self::BINET_NEAR_OVER)"),
]

SPLIT = [
    ("HALF_LN_2PI", HALF_LN_2PI, "½ ln 2π"),
    ("EULER", mp.euler, "Euler's γ"),
    ("ONE_LESS_EULER", 1 - mp.euler, "1 − γ"),
    ("TWELFTH", TWELFTH, "1/12"),
    ("DIGAMMA_ZERO", ROOT, "The zero of ψ"),
]


def rational(f, low, high, degree, c):
    """Numerator and denominator, lowest degree first, of f's rational interpolant on [low, high]; the denominator ends in 1."""
    n = 2 * degree + 1
    start, end = (low - c) / (low + c), (high - c) / (high + c)
    images = [(start + end) / 2 + (end - start) / 2 * mp.cos((2 * i + 1) * mp.pi / (2 * n)) for i in range(n)]
    nodes = [c * (1 + v) / (1 - v) for v in images]
    rows = [[x**k for k in range(degree + 1)] + [-f(x) * x**k for k in range(degree)] for x in nodes]
    solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) * x**degree for x in nodes])))
    over, under = solution[: degree + 1], [*solution[degree + 1 :], mpf(1)]
    assert all(a > 0 for a in under)
    return over, under


def worst_rational(f, over, under, low, high):
    """Largest error over a fine grid, relative to what it is subtracted from."""
    points = [low * (high / low) ** (i / mpf(500)) for i in range(501)]
    return max(12 * abs(mp.polyval(over[::-1], x) / mp.polyval(under[::-1], x) - f(x)) for x in points)


def array(name, coefficients, bits):
    """One constant."""
    print(f"    const {name}: &'static [Self] = &[{', '.join(literal(c, bits) for c in coefficients)}];")


def main():
    print("//! Made by `gamma_coefficients.py` beside this file; do not edit.\n")
    print("#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]\n")
    print("/// Constants of the gamma family for one element type, lowest degree first; J is Binet's function.")
    print("pub trait GammaCoefficients: Sized + 'static {")
    print("    /// Where J's expansion in 1/x² takes over.\n    const BINET_FAR_FROM: Self;")
    for name, _, doc in SPLIT:
        print(f"    /// {doc}, and what is missing from it.\n    const {name}: (Self, Self);")
    for name, *_, doc in POLYNOMIALS:
        print(f"    /// {doc}.\n    const {name}: &'static [Self];")
    for name, *_, doc in RATIONALS:
        print(f"    /// {doc}: the numerator.\n    const {name}_OVER: &'static [Self];")
        print(f"    /// The denominator to [`{name}_OVER`](Self::{name}_OVER).\n    const {name}_UNDER: &'static [Self];")
    print("}")
    for index, (bits, kind) in enumerate(((32, "f32"), (64, "f64"))):
        print(f"\nimpl GammaCoefficients for {kind} {{")
        print(f"    const BINET_FAR_FROM: Self = {literal(RATIONALS[0][2][index], bits)};")
        for name, value, _ in SPLIT:
            high = literal(value, bits)
            print(f"    const {name}: (Self, Self) = ({high}, {literal(value - rounded(value, bits), bits)});")
        for name, f, intervals, degrees, weight, _ in POLYNOMIALS:
            coefficients = interpolate(f, *intervals[index], degrees[index])
            print(f"    // relative error {mp.nstr(worst(f, coefficients, *intervals[index], weight), 3)}")
            array(name, coefficients, bits)
        for name, f, ends, degrees, centres, _ in RATIONALS:
            over, under = rational(f, HALF, mpf(ends[index]), degrees[index], mpf(centres[index]))
            print(f"    // relative error {mp.nstr(worst_rational(f, over, under, HALF, mpf(ends[index])), 3)}")
            array(f"{name}_OVER", over, bits)
            array(f"{name}_UNDER", under, bits)
        print("}")


def rounded(value, bits):
    """The element type's nearest number."""
    with mp.workprec({32: 24, 64: 53}[bits]):
        return +value


if __name__ == "__main__":
    main()
