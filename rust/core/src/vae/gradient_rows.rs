//! What a step's data path does with gradients row by row: scaled, added up, and brought back through the draw.

use crate::float::Float;
use crate::network::lanewise;
use crate::simd::{Fused, Kernel, Simd, SimdBase};

/// Multiplies each row by its factor.
pub(super) struct ScaleRows<'a, F, B> {
    pub(super) x: &'a mut [F],
    pub(super) width: usize,
    pub(super) by: B,
}

impl<F: Float, B: Fn(usize) -> F> Kernel for ScaleRows<'_, F, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, x) in self.x.chunks_exact_mut(self.width).enumerate() {
            let by = (self.by)(row);
            if by == F::ZERO {
                // 0 · ∞ too.
                x.fill(F::ZERO);
                continue;
            }
            lanewise::<F, S, 0, 1>(
                simd,
                [],
                [x],
                #[inline(always)]
                |[], [x]| [x * by],
            );
        }
    }
}

/// Adds each row times its factor.
pub(super) struct AddRows<'a, F, B> {
    pub(super) x: &'a [F],
    pub(super) out: &'a mut [F],
    pub(super) width: usize,
    pub(super) by: B,
}

impl<F: Float, B: Fn(usize) -> F> Kernel for AddRows<'_, F, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width));
        for (row, (x, out)) in rows.enumerate() {
            let by = (self.by)(row);
            if by == F::ZERO {
                // 0 · ∞ too.
                continue;
            }
            let by = F::Lanes::splat(simd, by);
            lanewise::<F, S, 1, 1>(
                simd,
                [x],
                [out],
                #[inline(always)]
                |[x], [out]| [by.fma(x, out)],
            );
        }
    }
}

/// Adds rows up, one after another to what `out` holds; its length is their width.
pub(super) struct SumRows<'a, F> {
    pub(super) x: &'a [F],
    pub(super) out: &'a mut [F],
}

impl<F: Float> Kernel for SumRows<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, out } = self;
        let width = out.len();
        if width < F::LANES {
            for x in x.chunks_exact(width.max(1)) {
                out.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
            return;
        }
        // The last vector may share columns with the one before, and begins from what those hold now.
        let (last, mut end) = (width - F::LANES, [F::ZERO; 16]);
        let end = &mut end[..F::LANES];
        end.copy_from_slice(&out[last..]);
        let mut first = 0;
        while width - first >= 4 * F::LANES {
            sum_columns::<F, S, 4>(simd, x, width, first, &mut out[first..]);
            first += 4 * F::LANES;
        }
        while width - first >= F::LANES {
            sum_columns::<F, S, 1>(simd, x, width, first, &mut out[first..]);
            first += F::LANES;
        }
        if first < width {
            sum_columns::<F, S, 1>(simd, x, width, last, end);
            out[last..].copy_from_slice(end);
        }
    }
}

/// Adds VECTORS vectors of columns, from `first` on, of rows of `width` to those that `out` begins with; sums stay in registers.
#[inline(always)]
fn sum_columns<F: Float, S: Simd, const VECTORS: usize>(simd: S, x: &[F], width: usize, first: usize, out: &mut [F]) {
    let at = |v: usize| v * F::LANES..(v + 1) * F::LANES;
    let mut sums = [F::Lanes::splat(simd, F::ZERO); VECTORS];
    for (v, sum) in sums.iter_mut().enumerate() {
        *sum = F::Lanes::from_slice(simd, &out[at(v)]);
    }
    for x in x.chunks_exact(width) {
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum += F::Lanes::from_slice(simd, &x[first..][at(v)]);
        }
    }
    for (v, sum) in sums.iter().enumerate() {
        sum.store_slice(&mut out[at(v)]);
    }
}

/// Adds what has come back to one particle's z to the gradients with respect to loc and log-variance.
pub(super) struct ThroughDraw<'a, F> {
    pub(super) dz: &'a [F],
    /// ∂z / ∂log-variance.
    pub(super) slope: &'a [F],
    pub(super) d_loc: &'a mut [F],
    pub(super) d_log_var: &'a mut [F],
}

impl<F: Float> Kernel for ThroughDraw<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<F, S, 2, 2>(
            simd,
            [self.dz, self.slope],
            [self.d_loc, self.d_log_var],
            #[inline(always)]
            |[dz, slope], [d_loc, d_log_var]| [d_loc + dz, d_log_var + dz * slope],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::dispatch;

    fn rows_are_added_in_order<F: Float>() {
        let number = |i: usize| F::from_f64((i as f64 * 0.37).sin());
        for width in [1, 7, 8, 16, 33, 64, 71, 130] {
            for rows in [0, 1, 5] {
                let x: Vec<F> = (0..rows * width).map(number).collect();
                let start: Vec<F> = (0..width).map(|i| number(i + 1000)).collect();
                let (mut out, mut plain) = (start.clone(), start);
                dispatch(SumRows { x: &x, out: &mut out });
                for x in x.chunks_exact(width) {
                    plain.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
                }
                assert_eq!(out, plain, "{rows} rows of {width}");
            }
        }
    }

    #[test]
    fn rows_are_added_in_order_of_both_types() {
        rows_are_added_in_order::<f32>();
        rows_are_added_in_order::<f64>();
    }
}
