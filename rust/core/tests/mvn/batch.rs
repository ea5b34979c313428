//! Rows of z, their Gaussians and the priors, and everything that is computed of them.

use crate::reference::Numbers;
use elbokit_core::mvn::{Tril, entropy, kl, kl_grad, log_prob, rsample, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key};
use elbokit_core::{Error, Float, Result};

/// On either side of a block of four rows, a vector of eight, a panel of sixteen columns and two of them.
pub(crate) const WIDTHS: [usize; 17] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 50];

/// Rows of z, their Gaussians and the priors, as type F holds them.
#[derive(Clone, Debug)]
pub(crate) struct Batch<F> {
    pub(crate) width: usize,
    pub(crate) z: Vec<F>,
    pub(crate) loc: Vec<F>,
    pub(crate) tril: Vec<F>,
    pub(crate) prior_loc: Vec<F>,
    pub(crate) prior_tril: Vec<F>,
}

/// Triangles whose diagonals are within e^±`spread`, whose rows weigh about `weight` times that, and which hold NaN above the diagonal.
pub(crate) fn triangles<F: Float>(numbers: &mut Numbers, rows: usize, width: usize, spread: f64, weight: f64) -> Vec<F> {
    let mut all = vec![F::NAN; rows * width * width];
    for triangle in all.chunks_mut((width * width).max(1)) {
        for i in 0..width {
            let diagonal = libm::exp(numbers.uniform(-spread, spread));
            let size = weight * diagonal / libm::sqrt(width as f64);
            for j in 0..i {
                triangle[i * width + j] = F::from_f64(numbers.uniform(-size, size));
            }
            triangle[i * width + i] = F::from_f64(diagonal);
        }
    }
    all
}

impl<F: Float> Batch<F> {
    pub(crate) fn new(seed: u64, rows: usize, width: usize, spread: f64, weight: f64) -> Self {
        let mut n = Numbers(seed);
        let [z, loc, prior_loc] = [4.0, 2.0, 3.0].map(|size| n.vec(rows * width, -size, size));
        let [tril, prior_tril] = [(); 2].map(|()| triangles(&mut n, rows, width, spread, weight));
        Self { width, z, loc, tril, prior_loc, prior_tril }
    }

    pub(crate) fn rows(&self) -> usize {
        self.loc.len() / self.width
    }

    pub(crate) fn tril(&self) -> Tril<'_, F> {
        Tril::ByRow(&self.tril)
    }

    #[allow(clippy::unnecessary_wraps, reason = "what the divergences take")]
    pub(crate) fn prior(&self) -> elbokit_core::mvn::Prior<'_, F> {
        Some((&self.prior_loc, Tril::ByRow(&self.prior_tril)))
    }

    pub(crate) fn kl(&self) -> Vec<F> {
        let mut out = zeros(self.rows());
        kl(&self.loc, self.tril(), self.prior(), self.width, &mut out).unwrap();
        out
    }

    /// The divergence, then its four gradients.
    pub(crate) fn gradients(&self) -> Result<[Vec<F>; 5]> {
        let (n, d) = (self.rows(), self.width);
        let [mut value, mut a, mut b, mut c, mut e] = [n, n * d, n * d * d, n * d, n * d * d].map(zeros);
        kl_grad(&self.loc, self.tril(), self.prior(), d, &mut value, &mut a, &mut b, Some((&mut c, &mut e)))?;
        Ok([value, a, b, c, e])
    }

    pub(crate) fn row(&self, row: usize) -> Self {
        let d = self.width;
        let (vector, matrix) = (row * d..(row + 1) * d, row * d * d..(row + 1) * d * d);
        Self {
            width: d,
            z: self.z[vector.clone()].to_vec(),
            loc: self.loc[vector.clone()].to_vec(),
            tril: self.tril[matrix.clone()].to_vec(),
            prior_loc: self.prior_loc[vector].to_vec(),
            prior_tril: self.prior_tril[matrix].to_vec(),
        }
    }
}

pub(crate) fn zeros<F: Float>(len: usize) -> Vec<F> {
    vec![F::ZERO; len]
}

/// Everything that every function gives for these rows, one after another.
pub(crate) fn everything<F: Float + Draw>(batch: &Batch<F>) -> Result<Vec<F>> {
    let (n, d) = (batch.rows(), batch.width);
    let mut all = Vec::new();
    for result in batch.gradients()? {
        all.extend(result);
    }
    let [mut sums, mut d_loc, mut d_tril] = [n, n * d, n * d * d].map(zeros::<F>);
    for tril in [batch.tril(), Tril::Shared(&batch.tril[..d * d])] {
        kl(&batch.loc, tril, None, d, &mut sums)?;
        all.extend(&sums);
        kl(&batch.loc, tril, Some((&batch.prior_loc[..d], Tril::Shared(&batch.prior_tril[..d * d]))), d, &mut sums)?;
        all.extend(&sums);
        kl_grad(&batch.loc, tril, None, d, &mut sums, &mut d_loc, &mut d_tril, None)?;
        all.extend(sums.iter().chain(&d_loc).chain(&d_tril));
        log_prob(&batch.z, &batch.loc, tril, d, &mut sums)?;
        all.extend(&sums);
        entropy(tril, d, &mut sums)?;
        all.extend(&sums);
        let [mut z, mut log_probs] = [3 * n * d, 3 * n].map(zeros::<F>);
        rsample(&batch.loc, tril, Key(1), 5, d, &mut z)?;
        all.extend(&z);
        rsample_and_log_prob(&batch.loc, tril, Key(1), 0, 5, d, &mut z, &mut log_probs)?;
        all.extend(z.iter().chain(&log_probs));
    }
    Ok(all)
}

/// Numbers from the ends of the range and between, zeros among them, but for the diagonals, which are positive.
pub(crate) fn extreme<F: Float>(n: &mut Numbers, rows: usize, width: usize) -> Batch<F> {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let sizes = [F::MAX.to_f64(), 1e30, 1e10, 1.0, 1e-7, 1e-30, smallest];
    let mut pick = |_| {
        let size = sizes[(n.bits() % sizes.len() as u64) as usize];
        F::from_f64([size, -size, 0.0][(n.bits() % 3) as usize])
    };
    let mut vector = || (0..rows * width).map(&mut pick).collect::<Vec<F>>();
    let (z, loc, prior_loc) = (vector(), vector(), vector());
    let mut matrix = || {
        let mut all: Vec<F> = (0..rows * width * width).map(&mut pick).collect();
        for i in 0..rows * width {
            let x = &mut all[i / width * width * width + i % width * (width + 1)];
            *x = if *x == F::ZERO { F::ONE } else { F::from_f64(x.to_f64().abs()) };
        }
        all
    };
    let (tril, prior_tril) = (matrix(), matrix());
    Batch { width, z, loc, tril, prior_loc, prior_tril }
}

pub(crate) fn assert_named(result: Result<()>, argument: &str, row: usize, column: usize, value: f64) {
    match result {
        Err(Error::NonFinite { argument: a, row: r, column: c, value: v }) if !value.is_finite() => {
            assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
        }
        Err(Error::Support { argument: a, row: r, column: c, value: v, .. }) if value.is_finite() => {
            assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
        }
        other => panic!("expected {argument} at ({row}, {column}), got {other:?}"),
    }
}
