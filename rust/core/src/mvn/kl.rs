//! KL(q ‖ p) of one Gaussian to another, in the form whose every term is non-negative, and its gradient.
//!
//! With X = L₂⁻¹(L₁ − L₂), x its diagonal and y = L₂⁻¹(loc − `prior_loc`): KL = ½ [Σ X² + 2 Σ (x − ln(1 + x)) + Σ y²], because L₂⁻¹L₁ = I + X. X is as
//! small as q is near p, and is substituted for as such, so nothing cancels: the divergence keeps its relative accuracy down to 0, which it is for q = p. The
//! gradients are in X as well: with G = tril(L₂⁻ᵀX) and w = L₂⁻ᵀy they are w, G + diag(x / L₁), −w and −tril(G (I + X)ᵀ + w yᵀ) − diag(x / L₂).

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Tril;
use super::eight::{self, Eight};
use super::solve::{BLOCK, LANES, Triangle, first, in_lane, load, padded, square, store};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::reduce::{Compensated, LaneSum};
use crate::rows::{check_finite, check_len};
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdMask, dispatch, f64x8};
use crate::threads::{RowsMut, for_rows};
use crate::vmath::{Coefficients, Elementary, ln_reduced, polynomial};

/// A prior's loc, one row for all or a row for each, and its triangles.
pub type Prior<'a, F> = Option<(&'a [F], Tril<'a, F>)>;

/// Where the gradient with respect to the prior goes: (`d_prior_loc`, `d_prior_scale_tril`), by row.
pub type PriorGrad<'a, F> = Option<(&'a mut [F], &'a mut [F])>;

/// KL(q ‖ p) of each row into `out`; the prior is N(0, I) where `None`.
///
/// # Errors
/// [`Error::Shape`], [`Error::NonFinite`] and, for a diagonal that is not positive, [`Error::Support`].
pub fn kl<F: Float>(loc: &[F], tril: Tril<F>, prior: Prior<F>, width: usize, out: &mut [F]) -> Result<()> {
    check_shapes(loc, tril, prior, width, out.len())?;
    run(loc, tril, prior, width, (RowsMut::new(out, 1), (None, None)))
}

/// [`kl`] and its gradient by row: `d_loc`, `d_tril` with zeros above the diagonal, and with respect to the prior where `d_prior` is given.
///
/// # Errors
/// As [`kl`]; `d_prior` without a prior is an [`Error::Value`].
pub fn kl_grad<F: Float>(
    loc: &[F],
    tril: Tril<F>,
    prior: Prior<F>,
    width: usize,
    out: &mut [F],
    d_loc: &mut [F],
    d_tril: &mut [F],
    d_prior: PriorGrad<F>,
) -> Result<()> {
    let rows = out.len();
    check_shapes(loc, tril, prior, width, rows)?;
    check_len("d_loc", d_loc, rows, width)?;
    check_len("d_scale_tril", d_tril, rows, width * width)?;
    if let Some((a, b)) = &d_prior {
        check_len("d_prior_loc", a, rows, width)?;
        check_len("d_prior_scale_tril", b, rows, width * width)?;
        if prior.is_none() {
            return Err(Error::value("d_prior", "a prior", "none", "give prior_loc and prior_scale_tril"));
        }
    }
    let views = |(a, b)| (RowsMut::new(a, width), RowsMut::new(b, width * width));
    run(loc, tril, prior, width, (RowsMut::new(out, 1), (Some(views((d_loc, d_tril))), d_prior.map(views))))
}

fn check_shapes<F: Float>(loc: &[F], tril: Tril<F>, prior: Prior<F>, width: usize, rows: usize) -> Result<()> {
    check_len("loc", loc, rows, width)?;
    tril.check_shape("scale_tril", rows, width)?;
    if let Some((prior_loc, prior_tril)) = prior {
        check_len("prior_loc", prior_loc, if prior_loc.len() == width { 1 } else { rows }, width)?;
        prior_tril.check_shape("prior_scale_tril", rows, width)?;
    }
    Ok(())
}

/// A gradient of loc and of the triangle.
type Pair<'a, F> = Option<(RowsMut<'a, F>, RowsMut<'a, F>)>;
/// The divergence, the posterior's gradient and the prior's.
type Results<'a, F> = (RowsMut<'a, F>, (Pair<'a, F>, Pair<'a, F>));

