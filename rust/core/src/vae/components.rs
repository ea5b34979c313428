//! A mixture prior ready to be weighed: log p(z) of draws, its gradients by z and by the components, and its shape around a mode.
//!
//! log p(z) = ln Σₖ exp sₖ − d/2 ln 2π with sₖ = ln wₖ − ½ Σⱼ [vₖⱼ + δₖⱼ²], δₖⱼ = (zⱼ − mₖⱼ) exp(−vₖⱼ/2), and rₖ = exp sₖ / Σ exp s is component k's share. All of it is float64: eight
//! draws side by side on lanes, one component after another, the squares added in order of the latents, eight at a time and each eight without loss. ln 2π goes, as it
//! does from log q(z | x).

use crate::float::Float;
use crate::network::lanewise;
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, dispatch, f64x8};
use crate::vmath::{exp, ln, two_sum};

/// The components of a mixture.
#[derive(Clone, Debug)]
pub(super) struct Components {
    /// Latents.
    width: usize,
    /// (components, latents).
    loc: Vec<f64>,
    /// 1 / σ, likewise.
    inverse: Vec<f64>,
    /// ln wₖ − ½ Σⱼ vₖⱼ.
    level: Vec<f64>,
    weights: Vec<f64>,
}

impl Components {
    pub(super) fn new(count: usize, width: usize) -> Self {
        let table = || vec![0.0; count * width];
        Self { width, loc: table(), inverse: table(), level: vec![0.0; count], weights: vec![1.0 / count as f64; count] }
    }

    /// Components.
    pub(super) fn len(&self) -> usize {
        self.level.len()
    }

    /// Numbers of a gradient by all components: loc, then log-variances, then logits.
    pub(super) fn num_gradient(count: usize, width: usize) -> usize {
        count * (2 * width + 1)
    }

    /// About what a draw costs to be weighed, in nanoseconds.
    pub(super) fn work(&self) -> usize {
        self.len() * (self.width / 8 + 2)
    }

