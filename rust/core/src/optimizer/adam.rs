//! Adam (Kingma and Ba 2015, algorithm 1), with `PyTorch`'s place for ε: outside the root of the corrected second moment.
//!
//! m ← m + (1 − β₁)(g − m), v ← β₂ v + (1 − β₂) g², θ ← θ − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε).
//!
//! ```
//! use elbokit_core::optimizer::Adam;
//!
//! let (mut x, mut m, mut v) = ([1.0_f64], [0.0], [0.0]);
//! Adam::default().at(1, 0.1).update(&mut x, &mut m, &mut v, &[-3.0]);
//! assert!((x[0] - 1.1).abs() < 1e-8); // the first step is the rate, against the gradient's sign
//! ```

use crate::float::Float;
use crate::network::lanewise;
use crate::simd::{Fused, Kernel, Simd, SimdBase, SimdFloat, dispatch};

/// Adam's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Memory of the first moment.
    pub beta1: f64,
    /// Memory of the second moment.
    pub beta2: f64,
    /// What keeps the divisor from 0.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Adam {
    /// The update of step `step`, counted from 1.
    #[must_use]
    pub fn at(self, step: u64, learning_rate: f64) -> Update {
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        Update {
            adam: self,
            rate: learning_rate / (1.0 - self.beta1.powi(step)),
            root: (1.0 / (1.0 - self.beta2.powi(step))).sqrt(),
        }
    }

    /// Whether `update` may take this gradient: its squares must be finite too, or a second moment stays infinite for good.
    #[must_use]
    pub fn accepts<F: Float>(gradient: &[F]) -> bool {
        dispatch(Accepts(gradient))
    }
}

/// One step's update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    adam: Adam,
    rate: f64,
    root: f64,
}

impl Update {
    /// Moves `x` and its moments by gradient `g`. Elements do not depend on each other, so any cut of the arrays gives the same bits.
    pub fn update<F: Float>(self, x: &mut [F], m: &mut [F], v: &mut [F], g: &[F]) {
        dispatch(Run { update: self, x, m, v, g });
    }
}

struct Run<'a, F> {
    update: Update,
    x: &'a mut [F],
    m: &'a mut [F],
    v: &'a mut [F],
    g: &'a [F],
}

impl<F: Float> Kernel for Run<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Update { adam, rate, root } = self.update;
        let [rate, root, new1, beta2, new2, epsilon] = [-rate, root, 1.0 - adam.beta1, adam.beta2, 1.0 - adam.beta2, adam.epsilon]
            .map(|c| F::Lanes::splat(simd, F::from_f64(c)));
        lanewise::<F, S, 1, 3>(
            simd,
            [self.g],
            [self.x, self.m, self.v],
            #[inline(always)]
            |[g], [x, m, v]| {
                let m = new1.fma(g - m, m);
                let v = (new2 * g).fma(g, beta2 * v);
                let divisor = v.sqrt().fma(root, epsilon);
                [rate.fma(m / divisor, x), m, v]
            },
        );
    }
}

struct Accepts<'a, F>(&'a [F]);

impl<F: Float> Kernel for Accepts<'_, F> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let zero = F::Lanes::splat(simd, F::ZERO);
        // x² · 0 is 0 for a finite square, else NaN; a sum keeps any NaN.
        let mut sum = zero;
        let mut chunks = self.0.chunks_exact(F::LANES);
        for x in &mut chunks {
            let x = F::Lanes::from_slice(simd, x);
            sum = (x * x).fma(zero, sum);
        }
        let rest = chunks.remainder().iter().all(|x| (*x * *x).finite());
        rest && sum.as_slice().iter().all(|x| x.finite())
    }
}
