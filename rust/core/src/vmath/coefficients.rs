//! Made by `coefficients.py` beside this file; do not edit.

#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]

/// Constants of the vector functions for one element type, lowest degree first.
pub trait Coefficients: Sized + 'static {
    /// 1 / ln 2.
    const INV_LN2: Self;
    /// The high part of ln 2: its product with an exponent is exact.
    const LN2_HIGH: Self;
    /// ln 2 less its high part.
    const LN2_LOW: Self;
    /// `(e^r − 1 − r) / r²` for |r| ≤ 0.75.
    const EXP_TAIL: &'static [Self];
    /// `(ln(1 + f) − f + f²/2) / f³` for √½ ≤ 1 + f ≤ √2.
    const LN_TAIL: &'static [Self];
    /// `(2 artanh(s) − 2s) / s³` in z = s² ≤ 1/9.
    const ATANH_TAIL: &'static [Self];
    /// `sin(2πu) / u` in z = u² ≤ 1/64.
    const SIN_TURN: &'static [Self];
    /// `(cos(2πu) − 1) / u²` in z = u² ≤ 1/64.
    const COS_TURN: &'static [Self];
}

impl Coefficients for f32 {
    const INV_LN2: Self = 1.442695;
    const LN2_HIGH: Self = 6.9311523e-1;
    const LN2_LOW: Self = 3.1946183e-5;
    // relative error 2.42e-10
    const EXP_TAIL: &'static [Self] =
        &[5.000000e-1, 1.6666667e-1, 4.166668e-2, 8.333335e-3, 1.388779e-3, 1.9840272e-4, 2.511343e-5, 2.7840558e-6];
    // relative error 3.2e-9
    const LN_TAIL: &'static [Self] = &[
        3.333333e-1,
        -2.4999997e-1,
        2.0000716e-1,
        -1.6667803e-1,
        1.4249058e-1,
        -1.2425687e-1,
        1.168542e-1,
        -1.1479734e-1,
        6.971612e-2,
    ];
    // relative error 4.02e-10
    const ATANH_TAIL: &'static [Self] = &[6.666667e-1, 3.9999706e-1, 2.8592357e-1, 2.1706575e-1, 2.322433e-1];
    // relative error 3.4e-9
    const SIN_TURN: &'static [Self] = &[6.2831855, -4.1341663e1, 8.1592545e1, -7.540161e1];
    // relative error 1.9e-10
    const COS_TURN: &'static [Self] = &[-1.9739208e1, 6.493937e1, -8.544882e1, 5.9424107e1];
}

impl Coefficients for f64 {
    const INV_LN2: Self = 1.4426950408889634;
    const LN2_HIGH: Self = 0.6931471803691238;
    const LN2_LOW: Self = 1.9082149292705877e-10;
    // relative error 2.64e-21
    const EXP_TAIL: &'static [Self] = &[
        0.5,
        0.16666666666666666,
        0.041666666666666664,
        0.00833333333333333,
        0.0013888888888888887,
        0.0001984126984127572,
        2.4801587301590568e-5,
        2.7557319219009405e-6,
        2.755731922122279e-7,
        2.505211054735528e-8,
        2.087675818827148e-9,
        1.605854099378922e-10,
        1.1470466377676649e-11,
        7.706687890713574e-13,
        4.812534064727117e-14,
    ];
    // relative error 6.25e-18
    const LN_TAIL: &'static [Self] = &[
        0.33333333333333337,
        -0.2499999999999993,
        0.19999999999993223,
        -0.16666666666697305,
        0.1428571428759174,
        -0.12499999997109267,
        0.11111110909841072,
        -0.0999999999631727,
        0.09090919875998202,
        -0.08333345056413204,
        0.0769198812013375,
        -0.0714223204915847,
        0.06671985555271291,
        -0.06265031869518063,
        0.05837018351464999,
        -0.05368280388050548,
        0.0537187789066478,
        -0.06129561980727906,
        0.0566642324205218,
        -0.025061228095282464,
    ];
    // relative error 1.36e-19
    const ATANH_TAIL: &'static [Self] = &[
        0.6666666666666666,
        0.39999999999999525,
        0.285714285716001,
        0.2222222219823677,
        0.18181819897962714,
        0.1538454396486055,
        0.13335178631449257,
        0.11734279061303197,
        0.10845178394880015,
        0.07492143795550767,
        0.1563057780092285,
    ];
    // relative error 1.98e-21
    const SIN_TURN: &'static [Self] = &[
        6.283185307179586,
        -41.34170224039976,
        81.60524927607493,
        -76.70585975299812,
        42.05869392898878,
        -15.094640403891546,
        3.8197881201632113,
        -0.7116358090781666,
    ];
    // relative error 6.11e-23
    const COS_TURN: &'static [Self] = &[
        -19.739208802178716,
        64.9393940226683,
        -85.45681720669369,
        60.24464137185456,
        -26.4262567778174,
        7.90353561233896,
        -1.714333269420992,
        0.2797407860657504,
    ];
}
