"""Prints gamma_values.rs: constants of the double-double gamma functions, and values of them to 32 digits from 60-digit arithmetic.

    python rust/core/tests/reference/gamma_values.py > rust/core/tests/reference/gamma_values.rs && cargo fmt

Its values are an independent check of the double-double reference and of the vector functions.
"""

from mpmath import mp, mpf

mp.dps = 60
ROOT = mp.findroot(mp.digamma, mpf("1.4616321449683623"))


def parts(value, count=2):
    """`value` as an unevaluated sum of float64, largest first."""
    out = []
    for _ in range(count):
        out.append(float(value))
        value -= out[-1]
    return out


def double(value):
    """A Double's expression."""
    high, low = parts(value)
    return f"d({high!r}, {low!r})"


def array(name, doc, values):
    """One constant array of Doubles."""
    print(f"/// {doc}")
    table(f"const {name}: [Double; {len(values)}]", map(double, values))


def table(what, rows):
    """One array, a row a line."""
    print("#[rustfmt::skip]")
    print(f"pub(crate) {what} = [")
    print(*(f"    {row}," for row in rows), sep="\n")
    print("];")


def slope_series(k):
    """The k-th Taylor coefficient of psi at its zero."""
    return mp.polygamma(k, ROOT) / mp.factorial(k)


def binet(x):
    """J(x) with enough digits for the largest cancellation of its closed form."""
    with mp.workdps(60 + 2 * max(0, int(mp.log10(x)))):
        x = mpf(x)
        return mp.loggamma(x) - ((x - mpf(1) / 2) * mp.log(x) - x + mp.log(2 * mp.pi) / 2)


def binet_slope(x):
    """J'(x), likewise."""
    with mp.workdps(60 + 2 * max(0, int(mp.log10(x)))):
        x = mpf(x)
        return mp.digamma(x) - mp.log(x) + 1 / (2 * x)


def lgamma(x):
    """ln Gamma(x)."""
    return mp.loggamma(mpf(x))


def digamma(x):
    """psi(x)."""
    return mp.digamma(mpf(x))


def arguments():
    """float32 numbers, so that both types are checked at them: powers of ten, and neighbourhoods of zeros and seams."""
    with mp.workprec(24):
        float32 = [+mpf(x) for k in range(-45, 39) for x in (mpf(10) ** k, mpf(10) ** k * mpf("3.7"))]
        near = [mpf("0.25"), mpf("0.5"), mpf(1), +ROOT, mpf("1.5"), mpf(2), mpf("2.5"), mpf(4), mpf(8), mpf(32)]
        float32 += [c * (1 + s * mpf(2) ** -k) for c in near for k in (3, 12, 22) for s in (-1, 0, 1)]
    float32 = [x for x in float32 if mpf(2) ** -126 < x < mpf("3.4e38")]
    float64 = [mpf(float(mpf(10) ** k)) for k in range(-300, 301, 25)]
    return sorted({float(x) for x in float32 + float64})


def main():
    print("//! Made by `gamma_values.py` beside this file; do not edit.\n")
    print("#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]\n")
    print("use super::Double;\n")
    print("const fn d(hi: f64, lo: f64) -> Double {\n    Double { hi, lo }\n}\n")
    array("STIRLING", "B₂ₖ / (2k (2k − 1)) for k ≥ 1.", [mp.bernoulli(2 * k) / (2 * k * (2 * k - 1)) for k in range(1, 19)])
    array("STIRLING_SLOPE", "B₂ₖ / 2k for k ≥ 1.", [mp.bernoulli(2 * k) / (2 * k) for k in range(1, 19)])
    array("GAMMA_AT_TWO", "Taylor's coefficients of lgamma at 2, from the first power.", [1 - mp.euler, *[(-1) ** k * (mp.zeta(k) - 1) / k for k in range(2, 45)]])
    array("DIGAMMA_AT_ZERO", "Taylor's coefficients of ψ at its zero, from the first power.", [slope_series(k) for k in range(1, 50)])
    print("/// The zero of ψ in three parts.")
    print(f"pub(crate) const ROOT: [f64; 3] = {parts(ROOT, 3)};")
    print("/// x with J(x), J′(x), lgamma(x), ψ(x).")
    rows = [f"({x!r}, [{', '.join(double(f(x)) for f in (binet, binet_slope, lgamma, digamma))}])" for x in arguments()]
    table(f"static VALUES: [(f64, [Double; 4]); {len(rows)}]", rows)


if __name__ == "__main__":
    main()
