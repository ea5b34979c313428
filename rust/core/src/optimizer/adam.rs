//! Adam (Kingma and Ba 2015, algorithm 1), with `PyTorch`'s place for ε: outside the root of the corrected second moment.
//!
//! m ← m + (1 − β₁)(g − m), v ← β₂ v + (1 − β₂) g², θ ← θ − rate λ θ − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε). The decay λ is decoupled from
//! the gradient (`AdamW`; Loshchilov and Hutter 2019, algorithm 2, with `PyTorch`'s place for the rate) and 0 for Adam itself.
//!
//! A moment below the smallest normal number becomes 0. That of a unit without a gradient would fall to a subnormal number and stay there, as a tenth of that rounds to nothing, and
//! a processor takes many times as long over each.
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
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, dispatch};
use crate::vmath::Lanes;

/// Adam's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Memory of the first moment.
    pub beta1: f64,
    /// Memory of the second moment.
    pub beta2: f64,
    /// What keeps the divisor from 0.
    pub epsilon: f64,
    /// λ, the share of a parameter that a step at rate 1 takes away.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
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
            decay: learning_rate * self.weight_decay,
            shrink: 1.0,
        }
    }

    /// Whether `update` may take this gradient, whose squares add up to `squares`: each must be finite in the gradient's own type, or a second
    /// moment stays infinite for good.
    #[must_use]
    pub fn accepts<F: Float>(gradient: &[F], squares: f64) -> bool {
        // No square is larger than their sum.
        squares <= F::MAX.to_f64() || gradient.iter().all(|g| (*g * *g).finite())
    }
}

/// One step's update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    adam: Adam,
    rate: f64,
    root: f64,
    decay: f64,
    shrink: f64,
}

impl Update {
    /// The same of the gradient times `factor`.
    #[must_use]
    pub fn shrunk(self, factor: f64) -> Self {
        Self { shrink: factor, ..self }
    }

    /// The same for parameters that do not decay.
    #[must_use]
    pub fn without_decay(self) -> Self {
        Self { decay: 0.0, ..self }
    }

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
        let Update { adam, rate, root, decay, shrink } = self.update;
        let constants = [-rate, root, 1.0 - adam.beta1, adam.beta2, 1.0 - adam.beta2, adam.epsilon, -decay, shrink];
        let [rate, root, new1, beta2, new2, epsilon, decay, shrink] = constants.map(|c| F::Lanes::splat(simd, F::from_f64(c)));
        lanewise::<F, S, 1, 3>(
            simd,
            [self.g],
            [self.x, self.m, self.v],
            #[inline(always)]
            |[g], [x, m, v]| {
                // Times 1 and less 0 · x where nothing is clipped and nothing decays: the same bits.
                let g = g * shrink;
                let m = without_subnormal::<F, S>(simd, new1.fma(g - m, m));
                let v = without_subnormal::<F, S>(simd, (new2 * g).fma(g, beta2 * v));
                let divisor = v.sqrt().fma(root, epsilon);
                [rate.fma(m / divisor, decay.fma(x, x)), m, v]
            },
        );
    }
}

/// 0 in the place of subnormal numbers.
#[inline(always)]
fn without_subnormal<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    x.abs().simd_lt(F::MIN_POSITIVE).select(F::Lanes::splat(simd, F::ZERO), x)
}
