//! The pullback of the reparameterised draw: ε is drawn again from its counter, so nothing of the draw is kept.

use std::sync::atomic::{AtomicBool, Ordering};

use super::check_posterior;
use crate::error::Result;
use crate::float::Float;
use crate::random::{Draw, Key, fill_normals};
use crate::reduce::two_sum;
use crate::rows::{check_finite, check_len};
use crate::simd::{Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::threads::{Outputs, RowsMut, for_rows};
use crate::vmath::exp;

/// Latents summed side by side: small enough that sums and draws stay in the first cache.
const BLOCK: usize = 512;

/// Powers of two at which Σ `d_z` and Σ `d_z` · ε are added: the second is lifted, so that a scale may bring subnormal numbers back to size.
const UNITS: [f64; 2] = [1.0, 1_267_650_600_228_229_401_496_703_205_376.0];
/// Those of sums whose parts leave the range: 2⁻⁶⁴.
const SMALL_UNITS: [f64; 2] = [1.0 / 18_446_744_073_709_551_616.0; 2];

/// Pulls the cotangent `d_z`, (particles, rows, width), back through [`rsample`](super::rsample) under the same key: `d_loc` = Σ `d_z` and
/// `d_log_var` = ½ scale Σ `d_z` · ε, over particles, both (rows, width).
///
/// Each latent's particles are added in their order, in float64 with the rounding errors beside the sum (Knuth's two-sum); no sum is cut.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn rsample_grad<F: Float + Draw>(
    loc: &[F],
    log_var: &[F],
    d_z: &[F],
    key: Key,
    first_row: u64,
    width: usize,
    d_loc: &mut [F],
    d_log_var: &mut [F],
) -> Result<()> {
    let draws = d_z.len() / width.max(1);
    check_len("d_z", d_z, draws, width)?;
    let rows = check_posterior("d_z", draws, loc, log_var, width)?;
    check_len("d_loc", d_loc, rows, width)?;
    check_len("d_log_var", d_log_var, rows, width)?;
    if d_loc.is_empty() {
        return Ok(());
    }
    let particles = draws / rows;
    let bad = AtomicBool::new(false);
    let out = (RowsMut::new(d_loc, width), RowsMut::new(d_log_var, width));
    for_rows(rows, 2 * width * particles.max(1), out, &|range, (d_loc, d_log_var): (RowsMut<F>, RowsMut<F>)| {
        let block = (BLOCK / width).max(1);
        let mut eps = vec![F::ZERO; block.min(range.len()) * width];
        let mut sums = Sums::new(eps.len());
        let mut rest = (d_loc, d_log_var);
        for first in range.clone().step_by(block) {
            let count = block.min(range.end - first);
            let ((d_loc, d_log_var), after) = rest.split_at(count);
            rest = after;
            let len = count * width;
            for units in [UNITS, SMALL_UNITS] {
                sums.clear();
                for particle in 0..particles {
                    let eps = &mut eps[..len];
                    fill_normals(key, particle as u32, first_row.wrapping_add(first as u64), width, eps);
                    let d_z = &d_z[(particle * rows + first) * width..][..len];
                    dispatch(Add { d_z, eps, units, sums: &mut sums });
                }
                let log_var = &log_var[first * width..][..len];
                let again = units == SMALL_UNITS;
                let finite = dispatch(Finish { log_var, sums: &sums, units, again, d_loc: d_loc.data, d_log_var: d_log_var.data });
                if finite {
                    break;
                }
                bad.store(true, Ordering::Relaxed);
            }
        }
    });
    // What is not finite comes from a bad input, or from the range's end.
    if bad.into_inner() || !loc.iter().all(|x| x.finite()) {
        check_finite("loc", loc, width)?;
        check_finite("log_var", log_var, width)?;
        check_finite("d_z", d_z, width)?;
    }
    Ok(())
}

/// Σ `d_z` and Σ `d_z` · ε of each latent, each with its rounding error.
struct Sums([Vec<f64>; 4]);

impl Sums {
    fn new(len: usize) -> Self {
        Self([(); 4].map(|()| vec![0.0; len]))
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(|sum| sum.fill(0.0));
    }
}

/// Adds a particle.
struct Add<'a, F> {
    d_z: &'a [F],
    eps: &'a [F],
    units: [f64; 2],
    sums: &'a mut Sums,
}

impl<F: Float> Kernel for Add<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let len = self.d_z.len();
        let eps = &self.eps[..len];
        let [a, a_error, b, b_error] = self.sums.0.each_mut().map(|sum| &mut sum[..len]);
        for i in 0..len {
            let d_z = self.d_z[i].to_f64();
            let (sum, error) = two_sum(a[i], d_z * self.units[0]);
            a[i] = sum;
            a_error[i] += error;
            let (sum, error) = two_sum(b[i], d_z * self.units[1] * eps[i].to_f64());
            b[i] = sum;
            b_error[i] += error;
        }
    }
}

/// Turns sums into gradients, `again` only where there is no finite one yet; whether all of them are finite.
struct Finish<'a, F> {
    log_var: &'a [F],
    sums: &'a Sums,
    units: [f64; 2],
    again: bool,
    d_loc: &'a mut [F],
    d_log_var: &'a mut [F],
}

impl<F: Float> Kernel for Finish<'_, F> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        const LANES: usize = 8;
        let [a, a_error, b, b_error] = &self.sums.0;
        // The scale's square root, so that a subnormal scale keeps its digits and no product leaves the range before the result does.
        let cap = libm::sqrt(F::MAX.to_f64());
        let mut finite = true;
        for (c, log_var) in self.log_var.chunks(LANES).enumerate() {
            let lanes = f64x8::from_fn(simd, |l| log_var.get(l).map_or(0.0, |v| v.to_f64()));
            let root = exp::<f64, S>(simd, lanes * 0.25).min(cap);
            for (l, &root) in root.as_slice().iter().take(log_var.len()).enumerate() {
                let i = c * LANES + l;
                let d_loc = F::from_f64((a[i] + a_error[i]) / self.units[0]);
                let d_log_var = F::from_f64((b[i] + b_error[i]) * root * (0.5 / self.units[1]) * root);
                for (slot, value) in [(&mut self.d_loc[i], d_loc), (&mut self.d_log_var[i], d_log_var)] {
                    if !self.again || !slot.finite() {
                        *slot = value;
                    }
                    finite &= slot.finite();
                }
                finite &= log_var[l].finite();
            }
        }
        finite
    }
}
