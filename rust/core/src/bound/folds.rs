//! Bounds on the log evidence from one stream of log weights, by leaving out folds of it.
//!
//! Particles are dealt in turn to M = min(20, K) folds of nₘ. With ℓ the log mean of all weights, ℓ₋ₘ that without fold m and gₘ that inside it:
//! lower = ℓ, whose expectation is at most log p(x) (Burda et al. 2016); estimate = M ℓ − Σ (1 − nₘ/K) ℓ₋ₘ, the jackknife of ℓ (Nowozin 2018);
//! upper = Σ (nₘ/K) [ℓ₋ₘ + exp(gₘ − ℓ₋ₘ) − 1], whose expectation is at least log p(x): the tangent log a ≤ a/c − 1 + log c at a c that is independent of a. Each fold keeps
//! its largest log weight and its sums over that, so memory does not grow with K and no fold underflows beside another.

use crate::network::lanewise;
use crate::simd::{Kernel, Simd, dispatch};
use crate::vmath::exp;

/// M, the most folds.
pub(crate) const FOLDS: usize = 20;

/// What a row's log weights say of its evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) lower: f64,
    pub(crate) estimate: f64,
    pub(crate) upper: f64,
    /// Of the estimate: √((M − 1)/M Σ (ℓ₋ₘ − mean)²).
    pub(crate) standard_error: f64,
    /// (Σ w)² / Σ w².
    pub(crate) ess: f64,
}

/// Sums of a fold's weights and of their squares, over exp of its largest log weight.
#[derive(Clone, Copy, Debug)]
struct Fold {
    count: usize,
    largest: f64,
    sum: f64,
    squares: f64,
}

impl Fold {
    /// The sums over exp(`shift`) and its square.
    fn over(&self, shift: f64) -> [f64; 2] {
        let factor = match self.largest {
            _ if self.sum == 0.0 => 0.0,
            // ∞ beside ∞ too.
            largest if largest == shift => 1.0,
            largest => libm::exp(largest - shift),
        };
        [self.sum * factor, self.squares * factor * factor]
    }
}

/// ln Σ w of some folds, and Σ w² over exp of twice their largest log weight, which comes third.
fn join<'a>(folds: impl Iterator<Item = &'a Fold> + Clone) -> (f64, f64, f64) {
    let largest = folds.clone().fold(f64::NEG_INFINITY, |m, f| m.max(f.largest));
    if largest == f64::NEG_INFINITY {
        return (largest, 0.0, 0.0);
    }
    let [sum, squares] = folds.fold([0.0; 2], |[a, b], f| {
        let [c, d] = f.over(largest);
        [a + c, b + d]
    });
    (largest + libm::log(sum), squares, sum)
}

/// The folds of one row.
#[derive(Clone, Debug)]
pub(crate) struct Folds {
    /// How many there are.
    len: usize,
    largest: [f64; FOLDS],
    sums: [f64; FOLDS],
    squares: [f64; FOLDS],
    dealt: usize,
    weights: Vec<f64>,
}

impl Folds {
    /// For a row of `num_particles`.
    pub(crate) fn new(num_particles: usize) -> Self {
        let nothing = [0.0; FOLDS];
        let largest = [f64::NEG_INFINITY; FOLDS];
        Self { len: FOLDS.min(num_particles), largest, sums: nothing, squares: nothing, dealt: 0, weights: Vec::new() }
    }

    /// Deals a block of log weights; NaN, which comes of ∞ − ∞, counts as no weight. How a stream is cut into blocks can change
    /// a result's last bits, so callers cut it at fixed places. A log weight of +∞ makes every bound +∞.
    pub(crate) fn push(&mut self, log_weights: &[f64]) {
        let Self { len: m, largest, sums, squares, dealt, weights } = self;
        let m = *m;
        weights.clear();
        weights.extend(log_weights.iter().map(|&w| if w.is_nan() { f64::NEG_INFINITY } else { w }));
        // Deals, the first from the fold whose turn it is, without a division for each weight.
        let (len, first) = (weights.len(), *dealt % m);
        let deals = || {
            let head = len.min((m - first) % m);
            std::iter::once((0..head, first)).chain((head..len).step_by(m).map(move |at| (at..len.min(at + m), 0)))
        };
        let before = *largest;
        for (deal, fold) in deals() {
            for (&w, largest) in weights[deal].iter().zip(&mut largest[fold..]) {
                *largest = if w > *largest { w } else { *largest };
            }
        }
        for (((sum, squares), before), largest) in sums.iter_mut().zip(&mut *squares).zip(before).zip(&*largest) {
            if *sum > 0.0 && *largest > before {
                let factor = libm::exp(before - largest);
                *sum *= factor;
                *squares *= factor * factor;
            }
        }
        for (deal, fold) in deals() {
            for (w, &largest) in weights[deal].iter_mut().zip(&largest[fold..]) {
                let below = if *w == largest { 0.0 } else { *w - largest };
                // Beside −∞ too it is no weight, not a weight of 1.
                *w = if *w == f64::NEG_INFINITY { *w } else { below };
            }
        }
        dispatch(Exp(weights));
        for (deal, fold) in deals() {
            for ((&w, sum), squares) in weights[deal].iter().zip(&mut sums[fold..]).zip(&mut squares[fold..]) {
                *sum += w;
                *squares += w * w;
            }
        }
        *dealt += len;
    }

