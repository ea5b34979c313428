//! Maximum likelihood of a mixture by expectation and maximisation: one pass over the rows an iteration.
//!
//! Blocks of 512 rows are scored, shared out to the components and added to the components' moments while they lie in the cache: Σ r, Σ r (x − loc) and
//! Σ r (x − loc)(x − loc)ᵀ about the loc that the iteration starts from, so that what is subtracted in the end is the square of the step. Within a block, row 8 g + l
//! is added to lane l in order of g; then lanes l and l + 4, l + 2, l + 1; blocks are added as in `moments`. The result does not depend on threads.
//!
//! Without regularisation the mean log evidence, which is the bound after the expectation, never falls.

use std::ops::Range;

use super::eigen::lane_sum;
use super::mixture::{Covariance, Mixture};
use super::mixture_rows::{ROWS, load, scores};
use super::mixture_shares::shares_of;
use super::mixture_start::drawn;
use super::moments::sum_blocks;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::Key;
use crate::rows::{check_finite, check_len};
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::threads::Interrupt;
use crate::vmath::two_sum;

/// Which covariances are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One variance a component.
    Spherical,
    /// One a column.
    Diagonal,
    /// Full covariances.
    Full,
}

impl Form {
    /// Numbers a component.
    #[must_use]
    pub fn len(self, width: usize) -> usize {
        match self {
            Self::Spherical => 1,
            Self::Diagonal => width,
            Self::Full => width * width,
        }
    }

    fn covariance(self, variances: &[f64]) -> Covariance<'_> {
        match self {
            Self::Spherical => Covariance::Isotropic(variances),
            Self::Diagonal => Covariance::Diagonal(variances),
            Self::Full => Covariance::Full(variances),
        }
    }
}

/// Where a fit begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// So many components, their locs rows that k-means++ draws (Arthur and Vassilvitskii 2007), distances in units of the columns' standard deviations.
    Drawn(usize, Key),
    /// Weights, locs and variances.
    Given(&'a [f64], &'a [f64], &'a [f64]),
}

/// When a fit ends, and what it adds.
#[derive(Debug, Clone, Copy)]
pub struct EmOptions {
    /// The least gain of an iteration, in nats a row.
    pub tolerance: f64,
    /// The most iterations.
    pub max_iter: usize,
    /// What is added to each variance.
    pub regularisation: f64,
}

/// A fitted mixture.
#[derive(Debug, Clone)]
pub struct MixtureFit {
    /// The mixture.
    pub mixture: Mixture,
    /// Its locs, (components, width).
    pub locs: Vec<f64>,
    /// Its variances, as its form has them.
    pub variances: Vec<f64>,
    /// The mean log evidence of the rows at the start of each iteration.
    pub history: Vec<f64>,
    /// Whether the last iteration gained less than the tolerance.
    pub converged: bool,
}

/// What an iteration changes.
pub(super) struct Parameters {
    pub(super) weights: Vec<f64>,
    pub(super) locs: Vec<f64>,
    pub(super) variances: Vec<f64>,
}

/// Rows of a block.
const BLOCK: usize = 512;

