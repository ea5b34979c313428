"""Prints coefficients.rs: the polynomials of the vector functions, for float32 and float64.

    python rust/core/src/vmath/coefficients.py > rust/core/src/vmath/coefficients.rs

Each polynomial interpolates its function at Chebyshev nodes of its interval in 60-digit arithmetic (near-minimax), and is then
rounded to the element type. The comment behind each is the largest relative error of the unrounded polynomial on the interval, as it
enters the function (weighted by the factor in front of it).
"""

from mpmath import mp, mpf

mp.dps = 60
LN2 = mp.log(2)


def interpolate(f, low, high, degree):
    """Monomial coefficients of the polynomial through f at the Chebyshev nodes of [low, high]."""
    n = degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos((2 * i + 1) * mp.pi / (2 * n)) for i in range(n)]
    vandermonde = mp.matrix([[x**k for k in range(n)] for x in nodes])
    return list(mp.lu_solve(vandermonde, mp.matrix([f(x) for x in nodes])))


def series(ratio, terms=80):
    """sum ratio(k, x) for k < terms: stable near 0, where the closed forms cancel."""
    return lambda x: mp.fsum(ratio(k, x) for k in range(terms))


exp_tail = series(lambda k, x: x**k / mp.factorial(k + 2))  # (e^x - 1 - x) / x^2
sin_turn = series(lambda k, z: (-1) ** k * (2 * mp.pi) ** (2 * k + 1) * z**k / mp.factorial(2 * k + 1))  # sin(2 pi u) / u, z = u^2
cos_turn = series(lambda k, z: (-1) ** (k + 1) * (2 * mp.pi) ** (2 * k + 2) * z**k / mp.factorial(2 * k + 2))  # (cos(2 pi u) - 1) / z


def ln_tail(f):
    """(log1p(f) - f + f^2/2) / f^3."""
    return mp.fsum((-f) ** k / (k + 3) for k in range(400)) if abs(f) < mpf("0.1") else (mp.log1p(f) - f + f**2 / 2) / f**3


def log1p_tail(t):
    """(t - log1p(t)) / t^2."""
    return mp.fsum((-t) ** k / (k + 2) for k in range(400)) if abs(t) < mpf("0.1") else (t - mp.log1p(t)) / t**2


def normal_tail(y):
    """(t + 4) e^(t^2/2) Q(t), Q(t) the normal distribution's mass above t, y = (t - 4) / (t + 4)."""
    t = 4 * (1 + y) / (1 - y)
    return (t + 4) * mp.exp(t**2 / 2) * mp.erfc(t / mp.sqrt(2)) / 2


def log_sinhc(z):
    """ln(sinh(a/2) / (a/2)) / a^2, a^2 = z."""
    a = mp.sqrt(z) if z else mpf("1e-9")
    return mp.log(mp.sinh(a / 2) / (a / 2)) / a**2


def log_sinhc_slope(z):
    """The derivative of ln(sinh(a/2) / (a/2)) by a, over a, a^2 = z."""
    a = mp.sqrt(z) if z else mpf("1e-9")
    return (mp.coth(a / 2) / 2 - 1 / a) / a


SPECS = [
    # name, function, interval, degree for float32 and float64, weight of the polynomial's error in the result, doc
    ("EXP_TAIL", exp_tail, (mpf("-0.75"), mpf("0.75")), (7, 14), lambda x: x**2 / mp.e**x, "`(e^r − 1 − r) / r²` for |r| ≤ 0.75"),
    ("EXP_NEAR", exp_tail, (mpf("-0.3466"), mpf("0.3466")), (5, 10), lambda x: x**2 / mp.e**x, "`(e^r − 1 − r) / r²` for |r| ≤ ln 2 / 2"),
    ("LN_TAIL", ln_tail, (mp.sqrt(mpf("0.5")) - 1, mp.sqrt(2) - 1), (8, 19), lambda f: f**3 / mp.log1p(f) if f else mpf(0), "`(ln(1 + f) − f + f²/2) / f³` for √½ ≤ 1 + f ≤ √2"),
    ("LOG1P_TAIL", log1p_tail, (mpf(0), mpf(1)), (9, 20), lambda t: t**2 / mp.log1p(t) if t else mpf(0), "`(t − ln(1 + t)) / t²` for 0 ≤ t ≤ 1"),
    ("SIN_TURN", sin_turn, (mpf(0), mpf(1) / 64), (3, 7), lambda z: 1 / sin_turn(z), "`sin(2πu) / u` in z = u² ≤ 1/64"),
    ("COS_TURN", cos_turn, (mpf(0), mpf(1) / 64), (3, 7), lambda z: z, "`(cos(2πu) − 1) / u²` in z = u² ≤ 1/64"),
    ("LOG_SINHC", log_sinhc, (mpf(0), mpf(16)), (6, 14), lambda z: 1 / log_sinhc(z), "`ln(sinh(a/2) / (a/2)) / a²` in z = a² ≤ 16"),
    ("LOG_SINHC_SLOPE", log_sinhc_slope, (mpf(0), mpf(16)), (7, 15), lambda z: 1 / log_sinhc_slope(z), "`(coth(a/2) / 2 − 1/a) / a`, the derivative of ln(sinh(a/2) / (a/2)) by a, divided by a, in z = a² ≤ 16"),
    ("NORMAL_TAIL", normal_tail, (mpf(-1), mpf(36) / 44), (11, 22), lambda y: 1 / normal_tail(y), "`(t + 4) e^(t²/2) Q(t)`, Q the normal tail, in y = (t − 4)/(t + 4) for 0 ≤ t ≤ 40"),
]


