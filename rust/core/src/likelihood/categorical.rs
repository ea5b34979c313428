//! Codes of classes: logit of the class seen − ln Σ e^logit, with `num_classes` logits a feature, feature by feature; the gradient is the class seen less
//! the probabilities.
//!
//! Features stand on lanes and classes follow each other. The largest logit m is left out of the sum:
//! ln Σ e^logit = m + ln(1 + Σ′ e^(logit − m)), which keeps the digits of a class that is nearly certain; the rounding errors of logit − m and of the sum are put back.

use super::cells::{Family, Params, ParamsMut};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::CellWords;
use crate::reduce::LaneSum;
use crate::rows::{Input, Mask, Totals};
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, SimdMask, dispatch};
use crate::threads::for_rows;
use crate::vmath::{Lanes, exp_below, ln_1p, two_sum, zero_if_finite};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// About the cost of a logit with its gradient, in nanoseconds on one core.
const WORK: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Categorical {
    classes: usize,
    width: usize,
}

impl Categorical {
    pub(super) fn new(num_classes: u32, width: usize) -> Result<Self> {
        // Codes above would not be whole numbers of float32.
        if !(1..=1 << 24).contains(&num_classes) {
            return Err(Error::value("num_classes", "1 to 2²⁴ classes", num_classes, "give the number of codes, from 0 on"));
        }
        Ok(Self { classes: num_classes as usize, width })
    }

    fn run<F: Float>(
        &self,
        x: Option<Input<F>>,
        params: Params<F>,
        rows: usize,
        totals: Totals<F>,
        out: Option<ParamsMut<F>>,
    ) -> bool {
        let bad = AtomicBool::new(false);
        for_rows(rows, self.width * self.classes * WORK + 1, (totals, out), &|rows, (totals, out)| {
            let mut block = vec![F::ZERO; self.classes * F::LANES];
            if dispatch(Pass { kind: self, x, params, rows, totals, out, block: &mut block }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        bad.into_inner()
    }
}

impl<F: Float> Family<F> for Categorical {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        self.run(Some(x), params, rows, totals, None)
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        self.run(Some(x), params, rows, totals, Some(d_params))
    }

    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool {
        self.run(None, params, rows, Totals::Nowhere, Some(out))
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        let logits = &params[column * self.classes..][..self.classes];
        let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.to_f64()));
        let weight = |logit: &F| libm::exp(logit.to_f64() - largest);
        let mut left = words.uniform() * logits.iter().map(weight).sum::<f64>();
        for (class, logit) in logits.iter().enumerate() {
            left -= weight(logit);
            if left < 0.0 {
                return class as f64;
            }
        }
        // Rounding may leave a little; the likeliest class has room for it.
        logits.iter().position(|l| l.to_f64() == largest).unwrap_or(0) as f64
    }
}

/// Rows of one task: log probability and gradient where x is given, else the probabilities.
struct Pass<'a, 'd, F> {
    kind: &'a Categorical,
    x: Option<Input<'d, F>>,
    params: Params<'d, F>,
    rows: Range<usize>,
    totals: Totals<'a, F>,
    out: Option<ParamsMut<'a, F>>,
    /// The numbers of as many features as there are lanes, class by class; lanes without a feature hold some numbers of an earlier one.
    block: &'a mut [F],
}

/// What a feature's logits come to, and its code.
struct Feature<F: Float, S: Simd> {
    /// The class seen; NaN where none is.
    code: Lanes<F, S>,
    /// The class of the largest logit, the first of equals.
    at: Lanes<F, S>,
    /// Σ′ e^(logit − m) over the others.
    others: Lanes<F, S>,
    /// e^(logit − m) of the class seen.
    chosen: Lanes<F, S>,
}

impl<F: Float> Kernel for Pass<'_, '_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        let (width, classes) = (self.kind.width, self.kind.classes);
        let zero = F::Lanes::splat(simd, F::ZERO);
        let (mut bad, mut overflow) = (Mask::<F, S>::splat(simd, false), false);
        for (local, row) in self.rows.enumerate() {
            let logits = &self.params.row(row)[..width * classes];
            let cells = self.x.map(|x| &x.from(row)[..width]);
            let mut sum = F::Sum::<S>::zero(simd);
            for first in (0..width).step_by(F::LANES) {
                let features = F::LANES.min(width - first);
                gather(&logits[first * classes..][..features * classes], classes, self.block);
                let mut codes = [F::NAN; 16];
                if let Some(x) = cells {
                    codes[..features].copy_from_slice(&x[first..first + features]);
                }
                let code = F::Lanes::from_slice(simd, &codes[..F::LANES]);
                let (feature, value, finite) = exponentials(simd, code, self.block);
                let seen = !code.is_nan();
                let inside = code.simd_ge(zero) & code.simd_lt(F::from_f64(classes as f64)) & code.simd_eq(code.floor());
                bad |= if cells.is_some() { seen & !(inside & finite) } else { !finite };
                sum = sum.add(seen.select(value, zero));
                if let Some(out) = &mut self.out {
                    if cells.is_some() {
                        gradient(simd, &feature, self.block);
                    } else {
                        probabilities(simd, &feature, self.block);
                    }
                    scatter(self.block, classes, &mut out.row(local)[first * classes..][..features * classes]);
                }
            }
            overflow |= !self.totals.put(local, sum.finish());
        }
        overflow || bad.any_true()
    }
}