fn run<F: Float>(loc: &[F], tril: Tril<F>, prior: Prior<F>, width: usize, out: Results<F>) -> Result<()> {
    let rows = out.0.data.len();
    if width == 0 {
        out.0.data.fill(F::ZERO);
        return Ok(());
    }
    let bad = AtomicBool::new(false);
    let note = |found: bool| {
        if found {
            bad.store(true, Ordering::Relaxed);
        }
    };
    let one_matrix = tril.shared() && prior.is_none_or(|(_, tril)| tril.shared());
    match (prior, out) {
        (Some((prior_loc, prior_tril)), (out, (None, None))) if !one_matrix && width <= EIGHT_WIDTH => {
            let batch = eight::Batch { loc, tril, prior_loc, prior_tril };
            let body = |groups: Range<usize>, out: RowsMut<F>| {
                let rest = out.data.len() % LANES;
                let alone = if rest < FEWEST { rest } else { 0 };
                let first = groups.start * LANES;
                let (together, out) = out.data.split_at_mut(out.data.len() - alone);
                let last = first + together.len();
                if !together.is_empty() {
                    note(dispatch(Groups { batch, width, first, out: together }));
                }
                if alone > 0 {
                    let out = (RowsMut::new(out, 1), (None, None));
                    note(dispatch(Pass { loc, tril, prior, width, rows: last..last + alone, out }));
                }
            };
            for_rows(rows.div_ceil(LANES), work_of_eight(width), RowsMut::new(out.data, LANES), &body);
        }
        (_, out) => {
            let passes = 1 + usize::from(out.1.0.is_some()) + 2 * usize::from(out.1.1.is_some());
            let work = if one_matrix && passes == 1 { 20 + width * width / 4 } else { work(width, prior.is_some(), passes) };
            for_rows(rows, work, out, &|rows, out| note(dispatch(Pass { loc, tril, prior, width, rows, out })));
        }
    }
    if bad.into_inner() {
        check_finite("loc", loc, width)?;
        tril.check_values("scale_tril", width)?;
        if let Some((prior_loc, prior_tril)) = prior {
            check_finite("prior_loc", prior_loc, width)?;
            prior_tril.check_values("prior_scale_tril", width)?;
        }
    }
    Ok(())
}

/// The cost of a row with a triangle of its own, in nanoseconds on one core with AVX-512: within a quarter of what `kl` and the posterior's gradient took
/// at 8 to 64 latents.
fn work(width: usize, prior: bool, passes: usize) -> usize {
    let square = width * width * passes;
    if prior { 150 + square * 5 / 4 } else { 100 + square * 2 / 5 }
}

/// The widest rows of which eight together are faster than one after another: beyond, their triangles crowd each other out of a core's cache.
const EIGHT_WIDTH: usize = 160;
/// The fewest rows that are worth the work of eight.
const FEWEST: usize = 4;

/// Bytes of a task's triangles of q, beside which p may have as many, from which on they come from beyond a core's own caches.
const FAR: usize = 1 << 20;

/// As [`work`], of eight rows together: within a quarter of what they took at 8 to 128 latents.
fn work_of_eight(width: usize) -> usize {
    300 + 4 * width.pow(2) + width.pow(3) / 30
}

/// The divergences of rows `first …` to a prior, eight rows at a time.
struct Groups<'a, F> {
    batch: eight::Batch<'a, F>,
    width: usize,
    first: usize,
    out: &'a mut [F],
}

impl<F: Float> Kernel for Groups<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Self { batch, width, first, out } = self;
        let mut memory = Vec::new();
        let far = size_of_val(out) * width * width > FAR;
        let mut eight = Eight::new(width, far, &mut memory);
        let mut bad = false;
        for (group, out) in out.chunks_mut(LANES).enumerate() {
            // Lanes past the last row repeat it.
            let mut rows = [0; LANES];
            for (l, row) in rows.iter_mut().enumerate() {
                *row = first + group * LANES + l.min(out.len() - 1);
            }
            let (twice, positive) = eight.twice_kl(simd, batch, rows);
            store(simd, twice * 0.5, out, 0);
            bad |= !positive || !out.iter().all(|kl| kl.finite());
        }
        bad
    }
}

struct Pass<'a, F> {
    loc: &'a [F],
    tril: Tril<'a, F>,
    prior: Prior<'a, F>,
    width: usize,
    rows: Range<usize>,
    out: Results<'a, F>,
}

/// A task's working memory.
struct Work {
    /// p's triangle.
    prior: Triangle,
    /// X, and after it G.
    x: Vec<f64>,
    /// (I + X)ᵀ and G (I + X)ᵀ, where the prior's gradient is wanted.
    product: Option<[Vec<f64>; 2]>,
    /// L₁'s diagonal, padded with 1, and X's, padded with 0.
    diagonal: Vec<f64>,
    x_diagonal: Vec<f64>,
    y: Vec<f64>,
    w: Vec<f64>,
}

