//! The log density of a Gaussian with a full covariance, and its entropy.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::solve::{LANES, Triangle, load, padded};
use super::{Tril, check_posterior};
use crate::error::Result;
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::reduce::{Compensated, LaneSum};
use crate::rows::{check_finite, check_len};
use crate::simd::{Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::threads::{RowsMut, for_rows};
use crate::vmath::ln;

/// log N(z; loc, L Lᵀ) = −½ ‖L⁻¹(z − loc)‖² − Σ ln `L_ii` − ½ `width` ln 2π of each row of z; row r of z belongs to row r mod rows of loc, so z may hold
/// several particles.
///
/// # Errors
/// [`Error::Shape`](crate::Error), [`Error::NonFinite`](crate::Error) and, for a diagonal that is not positive, [`Error::Support`](crate::Error).
pub fn log_prob<F: Float>(z: &[F], loc: &[F], tril: Tril<F>, width: usize, out: &mut [F]) -> Result<()> {
    let rows = out.len();
    check_len("z", z, rows, width)?;
    let batch = check_posterior("z", rows, loc, tril, width)?;
    if width == 0 {
        out.fill(F::ZERO);
        return Ok(());
    }
    let bad = AtomicBool::new(false);
    for_rows(rows, 20 + width * width / 4, RowsMut::new(out, 1), &|rows, out: RowsMut<F>| {
        if dispatch(LogProb { z, loc, tril, width, batch, rows, out: out.data }) {
            bad.store(true, Ordering::Relaxed);
        }
    });
    if bad.into_inner() {
        check_finite("z", z, width)?;
        check_finite("loc", loc, width)?;
        tril.check_values("scale_tril", width)?;
    }
    Ok(())
}

struct LogProb<'a, F> {
    z: &'a [F],
    loc: &'a [F],
    tril: Tril<'a, F>,
    width: usize,
    batch: usize,
    rows: Range<usize>,
    out: &'a mut [F],
}

impl<F: Float> Kernel for LogProb<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Self { z, loc, tril, width, batch, rows, out } = self;
        let mut triangle = Triangle::new(width);
        let mut y = vec![0.0; padded(width)];
        let (mut bad, mut log_det) = (false, 0.0);
        for (local, draw) in rows.enumerate() {
            let row = draw % batch;
            if local == 0 || !(tril.shared() || batch == 1) {
                triangle.set(simd, tril.of(row, width));
                bad |= !triangle.diagonal.iter().all(|&x| x > 0.0);
                log_det = sum_of_logs(simd, &triangle.diagonal);
            }
            for at in (0..width).step_by(LANES) {
                let z = load::<F, S>(simd, &z[draw * width..][..width], at, width);
                let loc = load::<F, S>(simd, &loc[row * width..][..width], at, width);
                let inverse = f64x8::from_slice(simd, &triangle.inverse[at..at + LANES]);
                ((z - loc) * inverse).store_slice(&mut y[at..at + LANES]);
            }
            triangle.forward_vector(simd, &mut y);
            let mut squares = Compensated::zero(simd);
            for y in y.chunks_exact(LANES) {
                let y = f64x8::from_slice(simd, y);
                squares = squares.add(y * y);
            }
            let value = -0.5 * (squares.finish() + 2.0 * log_det + width as f64 * LN_2PI);
            // Only parts past the range cancel to NaN.
            let value = F::from_f64(if value.is_nan() { f64::NEG_INFINITY } else { value });
            bad |= !value.finite();
            out[local] = value;
        }
        bad
    }
}

/// Σ ln of a diagonal that is padded with 1.
#[inline(always)]
pub(super) fn sum_of_logs<S: Simd>(simd: S, diagonal: &[f64]) -> f64 {
    let mut sum = Compensated::zero(simd);
    for x in diagonal.chunks_exact(LANES) {
        sum = sum.add(ln::<f64, S>(simd, f64x8::from_slice(simd, x)));
    }
    sum.finish()
}

/// The entropy Σ ln `L_ii` + ½ `width` (1 + ln 2π) of each row, in nats.
///
/// # Errors
/// As [`log_prob`].
pub fn entropy<F: Float>(tril: Tril<F>, width: usize, out: &mut [F]) -> Result<()> {
    let rows = out.len();
    tril.check_shape("scale_tril", rows, width)?;
    let bad = AtomicBool::new(false);
    for_rows(rows, 20 + 3 * width, RowsMut::new(out, 1), &|rows, out: RowsMut<F>| {
        if dispatch(Entropy { tril, width, rows, out: out.data }) {
            bad.store(true, Ordering::Relaxed);
        }
    });
    if bad.into_inner() { tril.check_values("scale_tril", width) } else { Ok(()) }
}

struct Entropy<'a, F> {
    tril: Tril<'a, F>,
    width: usize,
    rows: Range<usize>,
    out: &'a mut [F],
}

impl<F: Float> Kernel for Entropy<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let width = self.width;
        let mut diagonal = vec![1.0; padded(width)];
        let mut bad = false;
        for (row, out) in self.rows.zip(self.out) {
            for (i, x) in diagonal[..width].iter_mut().enumerate() {
                *x = self.tril.of(row, width)[i * width + i].to_f64();
            }
            let value = sum_of_logs(simd, &diagonal) + 0.5 * width as f64 * (1.0 + LN_2PI);
            *out = F::from_f64(value);
            bad |= !diagonal.iter().all(|&x| x > 0.0) || !value.is_finite();
        }
        bad
    }
}
