//! Double-double arithmetic (Dekker 1971): about 106 bits as an unevaluated sum of two float64, so that a reference is right far past
//! the last bit of what it judges.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `hi + lo`, with |lo| at most half a unit in the last place of hi.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double {
    pub(crate) hi: f64,
    pub(crate) lo: f64,
}

/// ln 2 in three parts (mpmath, 80 digits): the first has 32 bits behind the point, so its product with an exponent is exact.
const LN2: [f64; 3] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10, 1.161_222_722_936_253_2e-26];
/// ln 2π.
pub(crate) const LN_2PI: Double = Double { hi: 1.837_877_066_409_345_6, lo: -7.756_588_316_134_483e-17 };
/// Terms of a series whose argument is at most 1, or whose square is at most 1/9: past the last of 106 bits.
const TERMS: u32 = 36;

impl From<f64> for Double {
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

/// `hi + lo` renormalised, for |hi| ≥ |lo|.
fn renormalised(hi: f64, lo: f64) -> Double {
    let sum = hi + lo;
    Double { hi: sum, lo: lo - (sum - hi) }
}

/// `a + b` without error (Knuth).
fn sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    let part = hi - a;
    Double { hi, lo: (a - (hi - part)) + (b - part) }
}

/// `a · b` without error.
fn product(a: f64, b: f64) -> Double {
    let hi = a * b;
    Double { hi, lo: a.mul_add(b, -hi) }
}

impl Neg for Double {
    type Output = Self;
    fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }
}

impl<T: Into<Self>> Add<T> for Double {
    type Output = Self;
    fn add(self, other: T) -> Self {
        let other = other.into();
        let (high, low) = (sum(self.hi, other.hi), sum(self.lo, other.lo));
        let high = renormalised(high.hi, high.lo + low.hi);
        renormalised(high.hi, high.lo + low.lo)
    }
}

impl<T: Into<Self>> Sub<T> for Double {
    type Output = Self;
    fn sub(self, other: T) -> Self {
        self + -other.into()
    }
}

impl<T: Into<Self>> Mul<T> for Double {
    type Output = Self;
    fn mul(self, other: T) -> Self {
        let other = other.into();
        let high = product(self.hi, other.hi);
        renormalised(high.hi, high.lo + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl<T: Into<Self>> Div<T> for Double {
    type Output = Self;
    fn div(self, other: T) -> Self {
        let other = other.into();
        let first = self.hi / other.hi;
        let rest = self - other * first;
        let second = rest.hi / other.hi;
        let rest = rest - other * second;
        sum(first, second) + rest.hi / other.hi
    }
}

/// u less the nearest number of quarter turns, exact, and what those make of the rest's cosine and sine.
pub(crate) fn quarter<T: Copy + Neg<Output = T>>(u: f64) -> (f64, impl Fn([T; 2]) -> [T; 2]) {
    let u = u - u.round();
    let quarters = (4.0 * u).round();
    (u - quarters / 4.0, move |[cos, sin]: [T; 2]| match quarters {
        0.0 => [cos, sin],
        1.0 => [-sin, cos],
        -1.0 => [sin, -cos],
        _ => [-cos, -sin],
    })
}

impl std::iter::Sum for Double {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::from(0.0), |a, b| a + b)
    }
}

impl Double {
    pub(crate) fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }

    /// `self · 2ⁿ`, in steps that do not leave the range before the result does.
    pub(crate) fn scaled(self, n: i32) -> Self {
        Self { hi: libm::scalbn(self.hi, n), lo: libm::scalbn(self.lo, n) }
    }

    /// Σ x^(k − from) from! / k! for k ≥ from: e^x less its first terms, over the first one left.
    fn exp_tail(self, from: u32) -> Self {
        (from + 1..from + TERMS).rev().fold(Self::from(1.0), |value, k| value * self / f64::from(k) + 1.0)
    }

    /// eˣ as m · 2ⁿ, for |x| up to a few thousand.
    pub(crate) fn exp_parts(self) -> (Self, i32) {
        let n = (self.hi / LN2[0]).round();
        let reduced = LN2.iter().fold(self, |x, &part| x - product(n, part));
        (reduced.exp_tail(0), n as i32)
    }

    pub(crate) fn exp(self) -> Self {
        let (m, n) = self.exp_parts();
        m.scaled(n)
    }

    /// eˣ − 1.
    pub(crate) fn exp_m1(self) -> Self {
        if self.hi.abs() < 1.0 { self * self.exp_tail(1) } else { self.exp() - 1.0 }
    }

    /// eˣ − 1 − x.
    pub(crate) fn exp_excess(self) -> Self {
        if self.hi.abs() < 1.0 { self * self * 0.5 * self.exp_tail(2) } else { self.exp() - 1.0 - self }
    }

    /// ln(1 + f) = 2 artanh(s), s = f / (2 + f), for −0.3 ≤ f ≤ 1.
    pub(crate) fn ln_1p(self) -> Self {
        let s = self / (self + 2.0);
        let square = s * s;
        let series = (1..TERMS)
            .rev()
            .fold(Self::from(1.0 / f64::from(2 * TERMS + 1)), |value, k| value * square + Self::from(1.0) / f64::from(2 * k + 1));
        s * 2.0 * (series * square + 1.0)
    }

