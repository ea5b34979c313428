//! Eigenvalues and eigenvectors of a symmetric positive semidefinite matrix by one-sided Jacobi rotations (Hestenes 1958).
//!
//! Rows of the matrix are rotated in pairs until all are orthogonal: row i is then λᵢ vᵢᵀ. The pairs come in order of their rows, the larger row first,
//! sums run over eight lanes and then l + 4, l + 2, l + 1, so the result depends on the matrix alone. Its error is a few ε of the largest eigenvalue.

use crate::simd::{Fused, Kernel, Simd, SimdBase, SimdSplit, dispatch, f64x8};

const LANES: usize = 8;
/// Sweeps over all pairs; six to ten are enough.
const SWEEPS: usize = 60;

/// The eigenvalues, largest first, and in row i of the second the eigenvector of the i-th, of Euclidean length 1; 0 for an eigenvalue of 0.
pub(super) fn eigen(matrix: &[f64], width: usize) -> (Vec<f64>, Vec<f64>) {
    let trace: f64 = (0..width).map(|i| matrix[i * width + i]).sum();
    if trace <= 0.0 {
        return (vec![0.0; width], vec![0.0; width * width]);
    }
    let stride = width.next_multiple_of(LANES);
    let mut rows = vec![0.0; width * stride];
    for (row, given) in rows.chunks_exact_mut(stride).zip(matrix.chunks_exact(width)) {
        for (x, given) in row.iter_mut().zip(given) {
            // Squares stay in the range.
            *x = given / trace;
        }
    }
    let lengths = dispatch(Sweeps { rows: &mut rows, width, stride });
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]));
    let mut vectors = vec![0.0; width * width];
    for (vector, &i) in vectors.chunks_exact_mut(width).zip(&order) {
        if lengths[i] > 0.0 {
            for (v, x) in vector.iter_mut().zip(&rows[i * stride..]) {
                *v = x / lengths[i];
            }
        }
    }
    (order.iter().map(|&i| lengths[i] * trace).collect(), vectors)
}

struct Sweeps<'a> {
    rows: &'a mut [f64],
    width: usize,
    stride: usize,
}

impl Kernel for Sweeps<'_> {
    /// The rows' lengths at the end.
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f64> {
        let Self { rows, width, stride } = self;
        let tolerance = f64::EPSILON * width.max(LANES) as f64;
        for _ in 0..SWEEPS {
            let mut rotated = false;
            for p in 0..width {
                for q in p + 1..width {
                    let (before, after) = rows.split_at_mut(q * stride);
                    let (a, b) = (&mut before[p * stride..][..stride], &mut after[..stride]);
                    let (mut aa, mut bb, ab) = products(simd, a, b);
                    if aa < bb {
                        a.swap_with_slice(b);
                        (aa, bb) = (bb, aa);
                    }
                    if ab.abs() > tolerance * aa.sqrt() * bb.sqrt() {
                        rotated = true;
                        let zeta = (bb - aa) / (2.0 * ab);
                        let t = 1f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                        let cos = 1.0 / (1.0 + t * t).sqrt();
                        rotate(simd, a, b, cos, cos * t);
                    }
                }
            }
            if !rotated {
                break;
            }
        }
        rows.chunks_exact(stride).map(|row| products(simd, row, row).0.sqrt()).collect()
    }
}

/// a · a, b · b and a · b.
#[inline(always)]
fn products<S: Simd>(simd: S, a: &[f64], b: &[f64]) -> (f64, f64, f64) {
    let zero = f64x8::splat(simd, 0.0);
    let (mut aa, mut bb, mut ab) = (zero, zero, zero);
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        let (a, b) = (f64x8::from_slice(simd, a), f64x8::from_slice(simd, b));
        aa = a.fma(a, aa);
        bb = b.fma(b, bb);
        ab = a.fma(b, ab);
    }
    (lane_sum(aa), lane_sum(bb), lane_sum(ab))
}

#[inline(always)]
pub(super) fn lane_sum<S: Simd>(x: f64x8<S>) -> f64 {
    let (a, b) = x.split();
    let (a, b) = (a + b).split();
    let pair = a + b;
    pair[0] + pair[1]
}

/// (cos a − sin b, sin a + cos b) in place of (a, b).
#[inline(always)]
fn rotate<S: Simd>(simd: S, a: &mut [f64], b: &mut [f64], cos: f64, sin: f64) {
    for (a, b) in a.chunks_exact_mut(LANES).zip(b.chunks_exact_mut(LANES)) {
        let (x, y) = (f64x8::from_slice(simd, a), f64x8::from_slice(simd, b));
        x.fma(cos, -(y * sin)).store_slice(a);
        y.fma(cos, x * sin).store_slice(b);
    }
}

#[cfg(test)]
mod tests {
    use super::eigen;
    use crate::simd::{levels, with_level};

    /// B Bᵀ of a (width, rank) matrix of numbers in (−½, ½).
    fn product(width: usize, rank: usize) -> Vec<f64> {
        let mut seed = 1_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / 9_007_199_254_740_992.0 - 0.5
        };
        let b: Vec<f64> = (0..width * rank).map(|_| next()).collect();
        let dot = |i: usize, j: usize| (0..rank).map(|m| b[i * rank + m] * b[j * rank + m]).sum::<f64>();
        (0..width * width).map(|at| dot(at / width, at % width)).collect()
    }

    #[test]
    fn values_and_vectors_make_the_matrix_again() {
        for (width, rank) in [(1, 1), (2, 2), (5, 3), (8, 8), (17, 20), (40, 6)] {
            let matrix = product(width, rank);
            let (values, vectors) = eigen(&matrix, width);
            assert!(values.is_sorted_by(|a, b| a >= b));
            for i in 0..width {
                for j in 0..width {
                    let made: f64 = (0..width).map(|v| values[v] * vectors[v * width + i] * vectors[v * width + j]).sum();
                    assert!((made - matrix[i * width + j]).abs() < 1e-14 * values[0], "{width} {rank} {i} {j}");
                }
            }
            for a in 0..rank.min(width) {
                for b in 0..rank.min(width) {
                    let dot: f64 = (0..width).map(|i| vectors[a * width + i] * vectors[b * width + i]).sum();
                    assert!((dot - f64::from(u8::from(a == b))).abs() < 1e-12, "{width} {rank} {a} {b}: {dot}");
                }
            }
            assert!(values[rank.min(width)..].iter().all(|x| x.abs() < 1e-14 * values[0]));
        }
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        let matrix = product(13, 9);
        let bits = |level| {
            let (values, vectors) = with_level(level, || eigen(&matrix, 13));
            values.iter().chain(&vectors).map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert!(levels().into_iter().all(|level| bits(level) == bits(levels()[0])));
    }

    #[test]
    fn nothing_and_extremes_are_taken() {
        assert_eq!(eigen(&[0.0; 4], 2).0, [0.0; 2]);
        for size in [1e300, 1e-300] {
            let (values, _) = eigen(&[2.0 * size, size, size, 2.0 * size], 2);
            assert!((values[0] / size - 3.0).abs() < 1e-14 && (values[1] / size - 1.0).abs() < 1e-14);
        }
    }
}
