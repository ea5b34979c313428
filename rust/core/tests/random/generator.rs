//! The random-number contract: the generator's published answers, the documented map from counters to numbers restated one number at a
//! time, literal arrays that pin it, addressing by row, and tests of the distributions (each fails by chance once in 10⁶ keys; the keys are fixed).

use crate::reference::{bits, same_at_every_level, same_on_any_threads};
use elbokit_core::Float;
use elbokit_core::random::{Draw, Key, block, fill_normals, fill_uniforms, permutation, raw};

const NORMAL: u32 = 1;
const UNIFORM: u32 = 2;

fn normals<F: Float + Draw>(key: u64, particle: u32, first_row: u64, width: usize, len: usize) -> Vec<F> {
    let mut out = vec![F::NAN; len];
    fill_normals(Key(key), particle, first_row, width, &mut out);
    out
}

fn uniforms<F: Float + Draw>(key: u64, particle: u32, first_row: u64, width: usize, len: usize) -> Vec<F> {
    let mut out = vec![F::NAN; len];
    fill_uniforms(Key(key), particle, first_row, width, &mut out);
    out
}

fn words(key: Key, counter: u128, n: usize) -> Vec<u32> {
    let mut out = vec![0; n];
    raw(key, counter, &mut out);
    out
}

#[test]
fn published_answers() {
    let zeros = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
    let ones = [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd];
    let pi = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
    assert_eq!(words(Key(0), 0, 4), zeros);
    assert_eq!(words(Key(u64::MAX), u128::MAX, 4), ones);
    assert_eq!(words(Key(0x299f_31d0_a409_3822), 0x0370_7344_1319_8a2e_85a3_08d3_243f_6a88, 4), pi);
    assert_eq!(block([0; 4], 0), zeros);
    assert_eq!(block([u32::MAX; 4], u64::MAX), ones);
    assert_eq!(block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], 0x299f_31d0_a409_3822), pi);
}

#[test]
fn raw_words_run_on_and_carry_through_all_128_bits() {
    for counter in [0, u128::from(u32::MAX), u128::from(u64::MAX), u128::MAX - 1] {
        let all = words(Key(5), counter, 11);
        for (b, expected) in all.chunks(4).enumerate() {
            assert_eq!(words(Key(5), counter.wrapping_add(b as u128), expected.len()), expected);
        }
    }
    assert!(words(Key(1), 0, 0).is_empty());
    // Lanes run sixteen blocks at a time; every place of the carries among them, and every length on either side of them.
    for counter in
        [u128::from(u32::MAX), u128::from(u64::MAX), u128::MAX, 0x1234_5678_9abc_def0_0fed_cba9_8765_4321].map(|c| c - 20)
    {
        for len in [63, 64, 65, 127, 160, 199] {
            let expected: Vec<u32> = (0..50)
                .flat_map(|b| {
                    let c = counter.wrapping_add(b);
                    block([c as u32, (c >> 32) as u32, (c >> 64) as u32, (c >> 96) as u32], 5)
                })
                .take(len)
                .collect();
            assert_eq!(words(Key(5), counter, len), expected, "{len} words from {counter:x}");
        }
    }
    let spread = |n| words(Key(5), u128::from(u64::MAX) - 20, n).into_iter().map(f64::from).collect::<Vec<f64>>();
    same_at_every_level("raw", || spread(199));
}

/// The block and the words within it that number e of a stream is made of: `per_block` numbers a block, tiles of sixteen blocks.
fn address(e: u64, per_block: u64) -> (u64, usize) {
    let (tile, within) = (e / (16 * per_block), e % (16 * per_block));
    (16 * tile + within % 16, (within / 16) as usize)
}

fn words_of(key: u64, b: u64, particle: u32, purpose: u32) -> [u32; 4] {
    block([b as u32, (b >> 32) as u32, particle, purpose], key)
}

fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// √(−2 ln((x + ½)/2⁶⁴)) times the cosine or sine of 2π y/2⁶⁴. The distance to 1 keeps the bits near it, and quarter turns come off
/// while y is a whole number.
fn box_muller(x: f64, to_one: f64, y: u64, sine: bool) -> f64 {
    const SIZE: f64 = 18_446_744_073_709_551_616.0;
    let log = if to_one < SIZE / 2.0 { (-to_one / SIZE).ln_1p() } else { (x / SIZE).ln() };
    let quarter = y.wrapping_add(1 << 61) >> 62;
    let rest = y.wrapping_sub(quarter << 62) as i64;
    let (sin, cos) = (rest as f64 / SIZE * std::f64::consts::TAU).sin_cos();
    let (cos, sin) = [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)][quarter as usize];
    (-2.0 * log).sqrt() * if sine { sin } else { cos }
}

