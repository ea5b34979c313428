//! Binomial draws: inversion of small means, transformed rejection of large ones (Hörmann 1993, "The generation of binomial random
//! variates", algorithm BTRS).

use super::CellWords;
use super::saddle::{ATTEMPTS, LEAST, log1p_minus, stirling};

/// The number of successes in `total` trials, a whole number, each a success with probability 1/(1 + e^−logit).
///
/// The rarer of success and failure is counted, so that a probability near 1 keeps the digits of its distance from 1.
pub fn binomial(words: &mut CellWords, total: u32, logit: f64) -> f64 {
    debug_assert!(!logit.is_nan());
    let n = f64::from(total);
    let rarer = Trials::new(n, -logit.abs());
    let k = if n * rarer.p < 10.0 { rarer.invert(words) } else { rarer.reject(words) };
    if logit > 0.0 { n - k } else { k }
}

/// n trials with a probability p ≤ ½.
struct Trials {
    n: f64,
    p: f64,
    /// p / (1 − p).
    odds: f64,
}

impl Trials {
    fn new(n: f64, logit: f64) -> Self {
        let odds = libm::exp(logit);
        Self { n, p: odds / (1.0 + odds), odds }
    }

    /// ln (1 − p)ⁿ.
    fn ln_none(&self) -> f64 {
        -self.n * libm::log1p(self.odds)
    }

    /// Takes probabilities from a uniform, from that of 0 on, until one is larger than what is left of it.
    fn invert(&self, words: &mut CellWords) -> f64 {
        let mut left = words.uniform();
        let mut probability = libm::exp(self.ln_none());
        let mut k = 0.0;
        while left >= probability && probability > LEAST {
            left -= probability;
            probability *= (self.n - k) / (k + 1.0) * self.odds;
            k += 1.0;
        }
        k.min(self.n)
    }

    fn reject(&self, words: &mut CellWords) -> f64 {
        // The paper's fitted constants, good from a mean of 10 on.
        let deviation = libm::sqrt(self.n * self.p / (1.0 + self.odds));
        let b = 1.15 + 2.53 * deviation;
        let a = -0.0873 + 0.0248 * b + 0.01 * self.p;
        let alpha = (2.83 + 5.1 / b) * deviation;
        let squeeze = 0.92 - 4.2 / b;
        let centre = self.n * self.p + 0.5;
        let mode = libm::floor((self.n + 1.0) * self.p);
        let mut ln_most = None;
        for _ in 0..ATTEMPTS {
            let u = words.uniform_open() - 0.5;
            let v = words.uniform_open();
            let edge = 0.5 - u.abs();
            let k = libm::floor((2.0 * a / edge + b) * u + centre);
            if !(0.0..=self.n).contains(&k) {
                continue;
            }
            if edge >= 0.07 && v <= squeeze {
                return k;
            }
            let ln_most = *ln_most.get_or_insert_with(|| self.ln_probability(mode));
            if libm::log(v * alpha / (a / (edge * edge) + b)) <= self.ln_probability(k) - ln_most {
                return k;
            }
        }
        mode
    }

    fn ln_probability(&self, k: f64) -> f64 {
        let rest = self.n - k;
        if k == 0.0 {
            return self.ln_none();
        }
        if rest == 0.0 {
            return self.n * libm::log(self.odds) + self.ln_none();
        }
        // n (1 − p) − (n − k) is k − n p.
        let excess = self.n * self.p - k;
        k * log1p_minus(excess / k) + rest * log1p_minus(-excess / rest) + stirling(self.n)
            - stirling(k)
            - stirling(rest)
            - 0.5 * libm::log(std::f64::consts::TAU * k * (rest / self.n))
    }
}