    /// ln x, for x > 0.
    pub(crate) fn ln(self) -> Self {
        let (m, mut n) = libm::frexp(self.hi);
        n -= i32::from(m < std::f64::consts::FRAC_1_SQRT_2);
        let mantissa = self.scaled(-n) - 1.0;
        LN2.iter().rev().fold(mantissa.ln_1p(), |y, &part| y + product(f64::from(n), part))
    }

    /// ln(1 + eˣ).
    pub(crate) fn softplus(self) -> Self {
        let tail = (-self.abs()).exp().ln_1p();
        if self.hi > 0.0 { self + tail } else { tail }
    }

    /// 1 / (1 + e⁻ˣ).
    pub(crate) fn sigmoid(self) -> Self {
        let t = (-self.abs()).exp();
        (if self.hi < 0.0 { t } else { Self::from(1.0) }) / (t + 1.0)
    }

    /// 2π.
    pub(crate) const TWO_PI: Self = Self { hi: std::f64::consts::TAU, lo: 2.449_293_598_294_706_4e-16 };

    /// [cos 2πu, sin 2πu] of a float64 u.
    pub(crate) fn cos_sin_turn(self) -> [Self; 2] {
        let (rest, turned) = quarter(self.hi);
        let x = Self::TWO_PI * rest;
        let square = x * x;
        // Σ (−x²)ᵏ from! / (2k + from)!
        let series = |from: u32| {
            (1..TERMS / 2)
                .rev()
                .fold(Self::from(1.0), |sum, k| -(sum * square) / f64::from((2 * k + from - 1) * (2 * k + from)) + 1.0)
        };
        turned([series(0), series(1) * x])
    }

    pub(crate) fn tanh(self) -> Self {
        let e = (self.abs() * -2.0).exp_m1();
        let y = -e / (e + 2.0);
        if self.hi < 0.0 { -y } else { y }
    }

    /// e^(x²/2) (1 − Φ(x)) of the normal distribution function Φ, for x ≥ 0.
    pub(crate) fn normal_tail(self) -> Self {
        let square = self * self;
        if self.hi < 4.0 {
            // e^(x²/2)/2 − Σ x²ᵏ⁺¹ / (1 · 3 ⋯ (2k + 1)) / √2π, which cancels to a part in 10⁵ at most.
            let series = (1..150).rev().fold(Self::from(1.0), |sum, k| sum * square / f64::from(2 * k + 1) + 1.0);
            return (square * 0.5).exp() * 0.5 - series * self * Self::FRAC_1_SQRT_TAU;
        }
        // 1 / (x + 1 / (x + 2 / (x + …))).
        let fraction = (1..200).rev().fold(self, |below, k| self + Self::from(f64::from(k)) / below);
        Self::FRAC_1_SQRT_TAU / fraction
    }

    /// 1 / √(2π).
    pub(crate) const FRAC_1_SQRT_TAU: Self = Self { hi: 0.398_942_280_401_432_7, lo: -2.492_327_202_277_73e-17 };

    /// x + n ≥ 40, and ln of, and Σ of the inverses of, the factors x … x + n − 1 in between.
    fn raised(self) -> (Self, Self, Self) {
        let (mut x, mut product, mut ln, mut inverses) = (self, Self::from(1.0), Self::from(0.0), Self::from(0.0));
        while x.hi < 40.0 {
            product = product * x;
            inverses = inverses + Self::from(1.0) / x;
            x = x + 1.0;
        }
        if product.hi != 1.0 || product.lo != 0.0 {
            ln = product.ln();
        }
        (x, ln, inverses)
    }

    /// ln Γ(x) for x > 0: Stirling's series from 40 on, whose sixteenth term is below 10⁻⁴⁰.
    pub(crate) fn ln_gamma(self) -> Self {
        let (x, ln, _) = self.raised();
        let inverse = Self::from(1.0) / x;
        let square = inverse * inverse;
        let terms = BERNOULLI.iter().enumerate().rev().fold(Self::from(0.0), |sum, (i, (above, below))| {
            let k = 2.0 * (i as f64 + 1.0);
            sum * square + Self::from(*above) / (*below * k * (k - 1.0))
        });
        (x - 0.5) * x.ln() - x + LN_2PI * 0.5 + terms * inverse - ln
    }

    /// The derivative of ln Γ.
    pub(crate) fn digamma(self) -> Self {
        let (x, _, inverses) = self.raised();
        let inverse = Self::from(1.0) / x;
        let square = inverse * inverse;
        let terms = BERNOULLI.iter().enumerate().rev().fold(Self::from(0.0), |sum, (i, (above, below))| {
            (sum + Self::from(*above) / (*below * 2.0 * (i as f64 + 1.0))) * square
        });
        x.ln() - inverse * 0.5 - terms - inverses
    }
}

/// The Bernoulli numbers B₂, B₄, …, B₃₀ as (numerator, denominator).
const BERNOULLI: [(f64, f64); 15] = [
    (1.0, 6.0),
    (-1.0, 30.0),
    (1.0, 42.0),
    (-1.0, 30.0),
    (5.0, 66.0),
    (-691.0, 2730.0),
    (7.0, 6.0),
    (-3617.0, 510.0),
    (43_867.0, 798.0),
    (-174_611.0, 330.0),
    (854_513.0, 138.0),
    (-236_364_091.0, 2730.0),
    (8_553_103.0, 6.0),
    (-23_749_461_029.0, 870.0),
    (8_615_841_276_005.0, 14_322.0),
];
