//! The same bits whatever the level, threads, batch or particles; triangles that rows share.

use crate::batch::{Batch, WIDTHS, everything, extreme, zeros};
use crate::reference::{Numbers, bits, property, same_at_every_level, same_on_any_threads};
use elbokit_core::Float;
use elbokit_core::mvn::{Tril, entropy, kl, kl_grad, log_prob, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key};
use proptest::prelude::*;

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        same_at_every_level(&format!("width {width}"), || everything(&Batch::<f32>::new(13, 13, width, 2.0, 3.0)).unwrap());
        same_at_every_level(&format!("width {width}"), || everything(&Batch::<f64>::new(13, 13, width, 2.0, 3.0)).unwrap());
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (rows, width) in [(8000, 3), (700, 16), (200, 33)] {
        let (single, double) = (Batch::<f32>::new(14, rows, width, 1.0, 1.0), Batch::<f64>::new(14, rows, width, 1.0, 1.0));
        same_on_any_threads(&format!("width {width}"), || everything(&single).unwrap());
        same_on_any_threads(&format!("width {width}"), || everything(&double).unwrap());
    }
}

fn rows_stand_alone<F: Float + Draw>(width: usize) {
    let rows = 40;
    let batch = Batch::<F>::new(15, rows, width, 1.0, 1.0);
    let together = batch.gradients().unwrap();
    let [mut log_probs, mut entropies] = [(); 2].map(|()| zeros::<F>(rows));
    log_prob(&batch.z, &batch.loc, batch.tril(), width, &mut log_probs).unwrap();
    entropy(batch.tril(), width, &mut entropies).unwrap();
    for row in 0..rows {
        let one = batch.row(row);
        for (alone, together) in one.gradients().unwrap().iter().zip(&together) {
            assert_eq!(bits(alone), bits(&together[row * alone.len()..][..alone.len()]), "row {row} of width {width}");
        }
        let mut alone = [F::ZERO];
        log_prob(&one.z, &one.loc, one.tril(), width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&log_probs[row..=row]));
        entropy(one.tril(), width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&entropies[row..=row]));
    }
}

#[test]
fn a_row_alone_equals_the_row_among_others() {
    for width in [1, 4, 9, 16, 33] {
        rows_stand_alone::<f32>(width);
        rows_stand_alone::<f64>(width);
    }
}

/// What one row alone is given.
fn own<F: Float>(tril: Tril<F>, row: usize, width: usize) -> Tril<F> {
    match tril {
        Tril::Shared(all) => Tril::Shared(all),
        Tril::ByRow(all) => Tril::ByRow(&all[row * width * width..][..width * width]),
    }
}

/// `kl`, which takes rows together, against `kl_grad`, which takes them one after another, each alone.
fn rows_together_are_rows_alone<F: Float>(batch: &Batch<F>) {
    let (rows, d) = (batch.rows(), batch.width);
    let (one_tril, one_prior_tril) = (&batch.tril[..d * d], &batch.prior_tril[..d * d]);
    let priors = [
        None,
        batch.prior(),
        Some((&batch.prior_loc[..d], Tril::ByRow(&batch.prior_tril[..]))),
        Some((&batch.prior_loc[..], Tril::Shared(one_prior_tril))),
    ];
    for (prior, tril) in priors.into_iter().flat_map(|prior| [(prior, batch.tril()), (prior, Tril::Shared(one_tril))]) {
        let mut together = zeros(rows);
        kl(&batch.loc, tril, prior, d, &mut together).unwrap();
        let mut alone = zeros(rows);
        for (row, alone) in alone.chunks_mut(1).enumerate() {
            let prior = prior.map(|(loc, tril)| (if loc.len() == d { loc } else { &loc[row * d..][..d] }, own(tril, row, d)));
            let (mut d_loc, mut d_tril) = (zeros(d), zeros(d * d));
            kl_grad(&batch.loc[row * d..][..d], own(tril, row, d), prior, d, alone, &mut d_loc, &mut d_tril, None).unwrap();
        }
        assert_eq!(bits(&together), bits(&alone), "{rows} rows of width {d} ({}), prior {prior:?}", F::NAME);
    }
}

proptest! {
    #![proptest_config(property(100))]
    #[test]
    fn together_rows_have_the_bits_of_each_alone(seed: u64, width in 1..41_usize, rows in 1..20_usize, spread in 0.0..6.0) {
        rows_together_are_rows_alone(&Batch::<f32>::new(seed, rows, width, spread, spread));
        rows_together_are_rows_alone(&Batch::<f64>::new(seed, rows, width, spread, spread));
        let mut n = Numbers(seed);
        rows_together_are_rows_alone(&extreme::<f32>(&mut n, rows, width));
        rows_together_are_rows_alone(&extreme::<f64>(&mut n, rows, width));
    }
}

