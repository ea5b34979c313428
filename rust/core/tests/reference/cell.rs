//! Rows of diagonal Gaussians and their formulas in double-double.

use elbokit_core::gaussian::kl_grad;
use elbokit_core::{Float, Result};

use super::double::LN_2PI;
use super::{Double, Numbers, Terms};

/// One latent of a row: z, its Gaussian and the prior's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) z: f64,
    pub(crate) loc: f64,
    pub(crate) log_var: f64,
    pub(crate) prior_loc: f64,
    pub(crate) prior_log_var: f64,
}

impl Cell {
    /// The same numbers as type F holds them.
    pub(crate) fn rounded<F: Float>(self) -> Self {
        let r = |x| F::from_f64(x).to_f64();
        let Self { z, loc, log_var, prior_loc, prior_log_var } = self;
        Self { z: r(z), loc: r(loc), log_var: r(log_var), prior_loc: r(prior_loc), prior_log_var: r(prior_log_var) }
    }

    /// To the standard normal.
    pub(crate) fn standard(self) -> Self {
        Self { prior_loc: 0.0, prior_log_var: 0.0, ..self }
    }

    pub(crate) fn log_prob(self) -> [Double; 3] {
        let delta = (Double::from(self.z) - self.loc) * Double::from(-0.5 * self.log_var).exp();
        [delta * delta * -0.5, Double::from(self.log_var) * -0.5, LN_2PI * -0.5]
    }

    /// ∂`log_prob` by z, loc, `log_var`.
    pub(crate) fn log_prob_grad(self) -> [Terms; 3] {
        let inverse = Double::from(-0.5 * self.log_var).exp();
        let delta = (Double::from(self.z) - self.loc) * inverse;
        let pull = delta * inverse;
        [Terms::of([-pull]), Terms::of([pull]), Terms::of([delta * delta * 0.5, (-0.5).into()])]
    }

    pub(crate) fn entropy(self) -> [Double; 3] {
        [Double::from(self.log_var) * 0.5, LN_2PI * 0.5, 0.5.into()]
    }

    pub(crate) fn v(self) -> Double {
        Double::from(self.log_var) - self.prior_log_var
    }

    pub(crate) fn inverse(self) -> Double {
        Double::from(-0.5 * self.prior_log_var).exp()
    }

    pub(crate) fn delta(self) -> Double {
        (Double::from(self.loc) - self.prior_loc) * self.inverse()
    }

    pub(crate) fn kl(self) -> [Double; 2] {
        [self.v().exp_excess() * 0.5, self.delta() * self.delta() * 0.5]
    }

    /// ∂KL by loc, `log_var`, `prior_loc`, `prior_log_var`.
    pub(crate) fn kl_grad(self) -> [Terms; 4] {
        let (d_loc, d_log_var) = (self.delta() * self.inverse(), self.v().exp_m1() * 0.5);
        let d_prior_log_var = [-d_log_var, self.delta() * self.delta() * -0.5];
        [Terms::of([d_loc]), Terms::of([d_log_var]), Terms::of([-d_loc]), Terms::of(d_prior_log_var)]
    }
}

pub(crate) fn column<F: Float>(cells: &[Cell], number: impl Fn(&Cell) -> f64) -> Vec<F> {
    cells.iter().map(|cell| F::from_f64(number(cell))).collect()
}

pub(crate) fn by_row<const N: usize>(cells: &[Cell], width: usize, terms: impl Fn(Cell) -> [Double; N]) -> Vec<Terms> {
    cells.chunks(width.max(1)).map(|row| Terms::of(row.iter().flat_map(|&cell| terms(cell)))).collect()
}

pub(crate) fn zeros<F: Float>(len: usize) -> Vec<F> {
    vec![F::ZERO; len]
}

/// What [`kl_grad`] fills: the divergence, then the four gradients one after another.
pub(crate) fn every_gradient<F: Float>(cells: &[Cell], width: usize) -> Result<(Vec<F>, [Vec<F>; 4])> {
    let [loc, log_var] = [column(cells, |c| c.loc), column(cells, |c| c.log_var)];
    let prior: [Vec<F>; 2] = [column(cells, |c| c.prior_loc), column(cells, |c| c.prior_log_var)];
    let mut value = zeros(cells.len() / width);
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| zeros(cells.len()));
    kl_grad(&loc, &log_var, Some((&prior[0], &prior[1])), width, &mut value, &mut a, &mut b, Some((&mut c, &mut d)))?;
    Ok((value, [a, b, c, d]))
}

/// Cells of all sizes, one a row, where nothing averages an error away.
pub(crate) fn single_cells(len: usize) -> Vec<Cell> {
    let mut numbers = Numbers(3);
    let mut number = |limit: f64| {
        let size = [limit, 2.0, 0.1][(numbers.bits() % 3) as usize];
        numbers.uniform(-size, size)
    };
    let mut cell = |_| Cell {
        z: number(50.0),
        loc: number(50.0),
        log_var: number(40.0),
        prior_loc: number(50.0),
        prior_log_var: number(40.0),
    };
    (0..len).map(&mut cell).collect()
}

/// Numbers at the ends of the range and in its middle.
pub(crate) fn extremes<F: Float>() -> Vec<f64> {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let positive = [F::MAX.to_f64(), 1e30, 1e5, 1e4, 200.0, 1.0, 1e-7, smallest];
    positive.into_iter().flat_map(|x| [x, -x]).chain([0.0]).map(|x| F::from_f64(x).to_f64()).collect()
}