    fn fold(&self, f: usize) -> Fold {
        let count = self.dealt / self.len + usize::from(f < self.dealt % self.len);
        Fold { count, largest: self.largest[f], sum: self.sums[f], squares: self.squares[f] }
    }

    /// The bounds by what was dealt, one particle at least.
    pub(crate) fn bounds(&self) -> Bounds {
        let each: [Fold; FOLDS] = std::array::from_fn(|f| self.fold(f));
        let each = &each[..self.len];
        let (k, m) = (self.dealt as f64, each.len() as f64);
        let (log_sum, squares, sum) = join(each.iter());
        let lower = log_sum - libm::log(k);
        // Of equal weights it is K but for rounding.
        let ess = if squares > 0.0 { (sum * sum / squares).min(k) } else { 0.0 };
        if each.len() == 1 {
            return Bounds { lower, estimate: lower, upper: f64::INFINITY, standard_error: f64::INFINITY, ess };
        }
        let largest = each.iter().fold(f64::NEG_INFINITY, |m, f| m.max(f.largest));
        let mut over = [0.0; FOLDS];
        over.iter_mut().zip(each).for_each(|(over, fold)| *over = fold.over(largest)[0]);
        let (mut shortfall, mut upper) = (0.0, 0.0);
        let mut without = [0.0; FOLDS];
        for (i, fold) in each.iter().enumerate() {
            let others = each.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, f)| f);
            let n = fold.count as f64;
            // Over the largest log weight of all where a fold that is left has it, which is the same and is known.
            let rest = if others.clone().any(|f| f.largest == largest) {
                let sum = over.iter().take(each.len()).enumerate().filter(|(j, _)| *j != i).fold(0.0, |sum, (_, w)| sum + w);
                largest + libm::log(sum)
            } else {
                join(others).0
            };
            let left = rest - libm::log(k - n);
            without[i] = left;
            let inside = join(std::iter::once(fold)).0 - libm::log(n);
            // Relative to ℓ, so that what is added is as small as the differences are.
            shortfall += (1.0 - n / k) * (lower - left);
            let excess = (left - lower) + libm::expm1(inside - left);
            upper += n / k * excess;
        }
        let without = &without[..each.len()];
        let mean = without.iter().sum::<f64>() / m;
        let spread = without.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>();
        // Without any weight outside a fold nothing is known above.
        let known = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        let estimate = if lower == f64::NEG_INFINITY { lower } else { lower + known(shortfall).max(0.0) };
        let upper = known(lower + upper).max(estimate);
        Bounds { lower, estimate, upper, standard_error: known(((m - 1.0) / m * spread).sqrt()), ess }
    }
}

struct Exp<'a>(&'a mut [f64]);