#[test]
fn every_number_is_where_the_contract_says() {
    let (key, particle, first) = (0x0123_4567_89AB_CDEF, 9, 0xFFFF_FFFF_u64 * 4 - 100);
    // Ten thousand numbers across the place where the block's number carries into its second word.
    let f32_uniforms = uniforms::<f32>(key, particle, first, 1, 10_000);
    let f64_uniforms = uniforms::<f64>(key, particle, first, 1, 10_000);
    let f32_normals = normals::<f32>(key, particle, first, 1, 10_000);
    let f64_normals = normals::<f64>(key, particle, first, 1, 10_000);
    for i in 0..10_000_usize {
        let e = first + i as u64;
        let (b, v) = address(e, 4);
        let word = words_of(key, b, particle, UNIFORM)[v];
        assert_eq!(f32_uniforms[i], (word >> 8) as f32 / 16_777_216.0);
        let w = words_of(key, b, particle, NORMAL);
        let (x, y) = (w[v / 2 * 2], u64::from(w[v / 2 * 2 + 1]));
        let size = 4_294_967_296.0;
        let z = box_muller((f64::from(x) + 0.5) * size, (f64::from(!x) + 0.5) * size, y << 32, v % 2 == 1);
        let error = (f64::from(f32_normals[i]) - z).abs();
        assert!(error <= 4e-7 * z.abs().max(0.25), "float32 normal {e}: {} for {z}", f32_normals[i]);

        let (b, v) = address(e, 2);
        let w = words_of(key, b, particle, UNIFORM);
        assert_eq!(f64_uniforms[i], (join(w[2 * v], w[2 * v + 1]) >> 11) as f64 / 9_007_199_254_740_992.0);
        let w = words_of(key, b, particle, NORMAL);
        let (x, y) = (join(w[0], w[1]), join(w[2], w[3]));
        let z = box_muller(x as f64 + 0.5, !x as f64 + 0.5, y, v == 1);
        let error = (f64_normals[i] - z).abs();
        assert!(error <= 2e-15 * z.abs().max(0.5), "float64 normal {e}: {} for {z}", f64_normals[i]);
    }
}

/// What the functions gave when the contract was made; none of it may change without its own heading in the changelog.
#[test]
fn drawn_values_do_not_change() {
    let expected =
        [-0.558_482_9, -0.451_724_86, 0.528_984_37, -0.828_156_2, -1.212_483_2, 0.813_561_26, -1.225_019_1, -0.144_728_12];
    assert_eq!(normals::<f32>(7, 0, 0, 8, 8), expected);
    assert_eq!(normals::<f32>(u64::MAX, 3, 1 << 40, 3, 4), [1.015_058, -0.175_914_1, 0.310_424_7, 0.614_491_76]);
    let expected = [0.075_744_602_572_559_09, 0.506_852_812_957_597_7, -0.509_634_220_294_435_2, -0.222_556_075_643_694];
    assert_eq!(normals::<f64>(7, 0, 0, 4, 4), expected);
    let expected = [0.569_703_740_711_021_1, 0.631_229_576_362_918_4, 0.094_775_894_332_751_5, -1.649_022_407_731_815_2];
    assert_eq!(normals::<f64>(u64::MAX, 3, 1 << 40, 3, 4), expected);
    let expected = [0.212_159_1, 0.035_828_948, 0.345_355_57, 0.095_335_07, 0.565_559_74, 0.195_788_86, 0.334_075_8, 0.695_284_07];
    assert_eq!(uniforms::<f32>(7, 0, 0, 8, 8), expected);
    let expected = [0.212_159_152_791_433_05, 0.035_828_962_845_904_09, 0.345_355_595_758_692_35, 0.095_335_098_495_262_23];
    assert_eq!(uniforms::<f64>(7, 0, 0, 4, 4), expected);
    assert_eq!(Key(7).fold_in(3), Key(0xc1af_85f3_5e5f_8956));
    let expected = [0xc924_333d_184c_c830, 0x6bb7_0dfb_c713_d1b7, 0x2adb_f76f_ad4c_d08e].map(Key);
    assert_eq!([0, 1, 1 << 40].map(|i| Key(7).split(i)), expected);
    let mut order = [0; 10];
    permutation(Key(7), &mut order);
    assert_eq!(order, [8, 9, 0, 3, 7, 4, 5, 2, 6, 1]);
}

