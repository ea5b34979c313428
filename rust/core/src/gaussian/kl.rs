//! KL(q ‖ p) of one diagonal Gaussian to another, in the form whose every term is non-negative.
//!
//! With v = `log_var` − `prior_log_var` and δ = (loc − `prior_loc`) / prior scale, KL = ½ Σ [(eᵛ − 1 − v) + δ²]. The bracket's first part
//! comes from its own kernel ([`vmath::exp_excess`]), so the divergence is never negative and keeps full relative accuracy
//! where q is within 1e-7 of the prior.

use super::ends::{self, for_lost_rows, mend, repeated};
use super::{deviation, square_plus};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::{Input, LaneOp, SumOnly, TURN, Term, check_finite, check_len, lanes_of, map_rows, no_flaw, no_outputs};
use crate::simd::{Fused, Select, Simd, SimdBase, fuses};
use crate::threads::RowsMut;
use crate::vmath::{Lanes, excess_series, exp, exp_excess, exp_excess_from};

/// To N(0, I).
struct Standard;
/// The value of [`Standard`] alone, in parts. What they hand on stays in registers, as a whole turn is written out; beside outputs it did not, and the gradient took longer than in
/// one part (an Intel Xeon with AVX-512).
struct StandardValue;
/// To a Gaussian with its own loc and log-variance.
struct General;
/// The term itself as the elementwise output.
struct PerDim<Op, const O: usize>(Op);

/// About the cost of an element of each divergence, in nanoseconds on one core.
const WORK: f64 = 0.6;
const GENERAL_WORK: f64 = 1.0;

impl<F: Float> LaneOp<F, 2, 2> for Standard {
    const SHORT_ROWS: bool = true;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [loc, log_var]: [Lanes<F, S>; 2]) -> Term<F, S, 2> {
        let (excess, expm1) = exp_excess::<F, S>(simd, log_var);
        Term { sum: loc.fma(loc, excess), out: [loc, expm1 * F::from_f64(0.5)], flaw: no_flaw::<F, S>(simd) }
    }

    fn finish(&self, sum: f64) -> f64 {
        0.5 * sum
    }
}

/// The second part of [`StandardValue`].
#[inline(always)]
fn value_from<F: Float, S: Simd>(simd: S, [loc, log_var]: [Lanes<F, S>; 2], series: [Lanes<F, S>; 3]) -> Term<F, S, 0> {
    let (excess, _) = exp_excess_from::<F, S>(log_var, series);
    Term { sum: loc.fma(loc, excess), out: [], flaw: no_flaw::<F, S>(simd) }
}

impl<F: Float> LaneOp<F, 2, 0> for StandardValue {
    const SHORT_ROWS: bool = true;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 2]) -> Term<F, S, 0> {
        SumOnly::<_, 2>(&Standard).lanes(simd, x)
    }

    const IN_PARTS: bool = true;

    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; 2],
        mut put: impl FnMut(usize, Term<F, S, 0>),
    ) {
        // Two loops of their own for whole turns: the compiler then knows how often they run. Of float32 alone, for the sake of the binary's size.
        if vectors == TURN && F::LANES == 16 && fuses::<S>() {
            let mut log_vars = [F::Lanes::splat(simd, F::ZERO); TURN];
            for (k, log_var) in log_vars.iter_mut().enumerate() {
                *log_var = load(k)[1];
            }
            for (k, series) in excess_series::<F, S, TURN>(simd, log_vars).into_iter().enumerate() {
                put(k, value_from(simd, load(k), series));
            }
            return;
        }
        let mut all = [[F::Lanes::splat(simd, F::ZERO); 3]; TURN];
        for (k, series) in all.iter_mut().enumerate().take(vectors) {
            [*series] = excess_series::<F, S, 1>(simd, [load(k)[1]]);
        }
        for (k, series) in all.into_iter().enumerate().take(vectors) {
            put(k, value_from(simd, load(k), series));
        }
    }

    fn finish(&self, sum: f64) -> f64 {
        0.5 * sum
    }
}

impl<F: Float> LaneOp<F, 4, 4> for General {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [loc, log_var, prior_loc, prior_log_var]: [Lanes<F, S>; 4]) -> Term<F, S, 4> {
        let inverse = exp::<F, S>(simd, prior_log_var * F::from_f64(-0.5));
        // A row with an infinite inverse is not finite and is computed again; one with a subnormal inverse, which has lost its digits, is made so.
        let normal = prior_log_var.simd_le(F::from_f64(1.96 * F::EXP_MAX.to_f64()));
        let inverse = normal.select(inverse, F::Lanes::splat(simd, F::NAN));
        let delta = deviation::<F, S>(simd, loc, prior_loc, inverse);
        let (excess, expm1) = difference_excess::<F, S>(simd, log_var, prior_log_var);
        let d_loc = delta[0] * inverse;
        let half = F::from_f64(0.5);
        let out = [d_loc, expm1 * half, -d_loc, -square_plus::<F, S>(delta, expm1) * half];
        Term { sum: square_plus::<F, S>(delta, excess), out, flaw: no_flaw::<F, S>(simd) }
    }

    fn finish(&self, sum: f64) -> f64 {
        0.5 * sum
    }
}