#[test]
fn every_width_has_the_bits_of_each_row_alone() {
    for width in WIDTHS.into_iter().chain([63, 64, 65, 100, 161]) {
        rows_together_are_rows_alone(&Batch::<f32>::new(22, 11, width, 1.0, 1.0));
        rows_together_are_rows_alone(&Batch::<f64>::new(22, 11, width, 1.0, 1.0));
    }
}

#[test]
fn a_row_that_leaves_the_range_leaves_the_next_alone() {
    for width in [1, 2, 5, 9, 18] {
        let mut batch = Batch::<f64>::new(23, 12, width, 0.5, 1.0);
        let expected = batch.gradients().unwrap();
        batch.tril[width * width] = 1e300;
        batch.prior_tril[width * width] = 1e-300;
        let results = batch.gradients().unwrap();
        assert_eq!(results[0][1], f64::INFINITY);
        assert_eq!(bits(&batch.kl()), bits(&results[0]));
        for (got, expected) in results.iter().zip(&expected) {
            let each = got.len() / 12;
            for row in (0..12).filter(|&row| row != 1) {
                let row = row * each..(row + 1) * each;
                assert_eq!(bits(&got[row.clone()]), bits(&expected[row]), "width {width}");
            }
        }
    }
}

fn a_shared_triangle_is_that_of_every_row<F: Float + Draw>(width: usize) {
    let rows = 5;
    let mut batch = Batch::<F>::new(16, rows, width, 1.0, 1.0);
    let (tril, prior) = (batch.tril[..width * width].to_vec(), batch.prior_tril[..width * width].to_vec());
    (batch.tril, batch.prior_tril) = (tril.repeat(rows), prior.repeat(rows));
    batch.prior_loc = batch.prior_loc[..width].repeat(rows);
    let expected = batch.gradients().unwrap();
    let one_loc = &batch.prior_loc[..width];
    for (ours, theirs) in [
        (Tril::Shared(&tril), Tril::Shared(&prior)),
        (Tril::Shared(&tril), Tril::ByRow(&batch.prior_tril)),
        (batch.tril(), Tril::Shared(&prior)),
    ] {
        let [mut value, mut a, mut c] = [rows, rows * width, rows * width].map(zeros::<F>);
        let [mut b, mut e] = [(); 2].map(|()| zeros::<F>(rows * width * width));
        kl(&batch.loc, ours, Some((one_loc, theirs)), width, &mut value).unwrap();
        assert_eq!(bits(&value), bits(&expected[0]));
        kl_grad(&batch.loc, ours, Some((one_loc, theirs)), width, &mut value, &mut a, &mut b, Some((&mut c, &mut e))).unwrap();
        for (got, expected) in [value, a, b, c, e].iter().zip(&expected) {
            assert_eq!(bits(got), bits(expected));
        }
    }
    let run = |tril: Tril<F>| {
        let [mut value, mut log_probs, mut entropies, mut densities] = [(); 4].map(|()| zeros::<F>(rows));
        kl(&batch.loc, tril, None, width, &mut value).unwrap();
        log_prob(&batch.z, &batch.loc, tril, width, &mut log_probs).unwrap();
        entropy(tril, width, &mut entropies).unwrap();
        let mut z = zeros::<F>(rows * width);
        rsample_and_log_prob(&batch.loc, tril, Key(4), 0, 0, width, &mut z, &mut densities).unwrap();
        [value, log_probs, entropies, densities, z].map(|x| bits(&x))
    };
    assert_eq!(run(Tril::Shared(&tril)), run(batch.tril()));
}

#[test]
fn a_shared_triangle_gives_the_bits_of_one_a_row() {
    for width in [1, 6, 17, 32] {
        a_shared_triangle_is_that_of_every_row::<f32>(width);
        a_shared_triangle_is_that_of_every_row::<f64>(width);
    }
}

fn above_the_diagonal_nothing_is_read<F: Float + Draw>() {
    for width in [2, 8, 19] {
        let batch = Batch::<F>::new(17, 13, width, 1.0, 1.0);
        let expected = everything(&batch).unwrap();
        let mut other = batch.clone();
        for x in other.tril.iter_mut().chain(&mut other.prior_tril).filter(|x| !x.finite()) {
            *x = F::from_f64(-3.0);
        }
        assert_eq!(bits(&everything(&other).unwrap()), bits(&expected));
        let [_, _, d_tril, _, d_prior_tril] = batch.gradients().unwrap();
        for gradient in [d_tril, d_prior_tril] {
            let above = gradient.iter().enumerate().filter(|(at, _)| at % width > at / width % width);
            assert!(above.into_iter().all(|(_, x)| bits(&[*x]) == [0]));
        }
    }
}

#[test]
fn above_the_diagonal_nothing_is_read_and_gradients_are_0() {
    above_the_diagonal_nothing_is_read::<f32>();
    above_the_diagonal_nothing_is_read::<f64>();
}
