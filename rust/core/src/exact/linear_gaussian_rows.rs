//! Evidence, posterior, bound and gap of a linear Gaussian model: eight rows of one pattern side by side on float64 lanes.
//!
//! With r = x − b and m the posterior's mean, rᵀ (W Wᵀ + Ψ)⁻¹ r is evaluated as Σ (r − W m)² / ψ + Σ m²: it is the least value of that sum over m, so
//! nothing cancels and an error in m enters squared. The bound is the same sum at q's mean beside the trace and the entropy of its covariance. Sums over columns are
//! added eight at a time, each eight without loss. A missing cell is NaN; each pattern of missing cells has a factorisation of its own.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::linear_gaussian::{LinearGaussian, Observed};
use crate::error::{Error, Result};
use crate::float::{Float, wide};
use crate::mvn::{self, Tril};
use crate::rows::{check_finite, check_len};
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, dispatch, f64x8};
use crate::threads::{Outputs, RowsMut, for_rows};
use crate::vmath::{exp, two_sum};

/// Rows side by side.
const ROWS: usize = 8;

/// A Gaussian over the latents for each row.
#[derive(Debug, Clone, Copy)]
pub enum Approximation<'a, F> {
    /// `loc` and `log_var`, (rows, latents).
    Diagonal(&'a [F], &'a [F]),
    /// `loc`, (rows, latents), and lower triangles.
    Full(&'a [F], Tril<'a, F>),
}

impl<F: Float> Approximation<'_, F> {
    fn check(self, rows: usize, latents: usize) -> Result<()> {
        let (Self::Diagonal(loc, _) | Self::Full(loc, _)) = self;
        check_len("loc", loc, rows, latents)?;
        check_finite("loc", loc, latents)?;
        match self {
            Self::Diagonal(_, log_var) => {
                check_len("log_var", log_var, rows, latents)?;
                check_finite("log_var", log_var, latents)
            }
            Self::Full(_, tril) => {
                tril.check_shape("scale_tril", rows, latents)?;
                tril.check_values("scale_tril", latents)
            }
        }
    }

    fn loc(&self) -> &[F] {
        let (Self::Diagonal(loc, _) | Self::Full(loc, _)) = self;
        loc
    }
}