    /// Takes the components' loc and log-variance, (components, latents) each, and the logits of their weights; equal weights without.
    pub(super) fn set<F: Float>(&mut self, loc: &[F], log_var: &[F], logits: Option<&[F]>) {
        self.loc.iter_mut().zip(loc).for_each(|(m, loc)| *m = loc.to_f64());
        self.inverse.iter_mut().zip(log_var).for_each(|(s, v)| *s = -0.5 * v.to_f64());
        for (level, half) in self.level.iter_mut().zip(self.inverse.chunks_exact(self.width)) {
            *level = half.iter().sum();
        }
        dispatch(Exp(&mut self.inverse));
        let Some(logits) = logits else {
            let each = libm::log(self.len() as f64);
            self.level.iter_mut().for_each(|level| *level -= each);
            return;
        };
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, x| largest.max(x.to_f64()));
        self.weights.iter_mut().zip(logits).for_each(|(w, x)| *w = libm::exp(x.to_f64() - largest));
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= sum);
        let shift = largest + libm::log(sum);
        self.level.iter_mut().zip(logits).for_each(|(level, x)| *level += x.to_f64() - shift);
    }

    /// Weights, locs and variances.
    pub(super) fn parts(&self) -> [Vec<f64>; 3] {
        [self.weights.clone(), self.loc.clone(), self.inverse.iter().map(|s| 1.0 / (s * s)).collect()]
    }

    /// Adds log p(z) of each draw, but for ln 2π, to `out`; each component's share of it goes to `shares`, (draws, components), where that is wanted. −∞ is the worst that comes.
    pub(super) fn add_log_density<F: Float>(&self, z: &[F], out: &mut [f64], shares: Option<&mut [f64]>) {
        dispatch(LogDensity { of: self, z, out, shares });
    }

    /// Goes back from log p(z) of draws with these `shares`, each draw by its factor: −`by` ∇ log p(z) is added to the draw's line of `dz`, and the sums over draws of those with respect to
    /// the components to `d`, loc then log-variances then logits. A draw of factor 0 is passed over.
    pub(super) fn pull<F: Float>(&self, z: &[F], shares: &[f64], by: &[f64], dz: &mut [F], d: &mut [f64]) {
        dispatch(Pull { of: self, z, shares, by, dz, d });
    }

    /// log p(z) but for ln 2π; its gradient is added to `score`, and Σₖ rₖ / σₖⱼ² to every `diagonal` number j: −∇² log p(z) but for what the shares' change takes off,
    /// so never less than it, and positive.
    pub(super) fn curve<F: Float>(&self, z: &[F], score: &mut [f64], diagonal: &mut [f64]) -> f64 {
        let (mut value, mut shares) = ([0.0], vec![0.0; self.len()]);
        self.add_log_density(z, &mut value, Some(&mut shares));
        for (k, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let at = k * self.width..(k + 1) * self.width;
            let component = self.loc[at.clone()].iter().zip(&self.inverse[at]);
            for (((score, diagonal), z), (m, s)) in score.iter_mut().zip(&mut *diagonal).zip(z).zip(component) {
                let precision = share * (s * s);
                *score += precision * (m - z.to_f64());
                *diagonal += precision;
            }
        }
        value[0]
    }

    /// Takes off `h`, (latents, latents), what the shares' change takes off the curvature of −log p(z): Σₖ rₖ gₖ gₖᵀ − g gᵀ, gₖ the component's own slope and g their mean by share. What
    /// is left need not be positive.
    pub(super) fn take_off<F: Float>(&self, z: &[F], h: &mut [f64]) {
        let (mut value, mut shares) = ([0.0], vec![0.0; self.len()]);
        self.add_log_density(z, &mut value, Some(&mut shares));
        let (mut slope, mut mean) = (vec![0.0; self.width], vec![0.0; self.width]);
        let mut add = |slope: &[f64], by: f64| {
            for (h, &a) in h.chunks_exact_mut(self.width).zip(slope) {
                h.iter_mut().zip(slope).for_each(|(h, b)| *h += by * a * b);
            }
        };
        for (k, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let at = k * self.width..(k + 1) * self.width;
            let component = self.loc[at.clone()].iter().zip(&self.inverse[at]);
            for (((slope, mean), z), (m, s)) in slope.iter_mut().zip(&mut mean).zip(z).zip(component) {
                *slope = (m - z.to_f64()) * (s * s);
                *mean += share * *slope;
            }
            add(&slope, -share);
        }
        add(&mean, 1.0);
    }

    /// log p(z) but for ln 2π.
    pub(super) fn log_density<F: Float>(&self, z: &[F]) -> f64 {
        let mut value = [0.0];
        self.add_log_density(z, &mut value, None);
        value[0]
    }

    /// Turns a row of normals into a draw from the component that `uniform` chooses: the first whose running sum of weights passes it.
    pub(super) fn place<F: Float>(&self, uniform: f64, z: &mut [F]) {
        let mut sum = 0.0;
        let passes = |w: &f64| {
            sum += w;
            uniform < sum
        };
        let last = self.len() - 1;
        let k = self.weights.iter().position(passes).unwrap_or(last);
        let at = k * self.width..(k + 1) * self.width;
        let largest = F::MAX.to_f64();
        for ((z, m), s) in z.iter_mut().zip(&self.loc[at.clone()]).zip(&self.inverse[at]) {
            *z = F::from_f64((m + z.to_f64() / s).clamp(-largest, largest));
        }
    }
}

/// eᵛ in place, at most the largest number, so that 0 times it is 0.
struct Exp<'a>(&'a mut [f64]);

impl Kernel for Exp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<f64, S, 0, 1>(
            simd,
            [],
            [self.0],
            #[inline(always)]
            |[], [x]| {
                let x = exp::<f64, S>(simd, x);
                [x.simd_gt(f64::MAX).select(f64x8::splat(simd, f64::MAX), x)]
            },
        );
    }
}

struct LogDensity<'a, F> {
    of: &'a Components,
    z: &'a [F],
    out: &'a mut [f64],
    shares: Option<&'a mut [f64]>,
}