impl Kernel for Exp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<f64, S, 0, 1>(
            simd,
            [],
            [self.0],
            #[inline(always)]
            |[], [x]| [exp::<f64, S>(simd, x)],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definitions, from all log weights at once.
    fn plainly(log_weights: &[f64]) -> Bounds {
        let k = log_weights.len();
        let m = FOLDS.min(k);
        let log_mean = |keep: &dyn Fn(usize) -> bool| {
            let w: Vec<f64> = log_weights.iter().enumerate().filter(|(i, _)| keep(i % m)).map(|(_, w)| w.exp()).collect();
            (w.iter().sum::<f64>() / w.len() as f64).ln()
        };
        let lower = log_mean(&|_| true);
        let share = |f: usize| log_weights.iter().skip(f).step_by(m).count() as f64 / k as f64;
        let without: Vec<f64> = (0..m).map(|f| log_mean(&|g| g != f)).collect();
        let (mut estimate, mut upper) = (m as f64 * lower, 0.0);
        for (f, left) in without.iter().enumerate() {
            estimate -= (1.0 - share(f)) * left;
            upper += share(f) * (left + (log_mean(&|g| g == f) - left).exp() - 1.0);
        }
        let mean = without.iter().sum::<f64>() / m as f64;
        let spread: f64 = without.iter().map(|l| (l - mean).powi(2)).sum();
        let sum: f64 = log_weights.iter().map(|w| w.exp()).sum();
        let squares: f64 = log_weights.iter().map(|w| (2.0 * w).exp()).sum();
        let standard_error = ((m as f64 - 1.0) / m as f64 * spread).sqrt();
        Bounds { lower, estimate, upper, standard_error, ess: sum * sum / squares }
    }

    fn streamed(log_weights: &[f64], len: usize) -> Bounds {
        let mut folds = Folds::new(log_weights.len());
        for block in log_weights.chunks(len) {
            folds.push(block);
        }
        folds.bounds()
    }

    #[test]
    fn streaming_agrees_with_the_definitions() {
        for k in [2, 3, 19, 20, 21, 50, 160, 161, 1000] {
            let log_weights: Vec<f64> = (0..k).map(|i| (f64::from(i) * 0.7).sin() * 3.0 - 2.0).collect();
            let fields = |b: Bounds| [b.lower, b.estimate, b.upper, b.standard_error, b.ess];
            // Whole deals and others.
            for len in [240, 160, 1, 7, 19, 33] {
                let (a, b) = (streamed(&log_weights, len), plainly(&log_weights));
                for (a, b) in fields(a).into_iter().zip(fields(b)) {
                    assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{k} in blocks of {len}: {a} {b}");
                }
                assert!(a.lower <= a.estimate && a.estimate <= a.upper);
            }
        }
    }

    #[test]
    fn weights_may_lie_anywhere() {
        let shifted: Vec<f64> = (0..100).map(|i| -1e6 - f64::from(i) * 50.0).collect();
        let b = streamed(&shifted, 160);
        assert!((b.lower + 1e6 + 100_f64.ln()).abs() < 1e-9, "{b:?}");
        assert!(b.lower <= b.estimate && b.estimate <= b.upper && !b.upper.is_nan(), "{b:?}");
        assert!((b.ess - 1.0).abs() < 1e-12);
        for at in [0, 7, 99, 160, 399] {
            let mut endless = vec![-1.0; 400];
            endless[at] = f64::INFINITY;
            let b = streamed(&endless, 160);
            assert_eq!([b.lower, b.estimate, b.upper], [f64::INFINITY; 3], "{b:?}");
            assert!(!b.standard_error.is_nan() && b.ess == 1.0, "{b:?}");
        }
        let all = streamed(&[f64::INFINITY; 400], 160);
        assert_eq!([all.lower, all.estimate, all.upper, all.ess], [f64::INFINITY, f64::INFINITY, f64::INFINITY, 400.0]);
        let none = streamed(&[f64::NEG_INFINITY, f64::NAN, f64::NEG_INFINITY], 160);
        assert_eq!((none.lower, none.estimate, none.upper, none.ess), (f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, 0.0));
        let one = streamed(&[-3.0], 160);
        assert_eq!((one.lower, one.estimate, one.upper, one.standard_error), (-3.0, -3.0, f64::INFINITY, f64::INFINITY));
        let lonely = streamed(&[-1.0, f64::NEG_INFINITY, f64::NEG_INFINITY], 160);
        assert!(lonely.lower <= lonely.estimate && lonely.upper == f64::INFINITY, "{lonely:?}");
    }

    #[test]
    fn equal_weights_leave_no_gap() {
        let b = streamed(&[-7.25; 1000], 160);
        assert!((b.upper - b.lower).abs() < 1e-12 && (b.lower + 7.25).abs() < 1e-12 && b.standard_error < 1e-12, "{b:?}");
        assert!((b.ess - 1000.0).abs() < 1e-9);
        // Nor by its rounding more particles than there are.
        let ess = (0..200_u32).map(|row| {
            let nearly: Vec<f64> = (0..400_u32).map(|i| f64::from((i * 7919 + row * 104_729) % 997) * 1e-11).collect();
            streamed(&nearly, 160).ess
        });
        assert!(ess.into_iter().all(|ess| ess <= 400.0));
    }
}