impl LinearGaussian {
    /// log N(x; b, W Wᵀ + Ψ) of the observed cells of each row of `x`, (rows, width), into `out`; 0 where none is observed.
    ///
    /// # Errors
    /// [`Error::Shape`] and, for an infinite cell, [`Error::NonFinite`].
    pub fn log_evidence<F: Float>(&self, x: &[F], out: &mut [F]) -> Result<()> {
        check_len("X", x, out.len(), self.width)?;
        let bad = AtomicBool::new(false);
        for_rows(out.len(), self.work(), RowsMut::new(out, 1), &|range, out: RowsMut<F>| {
            if dispatch(Pass { model: self, x, range, task: Task::Evidence(out.data) }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        self.named(bad.into_inner(), x)
    }

    /// The posterior N(m, S Sᵀ) of each row's latents given its observed cells: m into `loc`, (rows, latents), S into `tril`, (rows, latents, latents), or, if no
    /// cell is missing and `tril` has that length, the one that all rows share into (latents, latents).
    ///
    /// # Errors
    /// As [`log_evidence`](Self::log_evidence).
    pub fn posterior<F: Float>(&self, x: &[F], loc: &mut [F], tril: &mut [F]) -> Result<()> {
        let (k, rows) = (self.latents, loc.len() / self.latents);
        check_len("X", x, rows, self.width)?;
        check_len("loc", loc, rows, k)?;
        let shared = tril.len() == k * k && (rows == 1 || !x.iter().any(|x| x.to_f64().is_nan()));
        let by_row = if shared && rows != 1 { None } else { Some(&mut *tril) };
        if let Some(tril) = &by_row {
            check_len("scale_tril", tril, rows, k * k)?;
        }
        let bad = AtomicBool::new(false);
        let outputs = (RowsMut::new(loc, k), by_row.map(|tril| RowsMut::new(tril, k * k)));
        let body = |range, (loc, tril): (RowsMut<F>, Option<RowsMut<F>>)| {
            let task = Task::Posterior(loc.data, tril.map(|tril| tril.data));
            if dispatch(Pass { model: self, x, range, task }) {
                bad.store(true, Ordering::Relaxed);
            }
        };
        for_rows(rows, self.work(), outputs, &body);
        self.named(bad.into_inner(), x)?;
        if shared && rows != 1 {
            let mut whole = vec![0.0; k * k];
            self.whole.scale_tril(k, &mut whole);
            for (out, x) in tril.iter_mut().zip(whole) {
                *out = F::from_f64(x);
            }
        }
        Ok(())
    }

    /// `E_q[log p(x | z)] − KL(q ‖ p(z))` of each row's observed cells, in closed form; −KL where none is observed.
    ///
    /// # Errors
    /// As [`log_evidence`](Self::log_evidence), and [`Error::Support`] for a triangle whose diagonal is not positive.
    pub fn elbo<F: Float>(&self, x: &[F], q: Approximation<F>, out: &mut [F]) -> Result<()> {
        check_len("X", x, out.len(), self.width)?;
        q.check(out.len(), self.latents)?;
        let bad = AtomicBool::new(false);
        for_rows(out.len(), self.work(), RowsMut::new(out, 1), &|range, out: RowsMut<F>| {
            if dispatch(Pass { model: self, x, range, task: Task::Elbo(q, out.data) }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        self.named(bad.into_inner(), x)
    }

    /// KL(q ‖ p(z | x)) of each row, by [`mvn::kl`]: never negative, with its relative accuracy near 0.
    ///
    /// # Errors
    /// As [`elbo`](Self::elbo).
    pub fn gap<F: Float>(&self, x: &[F], q: Approximation<F>, out: &mut [F]) -> Result<()> {
        /// Rows whose triangles lie in memory together.
        const BLOCK: usize = 64;
        let (k, width) = (self.latents, self.width);
        check_len("X", x, out.len(), width)?;
        q.check(out.len(), k)?;
        if let Some(at) = x.iter().position(|x| x.to_f64().is_infinite()) {
            return Err(Error::NonFinite { argument: "X", row: at / width, column: at % width, value: x[at].to_f64() });
        }
        let outcome = Mutex::new(Ok(()));
        for_rows(out.len(), self.work() + k * k * k / 4, RowsMut::new(out, 1), &|range, mut out: RowsMut<F>| {
            for first in range.clone().step_by(BLOCK) {
                let count = BLOCK.min(range.end - first);
                let (part, rest) = out.split_at(count);
                out = rest;
                let x = wide(&x[first * width..][..count * width]);
                let block = self.gap_of_block(&x, q, first, part.data);
                if block.is_err() {
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = block;
                }
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn gap_of_block<F: Float>(&self, x: &[f64], q: Approximation<F>, first: usize, out: &mut [F]) -> Result<()> {
        let (k, count) = (self.latents, out.len());
        let whole = !x.iter().any(|x| x.is_nan());
        let (mut mean, mut tril) = (vec![0.0; count * k], vec![0.0; if whole { k * k } else { count * k * k }]);
        self.posterior(x, &mut mean, &mut tril)?;
        // A mean that has left the range is infinitely far from any q.
        let lost: Vec<bool> = (0..count).map(|row| mean[row * k..][..k].iter().any(|x| !x.is_finite())).collect();
        for (row, _) in lost.iter().enumerate().filter(|(_, lost)| **lost) {
            mean[row * k..][..k].fill(0.0);
        }
        let posterior = if whole { Tril::Shared(&tril) } else { Tril::ByRow(&tril) };
        let loc = wide(&q.loc()[first * k..][..count * k]);
        let mut gap = vec![0.0; count];
        match q {
            Approximation::Diagonal(_, log_var) => {
                mvn::kl_of_diagonal(&loc, &wide(&log_var[first * k..][..count * k]), &mean, posterior, k, &mut gap)?;
            }
            Approximation::Full(_, Tril::Shared(tril)) => {
                mvn::kl(&loc, Tril::Shared(&wide(tril)), Some((&mean, posterior)), k, &mut gap)?;
            }
            Approximation::Full(_, Tril::ByRow(tril)) => {
                let tril = wide(&tril[first * k * k..][..count * k * k]);
                mvn::kl(&loc, Tril::ByRow(&tril), Some((&mean, posterior)), k, &mut gap)?;
            }
        }
        for ((out, gap), lost) in out.iter_mut().zip(gap).zip(lost) {
            *out = F::from_f64(if lost { f64::INFINITY } else { gap });
        }
        Ok(())
    }

    /// Names an infinite cell, if something looked bad.
    fn named<F: Float>(&self, bad: bool, x: &[F]) -> Result<()> {
        match x.iter().position(|x| bad && x.to_f64().is_infinite()) {
            Some(at) => {
                Err(Error::NonFinite { argument: "X", row: at / self.width, column: at % self.width, value: x[at].to_f64() })
            }
            None => Ok(()),
        }
    }

    /// About a complete row's cost in nanoseconds.
    fn work(&self) -> usize {
        10 + (2 * self.width * self.latents + self.latents * self.latents) / 8
    }
}

/// What is wanted of rows; outputs begin at the first row of the range.
enum Task<'a, F> {
    Evidence(&'a mut [F]),
    Posterior(&'a mut [F], Option<&'a mut [F]>),
    Elbo(Approximation<'a, F>, &'a mut [F]),
}

struct Pass<'a, F> {
    model: &'a LinearGaussian,
    x: &'a [F],
    range: Range<usize>,
    task: Task<'a, F>,
}

impl<F: Float> Kernel for Pass<'_, F> {
    /// Whether a result is not finite.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        let LinearGaussian { width, latents, ref offset, ref whole, .. } = *self.model;
        let zero = f64x8::splat(simd, 0.0);
        let (mut rest, mut mean) = (vec![zero; width], vec![zero; latents]);
        // The pattern of the last row that missed a cell.
        let mut own: Option<Observed> = None;
        let mut tril = vec![0.0; latents * latents];
        let (mut finite, mut first) = (true, self.range.start);
        while first < self.range.end {
            let row = |r: usize| &self.x[r * width..][..width];
            let missing = |r: usize| row(r).iter().any(|x| x.to_f64().is_nan());
            let observed = if missing(first) {
                let seen: Vec<bool> = row(first).iter().map(|x| !x.to_f64().is_nan()).collect();
                let own = own.get_or_insert_with(|| Observed::new(width, latents));
                // A pattern of nothing observed is that of a new one too, and set anew costs nothing.
                if own.seen != seen || !seen.contains(&true) {
                    own.set(self.model, &seen);
                }
                &*own
            } else {
                whole
            };
            let alike = |r: usize| row(r).iter().zip(&observed.seen).all(|(x, seen)| x.to_f64().is_nan() != *seen);
            let count = (1..ROWS.min(self.range.end - first)).take_while(|l| alike(first + l)).count() + 1;
            for (j, (rest, offset)) in rest.iter_mut().zip(offset).enumerate() {
                let column = |l: usize| if l < count && observed.seen[j] { row(first + l)[j].to_f64() - offset } else { 0.0 };
                *rest = f64x8::from_fn(simd, column);
            }
            let local = first - self.range.start..first - self.range.start + count;
            match &mut self.task {
                Task::Evidence(out) => {
                    posterior_mean(observed, &rest, &mut mean);
                    let square = squares(simd, self.model, observed, &rest, &mean);
                    let value = square.fma(-0.5, f64x8::splat(simd, observed.constant - observed.half_log_det));
                    finite &= store(value, &mut out[local]);
                }
                Task::Posterior(loc, trils) => {
                    posterior_mean(observed, &rest, &mut mean);
                    for (l, loc) in loc[local.start * latents..local.end * latents].chunks_exact_mut(latents).enumerate() {
                        for (loc, mean) in loc.iter_mut().zip(&mean) {
                            let mean = mean.as_slice()[l];
                            *loc = F::from_f64(if mean.is_nan() { f64::INFINITY } else { mean });
                            finite &= loc.finite();
                        }
                    }
                    if let Some(trils) = trils {
                        observed.scale_tril(latents, &mut tril);
                        let size = latents * latents;
                        for out in trils[local.start * size..local.end * size].chunks_exact_mut(size) {
                            for (out, x) in out.iter_mut().zip(&tril) {
                                *out = F::from_f64(*x);
                            }
                        }
                    }
                }
                Task::Elbo(q, out) => {
                    let loc = q.loc();
                    for (a, mean) in mean.iter_mut().enumerate() {
                        *mean = f64x8::from_fn(simd, |l| if l < count { loc[(first + l) * latents + a].to_f64() } else { 0.0 });
                    }
                    let square = squares(simd, self.model, observed, &rest, &mean);
                    let spread = spread(simd, observed, *q, first..first + count, latents, &mut tril);
                    let value = (square + spread).fma(-0.5, f64x8::splat(simd, observed.constant));
                    finite &= store(value, &mut out[local]);
                }
            }
            first += count;
        }
        !finite
    }
}

/// The first lanes into `out`, rounded; whether all are finite. Only what has left the range is NaN: the row is then infinitely far.
#[inline(always)]
fn store<F: Float, S: Simd>(value: f64x8<S>, out: &mut [F]) -> bool {
    let mut finite = true;
    for (out, &value) in out.iter_mut().zip(value.as_slice()) {
        *out = F::from_f64(if value.is_nan() { f64::NEG_INFINITY } else { value });
        finite &= out.finite();
    }
    finite
}

/// (U Uᵀ)⁻¹ Wᵀ Ψ⁻¹ r.
#[inline(always)]
fn posterior_mean<S: Simd>(observed: &Observed, rest: &[f64x8<S>], mean: &mut [f64x8<S>]) {
    let k = mean.len();
    for (j, (rest, scaled)) in rest.iter().zip(observed.scaled.chunks_exact(k)).enumerate() {
        for (mean, scaled) in mean.iter_mut().zip(scaled) {
            *mean = if j == 0 { *rest * *scaled } else { rest.fma(*scaled, *mean) };
        }
    }
    for i in (0..k).rev() {
        let (before, after) = mean.split_at_mut(i + 1);
        let row = &observed.upper[i * k + i + 1..(i + 1) * k];
        let mut value = before[i];
        for (u, y) in row.iter().zip(after) {
            value = (-*y).fma(*u, value);
        }
        before[i] = value * observed.inverse[i];
    }
    for i in 0..k {
        let (before, after) = mean.split_at_mut(i);
        let mut value = after[0];
        for (a, y) in before.iter().enumerate() {
            value = (-*y).fma(observed.upper[a * k + i], value);
        }
        after[0] = value * observed.inverse[i];
    }
}

/// Σ (r − W m)² / ψ + Σ m².
#[inline(always)]
fn squares<S: Simd>(simd: S, model: &LinearGaussian, observed: &Observed, rest: &[f64x8<S>], mean: &[f64x8<S>]) -> f64x8<S> {
    let k = mean.len();
    let zero = f64x8::splat(simd, 0.0);
    let (mut sum, mut error) = (zero, zero);
    for (first, eight) in rest.chunks(8).enumerate() {
        let mut part = zero;
        for (j, rest) in eight.iter().enumerate() {
            let j = 8 * first + j;
            let weight = &model.weight[j * k..][..k];
            let mut off = *rest;
            for (w, m) in weight.iter().zip(mean) {
                off = (-*m).fma(*w, off);
            }
            part = (off * observed.precision[j]).fma(off, part);
        }
        let (next, lost) = two_sum::<f64, S>(sum, part);
        (sum, error) = (next, error + lost);
    }
    for eight in mean.chunks(8) {
        let mut part = zero;
        for m in eight {
            part = m.fma(*m, part);
        }
        let (next, lost) = two_sum::<f64, S>(sum, part);
        (sum, error) = (next, error + lost);
    }
    // Beside an infinite part the error is ∞ − ∞, and so may be a residual: the row is then infinitely far.
    let total = sum + error;
    sum.is_finite().select(total, f64x8::splat(simd, f64::INFINITY))
}

/// tr(Λ C) − k − ln det C of each row's covariance C, Λ = U Uᵀ.
#[inline(always)]
fn spread<F: Float, S: Simd>(
    simd: S,
    observed: &Observed,
    q: Approximation<F>,
    rows: Range<usize>,
    k: usize,
    product: &mut [f64],
) -> f64x8<S> {
    match q {
        Approximation::Diagonal(_, log_var) => {
            let mut sum = f64x8::splat(simd, 0.0);
            for (a, &diagonal) in observed.diagonal.iter().enumerate() {
                let inside = |l: usize| rows.start + l < rows.end;
                let log_var = f64x8::from_fn(simd, |l| if inside(l) { log_var[(rows.start + l) * k + a].to_f64() } else { 0.0 });
                sum += exp::<f64, S>(simd, log_var).fma(diagonal, -log_var) - 1.0;
            }
            sum
        }
        Approximation::Full(_, tril) => {
            let mut values = [0.0; ROWS];
            for (l, row) in rows.enumerate() {
                values[l] = if l > 0 && tril.shared() { values[0] } else { spread_of(observed, tril.of(row, k), k, product) };
            }
            f64x8::from_slice(simd, &values)
        }
    }
}

/// ‖Uᵀ L‖² − k − 2 Σ ln `L_ii`.
#[inline(always)]
fn spread_of<F: Float>(observed: &Observed, tril: &[F], k: usize, product: &mut [f64]) -> f64 {
    let mut total = 0.0;
    for i in 0..k {
        let row = &mut product[..=i];
        row.fill(0.0);
        for (a, l) in tril.chunks_exact(k).enumerate().take(i + 1) {
            let u = observed.upper[a * k + i];
            for (x, l) in row.iter_mut().zip(&l[..=a]) {
                *x = u.fused(l.to_f64(), *x);
            }
        }
        let square = row.iter().fold(-1.0, |sum: f64, x| x.fused(*x, sum));
        total += square - 2.0 * libm::log(tril[i * k + i].to_f64());
    }
    total
}