def worst(f, coefficients, low, high, weight):
    """Largest weighted error over a fine grid."""
    points = [low + (high - low) * i / mpf(500) for i in range(501)]
    return max(abs((mp.polyval(coefficients[::-1], x) - f(x)) * weight(x)) for x in points)


def literal(x, bits):
    """A decimal that rounds to the element type's nearest number."""
    import struct

    value = float(x)
    if bits == 32:
        # float() rounds to float64 first; the double rounding is harmless here because the next step prints the result itself.
        value = struct.unpack("<f", struct.pack("<f", value))[0]
        text = next(t for digits in range(6, 12) if struct.pack("<f", float(t := f"{value:.{digits}e}")) == struct.pack("<f", value))
    else:
        text = repr(value)
    mantissa, _, exponent = text.partition("e")
    mantissa = mantissa if "." in mantissa else mantissa + ".0"
    return f"{mantissa}e{int(exponent)}" if exponent and int(exponent) else mantissa


def split(value, bits):
    """value as high + low, the high part short enough that a product with a small integer is exact."""
    shift = {32: 12, 64: 32}[bits]
    high = mp.floor(value * mpf(2) ** shift) / mpf(2) ** shift
    return high, value - high


def main():
    print("//! Made by `coefficients.py` beside this file; do not edit.\n")
    print("#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]\n")
    print("/// Constants of the vector functions for one element type, lowest degree first.")
    print("pub trait Coefficients: Sized + 'static {")
    print("    /// 1 / ln 2.\n    const INV_LN2: Self;")
    print("    /// The high part of ln 2: its product with an exponent is exact.\n    const LN2_HIGH: Self;")
    print("    /// ln 2 less its high part.\n    const LN2_LOW: Self;")
    for name, _, _, _, _, doc in SPECS:
        print(f"    /// {doc}.\n    const {name}: &'static [Self];")
    print("    /// What the first two of [`NORMAL_TAIL`](Self::NORMAL_TAIL) lost in being rounded.\n    const NORMAL_TAIL_REST: [Self; 2];")
    print("}")
    for index, (bits, kind) in enumerate(((32, "f32"), (64, "f64"))):
        print(f"\nimpl Coefficients for {kind} {{")
        high, low = split(LN2, bits)
        print(f"    const INV_LN2: Self = {literal(1 / LN2, bits)};")
        print(f"    const LN2_HIGH: Self = {literal(high, bits)};")
        print(f"    const LN2_LOW: Self = {literal(low, bits)};")
        for name, f, (a, b), degrees, weight, _ in SPECS:
            coefficients = interpolate(f, a, b, degrees[index])
            print(f"    // relative error {mp.nstr(worst(f, coefficients, a, b, weight), 3)}")
            print(f"    const {name}: &'static [Self] = &[")
            for c in coefficients:
                print(f"        {literal(c, bits)},")
            print("    ];")
        # The last of SPECS.
        lost = (literal(c - mpf(float(literal(c, bits))), bits) for c in coefficients[:2])
        print(f"    const NORMAL_TAIL_REST: [Self; 2] = [{', '.join(lost)}];")
        print("}")


if __name__ == "__main__":
    main()
