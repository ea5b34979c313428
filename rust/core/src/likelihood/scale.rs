//! How the scale of real cells is given, and its tables where it is known beforehand.

use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::Mask;
use crate::simd::{Select, Simd, SimdBase};
use crate::vmath::Lanes;

/// How a scale is given: a Gaussian's standard deviation, the own scale of the other kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// One number for all features.
    Fixed(f64),
    /// A number for each feature.
    ByFeature(Vec<f64>),
    /// A second block of `params` with one column, for all cells of the row.
    Shared,
    /// A second block of `params`, as `Predicted`; a model learns one for all rows.
    PerFeature,
    /// A second block of `params`, for each cell.
    Predicted,
}

impl Scale {
    /// Columns of the second block for `num_features` features.
    pub(super) fn columns(&self, num_features: usize) -> usize {
        match self {
            Self::Fixed(_) | Self::ByFeature(_) => 0,
            Self::Shared => 1,
            Self::PerFeature | Self::Predicted => num_features,
        }
    }

    /// The scales that are known beforehand, by feature.
    pub(super) fn known(&self, num_features: usize) -> Result<Option<Vec<f64>>> {
        match self {
            Self::Fixed(scale) => Ok(Some(vec![*scale; num_features])),
            Self::ByFeature(scales) if scales.len() != num_features => {
                let cure = "give one scale for each feature, or one number";
                Err(Error::shape("scale", format!("{num_features} scales"), scales.len(), cure))
            }
            Self::ByFeature(scales) => Ok(Some(scales.clone())),
            _ => Ok(None),
        }
    }
}

/// A scale known beforehand, by feature.
#[derive(Debug, Clone)]
pub(super) struct Known<F> {
    /// The scale itself, capped at the largest finite number.
    pub(super) scale: Vec<F>,
    /// 1 / scale.
    pub(super) inverse: Vec<F>,
    /// ln scale.
    pub(super) log_scale: Vec<f64>,
}

impl<F: Float> Known<F> {
    pub(super) fn new(scales: &[f64]) -> Result<Self> {
        let usable = |s: f64| {
            let inverse = F::from_f64(1.0 / s);
            s.is_finite() && inverse > F::ZERO && inverse.finite()
        };
        if let Some(&bad) = scales.iter().find(|s| !usable(**s)) {
            return Err(Error::value("scale", "positive finite scales", bad, "give the size of the noise"));
        }
        let inverse = scales.iter().map(|s| F::from_f64(1.0 / s)).collect();
        let log_scale = scales.iter().map(|s| libm::log(*s)).collect();
        let scale = scales.iter().map(|s| F::from_f64(s.min(F::MAX.to_f64()))).collect();
        Ok(Self { scale, inverse, log_scale })
    }

    /// The tables of a kernel that reads 1 / scale and `constant` + `factor` · ln scale.
    pub(super) fn tables(&self, factor: f64, constant: f64) -> Vec<Vec<F>> {
        vec![self.inverse.clone(), self.log_scale.iter().map(|s| F::from_f64(factor * s + constant)).collect()]
    }
}

/// (d, far) with x − loc = d, or 4 d where far: where the difference would be past half of the range, so that d times a number below 2 is not past it.
#[inline(always)]
pub(super) fn difference<F: Float, S: Simd>(x: Lanes<F, S>, loc: Lanes<F, S>) -> (Lanes<F, S>, Mask<F, S>) {
    let (half, quarter) = (F::from_f64(0.5), F::from_f64(0.25));
    let whole = x - loc;
    let far = whole.abs().simd_gt(F::MAX * half);
    (far.select(x * quarter - loc * quarter, whole), far)
}