impl Mixture {
    /// Fits a mixture to the rows of `x`, (rows, width).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Interrupted`], and [`Error::Value`] where a component shrinks to a covariance that is not
    /// positive definite.
    pub fn fit<F: Float>(
        x: &[F],
        width: usize,
        form: Form,
        start: Start,
        options: EmOptions,
        interrupt: &Interrupt,
    ) -> Result<MixtureFit> {
        let EmOptions { tolerance, max_iter, regularisation } = options;
        if !(regularisation >= 0.0 && regularisation.is_finite()) {
            return Err(Error::value("regularisation", "a number that is not negative", regularisation, "give a variance, or 0"));
        }
        let rows = x.len() / width;
        check_len("X", x, rows, width)?;
        check_finite("X", x, width)?;
        let mut here = match start {
            Start::Drawn(components, key) => drawn(x, width, form, components, key, regularisation)?,
            Start::Given(weights, locs, variances) => {
                Parameters { weights: weights.to_vec(), locs: locs.to_vec(), variances: variances.to_vec() }
            }
        };
        if rows < here.weights.len().max(1) {
            let expected = format!("at least {} rows, one a component", here.weights.len().max(1));
            return Err(Error::shape("X", expected, rows, "fit fewer components"));
        }
        let mut mixture = Self::new(&here.weights, &here.locs, width, form.covariance(&here.variances))?;
        let mut history: Vec<f64> = Vec::new();
        let mut converged = false;
        while history.len() < max_iter && !converged {
            interrupt.poll()?;
            let evidence = step(&mixture, x, form, regularisation, &mut here);
            converged = history.last().is_some_and(|before| evidence - before < tolerance);
            history.push(evidence);
            mixture = Self::new(&here.weights, &here.locs, width, form.covariance(&here.variances)).map_err(|error| {
                let got = format!("{regularisation:e}, at which iteration {} gives {error}", history.len());
                let cure = "raise it, or fit fewer components";
                Error::value("regularisation", "enough for covariances that are positive definite", got, cure)
            })?;
        }
        Ok(MixtureFit { mixture, locs: here.locs, variances: here.variances, history, converged })
    }
}

/// One iteration; the mean log evidence that it starts from.
fn step<F: Float>(mixture: &Mixture, x: &[F], form: Form, regularisation: f64, here: &mut Parameters) -> f64 {
    let (width, rows) = (mixture.width, x.len() / mixture.width);
    let layout = Layout::new(width, form);
    let components = here.weights.len();
    let work = BLOCK * 2 * mixture.work();
    let sums = sum_blocks(rows, BLOCK, 1 + components * layout.stride, work, |range, out| {
        dispatch(Moments { mixture, x, range, layout, out });
    });
    for k in 0..components {
        let sums = &sums[1 + k * layout.stride..][..layout.stride];
        let (share, first, second) = (sums[0], &sums[1..=width], &sums[1 + width..]);
        // A component that no row belongs to stays where it is.
        here.weights[k] = (share / rows as f64).max(f64::MIN_POSITIVE);
        if share < f64::MIN_POSITIVE {
            continue;
        }
        let move_by: Vec<f64> = first.iter().map(|sum| sum / share).collect();
        for (loc, by) in here.locs[k * width..].iter_mut().zip(&move_by) {
            *loc += by;
        }
        let entry = |i: usize, j: usize| second[layout.at(i, j)] / share - move_by[i] * move_by[j];
        let variances = &mut here.variances[k * form.len(width)..][..form.len(width)];
        match form {
            Form::Spherical => variances[0] = (0..width).map(|j| entry(j, j)).sum::<f64>() / width as f64 + regularisation,
            Form::Diagonal => {
                for (j, v) in variances.iter_mut().enumerate() {
                    *v = entry(j, j) + regularisation;
                }
            }
            Form::Full => {
                for i in 0..width {
                    for j in 0..=i {
                        let v = entry(i, j);
                        variances[i * width + j] = v;
                        variances[j * width + i] = v;
                    }
                    variances[i * width + i] += regularisation;
                }
            }
        }
    }
    let total: f64 = here.weights.iter().sum();
    for w in &mut here.weights {
        *w /= total;
    }
    sums[0] / rows as f64
}

/// Where a component's sums lie: its share, its first moments, its second ones in tiles of four by four on and below the diagonal, or by column.
#[derive(Clone, Copy)]
struct Layout {
    full: bool,
    /// Tiles a side.
    side: usize,
    stride: usize,
}

/// Columns of a tile.
const TILE: usize = 4;

impl Layout {
    fn new(width: usize, form: Form) -> Self {
        let (full, side) = (form == Form::Full, width.div_ceil(TILE));
        let second = if full { side * (side + 1) / 2 * TILE * TILE } else { width };
        Self { full, side, stride: 1 + width + second }
    }

    /// Entry (i, j ≤ i) of the second moments.
    fn at(self, i: usize, j: usize) -> usize {
        if !self.full {
            return j;
        }
        let (a, b) = (i / TILE, j / TILE);
        (a * (a + 1) / 2 + b) * TILE * TILE + i % TILE * TILE + j % TILE
    }
}

