//! Samplers of one cell: the words that they take, literal arrays that pin them, their laws against exact ones, and the ends of their
//! parameters. Each statistical test fails by chance once in 10⁶ keys; the keys are fixed.

use elbokit_core::random::{CellWords, Key, binomial, ln_gamma_variate, poisson, raw};

/// Kolmogorov's statistic times √n is larger once in 10⁶: √(ln(2 · 10⁶) / 2).
const KOLMOGOROV: f64 = 2.7;
/// A standard normal is farther from 0 once in 10⁶.
const SIGMAS: f64 = 4.8916;
/// Draws of each law.
const DRAWS: usize = 1 << 18;

const RATES: [f64; 14] = [0.01, 0.3, 1.0, 4.5, 9.99, 10.0, 10.01, 12.5, 31.7, 99.5, 1000.25, 54_321.0, 1e6, 3.3e8];
/// Trials and logit, by means from 1e-3 to 2e9.
const TRIALS: [(u32, f64); 17] = [
    (1, 0.3),
    (2, -1.0),
    (5, 2.0),
    (19, 0.0),
    (20, 0.0),
    (21, 1e-3),
    (40, 1.0),
    (40, -1.2),
    (100, -2.197_224_577),
    (1000, -6.9),
    (1000, 3.0),
    (100_000, -20.0),
    (100_000, -9.21),
    (1_000_000, 0.25),
    (1 << 31, -17.0),
    (u32::MAX, -22.0),
    (u32::MAX, 0.4),
];
const SHAPES: [f64; 12] = [1e-3, 0.05, 0.3, 0.999, 1.0, 1.001, 1.5, 2.0, 7.25, 60.0, 700.0, 12_345.6];

type Sampler<'a> = &'a dyn Fn(&mut CellWords) -> f64;

/// `draws` cells from `first` on under one key.
fn cells(key: u64, first: u64, draws: usize, sample: impl Fn(&mut CellWords) -> f64) -> Vec<f64> {
    (first..first + draws as u64).map(|cell| sample(&mut CellWords::new(Key(key), cell))).collect()
}

/// The probabilities of `first …`, from how one is to the one before it, over all that a draw can see.
struct Counts {
    first: f64,
    probability: Vec<f64>,
}

impl Counts {
    /// `ratio(k)` is P(k) / P(k − 1).
    fn new(mean: f64, deviation: f64, most: f64, ratio: impl Fn(f64) -> f64) -> Self {
        let mode = mean.floor().min(most);
        let first = (mean - 12.0 * deviation - 40.0).max(0.0).floor();
        let last = (mean + 12.0 * deviation + 40.0).min(most).floor();
        let mut probability = vec![0.0; (last - first) as usize + 1];
        let at = (mode - first) as usize;
        probability[at] = 1.0;
        for i in at + 1..probability.len() {
            probability[i] = probability[i - 1] * ratio(first + i as f64);
        }
        for i in (0..at).rev() {
            probability[i] = probability[i + 1] / ratio(first + i as f64 + 1.0);
        }
        let total: f64 = probability.iter().sum();
        Self { first, probability: probability.into_iter().map(|p| p / total).collect() }
    }

    fn poisson(rate: f64) -> Self {
        Self::new(rate, rate.sqrt(), f64::MAX, |k| rate / k)
    }

    fn binomial(total: u32, logit: f64) -> Self {
        let n = f64::from(total);
        let p = 1.0 / (1.0 + libm::exp(-logit));
        Self::new(n * p, (n * p * (1.0 - p)).sqrt(), n, |k| (n - k + 1.0) / k * libm::exp(logit))
    }

