//! Poisson draws: inversion of small rates, transformed rejection of large ones (Hörmann 1993, "The transformed rejection method for
//! generating Poisson random variables", algorithm PTRS).

use super::CellWords;
use super::saddle::{ATTEMPTS, LEAST, log1p_minus, stirling};

/// From here on counts are spaced as widely as numbers are, and a rounded normal is a Poisson variable to within 10⁻⁸ in probability.
const LARGE: f64 = 9_007_199_254_740_992.0;

/// A Poisson(`rate`) count, a whole number, for any rate ≥ 0; ∞ for an infinite one.
pub fn poisson(words: &mut CellWords, rate: f64) -> f64 {
    debug_assert!(rate >= 0.0, "{rate}");
    if rate < 10.0 {
        invert(words, rate)
    } else if rate < LARGE {
        reject(words, rate)
    } else if rate < f64::INFINITY {
        // Within ±9.5 √rate the sum lies where every number is whole.
        rate + libm::sqrt(rate) * words.normal()
    } else {
        f64::INFINITY
    }
}

/// Takes probabilities from a uniform, from that of 0 on, until one is larger than what is left of it.
fn invert(words: &mut CellWords, rate: f64) -> f64 {
    let mut left = words.uniform();
    let mut probability = libm::exp(-rate);
    let mut k = 0.0;
    while left >= probability && probability > LEAST {
        left -= probability;
        k += 1.0;
        probability *= rate / k;
    }
    k
}

fn reject(words: &mut CellWords, rate: f64) -> f64 {
    // The paper's fitted constants, good from rate 10 on.
    let b = 0.931 + 2.53 * libm::sqrt(rate);
    let a = -0.059 + 0.024_83 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    for _ in 0..ATTEMPTS {
        let u = words.uniform_open() - 0.5;
        let v = words.uniform_open();
        let edge = 0.5 - u.abs();
        let k = libm::floor((2.0 * a / edge + b) * u + rate + 0.43);
        if edge >= 0.07 && v <= squeeze {
            return k;
        }
        if k < 0.0 || (edge < 0.013 && v > edge) {
            continue;
        }
        if libm::log(v * inverse_alpha / (a / (edge * edge) + b)) <= ln_probability(k, rate) {
            return k;
        }
    }
    libm::floor(rate)
}

/// ln(rateᵏ e⁻ʳᵃᵗᵉ / k!).
fn ln_probability(k: f64, rate: f64) -> f64 {
    if k == 0.0 {
        return -rate;
    }
    k * log1p_minus((rate - k) / k) - stirling(k) - 0.5 * libm::log(std::f64::consts::TAU * k)
}
