//! The reparameterised draw z = loc + scale · ε, ε the normals of [`random`](crate::random) under the same key.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{LN_2PI, check_posterior, scale};
use crate::error::Result;
use crate::float::Float;
use crate::random::{Draw, Key, Parts, Sink, check_particles, fill_draws, stream};
use crate::rows::{Input, LaneOp, Term, check_finite, check_len, map_rows, no_flaw};
use crate::simd::{Fused, Kernel, Simd, SimdBase, SimdMask, dispatch};
use crate::threads::{Outputs, RowsMut, for_rows, row_work};
use crate::vmath::{Lanes, zero_if_finite};

/// About the cost of a number drawn, in nanoseconds on one core.
const WORK: f64 = 1.2;

/// Draws z for each particle and row into `z`, (particles, rows, width): row i of particle k is a function of the key, k, `first_row` + i
/// and the width, and of its own loc and `log_var`.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn rsample<F: Float + Draw>(loc: &[F], log_var: &[F], key: Key, first_row: u64, width: usize, z: &mut [F]) -> Result<()> {
    let Some(rows) = check(loc, log_var, width, z)? else { return Ok(()) };
    let bad = AtomicBool::new(false);
    for_rows(z.len() / width, row_work::<F>(width, WORK), RowsMut::new(z, width), &|range, mut out: RowsMut<F>| {
        // A range may cross from one particle into the next; each piece is one stream.
        let mut from = range.start;
        while from < range.end {
            let (particle, first) = (from / rows, from % rows);
            let count = (range.end - from).min(rows - first);
            let (piece, rest) = out.split_at(count);
            out = rest;
            let at = first * width..(first + count) * width;
            let start = first_row.wrapping_add(first as u64).wrapping_mul(width as u64);
            let draw =
                Rsample { loc: &loc[at.clone()], log_var: &log_var[at], key, particle: particle as u32, start, z: piece.data };
            if dispatch(draw) {
                bad.store(true, Ordering::Relaxed);
            }
            from += count;
        }
    });
    diagnose(bad.into_inner(), loc, log_var, width)
}

/// The rows of loc, or `None` where nothing is to be drawn.
fn check<F: Float>(loc: &[F], log_var: &[F], width: usize, z: &[F]) -> Result<Option<usize>> {
    let draws = z.len() / width.max(1);
    check_len("z", z, draws, width)?;
    let rows = check_posterior("z", draws, loc, log_var, width)?;
    Ok((draws > 0).then_some(rows))
}

fn diagnose<F: Float>(bad: bool, loc: &[F], log_var: &[F], width: usize) -> Result<()> {
    if bad {
        check_finite("loc", loc, width)?;
        check_finite("log_var", log_var, width)?;
    }
    Ok(())
}

struct Rsample<'a, F> {
    loc: &'a [F],
    log_var: &'a [F],
    key: Key,
    particle: u32,
    start: u64,
    z: &'a mut [F],
}

impl<F: Float + Draw> Kernel for Rsample<'_, F> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let len = self.z.len();
        let mut sink = Reparameterise { loc: self.loc, log_var: self.log_var, z: self.z, flaws: no_flaw::<F, S>(simd) };
        stream::<F, S, _, true>(simd, self.key, self.particle, self.start, len, &mut Parts::new(simd), &mut sink);
        !sink.flaws.simd_eq(F::ZERO).all_true()
    }
}

/// ε becomes z in registers, on its way to memory.
struct Reparameterise<'a, F: Float, S: Simd> {
    loc: &'a [F],
    log_var: &'a [F],
    z: &'a mut [F],
    /// 0 as long as every number was finite, then NaN.
    flaws: Lanes<F, S>,
}