    /// How far the draws are from this law, by the worst of three tests, each in units of what chance exceeds once in 10⁶: Pearson's statistic
    /// over classes of neighbours (at most 200, each expecting 30 or more), the mean and the variance.
    fn distance(&self, draws: &[f64]) -> f64 {
        let mut counts = vec![0_u32; self.probability.len()];
        for &k in draws {
            assert!(k >= self.first && k == k.floor(), "{k}");
            counts[(k - self.first) as usize] += 1;
        }
        let n = draws.len() as f64;
        let least = (n / 200.0).max(30.0);
        let mut classes: Vec<(f64, f64)> = Vec::new();
        let (mut expected, mut seen) = (0.0, 0.0);
        for (&p, &count) in self.probability.iter().zip(&counts) {
            expected += p * n;
            seen += f64::from(count);
            if expected >= least || p * n >= 30.0 {
                classes.push((expected, seen));
                (expected, seen) = (0.0, 0.0);
            }
        }
        // What is left cannot fill a class of its own.
        let last = classes.last_mut().expect("a class");
        *last = (last.0 + expected, last.1 + seen);
        let pearson: f64 = classes.iter().map(|(e, s)| (s - e).powi(2) / e).sum();

        let mean = self.moment(|k| k);
        let [second, fourth] = [2, 4].map(|power| self.moment(|k| (k - mean).powi(power)));
        let average = |power| draws.iter().map(|k| (k - mean).powi(power)).sum::<f64>() / n;
        let mean_error = average(1) / (second / n).sqrt();
        let variance_error = (average(2) - second) / ((fourth - second * second) / n).sqrt();
        let chi = pearson / chi_square_limit(classes.len() - 1);
        chi.max(mean_error.abs() / SIGMAS).max(variance_error.abs() / SIGMAS)
    }

    fn moment(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.probability.iter().enumerate().map(|(i, p)| p * f(self.first + i as f64)).sum()
    }
}

/// χ² is larger once in 10⁶ (Wilson and Hilferty 1931; of one degree, more rarely). A law of one class leaves rounding alone.
fn chi_square_limit(degrees: usize) -> f64 {
    if degrees == 0 {
        return 1e-9;
    }
    let part = 2.0 / (9.0 * degrees as f64);
    degrees as f64 * (1.0 - part + 4.7534 * part.sqrt()).powi(3)
}

