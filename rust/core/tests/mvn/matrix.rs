//! Square matrices and vectors of double-doubles.

use crate::reference::Double;
use elbokit_core::Float;

/// A square matrix of double-doubles.
#[derive(Clone, Debug)]
pub(crate) struct Matrix(pub(crate) usize, pub(crate) Vec<Double>);

impl Matrix {
    pub(crate) fn from_fn(d: usize, f: impl Fn(usize, usize) -> Double) -> Self {
        Self(d, (0..d * d).map(|at| f(at / d, at % d)).collect())
    }

    pub(crate) fn lower<F: Float>(d: usize, x: &[F]) -> Self {
        Self::from_fn(d, |i, j| if j <= i { x[i * d + j].to_f64().into() } else { 0.0.into() })
    }

    pub(crate) fn at(&self, i: usize, j: usize) -> Double {
        self.1[i * self.0 + j]
    }

    pub(crate) fn abs(&self) -> Self {
        Self(self.0, self.1.iter().map(|x| x.abs()).collect())
    }

    pub(crate) fn transposed(&self) -> Self {
        Self::from_fn(self.0, |i, j| self.at(j, i))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        Self::from_fn(self.0, |i, j| (0..self.0).map(|k| self.at(i, k) * other.at(k, j)).sum())
    }

    pub(crate) fn of(&self, x: &[Double]) -> Vec<Double> {
        (0..self.0).map(|i| x.iter().enumerate().map(|(k, &x)| self.at(i, k) * x).sum()).collect()
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self(self.0, self.1.iter().zip(&other.1).map(|(&a, &b)| a + b).collect())
    }

    pub(crate) fn tril(&self) -> Self {
        Self::from_fn(self.0, |i, j| if j <= i { self.at(i, j) } else { 0.0.into() })
    }

    /// A lower triangle's inverse.
    pub(crate) fn inverse(&self) -> Self {
        let d = self.0;
        let mut inverse = Self::from_fn(d, |_, _| 0.0.into());
        for j in 0..d {
            for i in j..d {
                let known: Double = (j..i).map(|k| self.at(i, k) * inverse.at(k, j)).sum();
                let one = if i == j { 1.0 } else { 0.0 };
                inverse.1[i * d + j] = (Double::from(one) - known) / self.at(i, i);
            }
        }
        inverse
    }
}

pub(crate) fn plus(a: &[Double], b: &[Double]) -> Vec<Double> {
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

pub(crate) fn abs(x: &[Double]) -> Vec<Double> {
    x.iter().map(|x| x.abs()).collect()
}
