//! Layer normalisation (Ba, Kiros and Hinton 2016): y = gain · u + shift, u = (x − mean) / √(variance + ε), ε = 1e-5, mean and variance over a row.
//!
//! Contract. A row's numbers depend on that row alone. The mean is the sum of [`crate::reduce`] over the width. The variance has the divisor n: the squares about the mean are
//! added in float64, number j in lane j mod 8 by a truly fused multiply-add, then lanes l and l + 4, l + 2, l + 1. Where the variance leaves the range of float64 u is 0.

use super::lanewise;
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::vmath::Lanes;

/// What is added to the variance.
pub const EPSILON: f64 = 1e-5;

/// What the way back needs of some rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Normalised<F> {
    /// u.
    pub(super) unit: Vec<F>,
    /// 1 / √(variance + ε), one a row.
    pub(super) inverse: Vec<F>,
    /// The gradient with respect to y.
    pub(super) gradient: Vec<F>,
}

impl<F: Float> Normalised<F> {
    /// Buffers for rows of `width` numbers.
    pub(super) fn new(rows: usize, width: usize) -> Self {
        let buffer = || vec![F::ZERO; rows * width];
        Self { unit: buffer(), inverse: vec![F::ZERO; rows], gradient: buffer() }
    }
}

/// Replaces rows of x by y; `gain` and `shift` are as long as a row.
pub(super) fn normalise<F: Float>(x: &mut [F], gain: &[F], shift: &[F], kept: Option<&mut Normalised<F>>) {
    dispatch(Normalise { x, gain, shift, kept });
}

struct Normalise<'a, F> {
    x: &'a mut [F],
    gain: &'a [F],
    shift: &'a [F],
    kept: Option<&'a mut Normalised<F>>,
}

impl<F: Float> Kernel for Normalise<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, gain, shift, mut kept } = self;
        let width = gain.len();
        for (row, x) in x.chunks_exact_mut(width).enumerate() {
            let mean = sum::<F, S>(simd, x) / width as f64;
            let variance = squares_about(simd, x, mean) / width as f64;
            let (mean, inverse) = (F::from_f64(mean), F::from_f64(1.0 / (variance + EPSILON).sqrt()));
            if let Some(kept) = &mut kept {
                kept.inverse[row] = inverse;
                lanewise::<F, S, 2, 2>(
                    simd,
                    [gain, shift],
                    [x, &mut kept.unit[row * width..][..width]],
                    #[inline(always)]
                    |[gain, shift], [x, _]| {
                        let unit = (x - mean) * inverse;
                        [unit.fma(gain, shift), unit]
                    },
                );
            } else {
                lanewise::<F, S, 2, 1>(
                    simd,
                    [gain, shift],
                    [x],
                    #[inline(always)]
                    |[gain, shift], [x]| [((x - mean) * inverse).fma(gain, shift)],
                );
            }
        }
    }
}

/// Takes rows of the gradient with respect to y, which are kept, back to x: (d g − mean(d g) − u mean(d g u)) / √(variance + ε), d the gradient and g the gain.
pub(super) fn back<F: Float>(d: &mut [F], gain: &[F], kept: &mut Normalised<F>) {
    kept.gradient[..d.len()].copy_from_slice(d);
    dispatch(Linear { d, gain, unit: &kept.unit, inverse: &kept.inverse, forward: false });
}

/// Takes rows of x's derivative along a direction to y's: g (d − mean(d) − u mean(d u)) / √(variance + ε).
pub(super) fn along<F: Float>(d: &mut [F], gain: &[F], unit: &[F], inverse: &[F]) {
    dispatch(Linear { d, gain, unit, inverse, forward: true });
}

/// The derivative, whose transpose differs by where the gain stands alone.
struct Linear<'a, F> {
    d: &'a mut [F],
    gain: &'a [F],
    unit: &'a [F],
    inverse: &'a [F],
    forward: bool,
}

impl<F: Float> Kernel for Linear<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { d, gain, unit, inverse, forward } = self;
        let width = gain.len();
        let rows = d.chunks_exact_mut(width).zip(unit.chunks_exact(width)).zip(inverse);
        for ((d, unit), &inverse) in rows {
            if !forward {
                times::<F, S>(simd, d, gain);
            }
            let (mut sum, mut product) = (F::Sum::<S>::zero(simd), F::Sum::<S>::zero(simd));
            for at in (0..width).step_by(F::LANES) {
                let d = load::<F, S>(simd, d, at);
                sum = sum.add(d);
                product = product.add(d * load::<F, S>(simd, unit, at));
            }
            let [mean, slope] = [sum, product].map(|sum| F::from_f64(sum.finish() / width as f64));
            let slope = -F::Lanes::splat(simd, slope);
            lanewise::<F, S, 1, 1>(
                simd,
                [unit],
                [&mut *d],
                #[inline(always)]
                |[unit], [d]| [unit.fma(slope, d - mean) * inverse],
            );
            if forward {
                times::<F, S>(simd, d, gain);
            }
        }
    }
}

#[inline(always)]
fn times<F: Float, S: Simd>(simd: S, x: &mut [F], by: &[F]) {
    lanewise::<F, S, 1, 1>(
        simd,
        [by],
        [x],
        #[inline(always)]
        |[by], [x]| [x * by],
    );
}

#[inline(always)]
fn sum<F: Float, S: Simd>(simd: S, x: &[F]) -> f64 {
    let mut sum = F::Sum::<S>::zero(simd);
    for at in (0..x.len()).step_by(F::LANES) {
        sum = sum.add(load::<F, S>(simd, x, at));
    }
    sum.finish()
}

/// Σ (x − centre)².
#[inline(always)]
fn squares_about<F: Float, S: Simd>(simd: S, x: &[F], centre: f64) -> f64 {
    let mut sum = f64x8::splat(simd, 0.0);
    let mut chunks = x.chunks_exact(8);
    for x in &mut chunks {
        let x = F::widened(simd, x) - centre;
        sum = x.fma(x, sum);
    }
    let rest = chunks.remainder();
    let x = f64x8::from_fn(simd, |l| rest.get(l).map_or(0.0, |x| x.to_f64() - centre));
    let lanes: [f64; 8] = x.fma(x, sum).into();
    let four: [f64; 4] = std::array::from_fn(|l| lanes[l] + lanes[l + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// A vector from `at` on, 0 past the row's end.
#[inline(always)]
fn load<F: Float, S: Simd>(simd: S, x: &[F], at: usize) -> Lanes<F, S> {
    match x.get(at..at + F::LANES) {
        Some(x) => F::Lanes::from_slice(simd, x),
        None => F::Lanes::from_fn(simd, |l| x.get(at + l).copied().unwrap_or_default()),
    }
}