/// The largest distance between the sample's distribution and the stated one, times √n.
fn kolmogorov(mut draws: Vec<f64>, cumulative: impl Fn(f64) -> f64) -> f64 {
    draws.sort_unstable_by(f64::total_cmp);
    let n = draws.len() as f64;
    let distance = |(i, &x): (usize, &f64)| {
        let p = cumulative(x);
        (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs())
    };
    draws.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

fn normal_cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// P(G ≤ x) of a Gamma(shape, 1) variable of the given logarithm: xᵃ e⁻ˣ / Γ(a + 1) · Σ xⁿ / ((a + 1) … (a + n)), all terms positive.
fn gamma_cumulative(shape: f64, ln_x: f64) -> f64 {
    let x = libm::exp(ln_x);
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while term > sum * 1e-17 {
        n += 1.0;
        term *= x / (shape + n);
        sum += term;
    }
    libm::exp(shape * ln_x - x - libm::lgamma(shape + 1.0) + libm::log(sum))
}

#[test]
fn words_are_those_of_the_documented_blocks() {
    for (key, cell) in [(0, 0), (9, 1), (u64::MAX, 0xFEDC_BA98_7654_3210)] {
        let mut expected = [0; 12];
        for (block, words) in expected.chunks_mut(4).enumerate() {
            raw(Key(key), u128::from(cell) | (block as u128) << 64 | 6 << 96, words);
        }
        let mut words = CellWords::new(Key(key), cell);
        assert_eq!(expected, std::array::from_fn(|_| words.next_u32()));

        // An odd word before it makes a pair span two blocks.
        let mut words = CellWords::new(Key(key), cell);
        words.next_u32();
        for pair in expected[1..11].chunks(2) {
            assert_eq!(words.next_u64(), u64::from(pair[0]) << 32 | u64::from(pair[1]));
        }
        let pair = u64::from(expected[0]) << 32 | u64::from(expected[1]);
        let fresh = || CellWords::new(Key(key), cell);
        assert_eq!(fresh().uniform(), (pair >> 11) as f64 / 9_007_199_254_740_992.0);
        assert_eq!(fresh().uniform_open(), ((pair >> 12) as f64 + 0.5) / 4_503_599_627_370_496.0);
        let x = (pair as f64 + 0.5) / 18_446_744_073_709_551_616.0;
        assert!((fresh().exponential() + x.ln()).abs() < 1e-14);
        let y = (u64::from(expected[2]) << 32 | u64::from(expected[3])) as f64 / 18_446_744_073_709_551_616.0;
        assert!((fresh().normal() - (-2.0 * x.ln()).sqrt() * (y * std::f64::consts::TAU).cos()).abs() < 1e-14);
    }
}

#[test]
fn numbers_of_a_cell_are_distributed_as_stated() {
    let n = DRAWS;
    for key in [0, 1, 1 << 40] {
        let uniform = cells(key, 0, n, CellWords::uniform);
        assert!(uniform.iter().all(|u| (0.0..1.0).contains(u)));
        let open = cells(key, 0, n, CellWords::uniform_open);
        assert!(open.iter().all(|&u| u > 0.0 && u < 1.0));
        // Of one cell, one after the other, as well as of many cells.
        let mut words = CellWords::new(Key(key), 77);
        let runs = (0..n).map(|_| words.uniform()).collect();
        for (what, u) in [("uniforms", uniform), ("open uniforms", open), ("one cell's uniforms", runs)] {
            let distance = kolmogorov(u, |u| u);
            assert!(distance < KOLMOGOROV, "{what}, key {key}: {distance}");
        }
        let distance = kolmogorov(cells(key, 0, n, CellWords::normal), normal_cumulative);
        assert!(distance < KOLMOGOROV, "normals, key {key}: {distance}");
        let distance = kolmogorov(cells(key, 0, n, CellWords::exponential), |x| -libm::expm1(-x));
        assert!(distance < KOLMOGOROV, "exponentials, key {key}: {distance}");
    }
}

#[test]
fn cells_are_independent() {
    let sample = |key, first| cells(key, first, DRAWS, |words| poisson(words, 30.0));
    let here = sample(5, 0);
    for (what, other) in [
        ("the next cell", sample(5, 1)),
        ("the cell 64 on", sample(5, 64)),
        ("the cell 2³² on", sample(5, 1 << 32)),
        ("the next key", sample(6, 0)),
        ("a folded key", sample(Key(5).fold_in(0).0, 0)),
        ("the cell's next draw", cells(5, 0, DRAWS, |words| (poisson(words, 30.0), poisson(words, 30.0)).1)),
    ] {
        // Where neighbours say nothing of each other, products of standardised draws have mean 0 and variance 1.
        let moment = |f: &dyn Fn(f64) -> f64| here.iter().zip(&other).map(|(a, b)| f(a - 30.0) * f(b - 30.0)).sum::<f64>();
        let n = DRAWS as f64;
        let error = moment(&|x| x / 30.0_f64.sqrt()) / n.sqrt();
        assert!(error.abs() < SIGMAS, "{what}: {error} standard errors");
        // The variance of x² is μ₄ − μ₂² = 30 (1 + 90) − 900.
        let error = moment(&|x| (x * x - 30.0) / 1830.0_f64.sqrt()) / n.sqrt();
        assert!(error.abs() < SIGMAS, "squares, {what}: {error} standard errors");
    }
}

#[test]
fn poisson_counts_have_their_law() {
    for (i, rate) in RATES.into_iter().enumerate() {
        let draws = cells(100 + i as u64, 0, DRAWS, |words| poisson(words, rate));
        let distance = Counts::poisson(rate).distance(&draws);
        assert!(distance < 1.0, "Poisson({rate}): {distance}");
    }
}

#[test]
fn binomial_counts_have_their_law() {
    for (i, (total, logit)) in TRIALS.into_iter().enumerate() {
        let draws = cells(200 + i as u64, 0, DRAWS, |words| binomial(words, total, logit));
        let distance = Counts::binomial(total, logit).distance(&draws);
        assert!(distance < 1.0, "Binomial({total}, {logit}): {distance}");
    }
}

/// Where means are smallest rejection sees the last term of ln k!, by a third of a percent; 2¹⁸ draws would not.
#[test]
fn counts_just_past_inversion_have_their_law_to_a_thousandth() {
    let distance = Counts::poisson(10.0).distance(&cells(400, 0, 1 << 23, |words| poisson(words, 10.0)));
    assert!(distance < 1.0, "Poisson: {distance}");
    let distance = Counts::binomial(20, 0.0).distance(&cells(401, 0, 1 << 23, |words| binomial(words, 20, 0.0)));
    assert!(distance < 1.0, "binomial: {distance}");
}

#[test]
fn a_law_that_is_a_little_wrong_is_refused() {
    let law = Counts::poisson(30.0);
    let normal = |words: &mut CellWords| (30.0 + 30.0_f64.sqrt() * words.normal()).round().max(0.0);
    let wrong: [(&str, Sampler); 4] = [
        ("a rate 0.3 % too large", &|words| poisson(words, 30.09)),
        ("a variance 2 % too small", &|words| binomial(words, 1500, -3.891_820_298)),
        ("a rounded normal", &normal),
        ("no count of 37", &|words| Some(poisson(words, 30.0)).filter(|&k| k != 37.0).unwrap_or(38.0)),
    ];
    for (what, sample) in wrong {
        let distance = law.distance(&cells(3, 0, DRAWS, sample));
        assert!(distance > 1.0, "{what}: {distance}");
    }
}

#[test]
fn gammas_have_their_law() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let draws = cells(300 + i as u64, 0, DRAWS, |words| ln_gamma_variate(words, shape));
        let distance = kolmogorov(draws, |ln_x| gamma_cumulative(shape, ln_x));
        assert!(distance < KOLMOGOROV, "Gamma({shape}): {distance}");
    }
}