#[test]
fn derived_keys_are_words_of_their_own_blocks() {
    for data in [0, 1, 5, u64::from(u32::MAX) + 1, u64::MAX] {
        let counter = |purpose| [data as u32, (data >> 32) as u32, 0, purpose];
        let (fold, split) = (block(counter(3), 99), block(counter(4), 99));
        assert_eq!(Key(99).fold_in(data), Key(join(fold[1], fold[0])));
        assert_eq!(Key(99).split(data), Key(join(split[1], split[0])));
    }
}

fn a_row_depends_on_its_number_alone<F: Float + Draw>() {
    for width in [1, 3, 7, 8, 15, 16, 17, 30, 63, 64, 65, 100, 129] {
        for draw in [normals::<F>, uniforms::<F>] {
            let rows = 40;
            let all = draw(3, 2, 0, width, rows * width);
            assert!(all.iter().all(|x| x.finite()));
            for first in [0, 1, 5, 39] {
                let rest = draw(3, 2, first, width, (rows - first as usize) * width);
                assert_eq!(bits(&rest), bits(&all[first as usize * width..]), "width {width}, from row {first}");
                let alone = draw(3, 2, first, width, width);
                assert_eq!(bits(&alone), bits(&all[first as usize * width..][..width]));
            }
            // The last row there is, and the one after it.
            let last = draw(3, 2, u64::MAX, width, 2 * width);
            assert_eq!(bits(&last[..width]), bits(&draw(3, 2, u64::MAX, width, width)));
            assert_eq!(bits(&last[width..]), bits(&all[..width]));
        }
    }
    assert!(normals::<F>(3, 0, 0, 0, 0).is_empty());
    assert!(normals::<F>(3, 0, 5, 4, 0).is_empty());
}

#[test]
fn rows_continue_and_stand_alone() {
    a_row_depends_on_its_number_alone::<f32>();
    a_row_depends_on_its_number_alone::<f64>();
}

#[test]
fn levels_and_threads_do_not_change_a_bit() {
    for width in [1, 7, 8, 15, 16, 17, 30, 64, 100] {
        same_at_every_level("normals", || normals::<f32>(1, 2, 3, width, 50 * width));
        same_at_every_level("normals", || normals::<f64>(1, 2, 3, width, 50 * width));
        same_at_every_level("uniforms", || uniforms::<f32>(1, 2, 3, width, 50 * width));
        same_at_every_level("uniforms", || uniforms::<f64>(1, 2, 3, width, 50 * width));
    }
    same_at_every_level("normals", || normals::<f32>(4, 0, 0, 64, 1 << 16));
    same_at_every_level("normals", || normals::<f64>(4, 0, 0, 64, 1 << 16));
    same_on_any_threads("normals", || normals::<f32>(1, 2, 3, 30, 30_000 * 30));
    same_on_any_threads("normals", || normals::<f64>(1, 2, 3, 30, 30_000 * 30));
    same_on_any_threads("uniforms", || uniforms::<f32>(1, 2, 3, 7, 100_000 * 7));
}

#[test]
fn permutations_hold_every_number_once_and_every_order_is_as_likely() {
    for len in [0, 1, 2, 1000] {
        let mut order = vec![0; len];
        permutation(Key(1), &mut order);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| x as usize == i));
    }
    // Fisher and Yates, plainly, with the words of a block for each position.
    for len in [3, 63, 64, 65, 129, 1000] {
        let mut expected: Vec<u32> = (0..len).collect();
        for i in (1..len).rev() {
            let [low, high, ..] = block([i, 0, 0, 5], 9 << 40 | 2);
            let x = u128::from(high) << 32 | u128::from(low);
            expected.swap(i as usize, ((x * (u128::from(i) + 1)) >> 64) as usize);
        }
        let mut order = vec![0; len as usize];
        permutation(Key(9 << 40 | 2), &mut order);
        assert_eq!(order, expected);
    }
    let mut counts = std::collections::HashMap::new();
    for key in 0..24_000 {
        let mut order = [0; 4];
        permutation(Key(key), &mut order);
        *counts.entry(order).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    let chi_square: f64 = counts.values().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
    // The 1 − 10⁻⁶ quantile of χ² with 23 degrees of freedom.
    assert!(chi_square < 71.1, "{chi_square}");
}

