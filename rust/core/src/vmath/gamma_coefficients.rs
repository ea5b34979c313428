//! Made by `gamma_coefficients.py` beside this file; do not edit.

#![allow(clippy::excessive_precision, clippy::unreadable_literal, clippy::approx_constant)]

/// Constants of the gamma family for one element type, lowest degree first; J is Binet's function.
pub trait GammaCoefficients: Sized + 'static {
    /// Where J's expansion in 1/x² takes over.
    const BINET_FAR_FROM: Self;
    /// ½ ln 2π, and what is missing from it.
    const HALF_LN_2PI: (Self, Self);
    /// Euler's γ, and what is missing from it.
    const EULER: (Self, Self);
    /// 1 − γ, and what is missing from it.
    const ONE_LESS_EULER: (Self, Self);
    /// 1/12, and what is missing from it.
    const TWELFTH: (Self, Self);
    /// The zero of ψ, and what is missing from it.
    const DIGAMMA_ZERO: (Self, Self);
    /// `(x J(x) − 1/12) x²` in u = 1/x² for x ≥ [`BINET_FAR_FROM`](Self::BINET_FAR_FROM).
    const BINET_FAR: &'static [Self];
    /// `(−x² J'(x) − 1/12) x²`, as [`BINET_FAR`](Self::BINET_FAR).
    const SLOPE_FAR: &'static [Self];
    /// `(lgamma(1 + x) + γ x) / x²` for 0 ≤ x ≤ ½.
    const GAMMA_1P: &'static [Self];
    /// `(ψ(1 + x) + γ) / x` for 0 ≤ x ≤ ½.
    const DIGAMMA_1P: &'static [Self];
    /// `(lgamma(2 + d) − (1 − γ) d) / d²` for |d| ≤ ½.
    const GAMMA_2P: &'static [Self];
    /// `ψ(r + w) / w` for 1 ≤ r + w ≤ 2, r the zero of ψ.
    const DIGAMMA_ROOT: &'static [Self];
    /// `1/12 − x J(x)` for ½ ≤ x ≤ [`BINET_FAR_FROM`](Self::BINET_FAR_FROM): the numerator.
    const BINET_NEAR_OVER: &'static [Self];
    /// The denominator to [`BINET_NEAR_OVER`](Self::BINET_NEAR_OVER).
    const BINET_NEAR_UNDER: &'static [Self];
    /// `1/12 + x² J'(x)`, as [`BINET_NEAR_OVER`](Self::BINET_NEAR_OVER): the numerator.
    const SLOPE_NEAR_OVER: &'static [Self];
    /// The denominator to [`SLOPE_NEAR_OVER`](Self::SLOPE_NEAR_OVER).
    const SLOPE_NEAR_UNDER: &'static [Self];
}

impl GammaCoefficients for f32 {
    const BINET_FAR_FROM: Self = 4.000000;
    const HALF_LN_2PI: (Self, Self) = (9.189385e-1, 1.5634177e-8);
    const EULER: (Self, Self) = (5.772157e-1, -6.637774e-9);
    const ONE_LESS_EULER: (Self, Self) = (4.2278433e-1, 6.637774e-9);
    const TWELFTH: (Self, Self) = (8.3333336e-2, -2.483527e-9);
    const DIGAMMA_ZERO: (Self, Self) = (1.4616321, 1.243815e-8);
    // relative error 3.54e-9
    const BINET_FAR: &'static [Self] = &[-2.7777725e-3, 7.921125e-4, -5.268377e-4];
    // relative error 1.03e-9
    const SLOPE_FAR: &'static [Self] = &[-8.333332e-3, 3.9674006e-3, -4.095905e-3, 5.5908062e-3];
    // relative error 2.83e-9
    const GAMMA_1P: &'static [Self] =
        &[8.224670e-1, -4.0068498e-1, 2.705532e-1, -2.0692846e-1, 1.6575015e-1, -1.2613885e-1, 7.515769e-2, -2.3844864e-2];
    // relative error 2.71e-9
    const DIGAMMA_1P: &'static [Self] =
        &[1.644934, -1.2020562, 1.0822846, -1.0361106, 1.0085194, -9.5326734e-1, 7.920110e-1, -4.7947314e-1, 1.474174e-1];
    // relative error 6.52e-10
    const GAMMA_2P: &'static [Self] = &[
        3.2246703e-1,
        -6.7352295e-2,
        2.0580806e-2,
        -7.3859207e-3,
        2.8906795e-3,
        -1.1874848e-3,
        5.0726044e-4,
        -2.5056204e-4,
        1.11983645e-4,
    ];
    // relative error 4.15e-9
    const DIGAMMA_ROOT: &'static [Self] = &[
        9.676722e-1,
        -4.427632e-1,
        2.5849915e-1,
        -1.639380e-1,
        1.0784524e-1,
        -7.231595e-2,
        4.8563838e-2,
        -3.1981826e-2,
        2.3491208e-2,
        -2.0556709e-2,
        1.0902588e-2,
    ];
    // relative error 2.45e-9
    const BINET_NEAR_OVER: &'static [Self] = &[3.116503e-2, 2.5985982e-2, 3.060321e-3, -3.7663223e-5, 2.1814997e-6];
    const BINET_NEAR_UNDER: &'static [Self] = &[4.5594057e-1, 4.9318733, 1.0306548e1, 9.793045, 1.000000];
    // relative error 6.56e-9
    const SLOPE_NEAR_OVER: &'static [Self] = &[3.1612048e-1, 1.7831211e-1, 1.2137767e-2, -4.9196224e-4, 2.7794378e-5];
    const SLOPE_NEAR_UNDER: &'static [Self] = &[3.901048, 2.1766905e1, 3.262623e1, 2.3434431e1, 1.000000];
}

