//! Counts of 0 to n: ln C(n, x) − a |logit| − n ln(1 + e^−|logit|), a = n − x, or x where the logit is negative, and its gradient x sigmoid(−logit) − (n − x) sigmoid(logit).

use super::cells::{CellOp, Cells, Family, Params, ParamsMut, exponentials_first, flaw, in_blocks, seen};
use super::count::{Counts, LN_2PI_HALF};
use super::kinds::Likelihood;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{CellWords, binomial};
use crate::rows::{Input, LaneOp, SumOnly, Term, Totals, map_rows, no_outputs};
use crate::simd::{Fused, Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::threads::{Outputs, row_work};
use crate::vmath::{
    Lanes, exp_excess, exp_minus_abs, ln, ln_1p_to_one, shares, softplus_sigmoid, softplus_sigmoids, stirling, zero_if_finite,
};

/// Totals up to this have their coefficients in a table.
pub(super) const TABLE: u32 = 4096;

/// 2⁵², from which on whole numbers are all the numbers that there are.
const COUNTS_FROM: f64 = 4_503_599_627_370_496.0;
/// Coefficients that are looked up at a time: little enough to stay in the first cache.
const BLOCK: usize = 1024;

/// A total whose coefficients fit a table. They are looked up before the lanes' work, and of one row of x once for all of its particles; so is all that x alone tells,
/// for the value of a row without missing cells.
#[derive(Debug, Clone)]
pub(super) struct Tabled<F> {
    cells: Cells<F, WithCoefficients<F>, 3, 1>,
    /// ln C(n, x) for x = 0 … n.
    table: Vec<F>,
}

/// The kernel, which reads ln C(n, x) beside x and the logits: not by column but by cell, so that [`Tabled`] alone can give it.
#[derive(Debug, Clone)]
struct WithCoefficients<F> {
    /// n.
    total: F,
    n: u32,
}

/// The value where the cells have been looked at before: it knows n and reads x, n − x, ln C(n, x) and the logits.
#[derive(Debug)]
struct OfSound<F>(F);

/// A total too large for a table: the deviance form of Loader (2000), in which nothing large is subtracted,
/// −x h(ln(np/x)) − (n − x) h(ln(nq/(n − x))) + J(n) − J(x) − J(n − x) − ½ ln(2π x (n − x)/n), with h(t) = eᵗ − 1 − t and J the remainder of
/// Stirling's formula.
#[derive(Debug, Clone)]
pub(super) struct Large {
    n: u32,
    /// ln n and J(n).
    constants: [f64; 2],
}

/// n, or why it cannot be.
pub(super) fn checked<F: Float>(n: u32) -> Result<F> {
    if n == 0 {
        return Err(Error::value("total_count", "at least 1", n, "give the largest count that a cell can hold"));
    }
    let total = F::from_f64(f64::from(n));
    if total.to_f64() != f64::from(n) {
        return Err(Error::value("total_count", format!("a count that {} holds", F::NAME), n, "use float64"));
    }
    Ok(total)
}

impl<F: Float> Tabled<F> {
    pub(super) fn new(n: u32, width: usize) -> Result<Self> {
        let cells = Cells::new(WithCoefficients { total: checked(n)?, n }, width);
        Ok(Self { cells, table: (0..=n).map(|k| F::from_f64(ln_choose(n, k))).collect() })
    }

    /// ln C(n, x) of each count from 0 to n, and some number of any other cell.
    fn look_up(&self, x: &[F], out: &mut [F]) {
        for (out, x) in out.iter_mut().zip(x) {
            // Beside 2⁵² a count is its own lowest bits, in an instruction where a conversion takes a dozen.
            let count = (x.to_f64() + COUNTS_FROM).to_bits() as u32;
            *out = self.table.get(count as usize).copied().unwrap_or(F::ZERO);
        }
    }

    /// n − x and ln C(n, x) of a row of x; `None` where a cell is missing or has no probability.
    fn of_sound(&self, x: &[F]) -> Option<[Vec<F>; 2]> {
        let (op, kind) = (&self.cells.op, Likelihood::Binomial(self.cells.op.n));
        let mut coefficients = vec![F::ZERO; x.len()];
        self.look_up(x, &mut coefficients);
        let sound = x.iter().all(|x| kind.holds(x.to_f64()));
        sound.then(|| [x.iter().map(|&x| op.total - x).collect(), coefficients])
    }

    /// Calls `body` for blocks of rows with x and its coefficients, the block's first row and their number, and its part of `out`.
    fn blocks<O: Outputs>(
        &self,
        x: Input<F>,
        rows: usize,
        out: O,
        body: impl Fn([Input<F>; 2], usize, usize, O) -> bool + Sync,
    ) -> bool {
        let (width, once) = (self.cells.width, x.is_one_row());
        let most = if once { rows } else { BLOCK / width };
        let make = |block: usize| {
            let mut coefficients = vec![F::ZERO; if once { 1 } else { block } * width];
            if once {
                self.look_up(x.from(0), &mut coefficients);
            }
            coefficients
        };
        in_blocks(rows, row_work::<F>(width, WithCoefficients::<F>::WORK), most, out, make, |coefficients, first, count, out| {
            if !once {
                for (row, coefficients) in (first..first + count).zip(coefficients.chunks_exact_mut(width)) {
                    self.look_up(x.from(row), coefficients);
                }
            }
            body([x.after(first), Input::rows(coefficients, width)], first, count, out)
        })
    }
}

impl<F: Float> Family<F> for Tabled<F> {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        let (op, width) = (SumOnly::<_, 1>(&self.cells.op), self.cells.width);
        if x.is_one_row()
            && rows > 1
            && let Some(known) = self.of_sound(&x.from(0)[..width])
        {
            let [failures, coefficients] = known.each_ref().map(|known| Input::rows(known, width));
            let inputs = [x, failures, coefficients, params.block(0, width)];
            return map_rows(&OfSound(self.cells.op.total), inputs, rows, width, WithCoefficients::<F>::WORK, totals, no_outputs());
        }
        self.blocks(x, rows, totals, |[x, coefficients], first, count, totals| {
            let inputs = [x, params.after(first).block(0, width), coefficients];
            map_rows(&op, inputs, count, width, WithCoefficients::<F>::WORK, totals, no_outputs())
        })
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        let (op, width) = (&self.cells.op, self.cells.width);
        self.blocks(x, rows, (totals, d_params), |[x, coefficients], first, count, (totals, d_params)| {
            let inputs = [x, params.after(first).block(0, width), coefficients];
            map_rows(op, inputs, count, width, WithCoefficients::<F>::WORK, totals, d_params.blocks(width))
        })
    }

    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool {
        let width = self.cells.width;
        self.cells.mean_of([params.block(0, width)], rows, out.blocks(width))
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        self.cells.draw(column, params, words)
    }
}