/// The largest distance between the sample's distribution and the stated one, times √n.
fn kolmogorov<F: Float>(mut x: Vec<F>, cumulative: impl Fn(f64) -> f64) -> f64 {
    x.sort_unstable_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    let n = x.len() as f64;
    let distance = |(i, x): (usize, &F)| {
        let p = cumulative(x.to_f64());
        (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs())
    };
    x.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

fn normal_cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Within 5 standard errors: by chance once in 1.7 · 10⁶.
const SIGMAS: f64 = 5.0;
/// √(ln(2 · 10⁶) / 2): Kolmogorov's statistic is larger once in 10⁶.
const KOLMOGOROV: f64 = 2.7;

fn distributions_are_as_stated<F: Float + Draw>() {
    let n = 1 << 19;
    for key in [0, 1, 1 << 40] {
        let x = normals::<F>(key, 0, 0, 8, n);
        let moment = |k| x.iter().map(|x| x.to_f64().powi(k)).sum::<f64>() / n as f64;
        // The variances of the first four powers of a standard normal.
        for (k, mean, variance) in [(1, 0.0, 1.0_f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error = (moment(k) - mean) / (variance / n as f64).sqrt();
            assert!(error.abs() < SIGMAS, "moment {k} of {} normals, key {key}: {error} standard errors", F::NAME);
        }
        let distance = kolmogorov(x, normal_cumulative);
        assert!(distance < KOLMOGOROV, "{} normals, key {key}: {distance}", F::NAME);
        let u = uniforms::<F>(key, 0, 0, 8, n);
        assert!(u.iter().all(|u| (0.0..1.0).contains(&u.to_f64())));
        let distance = kolmogorov(u, |u| u);
        assert!(distance < KOLMOGOROV, "{} uniforms, key {key}: {distance}", F::NAME);
    }
}

#[test]
fn normals_and_uniforms_are_distributed_as_stated() {
    distributions_are_as_stated::<f32>();
    distributions_are_as_stated::<f64>();
}

#[test]
fn float32_tails_match_their_probability() {
    let (blocks, len) = (1 << 13, 1 << 16);
    let mut x = vec![0.0_f32; len];
    let (mut counts, mut largest) = ([0_u32; 3], 0.0_f32);
    for row in 0..blocks {
        fill_normals(Key(11), 0, row, len, &mut x);
        // Almost no group of 64 holds a tail.
        for group in x.chunks(64) {
            let top = group.iter().fold(0.0_f32, |top, x| top.max(x.abs()));
            if top > 4.5 {
                largest = largest.max(top);
                for x in group {
                    for (count, limit) in counts.iter_mut().zip([4.5, 5.0, 5.5]) {
                        *count += u32::from(x.abs() > limit);
                    }
                }
            }
        }
    }
    for (count, limit) in counts.into_iter().zip([4.5, 5.0, 5.5]) {
        let expected = 2.0 * normal_cumulative(-limit) * blocks as f64 * len as f64;
        let error = (f64::from(count) - expected) / expected.sqrt();
        assert!(error.abs() < SIGMAS, "{count} past {limit} where {expected:.1} are expected");
    }
    assert!(largest > 6.0 && largest < 6.77, "{largest}");
}

fn correlation<F: Float>(x: &[F], y: &[F]) -> f64 {
    let sum: f64 = x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum();
    sum / (x.len() as f64).sqrt()
}

fn neighbours_are_uncorrelated<F: Float + Draw>() {
    let (n, width) = (1 << 18, 8);
    let x = normals::<F>(21, 0, 0, width, n);
    let others = [
        ("the next column", x[1..].to_vec()),
        ("the next row", x[width..].to_vec()),
        ("the other half of a pair", x[16..].to_vec()),
        ("the next vector but one", x[32..].to_vec()),
        ("the next tile", x[64..].to_vec()),
        ("the next particle", normals(21, 1, 0, width, n)),
        ("the next key", normals(22, 0, 0, width, n)),
        ("a folded key", normals(Key(21).fold_in(0).0, 0, 0, width, n)),
        ("a split key", normals(Key(21).split(0).0, 0, 0, width, n)),
    ];
    for (what, other) in others {
        let error = correlation(&x[..other.len().min(n)], &other);
        assert!(error.abs() < SIGMAS, "{} and {what}: {error} standard errors", F::NAME);
        let squares = |x: &[F]| x.iter().map(|x| (x.to_f64().powi(2) - 1.0) / 2.0_f64.sqrt()).collect::<Vec<f64>>();
        let error = correlation(&squares(&x[..other.len().min(n)]), &squares(&other));
        assert!(error.abs() < SIGMAS, "squares of {} and {what}: {error} standard errors", F::NAME);
    }
}

#[test]
fn rows_columns_particles_and_keys_are_uncorrelated() {
    neighbours_are_uncorrelated::<f32>();
    neighbours_are_uncorrelated::<f64>();
}