impl<F: Float, Op: LaneOp<F, I, O>, const I: usize, const O: usize> LaneOp<F, I, 1> for PerDim<Op, O> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; I]) -> Term<F, S, 1> {
        let term = lanes_of(&self.0, simd, x);
        Term { sum: term.sum, out: [term.sum * F::from_f64(0.5)], flaw: term.flaw }
    }
}

/// [`exp_excess`] of a − b, with what the difference loses by rounding put back: at a difference of 50 it is 50 ulp of the result.
#[inline(always)]
fn difference_excess<F: Float, S: Simd>(simd: S, a: Lanes<F, S>, b: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let v = a - b;
    let part = v - a;
    let lost = (a - (v - part)) - (b + part);
    let (excess, expm1) = exp_excess::<F, S>(simd, v);
    // Past the range of exp it changes nothing, and may be ∞ − ∞.
    let inside = v.abs().simd_le(F::EXP_MAX);
    (inside.select(expm1.fma(lost, excess), excess), inside.select((expm1 + F::ONE).fma(lost, expm1), expm1))
}

/// A prior's loc and log-variance: one row for all, or a row for each.
pub type Prior<'a, F> = Option<(&'a [F], &'a [F])>;

/// Where the gradient with respect to the prior goes: (`d_prior_loc`, `d_prior_log_var`), by row.
pub type PriorGrad<'a, F> = Option<(&'a mut [F], &'a mut [F])>;

/// KL(q ‖ p) of each row into `out`; the prior is N(0, I) where `None`, one row for all, or a row for each.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn kl<F: Float>(loc: &[F], log_var: &[F], prior: Prior<F>, width: usize, out: &mut [F]) -> Result<()> {
    let rows = out.len();
    check(loc, log_var, prior, rows, width)?;
    let [l, v] = [loc, log_var].map(|x| Input::rows(x, width));
    let bad = match prior {
        None => map_rows(&StandardValue, [l, v], rows, width, WORK, Some(&mut *out), no_outputs()),
        Some((a, b)) => {
            let inputs = [l, v, Input::rows(a, width), Input::rows(b, width)];
            map_rows(&SumOnly::<_, 4>(&General), inputs, rows, width, GENERAL_WORK, Some(&mut *out), no_outputs())
        }
    };
    if bad {
        diagnose(loc, log_var, prior, width)?;
        lost_rows(loc, log_var, prior, width, out, |_, _| ());
    }
    Ok(())
}

/// The divergence of each latent of each row into `out`, (rows, width); a row's sum is its [`kl`] but for rounding.
///
/// # Errors
/// As [`kl`].
pub fn kl_per_dim<F: Float>(loc: &[F], log_var: &[F], prior: Prior<F>, width: usize, out: &mut [F]) -> Result<()> {
    let rows = out.len().checked_div(width).unwrap_or(0);
    check(loc, log_var, prior, rows, width)?;
    let [l, v] = [loc, log_var].map(|x| Input::rows(x, width));
    // The sums are computed for their finiteness: an elementwise output hides nothing that its row's sum shows.
    let mut sums = vec![F::ZERO; rows];
    let outputs = [RowsMut::new(&mut *out, width)];
    let bad = match prior {
        None => map_rows(&PerDim::<_, 2>(Standard), [l, v], rows, width, WORK, Some(sums.as_mut_slice()), outputs),
        Some((a, b)) => {
            let inputs = [l, v, Input::rows(a, width), Input::rows(b, width)];
            map_rows(&PerDim::<_, 4>(General), inputs, rows, width, GENERAL_WORK, Some(sums.as_mut_slice()), outputs)
        }
    };
    if bad {
        diagnose(loc, log_var, prior, width)?;
        lost_rows(loc, log_var, prior, width, &mut sums, |at, cell| mend(&mut out[at], cell.kl()));
    }
    Ok(())
}

