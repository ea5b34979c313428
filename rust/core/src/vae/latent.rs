//! The reparameterised draw z = loc + σ ε, σ = exp(`log_var` / 2) capped at the largest finite number, and what hangs on it.

use super::components::Components;
use crate::float::Float;
use crate::gaussian::scale;
use crate::network::lanewise;
use crate::reduce::LaneSum;
use crate::rows::copy_few;
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch};
use crate::vmath::{Lanes, exp_excess};

/// Splits rows of heads, loc block before log-variance block, into two arrays.
pub(super) fn split_heads<F: Float>(heads: &[F], latent_dim: usize, loc: &mut [F], log_var: &mut [F]) {
    let rows = heads.chunks_exact(2 * latent_dim);
    for ((head, loc), log_var) in rows.zip(loc.chunks_exact_mut(latent_dim)).zip(log_var.chunks_exact_mut(latent_dim)) {
        copy_few(&head[..latent_dim], loc);
        copy_few(&head[latent_dim..], log_var);
    }
}

/// Puts together what [`split_heads`] splits.
pub(super) fn join_heads<F: Float>(loc: &[F], log_var: &[F], latent_dim: usize, heads: &mut [F]) {
    let rows = heads.chunks_exact_mut(2 * latent_dim);
    for ((head, loc), log_var) in rows.zip(loc.chunks_exact(latent_dim)).zip(log_var.chunks_exact(latent_dim)) {
        copy_few(loc, &mut head[..latent_dim]);
        copy_few(log_var, &mut head[latent_dim..]);
    }
}

/// Draws z from each particle's noise, which is replaced by ε σ / 2: the slope of z along `log_var`.
pub(super) fn draw<F: Float>(loc: &[F], log_var: &[F], noise: &mut [F], z: &mut [F]) {
    dispatch(Draw { loc, log_var, noise, z });
}

struct Draw<'a, F> {
    loc: &'a [F],
    log_var: &'a [F],
    noise: &'a mut [F],
    z: &'a mut [F],
}

impl<F: Float> Kernel for Draw<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.loc.len();
        for (noise, z) in self.noise.chunks_exact_mut(len).zip(self.z.chunks_exact_mut(len)) {
            lanewise::<F, S, 2, 2>(
                simd,
                [self.loc, self.log_var],
                [noise, z],
                #[inline(always)]
                |[loc, log_var], [noise, _]| {
                    let scale = scale::<F, S>(simd, log_var, 1.0);
                    [noise * (scale * F::from_f64(0.5)), scale.fma(noise, loc)]
                },
            );
        }
    }
}

/// [`draw`], and each latent's part of log p(z) − log q(z | x), doubled: (ε − z)(ε + z) + `log_var`. Where p(z) is not `standard` it is left out: ε² + `log_var`, with
/// ln 2π added.
pub(super) fn draw_with_ratios<F: Float>(loc: &[F], log_var: &[F], noise: &mut [F], z: &mut [F], ratio: &mut [F], standard: bool) {
    if standard {
        dispatch(DrawWithRatios::<F, true> { loc, log_var, noise, z, ratio });
    } else {
        dispatch(DrawWithRatios::<F, false> { loc, log_var, noise, z, ratio });
    }
}

/// One latent's part of log p(z) − log q(z | x), doubled, but for `log_var`.
#[inline(always)]
pub(super) fn squares<F: Float, S: Simd, const STANDARD: bool>(
    noise: Lanes<F, S>,
    z: Lanes<F, S>,
    beside: Lanes<F, S>,
) -> Lanes<F, S> {
    if STANDARD { (noise - z).fma(noise + z, beside) } else { noise.fma(noise, beside) }
}

struct DrawWithRatios<'a, F, const STANDARD: bool> {
    loc: &'a [F],
    log_var: &'a [F],
    noise: &'a mut [F],
    z: &'a mut [F],
    ratio: &'a mut [F],
}

impl<F: Float, const STANDARD: bool> Kernel for DrawWithRatios<'_, F, STANDARD> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.loc.len();
        let particles = self.noise.chunks_exact_mut(len).zip(self.z.chunks_exact_mut(len)).zip(self.ratio.chunks_exact_mut(len));
        for ((noise, z), ratio) in particles {
            lanewise::<F, S, 2, 3>(
                simd,
                [self.loc, self.log_var],
                [noise, z, ratio],
                #[inline(always)]
                |[loc, log_var], [noise, _, _]| {
                    let scale = scale::<F, S>(simd, log_var, 1.0);
                    let draw = scale.fma(noise, loc);
                    [noise * (scale * F::from_f64(0.5)), draw, squares::<F, S, STANDARD>(noise, draw, log_var)]
                },
            );
        }
    }
}