#[test]
fn extreme_parameters_have_their_limit_law() {
    // A Gamma's logarithm times a shape near 0 is −exponential; of a large shape it is normal, with skewness −1/√shape.
    for shape in [1e-8, 1e-300, 1e-306] {
        let draws = cells(1, 0, DRAWS, |words| ln_gamma_variate(words, shape) * shape);
        let distance = kolmogorov(draws, |x| libm::exp(x.min(0.0)));
        assert!(distance < KOLMOGOROV, "Gamma({shape}): {distance}");
    }
    for shape in [1e8, 1e12] {
        let draws = cells(2, 0, DRAWS, |words| (ln_gamma_variate(words, shape) - libm::log(shape)) * shape.sqrt());
        let distance = kolmogorov(draws, normal_cumulative);
        assert!(distance < KOLMOGOROV, "Gamma({shape}): {distance}");
    }
    for (i, rate) in [1e9, 1e12, 1e15, 9e15, 1e17, 1e25].into_iter().enumerate() {
        let draws = cells(10 + i as u64, 0, DRAWS, |words| poisson(words, rate));
        if rate < 1e15 {
            // The last three bits of a wide count are uniform, which rounding along the way would break.
            let mut last = [0.0_f64; 8];
            for k in &draws {
                last[(k % 8.0) as usize] += 1.0;
            }
            let expected = DRAWS as f64 / 8.0;
            let statistic = last.iter().map(|n| (n - expected).powi(2) / expected).sum::<f64>();
            assert!(statistic < chi_square_limit(7), "the last bits of Poisson({rate}): {last:?}");
        }
        let distance = kolmogorov(draws.iter().map(|k| (k - rate) / rate.sqrt()).collect(), normal_cumulative);
        assert!(distance < KOLMOGOROV, "Poisson({rate}): {distance}");
    }
}

#[test]
fn ends_of_the_parameters_are_exact() {
    for cell in 0..1000 {
        let words = || CellWords::new(Key(8), cell);
        for rate in [0.0, 5e-324, 1e-300, 1e-20] {
            assert_eq!(poisson(&mut words(), rate), 0.0);
        }
        assert!((poisson(&mut words(), 1e300) / 1e300 - 1.0).abs() <= f64::EPSILON);
        assert_eq!(poisson(&mut words(), f64::MAX), f64::MAX);
        assert_eq!(poisson(&mut words(), f64::INFINITY), f64::INFINITY);
        for (total, logit) in [(0, 0.0), (0, 800.0), (1, -40.0), (7, f64::NEG_INFINITY), (u32::MAX, -800.0), (u32::MAX, f64::MIN)] {
            assert_eq!(binomial(&mut words(), total, logit), 0.0);
            assert_eq!(binomial(&mut words(), total, -logit), if logit == 0.0 { 0.0 } else { f64::from(total) });
        }
        assert_eq!(ln_gamma_variate(&mut words(), 0.0), f64::NEG_INFINITY);
        assert_eq!(ln_gamma_variate(&mut words(), 5e-324), f64::NEG_INFINITY);
        assert_eq!(ln_gamma_variate(&mut words(), f64::MAX), libm::log(f64::MAX));
    }
}

#[test]
fn every_parameter_gives_a_number_of_the_range() {
    let mut numbers = crate::reference::Numbers(4);
    for cell in 0..200_000 {
        let words = || CellWords::new(Key(9), cell);
        let x = libm::exp(numbers.uniform(-745.0, 709.0));
        let count = poisson(&mut words(), x);
        assert!(count >= 0.0 && count == count.floor() && count < f64::INFINITY, "Poisson({x}): {count}");
        let ln = ln_gamma_variate(&mut words(), x);
        assert!(!ln.is_nan() && ln < f64::INFINITY, "Gamma({x}): {ln}");
        let total = (numbers.bits() >> 32) as u32 >> (numbers.bits() % 32);
        let logit = numbers.uniform(-40.0, 40.0);
        let count = binomial(&mut words(), total, logit);
        assert!(count >= 0.0 && count <= f64::from(total) && count == count.floor(), "Binomial({total}, {logit}): {count}");
        // The same words count the failures of the opposite logit.
        assert_eq!(binomial(&mut words(), total, -logit), f64::from(total) - count);
    }
}