impl Large {
    pub(super) fn new(n: u32) -> Self {
        let x = f64::from(n);
        Self { n, constants: [libm::log(x), stirling_error(n)] }
    }
}

impl<F: Float> WithCoefficients<F> {
    /// A vector of cells from e^−|logit|.
    #[inline(always)]
    fn after_exponential<S: Simd>(&self, simd: S, [x, logits, coefficient]: [Lanes<F, S>; 3], t: Lanes<F, S>) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = seen::<F, S>(x);
        let inside = x.simd_ge(zero) & x.simd_le(self.total) & x.simd_eq(x.floor());
        let total = F::Lanes::splat(simd, self.total);
        let failures = total - x;
        let rising = logits.simd_ge(F::ZERO);
        let [most, least] = shares::<F, S>(simd, t);
        let d = x * rising.select(least, most) - failures * rising.select(most, least);
        let flaw = flaw::<F, S, 1>(simd, seen, inside, [logits]);
        let term = term_of::<F, S>(simd, total, [x, failures, coefficient, logits], t);
        Term { sum: seen.select(term, zero), out: [seen.select(d, zero)], flaw }
    }
}

/// The value of a vector of cells from t = e^−|logit|. Of a finite logit a count of 0 adds 0.
#[inline(always)]
fn term_of<F: Float, S: Simd>(
    simd: S,
    total: Lanes<F, S>,
    [x, failures, coefficient, logits]: [Lanes<F, S>; 4],
    t: Lanes<F, S>,
) -> Lanes<F, S> {
    let against = logits.simd_ge(F::ZERO).select(failures, x);
    let certain = (-logits.abs()).fma(against, coefficient);
    (-total).fma(ln_1p_to_one::<F, S>(simd, t), certain)
}

impl<F: Float> LaneOp<F, 3, 1> for WithCoefficients<F> {
    const SHORT_ROWS: bool = F::LANES == 16;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 3]) -> Term<F, S, 1> {
        self.after_exponential(simd, x, exp_minus_abs::<F, S>(simd, x[1]))
    }

    const IN_PARTS: bool = true;

    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; 3],
        put: impl FnMut(usize, Term<F, S, 1>),
    ) {
        exponentials_first(
            simd,
            vectors,
            1,
            load,
            put,
            #[inline(always)]
            |x, t| self.after_exponential(simd, x, t),
        );
    }
}

impl<F: Float> CellOp<F, 3, 1> for WithCoefficients<F> {
    const WORK: f64 = 1.5;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        softplus_sigmoid::<F, S>(simd, logits).1 * self.total
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        binomial(words, self.n, logit)
    }
}