/// KL(q ‖ N(0, I)) of each latent of each row: ½ (loc² + eᵛ − 1 − v), v the log-variance.
pub(super) fn latent_kl<F: Float>(loc: &[F], log_var: &[F], out: &mut [F]) {
    dispatch(LatentKl { loc, log_var, out });
}

struct LatentKl<'a, F> {
    loc: &'a [F],
    log_var: &'a [F],
    out: &'a mut [F],
}

impl<F: Float> Kernel for LatentKl<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<F, S, 2, 1>(
            simd,
            [self.loc, self.log_var],
            [self.out],
            #[inline(always)]
            |[loc, log_var], _| [loc.fma(loc, exp_excess::<F, S>(simd, log_var).0) * F::from_f64(0.5)],
        );
    }
}

/// σ of each latent.
pub(super) fn scales<F: Float>(log_var: &[F], out: &mut [F]) {
    dispatch(Scales { log_var, out });
}

struct Scales<'a, F> {
    log_var: &'a [F],
    out: &'a mut [F],
}

impl<F: Float> Kernel for Scales<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<F, S, 1, 1>(
            simd,
            [self.log_var],
            [self.out],
            #[inline(always)]
            |[log_var], _| [scale::<F, S>(simd, log_var, 1.0)],
        );
    }
}

/// Draws z of one row from its particles' noise, and each particle's log p(z) − log q(z | x), which is
/// ½ Σ [(ε − z)(ε + z) + `log_var`]: the constants of the two densities cancel. The same of another prior, from its `components`.
pub(super) fn draw_and_weigh<F: Float>(
    row: Row<F>,
    components: Option<&Components>,
    noise: &[F],
    z: &mut [F],
    log_ratio: &mut [f64],
) {
    match components {
        None => dispatch(Weigh::<F, true> { row, noise, z, log_ratio }),
        Some(components) => {
            dispatch(Weigh::<F, false> { row, noise, z: &mut *z, log_ratio: &mut *log_ratio });
            components.add_log_density(z, log_ratio, None);
        }
    }
}

/// log p(z) − log q(z | x) of one row at a given z.
pub(super) fn log_ratio<F: Float>(row: Row<F>, components: Option<&Components>, z: &[F]) -> f64 {
    let parts = row.loc.iter().zip(row.log_var).zip(row.scale).zip(z).map(|(((loc, log_var), scale), z)| {
        let z = z.to_f64();
        let noise = (z - loc.to_f64()) / scale.to_f64();
        let of_prior = if components.is_none() { z } else { 0.0 };
        (noise - of_prior) * (noise + of_prior) + log_var.to_f64()
    });
    0.5 * parts.sum::<f64>() + components.map_or(0.0, |components| components.log_density(z))
}

/// The posterior of one row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, F> {
    pub(super) loc: &'a [F],
    pub(super) log_var: &'a [F],
    pub(super) scale: &'a [F],
}

struct Weigh<'a, F, const STANDARD: bool> {
    row: Row<'a, F>,
    noise: &'a [F],
    z: &'a mut [F],
    log_ratio: &'a mut [f64],
}

impl<F: Float, const STANDARD: bool> Kernel for Weigh<'_, F, STANDARD> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Row { loc, log_var, scale } = self.row;
        let width = loc.len();
        // Lanes past the row's end hold 0 throughout and add 0.
        let load = |x: &[F], at: usize| match x.get(at..at + F::LANES) {
            Some(x) => F::Lanes::from_slice(simd, x),
            None => F::Lanes::from_fn(simd, |l| x.get(at + l).copied().unwrap_or_default()),
        };
        let rows = self.noise.chunks_exact(width).zip(self.z.chunks_exact_mut(width));
        for ((noise, z), log_ratio) in rows.zip(self.log_ratio) {
            let mut sum = F::Sum::<S>::zero(simd);
            for at in (0..width).step_by(F::LANES) {
                let noise = load(noise, at);
                let draw = load(scale, at).fma(noise, load(loc, at));
                sum = sum.add(squares::<F, S, STANDARD>(noise, draw, load(log_var, at)));
                let len = F::LANES.min(width - at);
                z[at..at + len].copy_from_slice(&draw.as_slice()[..len]);
            }
            *log_ratio = 0.5 * sum.finish();
        }
    }
}