impl<F: Float, S: Simd> Sink<F, S> for Reparameterise<'_, F, S> {
    #[inline(always)]
    fn full(&mut self, simd: S, at: usize, eps: F::Lanes<S>) {
        let loc = F::Lanes::from_slice(simd, &self.loc[at..at + F::LANES]);
        let log_var = F::Lanes::from_slice(simd, &self.log_var[at..at + F::LANES]);
        self.flaws += zero_if_finite::<F, S, 2>(simd, [loc, log_var]);
        let z = scale::<F, S>(simd, log_var, 1.0).fma(eps, loc);
        z.store_slice(&mut self.z[at..at + F::LANES]);
    }
    #[inline(always)]
    fn part(&mut self, simd: S, at: usize, draws: &[F]) {
        let n = draws.len();
        let part = |x: &[F]| F::Lanes::from_fn(simd, |l| if l < n { x[l] } else { F::ZERO });
        let (loc, log_var) = (part(&self.loc[at..]), part(&self.log_var[at..]));
        self.flaws += zero_if_finite::<F, S, 2>(simd, [loc, log_var]);
        let z = scale::<F, S>(simd, log_var, 1.0).fma(part(draws), loc);
        self.z[at..at + n].copy_from_slice(&z.as_slice()[..n]);
    }
}

/// z in place of ε, and −½ Σ [ε² + `log_var` + ln 2π]: the density of the draw from the ε it was made of.
struct WithLogProb(usize);

impl<F: Float> LaneOp<F, 3, 1> for WithLogProb {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [eps, loc, log_var]: [Lanes<F, S>; 3]) -> Term<F, S, 1> {
        let z = scale::<F, S>(simd, log_var, 1.0).fma(eps, loc);
        Term { sum: eps.fma(eps, log_var), out: [z], flaw: zero_if_finite::<F, S, 2>(simd, [loc, log_var]) }
    }

    fn finish(&self, sum: f64) -> f64 {
        -0.5 * (sum + self.0 as f64 * LN_2PI)
    }
}

/// [`rsample`] with log q(z | x) of each draw into `log_prob`, (particles, rows); the particles are `first_particle` and on.
///
/// # Errors
/// As [`rsample`], and [`Error::Value`](crate::Error) for particles past 2³² − 1.
pub fn rsample_and_log_prob<F: Float + Draw>(
    loc: &[F],
    log_var: &[F],
    key: Key,
    first_particle: u32,
    first_row: u64,
    width: usize,
    z: &mut [F],
    log_prob: &mut [F],
) -> Result<()> {
    /// Numbers of ε drawn at a time: small enough to stay in the first cache.
    const BLOCK: usize = 2048;
    let rows = check(loc, log_var, width, z)?;
    if width == 0 {
        log_prob.fill(F::ZERO);
        return Ok(());
    }
    check_len("log_prob", log_prob, 1, z.len() / width)?;
    let Some(rows) = rows else { return Ok(()) };
    let draws = log_prob.len();
    check_particles(first_particle, draws / rows)?;
    let bad = AtomicBool::new(false);
    let out = (RowsMut::new(z, width), RowsMut::new(log_prob, 1));
    for_rows(draws, row_work::<F>(width, WORK), out, &|range, mut out: (RowsMut<F>, RowsMut<F>)| {
        let block = (BLOCK / width).max(1).min(range.len());
        let mut eps = vec![F::ZERO; block * width];
        for from in range.clone().step_by(block) {
            let count = (range.end - from).min(block);
            let ((z, log_prob), rest) = out.split_at(count);
            out = rest;
            let eps = &mut eps[..count * width];
            fill_draws(key, first_particle, first_row, rows, from, width, eps);
            let [loc, log_var] = [loc, log_var].map(|x| Input::rows(x, width).after(from % rows));
            let inputs = [Input::rows(eps, width), loc, log_var];
            if map_rows(&WithLogProb(width), inputs, count, width, 0.3, Some(log_prob.data), [z]) {
                bad.store(true, Ordering::Relaxed);
            }
        }
    });
    diagnose(bad.into_inner(), loc, log_var, width)
}
