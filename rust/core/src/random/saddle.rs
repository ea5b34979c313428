//! What samplers share: how long they look, and probabilities by their deviance, which keeps its accuracy where ln k! and k ln λ are large
//! and cancel (Loader 2000, "Fast and accurate computation of binomial probabilities").

/// How many proposals a sampler may refuse. Each accepts more than half of them, so that the last resort behind it is never seen.
pub(super) const ATTEMPTS: usize = 1000;

/// The least probability that inversion looks for: what is left past it is the rounding of the terms before.
pub(super) const LEAST: f64 = 1.0 / (1_u64 << 60) as f64;

/// ln(1 + x) − x, for x > −1, without cancellation at 0.
pub(super) fn log1p_minus(x: f64) -> f64 {
    if x.abs() > 0.25 {
        return libm::log1p(x) - x;
    }
    // With r = x/(2 + x): ln(1 + x) = 2 atanh r = 2r + 2r Σ r²ⁿ/(2n + 1), and 2r − x = −r x. Here r² < 0.0205.
    let r = x / (2.0 + x);
    let y = r * r;
    let sum = (1..=10).rev().fold(0.0, |sum, n| (sum + 2.0 / f64::from(2 * n + 1)) * y);
    r * (sum - x)
}

/// ln n! − ln(√(2πn) (n/e)ⁿ), for a whole n ≥ 1.
pub(super) fn stirling(n: f64) -> f64 {
    const FACTORIALS: [f64; 10] = [1.0, 1.0, 2.0, 6.0, 24.0, 120.0, 720.0, 5040.0, 40_320.0, 362_880.0];
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;
    if n < 10.0 {
        return libm::log(FACTORIALS[n as usize]) - (n + 0.5) * libm::log(n) + n - HALF_LN_TAU;
    }
    // The terms of Stirling's series, B₂ₖ/(2k(2k − 1) n²ᵏ⁻¹): the first left out is below 1e-15.
    let y = 1.0 / (n * n);
    (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y * (1.0 / 1188.0 - y * (691.0 / 360_360.0)))))) / n
}

#[cfg(test)]
mod tests {
    use super::{log1p_minus, stirling};

    #[test]
    fn log1p_minus_keeps_its_relative_accuracy() {
        for i in -600..=600 {
            for scale in [1e-3, 1e-7, 1e-150] {
                let x = f64::from(i) * scale;
                // The smallest terms first.
                let series: f64 = (2..400).rev().map(|n| -(-x).powi(n) / f64::from(n)).sum();
                assert!((log1p_minus(x) - series).abs() <= 4e-15 * series.abs(), "{x}: {} for {series}", log1p_minus(x));
            }
        }
        assert_eq!(log1p_minus(-1.0), f64::NEG_INFINITY);
        assert_eq!(log1p_minus(1e300), libm::log1p(1e300) - 1e300);
    }

    #[test]
    fn stirling_is_what_the_formula_leaves_of_a_factorial() {
        let mut factorial = 1.0;
        for n in 1..=170 {
            let n = f64::from(n);
            factorial *= n;
            let formula = 0.5 * (std::f64::consts::TAU * n).ln() + n * n.ln() - n;
            // The reference's own rounding.
            let error = stirling(n) - (factorial.ln() - formula);
            assert!(error.abs() <= 4e-16 * (n * n.ln() + 4.0), "{n}: {error}");
        }
    }
}
