//! The reparameterised draw z = loc + L ε, ε the normals of [`random`](crate::random) under the same key.

use std::sync::atomic::{AtomicBool, Ordering};

use super::log_prob::sum_of_logs;
use super::solve::{LANES, lane_sum, load, padded};
use super::{Tril, check_posterior};
use crate::error::Result;
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::random::{Draw, Key, check_particles, fill_normals};
use crate::reduce::{Compensated, LaneSum};
use crate::rows::{check_finite, check_len};
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::threads::{Outputs, RowsMut, for_rows};

/// Draws z for each particle and row into `z`, (particles, rows, width): row i of particle k is a function of the key, k, `first_row` + i
/// and the width, and of its own loc and triangle.
///
/// # Errors
/// [`Error::Shape`](crate::Error), [`Error::NonFinite`](crate::Error) and, for a diagonal that is not positive, [`Error::Support`](crate::Error).
pub fn rsample<F: Float + Draw>(loc: &[F], tril: Tril<F>, key: Key, first_row: u64, width: usize, z: &mut [F]) -> Result<()> {
    draw(loc, tril, key, 0, first_row, width, z, None)
}

/// [`rsample`] with log q(z | x) = −½ Σ ε² − Σ ln `L_ii` − ½ `width` ln 2π of each draw into `log_prob`, (particles, rows); the particles are
/// `first_particle` and on.
///
/// # Errors
/// As [`rsample`], and [`Error::Value`](crate::Error) for particles past 2³² − 1.
pub fn rsample_and_log_prob<F: Float + Draw>(
    loc: &[F],
    tril: Tril<F>,
    key: Key,
    first_particle: u32,
    first_row: u64,
    width: usize,
    z: &mut [F],
    log_prob: &mut [F],
) -> Result<()> {
    if width == 0 {
        log_prob.fill(F::ZERO);
        return Ok(());
    }
    check_len("log_prob", log_prob, 1, z.len() / width)?;
    draw(loc, tril, key, first_particle, first_row, width, z, Some(log_prob))
}

fn draw<F: Float + Draw>(
    loc: &[F],
    tril: Tril<F>,
    key: Key,
    first_particle: u32,
    first_row: u64,
    width: usize,
    z: &mut [F],
    log_prob: Option<&mut [F]>,
) -> Result<()> {
    /// Numbers of ε drawn at a time: small enough to stay in the first cache.
    const BLOCK: usize = 2048;
    let draws = z.len() / width.max(1);
    check_len("z", z, draws, width)?;
    let rows = check_posterior("z", draws, loc, tril, width)?;
    if draws == 0 {
        return Ok(());
    }
    check_particles(first_particle, draws / rows)?;
    let bad = AtomicBool::new(false);
    let out = (RowsMut::new(z, width), log_prob.map(|l| RowsMut::new(l, 1)));
    for_rows(draws, 20 + 2 * width + width * width / 8, out, &|range, mut out: (RowsMut<F>, Option<RowsMut<F>>)| {
        let block = (BLOCK / width).max(1);
        let mut eps = vec![F::ZERO; block.min(range.len()) * width];
        let mut from = range.start;
        while from < range.end {
            // A range may cross from one particle into the next.
            let (particle, first) = (from / rows, from % rows);
            let count = (range.end - from).min(rows - first).min(block);
            let ((z, log_prob), rest) = out.split_at(count);
            out = rest;
            let eps = &mut eps[..count * width];
            fill_normals(key, first_particle + particle as u32, first_row.wrapping_add(first as u64), width, eps);
            let log_prob = log_prob.map(|l| l.data);
            if dispatch(Rows { loc, tril, width, first, eps, z: z.data, log_prob }) {
                bad.store(true, Ordering::Relaxed);
            }
            from += count;
        }
    });
    if bad.into_inner() {
        check_finite("loc", loc, width)?;
        tril.check_values("scale_tril", width)?;
    }
    Ok(())
}

/// Rows `first` and on of one particle.
struct Rows<'a, F> {
    loc: &'a [F],
    tril: Tril<'a, F>,
    width: usize,
    first: usize,
    eps: &'a [F],
    z: &'a mut [F],
    log_prob: Option<&'a mut [F]>,
}

impl<F: Float> Kernel for Rows<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        let (width, stride) = (self.width, padded(self.width));
        let (mut eps, mut diagonal) = (vec![0.0; stride], vec![1.0; stride]);
        let (mut bad, mut log_det) = (false, 0.0);
        let draws = self.z.chunks_exact_mut(width).zip(self.eps.chunks_exact(width));
        for (local, (z, draw)) in draws.enumerate() {
            let row = self.first + local;
            let tril = self.tril.of(row, width);
            if local == 0 || !self.tril.shared() {
                for (i, x) in diagonal[..width].iter_mut().enumerate() {
                    *x = tril[i * width + i].to_f64();
                    bad |= x.is_nan() || *x <= 0.0;
                }
                if self.log_prob.is_some() {
                    log_det = sum_of_logs(simd, &diagonal);
                }
            }
            let mut squares = Compensated::zero(simd);
            for at in (0..width).step_by(LANES) {
                let e = load::<F, S>(simd, draw, at, width);
                e.store_slice(&mut eps[at..at + LANES]);
                squares = squares.add(e * e);
            }
            for (i, (z, &loc)) in z.iter_mut().zip(&self.loc[row * width..][..width]).enumerate() {
                let mut lanes = f64x8::splat(simd, 0.0);
                for at in (0..=i).step_by(LANES) {
                    let l = load::<F, S>(simd, &tril[i * width..], at, i + 1);
                    lanes = l.fma(f64x8::from_slice(simd, &eps[at..at + LANES]), lanes);
                }
                *z = F::from_f64(loc.to_f64() + lane_sum(lanes));
                if !z.finite() {
                    bad = true;
                    *z = F::from_f64(scaled_down(loc, &tril[i * width..=i * width + i], &eps));
                }
            }
            if let Some(log_prob) = &mut self.log_prob {
                let value = F::from_f64(-0.5 * (squares.finish() + 2.0 * log_det + width as f64 * LN_2PI));
                bad |= !value.finite();
                log_prob[local] = value;
            }
        }
        bad
    }
}

/// One number of a draw whose parts left the range, perhaps with opposite signs: the same sum at a scale where none does.
#[cold]
fn scaled_down<F: Float>(loc: F, row: &[F], eps: &[f64]) -> f64 {
    /// No row has 2⁹⁰ numbers, and no ε is above 2⁶.
    const SCALE: f64 = 1.0 / (1_u128 << 96) as f64;
    row.iter().zip(eps).fold(loc.to_f64() * SCALE, |sum, (l, e)| (l.to_f64() * SCALE).mul_add(*e, sum)) / SCALE
}