impl<F: Float> Kernel for Pass<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Self { loc, tril, prior, width, rows, out: (out, (mut d_post, mut d_prior)) } = self;
        let vector = || vec![0.0; padded(width)];
        let mut work = Work {
            prior: Triangle::new(width),
            x: square(width),
            product: d_prior.is_some().then(|| [square(width), square(width)]),
            diagonal: vec![1.0; padded(width)],
            x_diagonal: vector(),
            y: vector(),
            w: vector(),
        };
        let prior_shared = prior.is_none_or(|(_, tril)| tril.shared());
        // Where nothing but the means differs, the matrices' part is one.
        let one_matrix = prior_shared && tril.shared() && d_post.is_none();
        let (mut bad, mut of_matrices) = (false, Compensated::zero(simd));
        for (local, row) in rows.enumerate() {
            if let Some((_, prior_tril)) = prior
                && (local == 0 || !prior_shared)
            {
                work.prior.set(simd, prior_tril.of(row, width));
                bad |= !positive(&work.prior.diagonal);
            }
            if local == 0 || !one_matrix {
                of_matrices = match prior {
                    None => work.matrices::<F, S, false>(simd, tril.of(row, width), &[]),
                    Some((_, prior_tril)) => work.matrices::<F, S, true>(simd, tril.of(row, width), prior_tril.of(row, width)),
                };
                bad |= !positive(&work.diagonal);
            }
            let loc = &loc[row * width..][..width];
            let prior_loc = prior.map(|(all, _)| if all.len() == width { all } else { &all[row * width..][..width] });
            let kl = 0.5 * work.means::<F, S>(simd, loc, prior_loc, of_matrices).finish();
            // Only parts past the range cancel to NaN.
            let kl = F::from_f64(if kl.is_nan() { f64::INFINITY } else { kl });
            bad |= !kl.finite();
            out.data[local] = kl;
            if let Some((d_loc, d_tril)) = &mut d_post {
                work.posterior_gradient(simd, prior.is_some(), d_loc.row(local), d_tril.row(local));
            }
            if let Some((d_loc, d_tril)) = &mut d_prior {
                work.prior_gradient(simd, d_loc.row(local), d_tril.row(local));
            }
        }
        bad
    }
}

fn positive(diagonal: &[f64]) -> bool {
    diagonal.iter().all(|&x| x > 0.0)
}

impl Work {
    /// X, and Σ X² + 2 Σ (x − ln(1 + x)).
    #[inline(always)]
    fn matrices<F: Float, S: Simd, const PRIOR: bool>(&mut self, simd: S, tril: &[F], prior: &[F]) -> Compensated<S> {
        let stride = self.y.len();
        let width = self.prior.width();
        // Below the last row a row whose numbers left the range leaves NaN.
        self.x[width * stride..width.next_multiple_of(BLOCK) * stride].fill(0.0);
        for (i, tril) in tril.chunks_exact(width).enumerate() {
            let inverse = self.prior.inverse[i];
            let row = &mut self.x[i * stride..][..stride];
            for at in (0..=i).step_by(LANES) {
                let ours = load::<F, S>(simd, tril, at, i + 1);
                let theirs =
                    if PRIOR { load::<F, S>(simd, &prior[i * width..][..width], at, i + 1) } else { in_lane(simd, i - at, 1.0) };
                ((ours - theirs) * inverse).store_slice(&mut row[at..at + LANES]);
            }
            (self.diagonal[i], self.x_diagonal[i]) = (tril[i].to_f64(), row[i]);
        }
        let mut sum = self.prior.forward::<S, PRIOR>(simd, &mut self.x, Compensated::zero(simd));
        for at in (0..width).step_by(LANES) {
            let x = f64x8::from_slice(simd, &self.x_diagonal[at..at + LANES]);
            let ours = f64x8::from_slice(simd, &self.diagonal[at..at + LANES]);
            let theirs = f64x8::from_slice(simd, &self.prior.diagonal[at..at + LANES]);
            let excess = log_excess(simd, x, ours, theirs);
            sum = sum.add(excess + excess);
        }
        sum
    }

    /// y, and `sum` + Σ y².
    #[inline(always)]
    fn means<F: Float, S: Simd>(&mut self, simd: S, loc: &[F], prior_loc: Option<&[F]>, mut sum: Compensated<S>) -> Compensated<S> {
        let width = loc.len();
        for at in (0..width).step_by(LANES) {
            let ours = load::<F, S>(simd, loc, at, width);
            let theirs = match prior_loc {
                Some(prior) => load::<F, S>(simd, prior, at, width),
                None => f64x8::splat(simd, 0.0),
            };
            let inverse = f64x8::from_slice(simd, &self.prior.inverse[at..at + LANES]);
            ((ours - theirs) * inverse).store_slice(&mut self.y[at..at + LANES]);
        }
        if prior_loc.is_some() {
            self.prior.forward_vector(simd, &mut self.y);
        }
        for y in self.y.chunks_exact(LANES) {
            let y = f64x8::from_slice(simd, y);
            sum = sum.add(y * y);
        }
        sum
    }