/// [`kl`] and its gradient in one pass: ∂/∂loc = δ / prior scale, ∂/∂`log_var` = ½ (eᵛ − 1), and with respect to the prior
/// where `d_prior` is given.
///
/// # Errors
/// As [`kl`]; `d_prior` without a prior is an [`Error::Value`](crate::Error).
pub fn kl_grad<F: Float>(
    loc: &[F],
    log_var: &[F],
    prior: Prior<F>,
    width: usize,
    out: &mut [F],
    d_loc: &mut [F],
    d_log_var: &mut [F],
    mut d_prior: PriorGrad<F>,
) -> Result<()> {
    let rows = out.len();
    check(loc, log_var, prior, rows, width)?;
    check_len("d_loc", d_loc, rows, width)?;
    check_len("d_log_var", d_log_var, rows, width)?;
    let [l, v] = [loc, log_var].map(|x| Input::rows(x, width));
    let outputs = [&mut *d_loc, &mut *d_log_var].map(|x| RowsMut::new(x, width));
    let bad = match (prior, &mut d_prior) {
        (None, None) => map_rows(&Standard, [l, v], rows, width, WORK, Some(&mut *out), outputs),
        (Some((a, b)), d_prior) => {
            let inputs = [l, v, Input::rows(a, width), Input::rows(b, width)];
            if let Some((c, d)) = d_prior {
                check_len("d_prior_loc", c, rows, width)?;
                check_len("d_prior_log_var", d, rows, width)?;
                let [e, f] = outputs;
                let outputs = [e, f, RowsMut::new(c, width), RowsMut::new(d, width)];
                map_rows(&General, inputs, rows, width, GENERAL_WORK, Some(&mut *out), outputs)
            } else {
                map_rows(&PosteriorOnly, inputs, rows, width, GENERAL_WORK, Some(&mut *out), outputs)
            }
        }
        (None, Some(_)) => return Err(Error::value("d_prior", "a prior", "none", "give prior_loc and prior_log_var")),
    };
    if bad {
        diagnose(loc, log_var, prior, width)?;
        lost_rows(loc, log_var, prior, width, out, |at, cell| {
            let pull = ends::pull(cell.loc, cell.prior_loc, cell.prior_log_var);
            mend(&mut d_loc[at], pull);
            mend(&mut d_log_var[at], cell.half_expm1);
            if let Some((c, d)) = &mut d_prior {
                mend(&mut c[at], -pull);
                mend(&mut d[at], -cell.half_expm1 - 0.5 * cell.delta * cell.delta);
            }
        });
    }
    Ok(())
}

/// [`General`] without the prior's gradient.
struct PosteriorOnly;

impl<F: Float> LaneOp<F, 4, 2> for PosteriorOnly {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 4]) -> Term<F, S, 2> {
        let Term { sum, out: [d_loc, d_log_var, ..], flaw }: Term<F, S, 4> = lanes_of(&General, simd, x);
        Term { sum, out: [d_loc, d_log_var], flaw }
    }

    fn finish(&self, sum: f64) -> f64 {
        0.5 * sum
    }
}

fn check<F: Float>(loc: &[F], log_var: &[F], prior: Prior<F>, rows: usize, width: usize) -> Result<()> {
    check_len("loc", loc, rows, width)?;
    check_len("log_var", log_var, rows, width)?;
    if let Some((a, b)) = prior {
        let prior_rows = if a.len() == width { 1 } else { rows };
        check_len("prior_loc", a, prior_rows, width)?;
        let prior_rows = if b.len() == width { 1 } else { rows };
        check_len("prior_log_var", b, prior_rows, width)?;
    }
    Ok(())
}

/// Names a NaN or infinity.
fn diagnose<F: Float>(loc: &[F], log_var: &[F], prior: Prior<F>, width: usize) -> Result<()> {
    check_finite("loc", loc, width)?;
    check_finite("log_var", log_var, width)?;
    if let Some((a, b)) = prior {
        check_finite("prior_loc", a, width)?;
        check_finite("prior_log_var", b, width)?;
    }
    Ok(())
}

/// One latent of a row at the end of the range.
struct Lost {
    loc: f64,
    prior_loc: f64,
    prior_log_var: f64,
    delta: f64,
    half_excess: f64,
    half_expm1: f64,
}

impl Lost {
    fn kl(&self) -> f64 {
        self.half_excess + 0.5 * self.delta * self.delta
    }
}

/// Computes the rows of `sums` that are not finite again, and calls `each` with the place of their latents.
fn lost_rows<F: Float>(
    loc: &[F],
    log_var: &[F],
    prior: Prior<F>,
    width: usize,
    sums: &mut [F],
    mut each: impl FnMut(usize, &Lost),
) {
    for_lost_rows(sums, |row| {
        let first = row * width;
        let prior = prior.map(|(a, b)| (repeated(a, row, width), repeated(b, row, width)));
        let cells = (0..width).map(|j| {
            let (loc, log_var) = (loc[first + j].to_f64(), log_var[first + j].to_f64());
            let (prior_loc, prior_log_var) = prior.map_or((0.0, 0.0), |(a, b)| (a[j].to_f64(), b[j].to_f64()));
            let (half_excess, half_expm1) = ends::half_excess(log_var, prior_log_var);
            let delta = ends::delta(loc, prior_loc, prior_log_var);
            let cell = Lost { loc, prior_loc, prior_log_var, delta, half_excess, half_expm1 };
            each(first + j, &cell);
            cell.kl()
        });
        ends::sum(cells)
    });
}
