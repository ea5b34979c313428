//! Binet's function, lgamma and ψ: slow in double-double, as (y, n) for y · 2ⁿ, and quick in float64.

use super::Double;
use super::gamma_values::{DIGAMMA_AT_ZERO, GAMMA_AT_TWO, ROOT, STIRLING, STIRLING_SLOPE};

/// ½ ln 2π.
const HALF_LN_2PI: Double = Double { hi: 0.918_938_533_204_672_8, lo: -3.878_294_158_067_242e-17 };
/// From here on eighteen terms of Stirling's series reach 106 bits.
const FAR: f64 = 32.0;

/// Horner's scheme, lowest degree first.
fn series(x: Double, coefficients: &[Double]) -> Double {
    coefficients.iter().rev().fold(Double::from(0.0), |value, &c| value * x + c)
}

fn inverse(x: Double) -> Double {
    Double::from(1.0) / x
}

/// x, …, x + n − 1 with x + n ≥ 32, as x + n, their product and its logarithmic derivative.
fn shifted(x: f64) -> (Double, Double, Double) {
    let (mut up, mut product, mut slope) = (Double::from(x), Double::from(1.0), Double::from(0.0));
    while up.hi < FAR {
        (product, slope) = (product * up, slope + inverse(up));
        up = up + 1.0;
    }
    (up, product, slope)
}

/// J from its series.
fn binet_far(x: Double) -> Double {
    inverse(x) * series(inverse(x * x), &STIRLING)
}

fn slope_far(x: Double) -> Double {
    let u = inverse(x * x);
    -(u * series(u, &STIRLING_SLOPE))
}

/// x > 1e100 stands for itself · 2⁻⁶⁰⁰, and x < 1e-100 for itself · 2⁶⁰⁰; what is left out of the leading term is lost.
fn leading(x: f64) -> Option<(Double, bool)> {
    let large = x > 1e100;
    (large || x < 1e-100).then(|| (Double::from(x).scaled(if large { -600 } else { 600 }), large))
}

/// lgamma by Stirling's formula from x + n and the product of what lies between.
fn lgamma_far(up: Double, product: Double) -> Double {
    (up - 0.5) * up.ln() - up + HALF_LN_2PI + binet_far(up) - product.ln()
}

/// J(x).
pub(crate) fn binet(x: f64) -> (Double, i32) {
    match leading(x) {
        Some((x, true)) => return (STIRLING[0] / x, -600),
        Some((..)) => return (Double::from(x).ln() * -0.5 - HALF_LN_2PI, 0),
        None if x >= FAR => return (binet_far(x.into()), 0),
        None => {}
    }
    let (up, product, _) = shifted(x);
    let stirling = (Double::from(x) - 0.5) * Double::from(x).ln() - x + HALF_LN_2PI;
    (lgamma_far(up, product) - stirling, 0)
}

/// J′(x).
pub(crate) fn binet_slope(x: f64) -> (Double, i32) {
    match leading(x) {
        Some((x, true)) => return (-STIRLING_SLOPE[0] / (x * x), -1200),
        Some((x, false)) => return (Double::from(-0.5) / x, 600),
        None if x >= FAR => return (slope_far(x.into()), 0),
        None => {}
    }
    let (up, _, slope) = shifted(x);
    (up.ln() - inverse(up) * 0.5 + slope_far(up) - slope - Double::from(x).ln() + inverse(x.into()) * 0.5, 0)
}

/// ln Γ(x).
pub(crate) fn lgamma(x: f64) -> (Double, i32) {
    let value = match leading(x) {
        Some((scaled, true)) => return (scaled * (Double::from(x).ln() - 1.0), 600),
        Some(_) => -Double::from(x).ln(),
        // Near its zeros, from the series at 2; Γ(1 + d) = Γ(2 + d) / (1 + d).
        None if (x - 2.0).abs() <= 0.25 => at_two(Double::from(x) - 2.0),
        None if (x - 1.0).abs() <= 0.25 => at_two(Double::from(x) - 1.0) - (Double::from(x) - 1.0).ln_1p(),
        None => {
            let (up, product, _) = shifted(x);
            lgamma_far(up, product)
        }
    };
    (value, 0)
}

fn at_two(d: Double) -> Double {
    d * series(d, &GAMMA_AT_TWO)
}

/// ψ(x).
pub(crate) fn digamma(x: f64) -> (Double, i32) {
    let value = match leading(x) {
        Some((_, true)) => Double::from(x).ln(),
        Some((x, false)) => return (Double::from(-1.0) / x, 600),
        None if (x - ROOT[0]).abs() <= 0.25 => {
            let w = ROOT.iter().fold(Double::from(x), |w, &part| w - part);
            w * series(w, &DIGAMMA_AT_ZERO)
        }
        None => {
            let (up, _, slope) = shifted(x);
            up.ln() - inverse(up) * 0.5 + slope_far(up) - slope
        }
    };
    (value, 0)
}

/// From here on nine terms of Stirling's series reach float64.
const QUICK_FAR: f64 = 12.0;

fn quick_series(u: f64, coefficients: &[Double]) -> f64 {
    coefficients[..9].iter().rev().fold(0.0, |value, c| value * u + c.hi)
}

/// Σ over k ≥ 1 of w²ᵏ / (2k + 1) · (1 or 2k), w = 1/(2x + 1): J(x) − J(x + 1) and, over −w/2, its derivative (Gudermann).
fn step(x: f64, weight: impl Fn(f64) -> f64) -> f64 {
    let w = 1.0 / (2.0 * x + 1.0);
    (1..28).rev().map(f64::from).fold(0.0, |sum, k| (sum + weight(k) / (2.0 * k + 1.0)) * w * w)
}

/// J(x) to a few float64 ulps.
pub(crate) fn quick_binet(x: f64) -> f64 {
    if x < 0.5 {
        return libm::lgamma(1.0 + x) - (x + 0.5) * x.ln() + x - HALF_LN_2PI.hi;
    }
    if x < QUICK_FAR {
        return step(x, |_| 1.0) + quick_binet(x + 1.0);
    }
    quick_series(1.0 / (x * x), &STIRLING) / x
}

/// J′(x), likewise.
pub(crate) fn quick_binet_slope(x: f64) -> f64 {
    if x < 0.5 {
        return quick_digamma(1.0 + x) - x.ln() - 0.5 / x;
    }
    if x < QUICK_FAR {
        return -2.0 / (2.0 * x + 1.0) * step(x, |k| 2.0 * k) + quick_binet_slope(x + 1.0);
    }
    -quick_series(1.0 / (x * x), &STIRLING_SLOPE) / (x * x)
}

/// ψ(x), likewise.
pub(crate) fn quick_digamma(x: f64) -> f64 {
    if (x - ROOT[0]).abs() <= 0.25 {
        let w = (x - ROOT[0]) - ROOT[1];
        return w * DIGAMMA_AT_ZERO[..24].iter().rev().fold(0.0, |value, c| value * w + c.hi);
    }
    if x < 2.0 {
        return quick_digamma(x + 1.0) - 1.0 / x;
    }
    x.ln() - 0.5 / x + quick_binet_slope(x)
}