/// Logits, feature by feature, to a block, class by class.
#[inline(always)]
fn gather<F: Float>(logits: &[F], classes: usize, block: &mut [F]) {
    for (lane, logits) in logits.chunks_exact(classes).enumerate() {
        for (logit, place) in logits.iter().zip(block.chunks_exact_mut(F::LANES)) {
            place[lane] = *logit;
        }
    }
}

/// A block, class by class, to numbers feature by feature.
#[inline(always)]
fn scatter<F: Float>(block: &[F], classes: usize, out: &mut [F]) {
    for (lane, out) in out.chunks_exact_mut(classes).enumerate() {
        for (place, number) in block.chunks_exact(F::LANES).zip(out) {
            *number = place[lane];
        }
    }
}

/// A class's number on all lanes.
#[inline(always)]
fn number<F: Float, S: Simd>(simd: S, class: usize) -> Lanes<F, S> {
    F::Lanes::splat(simd, F::from_f64(class as f64))
}

/// Turns a block's logits into e^(logit − m); returns what they come to, the log probability of the codes, and where all logits are finite.
#[inline(always)]
fn exponentials<F: Float, S: Simd>(simd: S, code: Lanes<F, S>, block: &mut [F]) -> (Feature<F, S>, Lanes<F, S>, Mask<F, S>) {
    let (zero, one) = (F::Lanes::splat(simd, F::ZERO), F::Lanes::splat(simd, F::ONE));
    let mut largest = F::Lanes::from_slice(simd, &block[..F::LANES]);
    let (mut at, mut logit_seen, mut check) = (zero, largest, zero_if_finite::<F, S, 1>(simd, [largest]));
    for (class, logits) in block.chunks_exact(F::LANES).enumerate().skip(1) {
        let logit = F::Lanes::from_slice(simd, logits);
        let (more, number) = (logit.simd_gt(largest), number::<F, S>(simd, class));
        check = logit.fma(zero, check);
        (largest, at) = (more.select(logit, largest), more.select(number, at));
        logit_seen = code.simd_eq(number).select(logit, logit_seen);
    }
    let (mut others, mut lost, mut chosen) = (zero, zero, one);
    for (class, logits) in block.chunks_exact_mut(F::LANES).enumerate() {
        let number = number::<F, S>(simd, class);
        let (v, error) = two_sum::<F, S>(F::Lanes::from_slice(simd, logits), -largest);
        let e = exp_below::<F, S>(simd, v);
        // Where v has left the range there is no error of it.
        let e = e.simd_gt(zero).select(error.fma(e, e), e);
        e.store_slice(logits);
        chosen = code.simd_eq(number).select(e, chosen);
        let (sum, rest) = two_sum::<F, S>(others, at.simd_eq(number).select(zero, e));
        (others, lost) = (sum, lost + rest);
    }
    let others = others + lost;
    let value = (logit_seen - largest) - ln_1p::<F, S>(simd, others);
    (Feature { code, at, others, chosen }, value, check.simd_eq(zero))
}

/// Turns a block's exponentials into the gradient of the log probability: 1 − p of the class seen, from what the others have, −p of the others; 0 where no class is seen.
#[inline(always)]
fn gradient<F: Float, S: Simd>(simd: S, feature: &Feature<F, S>, block: &mut [F]) {
    let Feature { code, at, others, chosen } = *feature;
    let zero = F::Lanes::splat(simd, F::ZERO);
    let (seen, total) = (!code.is_nan(), others + F::ONE);
    let rest = code.simd_eq(at).select(others, total - chosen) / total;
    for (class, numbers) in block.chunks_exact_mut(F::LANES).enumerate() {
        let probability = F::Lanes::from_slice(simd, numbers) / total;
        let d = code.simd_eq(number::<F, S>(simd, class)).select(rest, -probability);
        seen.select(d, zero).store_slice(numbers);
    }
}

/// Turns a block's exponentials into probabilities.
#[inline(always)]
fn probabilities<F: Float, S: Simd>(simd: S, feature: &Feature<F, S>, block: &mut [F]) {
    let total = feature.others + F::ONE;
    for numbers in block.chunks_exact_mut(F::LANES) {
        (F::Lanes::from_slice(simd, numbers) / total).store_slice(numbers);
    }
}