impl<F: Float> Kernel for LogDensity<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Components { width, ref loc, ref inverse, ref level, .. } = *self.of;
        let (count, zero) = (level.len(), f64x8::splat(simd, 0.0));
        let mut x = vec![zero; width];
        let mut scores = vec![zero; count];
        for (block, out) in self.out.chunks_mut(8).enumerate() {
            let z = &self.z[block * 8 * width..];
            for (j, x) in x.iter_mut().enumerate() {
                *x = f64x8::from_fn(simd, |l| if l < out.len() { z[l * width + j].to_f64() } else { 0.0 });
            }
            let mut largest = f64x8::splat(simd, f64::NEG_INFINITY);
            let components = loc.chunks_exact(width).zip(inverse.chunks_exact(width));
            for ((score, level), (loc, inverse)) in scores.iter_mut().zip(level).zip(components) {
                let (mut sum, mut error) = (zero, zero);
                let columns = x.chunks(8).zip(loc.chunks(8)).zip(inverse.chunks(8));
                for ((x, loc), inverse) in columns {
                    let mut part = zero;
                    for ((x, m), s) in x.iter().zip(loc).zip(inverse) {
                        let delta = (*x - *m) * *s;
                        part = delta.fma(delta, part);
                    }
                    let (next, lost) = two_sum::<f64, S>(sum, part);
                    (sum, error) = (next, error + lost);
                }
                // Beside an infinite part the error is ∞ − ∞: the draw is then infinitely far.
                let square = sum.is_finite().select(sum + error, f64x8::splat(simd, f64::INFINITY));
                *score = square.fma(-0.5, f64x8::splat(simd, *level));
                largest = score.simd_gt(largest).select(*score, largest);
            }
            // Where every density is 0 the shift would be ∞ − ∞.
            let shift = largest.is_finite().select(largest, zero);
            let mut sum = zero;
            for score in &mut scores {
                *score = exp::<f64, S>(simd, *score - shift);
                sum += *score;
            }
            let value = shift + ln::<f64, S>(simd, sum);
            let value = value.is_nan().select(f64x8::splat(simd, f64::NEG_INFINITY), value);
            for (out, value) in out.iter_mut().zip(value.as_slice()) {
                *out += value;
            }
            if let Some(shares) = &mut self.shares {
                let shares = &mut shares[block * 8 * count..];
                for (k, score) in scores.iter().enumerate() {
                    let share = *score / sum;
                    for (l, share) in share.as_slice().iter().take(out.len()).enumerate() {
                        shares[l * count + k] = *share;
                    }
                }
            }
        }
    }
}

struct Pull<'a, F> {
    of: &'a Components,
    z: &'a [F],
    shares: &'a [f64],
    by: &'a [f64],
    dz: &'a mut [F],
    d: &'a mut [f64],
}

impl<F: Float> Kernel for Pull<'_, F> {
    type Output = ();
    /// Plain loops, which the compiler turns into vectors of the level.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Components { width, ref loc, ref inverse, ref weights, .. } = *self.of;
        let count = weights.len();
        let (d_loc, rest) = self.d.split_at_mut(count * width);
        let (d_log_var, d_logits) = rest.split_at_mut(count * width);
        let (mut here, mut pulled) = (vec![0.0; width], vec![0.0; width]);
        let draws =
            self.z.chunks_exact(width).zip(self.dz.chunks_exact_mut(width)).zip(self.by).zip(self.shares.chunks_exact(count));
        for (((z, dz), &by), shares) in draws {
            if by == 0.0 {
                continue;
            }
            here.iter_mut().zip(z).for_each(|(here, z)| *here = z.to_f64());
            pulled.fill(0.0);
            for (k, share) in shares.iter().enumerate() {
                let factor = by * share;
                d_logits[k] -= factor - by * weights[k];
                // A component without a share may be infinitely far.
                if factor == 0.0 {
                    continue;
                }
                let at = k * width..(k + 1) * width;
                let component = loc[at.clone()].iter().zip(&inverse[at.clone()]);
                let sums = d_loc[at.clone()].iter_mut().zip(&mut d_log_var[at]);
                for (((z, pulled), (m, s)), (d_loc, d_log_var)) in here.iter().zip(&mut pulled).zip(component).zip(sums) {
                    let delta = (z - m) * s;
                    let force = factor * (delta * s);
                    *pulled += force;
                    *d_loc -= force;
                    *d_log_var -= 0.5 * factor * (delta * delta - 1.0);
                }
            }
            for (dz, pulled) in dz.iter_mut().zip(&pulled) {
                *dz = F::from_f64(dz.to_f64() + pulled);
            }
        }
    }
}