// Drawn values are a contract: a change of any of these is announced in the changelog under its own heading.

#[test]
fn samplers_keep_their_values() {
    let draw = |sample: Sampler| <[f64; 5]>::try_from(cells(7, 40, 5, sample)).expect("five cells");
    assert_eq!(
        draw(&CellWords::uniform),
        [
            0.447_964_872_263_120_1,
            0.312_581_524_154_411_54,
            0.350_104_030_657_158_2,
            0.522_727_003_450_500_5,
            0.916_557_637_928_519_7
        ]
    );
    assert_eq!(
        draw(&CellWords::uniform_open),
        [
            0.447_964_872_263_120_1,
            0.312_581_524_154_411_54,
            0.350_104_030_657_158_2,
            0.522_727_003_450_500_6,
            0.916_557_637_928_519_7
        ]
    );
    assert_eq!(
        draw(&CellWords::exponential),
        [
            0.803_040_459_768_350_5,
            1.162_889_966_534_128,
            1.049_524_938_213_872_7,
            0.648_695_933_127_416_9,
            0.087_130_324_505_219_76
        ]
    );
    assert_eq!(
        draw(&CellWords::normal),
        [
            0.868_051_981_374_220_9,
            -0.240_033_559_969_134_28,
            -1.402_985_041_840_217_9,
            0.939_784_930_322_545_6,
            0.138_514_122_468_136_52
        ]
    );
    assert_eq!(draw(&|words| poisson(words, 3.5)), [3.0, 2.0, 3.0, 3.0, 6.0]);
    assert_eq!(draw(&|words| poisson(words, 250.0)), [248.0, 241.0, 243.0, 251.0, 277.0]);
    assert_eq!(
        draw(&|words| poisson(words, 1e15)),
        [999_999_995_375_388.0, 999_999_982_623_278.0, 999_999_986_306_417.0, 1_000_000_002_007_480.0, 1_000_000_053_161_202.0]
    );
    assert_eq!(
        draw(&|words| poisson(words, 1e20)),
        [
            1.000_000_000_086_805_2e20,
            9.999_999_999_759_966e19,
            9.999_999_998_597_015e19,
            1.000_000_000_093_978_5e20,
            1.000_000_000_013_851_4e20
        ]
    );
    assert_eq!(draw(&|words| binomial(words, 7, 0.5)), [5.0, 5.0, 5.0, 4.0, 3.0]);
    assert_eq!(draw(&|words| binomial(words, 255, -1.5)), [46.0, 43.0, 44.0, 47.0, 49.0]);
    assert_eq!(
        draw(&|words| binomial(words, u32::MAX, 0.25)),
        [2_414_534_440.0, 2_414_547_549.0, 2_414_543_763.0, 2_414_527_622.0, 2_414_475_051.0]
    );
    assert_eq!(
        draw(&|words| ln_gamma_variate(words, 1e-8)),
        [-80_304_047.922_083_69, -116_288_996.223_085_52, -104_952_493.703_057_89, -64_869_594.511_376_22, -8_713_033.479_395_092]
    );
    assert_eq!(
        draw(&|words| ln_gamma_variate(words, 0.5)),
        [-2.536_884_602_443_268, -1.519_380_472_044_897, -1.540_764_332_743_380_2, -1.722_618_712_763_14, -0.478_993_538_947_847_5]
    );
    assert_eq!(
        draw(&|words| ln_gamma_variate(words, 20.0)),
        [3.168_544_633_854_541, 2.924_304_847_957_934_3, 2.644_605_571_421_666_7, 3.183_690_924_600_261_6, 3.009_997_757_450_215_7]
    );
    assert_eq!(
        draw(&|words| ln_gamma_variate(words, 1e12)),
        [27.631_021_983_980_07, 27.631_020_875_894_645, 27.631_019_712_942_845, 27.631_022_055_712_997, 27.631_021_254_442_33]
    );
}