impl GammaCoefficients for f64 {
    const BINET_FAR_FROM: Self = 8.0;
    const HALF_LN_2PI: (Self, Self) = (0.9189385332046728, -3.8782941580672414e-17);
    const EULER: (Self, Self) = (0.5772156649015329, -4.942915152430645e-18);
    const ONE_LESS_EULER: (Self, Self) = (0.42278433509846713, 4.942915152430645e-18);
    const TWELFTH: (Self, Self) = (0.08333333333333333, 4.625929269271485e-18);
    const DIGAMMA_ZERO: (Self, Self) = (1.4616321449683622, 9.549995429965697e-17);
    // relative error 5.73e-19
    const BINET_FAR: &'static [Self] = &[
        -0.0027777777777777744,
        0.0007936507936295049,
        -0.0005952380733117479,
        0.0008417423240696201,
        -0.0019159371443931781,
        0.006255334910955872,
        -0.021749568928909523,
    ];
    // relative error 9.24e-18
    const SLOPE_FAR: &'static [Self] = &[
        -0.008333333333333278,
        0.003968253967907064,
        -0.004166666309138111,
        0.007575618505021876,
        -0.021066778686441738,
        0.08078706522220509,
        -0.3138845137528966,
    ];
    // relative error 1.64e-18
    const GAMMA_1P: &'static [Self] = &[
        0.8224670334241132,
        -0.4006856343865297,
        0.27058080842745363,
        -0.20738555100333428,
        0.16955717597242248,
        -0.1440498715096526,
        0.1255092570331176,
        -0.11132955464537614,
        0.10006043807867981,
        -0.09071383670014573,
        0.0822367669844353,
        -0.07296451637633339,
        0.06059434074142852,
        -0.04377978979430908,
        0.024816348726484083,
        -0.009474540179310058,
        0.001780742733702356,
    ];
    // relative error 2.96e-18
    const DIGAMMA_1P: &'static [Self] = &[
        1.6449340668482264,
        -1.2020569031595911,
        1.082323233710465,
        -1.0369277550855174,
        1.0173430593535226,
        -1.0083492043059548,
        1.0040760065725043,
        -1.001990882927138,
        1.0008289294018227,
        -0.9993216066556535,
        0.9939222316735294,
        -0.9738181676186048,
        0.9149729477912032,
        -0.78471371723771,
        0.5710961343145314,
        -0.31967643877097945,
        0.1189489381934446,
        -0.02162703558369729,
    ];
    // relative error 3.64e-19
    const GAMMA_2P: &'static [Self] = &[
        0.3224670334241132,
        -0.0673523010531981,
        0.020580808427784553,
        -0.0073855510286719986,
        0.002890510330740574,
        -0.0011927539118428156,
        0.0005096695248097167,
        -0.00022315475400520507,
        9.94575106565683e-5,
        -4.49263133791557e-5,
        2.0507249390577883e-5,
        -9.438715099211532e-6,
        4.374497421555722e-6,
        -2.0439048107029907e-6,
        9.573811846241715e-7,
        -4.3252393445604814e-7,
        2.0408401495663627e-7,
        -1.3219945666117874e-7,
        6.286887600397704e-8,
    ];
    // relative error 2.7e-18
    const DIGAMMA_ROOT: &'static [Self] = &[
        0.9676722454476212,
        -0.4427631689835921,
        0.2584997609556486,
        -0.16394270544241185,
        0.1078240506916922,
        -0.07219956125611147,
        0.048804288134436574,
        -0.03316112647814546,
        0.02259764928437279,
        -0.015424766261277919,
        0.010538769938576956,
        -0.007204519666511045,
        0.0049270580267742016,
        -0.0033700680515484165,
        0.0023028895420557894,
        -0.00157420216813665,
        0.0010901225234458578,
        -0.0007549229618596274,
        0.0004717939701691318,
        -0.0002843132292526133,
        0.0002805343686746867,
        -0.0002785074876883787,
        0.00011881232908510335,
    ];
    // relative error 4.04e-18
    const BINET_NEAR_OVER: &'static [Self] = &[
        0.0003376797683133151,
        0.010992155919633094,
        0.07235330504463121,
        0.1309697964987175,
        0.12152377646418906,
        0.0649498203005742,
        0.019548237773809148,
        0.002777776413213962,
        5.0410991450006675e-11,
        -8.669460748618064e-13,
    ];
    const BINET_NEAR_UNDER: &'static [Self] = &[
        0.004267534793768928,
        0.20918455922132256,
        2.768627934388655,
        14.658402942252366,
        37.58301856103426,
        53.70271549063085,
        45.75839066839129,
        23.66774630713784,
        7.037357346845375,
        1.0,
    ];
    // relative error 7.51e-18
    const SLOPE_NEAR_OVER: &'static [Self] = &[
        0.004510691255665731,
        0.09091929263956072,
        0.4309513588946394,
        0.6426983038478002,
        0.5099380927637581,
        0.23876864651813964,
        0.06415867323297116,
        0.008333325080529148,
        2.8759840732139424e-10,
        -4.67811194170084e-12,
    ];
    const SLOPE_NEAR_UNDER: &'static [Self] = &[
        0.05425313272980389,
        1.4026044003408433,
        11.294297174492357,
        40.721593292791,
        78.6664766370875,
        90.50920552575029,
        64.85672834903127,
        29.128648471122336,
        7.699023114187604,
        1.0,
    ];
}
