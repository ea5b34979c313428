//! Gamma draws (Marsaglia and Tsang 2000, "A simple method for generating gamma variables"), as logarithms so that small shapes keep their spread.

use super::CellWords;
use super::saddle::{ATTEMPTS, log1p_minus};

/// ln of a Gamma(`shape`, 1) draw, for any shape ≥ 0; −∞ of shape 0, and of some draws of a shape below 10⁻³⁰⁶.
///
/// Of a shape below 1 it is the draw of shape + 1 times U^{1/shape}. The proposal is d (1 + c x)³ of a normal x, with d = shape − ⅓ and
/// c = 1/√(9d); it is accepted with probability exp(x²/2 + d (1 − v + ln v)), v = (1 + c x)³.
pub fn ln_gamma_variate(words: &mut CellWords, shape: f64) -> f64 {
    debug_assert!(shape >= 0.0, "{shape}");
    if shape < 1.0 {
        let ln_power = words.exponential() / shape;
        return at_least_one(words, shape + 1.0) - ln_power;
    }
    at_least_one(words, shape)
}

fn at_least_one(words: &mut CellWords, shape: f64) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    for _ in 0..ATTEMPTS {
        let x = words.normal();
        let t = c * x;
        if t <= -1.0 {
            continue;
        }
        let u = words.uniform_open();
        let square = x * x;
        // Their squeeze, which nearly always saves the logarithms.
        let accepted = u < 1.0 - 0.0331 * square * square || {
            // ln v + 1 − v = 3 (ln(1 + t) − t) − 3t² − t³: each term is of the size of x²/d, so that none loses its digits to a large d.
            let ln_ratio = 0.5 * square + d * (3.0 * log1p_minus(t) - t * t * (3.0 + t));
            libm::log(u) < ln_ratio
        };
        if accepted {
            return libm::log(d) + 3.0 * libm::log1p(t);
        }
    }
    libm::log(d)
}
