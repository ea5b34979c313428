//! Codes of classes: logit of the class seen − ln Σ e^logit, with `num_classes` logits a feature, feature by feature; the gradient is the class seen less
//! the probabilities.
//!
//! Features stand on lanes and classes follow each other. The largest logit m is left out of the sum:
//! ln Σ e^logit = m + ln(1 + Σ′ e^(logit − m)), which keeps the digits of a class that is nearly certain.

use super::cells::{Family, Params, ParamsMut};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::CellWords;
use crate::reduce::LaneSum;
use crate::rows::{Input, Totals};
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, SimdMask, dispatch, f64x8};
use crate::threads::for_rows;
use crate::vmath::{exp, ln_1p};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Features that run side by side.
const LANES: usize = 8;
/// About the cost of a logit with its gradient, in nanoseconds on one core.
const WORK: usize = 3;

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

    fn run(
        &self,
        x: Option<Input<f64>>,
        params: Params<f64>,
        rows: usize,
        totals: Totals<f64>,
        out: Option<ParamsMut<f64>>,
    ) -> bool {
        let bad = AtomicBool::new(false);
        for_rows(rows, self.width * self.classes * WORK + 1, (totals, out), &|rows, (totals, out)| {
            let mut exps = vec![0.0; self.classes * LANES];
            if dispatch(Pass { kind: self, x, params, rows, totals, out, exps: &mut exps }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        bad.into_inner()
    }
}

impl Family<f64> for Categorical {
    fn log_prob(&self, x: Input<f64>, params: Params<f64>, rows: usize, totals: Totals<f64>) -> bool {
        self.run(Some(x), params, rows, totals, None)
    }

    fn log_prob_grad(
        &self,
        x: Input<f64>,
        params: Params<f64>,
        rows: usize,
        totals: Totals<f64>,
        d_params: ParamsMut<f64>,
    ) -> bool {
        self.run(Some(x), params, rows, totals, Some(d_params))
    }

    fn mean(&self, params: Params<f64>, rows: usize, out: ParamsMut<f64>) -> bool {
        self.run(None, params, rows, Totals::Nowhere, Some(out))
    }

    fn draw(&self, column: usize, params: &[f64], words: &mut CellWords) -> f64 {
        let logits = &params[column * self.classes..][..self.classes];
        let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(*l));
        let weight = |logit: &f64| libm::exp(logit - largest);
        let mut left = words.uniform() * logits.iter().map(weight).sum::<f64>();
        for (class, logit) in logits.iter().enumerate() {
            left -= weight(logit);
            if left < 0.0 {
                return class as f64;
            }
        }
        // Rounding may leave a little; the likeliest class has room for it.
        logits.iter().position(|l| *l == largest).unwrap_or(0) as f64
    }
}

/// The logits of a few features.
struct Block<'a> {
    logits: &'a [f64],
    features: usize,
    classes: usize,
}

impl Block<'_> {
    /// The logits of one class.
    #[inline(always)]
    fn load<S: Simd>(&self, simd: S, class: usize) -> f64x8<S> {
        let mut lanes = [0.0; LANES];
        for (l, lane) in lanes[..self.features].iter_mut().enumerate() {
            *lane = self.logits[l * self.classes + class];
        }
        f64x8::from_slice(simd, &lanes)
    }
}

/// Rows of one task: log probability and gradient where x is given, else the probabilities.
struct Pass<'a, 'd> {
    kind: &'a Categorical,
    x: Option<Input<'d, f64>>,
    params: Params<'d, f64>,
    rows: Range<usize>,
    totals: Totals<'a, f64>,
    out: Option<ParamsMut<'a, f64>>,
    exps: &'a mut [f64],
}

impl Kernel for Pass<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        let (width, classes) = (self.kind.width, self.kind.classes);
        let (zero, one) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0));
        let none = zero.simd_gt(zero);
        let (mut bad, mut overflow) = (none, false);
        for (local, row) in self.rows.enumerate() {
            let logits = &self.params.row(row)[..width * classes];
            let cells = self.x.map(|x| &x.from(row)[..width]);
            let mut sum = <f64 as Float>::Sum::<S>::zero(simd);
            for first in (0..width).step_by(LANES) {
                let features = LANES.min(width - first);
                let block = Block { logits: &logits[first * classes..], features, classes };
                let mut codes = [f64::NAN; LANES];
                if let Some(x) = cells {
                    codes[..features].copy_from_slice(&x[first..first + features]);
                }
                let code = f64x8::from_slice(simd, &codes);

                let mut largest = block.load(simd, 0);
                let (mut at, mut chosen, mut finite) = (zero, largest, largest.is_finite());
                for class in 1..classes {
                    let logit = block.load(simd, class);
                    finite &= logit.is_finite();
                    let more = logit.simd_gt(largest);
                    let number = f64x8::splat(simd, class as f64);
                    (largest, at) = (more.select(logit, largest), more.select(number, at));
                    chosen = code.simd_eq(number).select(logit, chosen);
                }
                let mut others = zero;
                for class in 0..classes {
                    let e = exp::<f64, S>(simd, block.load(simd, class) - largest);
                    e.store_slice(&mut self.exps[class * LANES..][..LANES]);
                    others += at.simd_eq(f64x8::splat(simd, class as f64)).select(zero, e);
                }
                let seen = !code.is_nan();
                let inside = code.simd_ge(zero) & code.simd_lt(classes as f64) & code.simd_eq(code.floor());
                bad |= if cells.is_some() { seen & !(inside & finite) } else { !finite };
                sum = sum.add(seen.select((chosen - largest) - ln_1p::<f64, S>(simd, others), zero));

                if let Some(out) = &mut self.out {
                    let out = out.row(local);
                    let total = others + one;
                    for class in 0..classes {
                        let e = f64x8::from_slice(simd, &self.exps[class * LANES..][..LANES]);
                        let probability = e / total;
                        let d = if self.x.is_none() {
                            probability
                        } else {
                            // Of the class seen, what the other classes have.
                            let number = f64x8::splat(simd, class as f64);
                            let rest = at.simd_eq(number).select(others, total - e) / total;
                            seen.select(code.simd_eq(number).select(rest, -probability), zero)
                        };
                        let d = d.as_slice();
                        for (l, d) in d[..features].iter().enumerate() {
                            out[(first + l) * classes + class] = *d;
                        }
                    }
                }
            }
            overflow |= !self.totals.put(local, sum.finish());
        }
        overflow || bad.any_true()
    }
}
