//! Importance weights as shares of their sum, and what a draw adds to the bound over leaving it out: gradients of the importance-weighted bound
//! need all weights first, so a first pass adds them up in fixed memory and a second one divides.

use crate::float::Float;
use crate::simd::{Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::vmath::exp;

/// The weights of each row so far.
#[derive(Debug, Clone)]
pub struct Shares {
    count: usize,
    rows: Vec<Row>,
    room: Vec<f64>,
}

/// A row's largest log weight, and the sum of exp(w − second) over the others, whose largest is `second`: leaving the largest out cancels nothing.
#[derive(Debug, Clone, Copy)]
struct Row {
    largest: f64,
    second: f64,
    others: f64,
}

impl Row {
    fn push(&mut self, w: f64) {
        let w = weight(w);
        let other = w.min(self.largest);
        self.largest = w.max(self.largest);
        if other > self.second {
            self.others = 1.0 + self.others * libm::exp(less(self.second, other));
            self.second = other;
        } else if other > f64::NEG_INFINITY {
            self.others += libm::exp(less(other, self.second));
        }
    }

    /// Σ exp(w − largest), and ln of it less ln of Σ exp(w − largest) over the others.
    fn sums(&self) -> (f64, f64) {
        if self.others == 0.0 {
            return (1.0, f64::INFINITY);
        }
        let below = less(self.second, self.largest);
        let rest = self.others * libm::exp(below);
        (1.0 + rest, libm::log1p(rest) - libm::log(self.others) - below)
    }
}

/// A log weight; NaN, which comes of ∞ − ∞, is no weight.
fn weight(w: f64) -> f64 {
    if w.is_nan() { f64::NEG_INFINITY } else { w }
}

/// a − b, 0 for infinities of one sign.
fn less(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { a - b }
}

impl Shares {
    /// No weights yet, for a batch of rows.
    #[must_use]
    pub fn new(batch: usize) -> Self {
        let row = Row { largest: f64::NEG_INFINITY, second: f64::NEG_INFINITY, others: 0.0 };
        Self { count: 0, rows: vec![row; batch], room: Vec::new() }
    }

    /// Adds particles: `log_weights` is (particles, batch); NaN, which comes of ∞ − ∞, counts as no weight.
    pub fn push<F: Float>(&mut self, log_weights: &[F]) {
        for particle in log_weights.chunks_exact(self.rows.len().max(1)) {
            self.count += 1;
            for (row, w) in self.rows.iter_mut().zip(particle) {
                row.push(w.to_f64());
            }
        }
    }

    /// Each weight's share of its row's sum: w̃ = exp(w) / Σ exp(w), and 1 / K where every weight is 0.
    pub fn shares<F: Float>(&mut self, log_weights: &[F], out: &mut [F]) {
        let equal = 1.0 / self.count as f64;
        self.each(log_weights, out, |row, _, e, (sum, _)| if row.largest == f64::NEG_INFINITY { equal } else { e / sum });
    }

    /// ℓ − ℓ₋ₖ − w̃ of each particle k, by which its score ∇ ln q counts in the gradient of the bound ℓ = ln (1/K Σ exp w): ℓ₋ₖ is that of the other
    /// particles, at least one, whose draws do not depend on k's (Mnih and Rezende 2016, section 2, in the place of its learned baseline). +∞ where
    /// no other particle has weight.
    pub fn contributions<F: Float>(&mut self, log_weights: &[F], out: &mut [F]) {
        let k = self.count as f64;
        let fewer = libm::log((k - 1.0) / k);
        self.each(log_weights, out, |row, w, e, (sum, without)| {
            if row.largest == f64::NEG_INFINITY {
                return -1.0 / k;
            }
            let share = e / sum;
            let above = if w == row.largest { without } else { -libm::log1p(-share) };
            above + fewer - share
        });
    }

    /// `f` of each row, its log weight, exp(w − largest) and the row's sums.
    fn each<F: Float>(&mut self, log_weights: &[F], out: &mut [F], f: impl Fn(&Row, f64, f64, (f64, f64)) -> f64) {
        let batch = self.rows.len().max(1);
        let sums: Vec<_> = self.rows.iter().map(Row::sums).collect();
        for (particle, out) in log_weights.chunks_exact(batch).zip(out.chunks_exact_mut(batch)) {
            self.room.clear();
            self.room.extend(particle.iter().zip(&self.rows).map(|(w, row)| less(weight(w.to_f64()), row.largest)));
            dispatch(Exp(&mut self.room));
            for ((((o, w), &e), row), &sums) in out.iter_mut().zip(particle).zip(&self.room).zip(&self.rows).zip(&sums) {
                *o = F::from_f64(f(row, weight(w.to_f64()), e, sums));
            }
        }
    }
}

/// exp of each number, in its place.
struct Exp<'a>(&'a mut [f64]);

impl Kernel for Exp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for x in self.0.chunks_mut(8) {
            let lanes: [f64; 8] = exp::<f64, S>(simd, f64x8::from_fn(simd, |l| x.get(l).copied().unwrap_or(0.0))).into();
            x.copy_from_slice(&lanes[..x.len()]);
        }
    }
}