    #[inline(always)]
    fn posterior_gradient<F: Float, S: Simd>(&mut self, simd: S, prior: bool, d_loc: &mut [F], d_tril: &mut [F]) {
        let (width, stride) = (d_loc.len(), self.y.len());
        self.w.copy_from_slice(&self.y);
        if let Some([transposed, _]) = &mut self.product {
            for i in 0..width {
                for j in 0..i {
                    transposed[j * stride + i] = self.x[i * stride + j];
                }
                transposed[i * stride + i] = 1.0 + self.x_diagonal[i];
            }
        }
        if prior {
            self.prior.backward_vector(simd, &mut self.w);
            self.prior.backward(simd, &mut self.x);
        }
        for at in (0..width).step_by(LANES) {
            let inverse = f64x8::from_slice(simd, &self.prior.inverse[at..at + LANES]);
            let w = f64x8::from_slice(simd, &self.w[at..at + LANES]) * inverse;
            w.store_slice(&mut self.w[at..at + LANES]);
            store(simd, w, d_loc, at);
        }
        let zero = f64x8::splat(simd, 0.0);
        for i in 0..width {
            let row = &mut self.x[i * stride..][..stride];
            let of_log = self.x_diagonal[i] / self.diagonal[i];
            for at in (0..width).step_by(LANES) {
                let mut g = zero;
                if at <= i {
                    g = first(simd, i + 1 - at).select(f64x8::from_slice(simd, &row[at..at + LANES]) * self.prior.inverse[i], zero);
                    g.store_slice(&mut row[at..at + LANES]);
                    if i - at < LANES {
                        g += in_lane(simd, i - at, of_log);
                    }
                }
                store(simd, g, &mut d_tril[i * width..][..width], at);
            }
        }
    }

    /// After [`posterior_gradient`](Self::posterior_gradient), which leaves G and w.
    #[inline(always)]
    fn prior_gradient<F: Float, S: Simd>(&mut self, simd: S, d_loc: &mut [F], d_tril: &mut [F]) {
        let (width, stride) = (d_loc.len(), self.y.len());
        let Some([transposed, product]) = &mut self.product else { return };
        self.prior.product(simd, &self.x, transposed, product);
        for at in (0..width).step_by(LANES) {
            store(simd, -f64x8::from_slice(simd, &self.w[at..at + LANES]), d_loc, at);
        }
        let zero = f64x8::splat(simd, 0.0);
        for i in 0..width {
            let of_log = self.x_diagonal[i] * self.prior.inverse[i];
            for at in (0..width).step_by(LANES) {
                let mut g = zero;
                if at <= i {
                    let y = f64x8::from_slice(simd, &self.y[at..at + LANES]);
                    g = y.fma(self.w[i], f64x8::from_slice(simd, &product[i * stride + at..][..LANES]));
                    if i - at < LANES {
                        g += in_lane(simd, i - at, of_log);
                    }
                    g = first(simd, i + 1 - at).select(-g, zero);
                }
                store(simd, g, &mut d_tril[i * width..][..width], at);
            }
        }
    }
}

/// x − ln(1 + x), where 1 + x is the quotient of two positive numbers: from x's series where the quotient is near 1, else from the numbers
/// themselves, whose quotient may lie far outside the range.
#[inline(always)]
pub(super) fn log_excess<S: Simd>(simd: S, x: f64x8<S>, above: f64x8<S>, below: f64x8<S>) -> f64x8<S> {
    /// √½ − 1 and √2 − 1, a little inside.
    const NEAR: (f64, f64) = (-0.292_893, 0.414_213);
    /// Quotients below it are exact to half a unit, and so are their inverses.
    const FAR: f64 = 1e300;
    let near = x.simd_ge(NEAR.0) & x.simd_le(NEAR.1);
    // ln(1 + x) = x − x²/2 + x³ tail(x).
    let tail = polynomial::<f64, S>(simd, x, f64::LN_TAIL);
    let series = x * x * (-x).fma(tail, 0.5);
    if near.all_true() {
        return series;
    }
    let quotient = above / below;
    let (m, e) = f64::split_exponent(simd, quotient);
    let mut ln = ln_reduced::<f64, S>(simd, m - 1.0, e);
    let inside = quotient.simd_gt(1.0 / FAR) & quotient.simd_lt(FAR);
    if !inside.all_true() {
        let (a, e) = f64::split_exponent(simd, above);
        let (b, f) = f64::split_exponent(simd, below);
        let (m, g) = f64::split_exponent(simd, a / b);
        ln = inside.select(ln, ln_reduced::<f64, S>(simd, m - 1.0, e - f + g));
    }
    near.select(series, x - ln)
}
