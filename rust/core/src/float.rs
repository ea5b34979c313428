//! The two element types, float32 and float64, and what kernels generic over them need.

use crate::reduce::{Compensated, LaneSum, Widened};
use crate::simd::{Simd, SimdBase, SimdCombine, SimdFloat, SimdNarrow, SimdSplit, SimdWiden, f32x4, f32x8, f32x16, f64x4, f64x8};
use crate::vmath::Elementary;

/// A float type of the arrays: `f32` in sixteen lanes or `f64` in eight.
pub trait Float:
    Elementary
    + fearless_simd::SimdFloatElement
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::fmt::Display
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + 'static
{
    /// The dtype's name in messages and files.
    const NAME: &'static str;
    /// Logical lanes, whatever the hardware.
    const LANES: usize;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// +∞.
    const INFINITY: Self;
    /// The largest finite number.
    const MAX: Self;
    /// The smallest normal number.
    const MIN_POSITIVE: Self;
    /// The gap between 1 and the next number.
    const EPSILON: Self;
    /// A quiet NaN: a missing cell.
    const NAN: Self;

    /// One vector of [`LANES`](Self::LANES) numbers.
    type Lanes<S: Simd>: SimdFloat<S, Element = Self>;
    /// The accumulator of a row's sum.
    type Sum<S: Simd>: LaneSum<S, Self>;

    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The same number as float64.
    fn to_f64(self) -> f64;
    /// `self * a + b`, rounded once.
    #[must_use]
    fn fused(self, a: Self, b: Self) -> Self;
    /// Eight numbers as float64 lanes.
    fn widened<S: Simd>(simd: S, x: &[Self]) -> f64x8<S>;
    /// Four numbers and four others as float64 lanes.
    fn widened_halves<S: Simd>(simd: S, low: &[Self], high: &[Self]) -> f64x8<S>;
    /// Eight float64 lanes, each rounded to this type, into `out`.
    fn store_rounded<S: Simd>(x: f64x8<S>, out: &mut [Self]);
    /// Whether the number is neither infinite nor NaN.
    fn finite(self) -> bool;
    /// The number's little-endian bytes, −0 as 0 and every NaN as one: what a row's hash sees.
    fn canonical_bytes(self, out: &mut Vec<u8>);
}

macro_rules! float {
    ($t:ident, $name:literal, $lanes:ident, $n:literal, $sum:ident, $widened:ident, $halves:ident, $store:ident) => {
        impl Float for $t {
            const NAME: &'static str = $name;
            const LANES: usize = $n;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = $t::INFINITY;
            const MAX: Self = $t::MAX;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const EPSILON: Self = $t::EPSILON;
            const NAN: Self = $t::NAN;

            type Lanes<S: Simd> = $lanes<S>;
            type Sum<S: Simd> = $sum<S>;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn widened<S: Simd>(simd: S, x: &[Self]) -> f64x8<S> {
                $widened(simd, x)
            }
            #[inline(always)]
            fn widened_halves<S: Simd>(simd: S, low: &[Self], high: &[Self]) -> f64x8<S> {
                $halves(simd, low, high)
            }
            #[inline(always)]
            fn store_rounded<S: Simd>(x: f64x8<S>, out: &mut [Self]) {
                $store(x, out);
            }
            #[inline(always)]
            fn fused(self, a: Self, b: Self) -> Self {
                self.mul_add(a, b)
            }
            #[inline(always)]
            fn finite(self) -> bool {
                self.is_finite()
            }
            fn canonical_bytes(self, out: &mut Vec<u8>) {
                let x = if self.is_nan() {
                    $t::NAN
                } else if self == 0.0 {
                    0.0
                } else {
                    self
                };
                out.extend_from_slice(&x.to_le_bytes());
            }
        }
    };
}

float!(f32, "float32", f32x16, 16, Widened, widened_f32, halves_f32, store_f32);
float!(f64, "float64", f64x8, 8, Compensated, widened_f64, halves_f64, store_f64);

/// The numbers in float64.
pub(crate) fn wide<F: Float>(x: &[F]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

#[inline(always)]
fn widened_f32<S: Simd>(simd: S, x: &[f32]) -> f64x8<S> {
    let (low, high) = f32x8::from_slice(simd, x).widen();
    low.combine(high)
}

#[inline(always)]
fn halves_f32<S: Simd>(simd: S, low: &[f32], high: &[f32]) -> f64x8<S> {
    let (low, high) = f32x4::from_slice(simd, low).combine(f32x4::from_slice(simd, high)).widen();
    low.combine(high)
}

#[inline(always)]
fn store_f32<S: Simd>(x: f64x8<S>, out: &mut [f32]) {
    let (low, high) = x.split();
    low.narrow(high).store_slice(out);
}

#[inline(always)]
fn widened_f64<S: Simd>(simd: S, x: &[f64]) -> f64x8<S> {
    f64x8::from_slice(simd, x)
}

#[inline(always)]
fn halves_f64<S: Simd>(simd: S, low: &[f64], high: &[f64]) -> f64x8<S> {
    f64x4::from_slice(simd, low).combine(f64x4::from_slice(simd, high))
}

#[inline(always)]
fn store_f64<S: Simd>(x: f64x8<S>, out: &mut [f64]) {
    x.store_slice(out);
}
