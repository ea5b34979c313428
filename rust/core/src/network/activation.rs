//! Activations and their slopes, from one pass over the numbers.
//!
//! ```
//! use elbokit_core::network::Activation;
//!
//! let (mut x, mut slope) = ([-1.0_f64, 2.0], [0.0; 2]);
//! Activation::Relu.apply_with_slope(&mut x, &mut slope);
//! assert_eq!((x, slope), ([0.0, 2.0], [0.0, 1.0]));
//! ```

use super::lanewise;
use crate::float::Float;
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, dispatch};
use crate::vmath::{Lanes, at_least, gelu, sigmoids, softplus_sigmoid, tanh};

/// What stands between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0); NaN goes through, and a 0 may have either sign, by the architecture. Its slope at 0 is taken as 0.
    Relu,
    /// tanh x.
    Tanh,
    /// x · sigmoid(x).
    Silu,
    /// ln(1 + eˣ).
    Softplus,
    /// x Φ(x), Φ the normal distribution function: the exact form (Hendrycks and Gimpel 2016, section 2), not the one by tanh.
    Gelu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Relu, Self::Tanh, Self::Silu, Self::Softplus, Self::Gelu];

    /// The name, as options and files spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
            Self::Softplus => "softplus",
            Self::Gelu => "gelu",
        }
    }

    /// The activation of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Replaces each number by its activation.
    pub fn apply<F: Float>(self, x: &mut [F]) {
        dispatch(Apply { activation: self, x, slope: None });
    }

    /// Replaces each number by its activation, and writes the derivative there to `slope`.
    pub fn apply_with_slope<F: Float>(self, x: &mut [F], slope: &mut [F]) {
        dispatch(Apply { activation: self, x, slope: Some(slope) });
    }

    /// (activation, slope).
    #[inline(always)]
    pub(super) fn lanes<F: Float, S: Simd>(self, simd: S, x: Lanes<F, S>) -> [Lanes<F, S>; 2] {
        let (zero, one) = (F::Lanes::splat(simd, F::ZERO), F::Lanes::splat(simd, F::ONE));
        match self {
            Self::Relu => {
                // The test is for "not positive", as NaN's slope is 1.
                [at_least::<F, S>(simd, x, F::ZERO), x.simd_le(F::ZERO).select(zero, one)]
            }
            Self::Tanh => {
                let y = tanh::<F, S>(simd, x);
                [y, (-y).fma(y, one)]
            }
            Self::Silu => {
                let (s, rest) = sigmoids::<F, S>(simd, x);
                let y = x * s;
                [y, y.fma(rest, s)]
            }
            Self::Softplus => {
                let (y, s) = softplus_sigmoid::<F, S>(simd, x);
                [y, s]
            }
            Self::Gelu => {
                let (y, slope) = gelu::<F, S>(simd, x);
                [y, slope]
            }
        }
    }
}

/// An activation's derivative at some numbers.
#[derive(Clone, Copy, Debug)]
pub enum Slope<'a, F> {
    /// What [`Activation::apply_with_slope`] wrote.
    Written(&'a [F]),
    /// Relu's, by what it put out.
    OfRelu(&'a [F]),
}

impl<'a, F: Float> Slope<'a, F> {
    /// What it is given by.
    pub(super) fn numbers(self) -> &'a [F] {
        match self {
            Self::Written(numbers) | Self::OfRelu(numbers) => numbers,
        }
    }

    /// The same, given by other numbers.
    pub(super) fn by(self, numbers: &[F]) -> Slope<'_, F> {
        match self {
            Self::Written(_) => Slope::Written(numbers),
            Self::OfRelu(_) => Slope::OfRelu(numbers),
        }
    }

    /// From number `first` on.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn after(self, first: usize) -> Self {
        match self {
            Self::Written(slope) => Self::Written(&slope[first..]),
            Self::OfRelu(y) => Self::OfRelu(&y[first..]),
        }
    }

    /// Multiplies `x`, which may be shorter, by it.
    ///
    /// # Panics
    /// If `x` is longer.
    pub fn times(self, x: &mut [F]) {
        dispatch(Times { x, slope: self });
    }
}

struct Times<'a, F> {
    x: &'a mut [F],
    slope: Slope<'a, F>,
}

impl<F: Float> Kernel for Times<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.slope {
            Slope::Written(slope) => lanewise::<F, S, 1, 1>(
                simd,
                [slope],
                [self.x],
                #[inline(always)]
                |[slope], [x]| [x * slope],
            ),
            Slope::OfRelu(y) => lanewise::<F, S, 1, 1>(
                simd,
                [y],
                [self.x],
                #[inline(always)]
                |[y], [x]| [x * Activation::Relu.lanes::<F, S>(simd, y)[1]],
            ),
        }
    }
}

struct Apply<'a, F> {
    activation: Activation,
    x: &'a mut [F],
    slope: Option<&'a mut [F]>,
}

impl<F: Float> Kernel for Apply<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // One loop for each activation, so that none is chosen within it.
        let Self { activation, x, slope } = self;
        match activation {
            Activation::Relu => each(
                simd,
                x,
                slope,
                #[inline(always)]
                |x| Activation::Relu.lanes::<F, S>(simd, x),
            ),
            Activation::Tanh => each(
                simd,
                x,
                slope,
                #[inline(always)]
                |x| Activation::Tanh.lanes::<F, S>(simd, x),
            ),
            Activation::Silu => each(
                simd,
                x,
                slope,
                #[inline(always)]
                |x| Activation::Silu.lanes::<F, S>(simd, x),
            ),
            Activation::Softplus => each(
                simd,
                x,
                slope,
                #[inline(always)]
                |x| Activation::Softplus.lanes::<F, S>(simd, x),
            ),
            Activation::Gelu => each(
                simd,
                x,
                slope,
                #[inline(always)]
                |x| Activation::Gelu.lanes::<F, S>(simd, x),
            ),
        }
    }
}

#[inline(always)]
fn each<F: Float, S: Simd>(simd: S, x: &mut [F], slope: Option<&mut [F]>, f: impl Fn(Lanes<F, S>) -> [Lanes<F, S>; 2]) {
    match slope {
        Some(slope) => lanewise::<F, S, 0, 2>(
            simd,
            [],
            [x, slope],
            #[inline(always)]
            |[], [x, _]| f(x),
        ),
        None => lanewise::<F, S, 0, 1>(
            simd,
            [],
            [x],
            #[inline(always)]
            |[], [x]| [f(x)[0]],
        ),
    }
}