/// The sums of one block.
struct Moments<'a, F> {
    mixture: &'a Mixture,
    x: &'a [F],
    range: Range<usize>,
    layout: Layout,
    out: &'a mut [f64],
}

impl<F: Float> Kernel for Moments<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { mixture, x, range, layout, out } = self;
        let (width, components) = (mixture.width, mixture.constants.len());
        let zero = f64x8::splat(simd, 0.0);
        let groups = range.len().div_ceil(ROWS);
        let padded = layout.side * TILE;
        // Columns that fill up a tile are 0, as their loc is.
        let mut lanes = vec![zero; groups * padded];
        let mut shares = vec![zero; components * groups];
        let (mut y, mut score) = (vec![zero; width], vec![zero; components]);
        let (mut sum, mut error) = (zero, zero);
        for (g, lanes) in lanes.chunks_exact_mut(padded).enumerate() {
            let first = range.start + g * ROWS;
            let count = ROWS.min(range.end - first);
            let lanes = &mut lanes[..width];
            load(simd, &x[first * width..(first + count) * width], lanes);
            let largest = scores(simd, mixture, lanes, &mut y, &mut score);
            let evidence = shares_of(simd, mixture, lanes, &mut y, &mut score, largest);
            let live = f64x8::from_fn(simd, |l| if l < count { 1.0 } else { 0.0 });
            for (k, score) in score.iter().enumerate() {
                shares[k * groups + g] = *score * live;
            }
            let evidence = evidence * live;
            let (next, lost) = two_sum::<f64, S>(sum, evidence);
            (sum, error) = (next, error + lost);
        }
        out[0] += lane_sum(sum + error);
        let mut loc = vec![0.0; padded];
        for (k, out) in out[1..].chunks_exact_mut(layout.stride).enumerate() {
            let shares = &shares[k * groups..][..groups];
            loc[..width].copy_from_slice(&mixture.locs[k * width..][..width]);
            let mut total = zero;
            for share in shares {
                total += *share;
            }
            out[0] += lane_sum(total);
            let (first, second) = out[1..].split_at_mut(width);
            for (j, first) in first.iter_mut().enumerate() {
                let (mut sum, mut squares) = (zero, zero);
                for (share, x) in shares.iter().zip(lanes.chunks_exact(padded)) {
                    let off = x[j] - loc[j];
                    let part = off * *share;
                    sum += part;
                    squares = part.fma(off, squares);
                }
                *first += lane_sum(sum);
                if !layout.full {
                    second[j] += lane_sum(squares);
                }
            }
            if layout.full {
                for a in 0..layout.side {
                    for b in 0..=a {
                        let out = &mut second[(a * (a + 1) / 2 + b) * TILE * TILE..][..TILE * TILE];
                        tile(simd, shares, &lanes, padded, (a * TILE, &loc[a * TILE..]), (b * TILE, &loc[b * TILE..]), out);
                    }
                }
            }
        }
    }
}

/// Adds Σ r (x − loc)(x − loc)ᵀ of four columns by four, each a (first column, loc from it on).
#[inline(always)]
fn tile<S: Simd>(
    simd: S,
    shares: &[f64x8<S>],
    lanes: &[f64x8<S>],
    padded: usize,
    (i, i_loc): (usize, &[f64]),
    (j, j_loc): (usize, &[f64]),
    out: &mut [f64],
) {
    let zero = f64x8::splat(simd, 0.0);
    let mut sums = [[zero; TILE]; TILE];
    for (share, x) in shares.iter().zip(lanes.chunks_exact(padded)) {
        let (rows, columns) = (&x[i..i + TILE], &x[j..j + TILE]);
        let mut off = [zero; TILE];
        for c in 0..TILE {
            off[c] = columns[c] - j_loc[c];
        }
        for r in 0..TILE {
            let part = (rows[r] - i_loc[r]) * *share;
            for c in 0..TILE {
                sums[r][c] = part.fma(off[c], sums[r][c]);
            }
        }
    }
    for (sum, out) in sums.iter().flatten().zip(out) {
        *out += lane_sum(*sum);
    }
}