/// The cells of [`OfSound`] from e^−|logit|.
#[inline(always)]
fn sound_after_exponential<F: Float, S: Simd>(simd: S, total: F, x: [Lanes<F, S>; 4], t: Lanes<F, S>) -> Term<F, S, 0> {
    let sum = term_of::<F, S>(simd, F::Lanes::splat(simd, total), x, t);
    Term { sum, out: [], flaw: zero_if_finite::<F, S, 1>(simd, [x[3]]) }
}

impl<F: Float> LaneOp<F, 4, 0> for OfSound<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 4]) -> Term<F, S, 0> {
        sound_after_exponential(simd, self.0, x, exp_minus_abs::<F, S>(simd, x[3]))
    }

    const IN_PARTS: bool = true;

    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; 4],
        put: impl FnMut(usize, Term<F, S, 0>),
    ) {
        exponentials_first(
            simd,
            vectors,
            3,
            load,
            put,
            #[inline(always)]
            |x, t| sound_after_exponential(simd, self.0, x, t),
        );
    }
}

/// k h(ln(mean / k)) + ½ ln k + J(k) of a count k with this ln mean.
#[inline(always)]
fn deviance<S: Simd>(simd: S, count: f64x8<S>, ln_mean: f64x8<S>) -> f64x8<S> {
    let ln_count = ln::<f64, S>(simd, count);
    let (excess, _) = exp_excess::<f64, S>(simd, ln_mean - ln_count);
    count * excess + ln_count * 0.5 + stirling::<f64, S>(simd, count).0
}

impl LaneOp<f64, 2, 1> for Large {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [f64x8<S>; 2]) -> Term<f64, S, 1> {
        let total = f64x8::splat(simd, f64::from(self.n));
        let counts = Counts::<f64, S>::new(simd, x);
        let inside = counts.inside & x.simd_le(total);
        // The ends have formulas of their own; what stands for a count there is 1.
        let failures = total - counts.x;
        let middle = counts.x.simd_gt(0.0) & failures.simd_gt(0.0);
        let one = f64x8::splat(simd, 1.0);
        let (successes, rest) = (middle.select(counts.x, one), middle.select(failures, one));
        let [(up, sigmoid), (down, complement)] = softplus_sigmoids::<f64, S>(simd, logits);
        let [ln_n, remainder] = self.constants;
        let ln_n = f64x8::splat(simd, ln_n);
        let inner =
            -(deviance(simd, successes, ln_n - down) + deviance(simd, rest, ln_n - up)) + (ln_n * 0.5 + (remainder - LN_2PI_HALF));
        let ends = counts.x.simd_gt(0.0).select(-down, -up) * total;
        let term = middle.select(inner, ends);
        let d = counts.x * complement - failures * sigmoid;
        let flaw = flaw::<f64, S, 1>(simd, counts.seen, inside, [logits]);
        let zero = f64x8::splat(simd, 0.0);
        Term { sum: counts.seen.select(term, zero), out: [counts.seen.select(d, zero)], flaw }
    }
}

impl CellOp<f64, 2, 1> for Large {
    const WORK: f64 = 10.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [f64x8<S>; 1]) -> f64x8<S> {
        softplus_sigmoid::<f64, S>(simd, logits).1 * f64::from(self.n)
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        binomial(words, self.n, logit)
    }
}

/// ln C(n, k): exact products below 60, else Stirling's series arranged so that nothing large is subtracted (Loader 2000, "Fast and
/// accurate computation of binomial probabilities", gives the errors).
#[must_use]
pub fn ln_choose(n: u32, k: u32) -> f64 {
    let k = k.min(n - k.min(n));
    if k == 0 {
        return 0.0;
    }
    if n < 60 {
        // Below 2⁵³ at every step up to n = 56, and within a rounding or two above.
        return libm::log((1..=k).fold(1.0, |c, i| c * f64::from(n - k + i) / f64::from(i)));
    }
    let (total, chosen, rest) = (f64::from(n), f64::from(k), f64::from(n - k));
    let entropy = chosen * libm::log(total / chosen) - rest * libm::log1p(-chosen / total);
    let width = 0.5 * libm::log(total / (2.0 * std::f64::consts::PI * chosen * rest));
    entropy + width + stirling_error(n) - stirling_error(k) - stirling_error(n - k)
}

/// ln n! − [(n + ½) ln n − n + ½ ln 2π].
fn stirling_error(n: u32) -> f64 {
    let x = f64::from(n);
    if n < 16 {
        let factorial: f64 = (1..=n).map(f64::from).product();
        return libm::log(factorial) - ((x + 0.5) * libm::log(x.max(1.0)) - x + 0.5 * crate::gaussian::LN_2PI);
    }
    let z = 1.0 / (x * x);
    // Bernoulli numbers B_{2j} / (2j (2j − 1)); the first one left out is below 1e-17 at 16.
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    series.iter().rev().fold(0.0, |sum, c| sum * z + c) / x
}
