//! Draws by their addresses, and their densities.

use crate::batch::{Batch, zeros};
use crate::matrix::Matrix;
use crate::reference::double::LN_2PI;
use crate::reference::{Double, Terms, bits, row_bound};
use elbokit_core::Float;
use elbokit_core::mvn::{Tril, log_prob, rsample, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key, fill_normals};

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    let (rows, particles, first) = (50, 4, 1_000_000_007_u64);
    let batch = Batch::<F>::new(18, rows, width, 1.0, 2.0);
    let (loc, tril) = (&batch.loc, batch.tril());
    let [mut z, mut density] = [particles * rows * width, particles * rows].map(zeros::<F>);
    rsample_and_log_prob(loc, tril, Key(2), 0, first, width, &mut z, &mut density).unwrap();
    let mut eps = zeros::<F>(rows * width);
    for (k, z) in z.chunks(rows * width).enumerate() {
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        for row in 0..rows {
            let e: Vec<Double> = eps[row * width..][..width].iter().map(|e| e.to_f64().into()).collect();
            let l = Matrix::lower(width, &batch.tril[row * width * width..][..width * width]);
            for i in 0..width {
                let noise = (0..=i).map(|j| l.at(i, j) * e[j]);
                let expected = Terms::of(noise.chain([Double::from(loc[row * width + i].to_f64())]));
                let error = expected.error(z[row * width + i]);
                assert!(error <= row_bound::<F>(), "particle {k}, row {row}, {i} of width {width}: off by {error:e}");
            }
            let terms = (0..width).flat_map(|i| [e[i] * e[i] * -0.5, -l.at(i, i).ln(), LN_2PI * -0.5]);
            let error = Terms::of(terms).error(density[k * rows + row]);
            assert!(error <= row_bound::<F>(), "log_prob of particle {k}, row {row}: off by {error:e}");
        }
    }
    // Fewer particles, later ones, some of the rows and the form without the density are the same draws.
    let mut again = zeros::<F>(z.len());
    rsample(loc, tril, Key(2), first, width, &mut again).unwrap();
    assert_eq!(bits(&again), bits(&z));
    let mut fewer = zeros::<F>(2 * rows * width);
    rsample(loc, tril, Key(2), first, width, &mut fewer).unwrap();
    assert_eq!(bits(&fewer), bits(&z[..2 * rows * width]));
    let [mut later, mut of_later] = [2 * rows * width, 2 * rows].map(zeros::<F>);
    rsample_and_log_prob(loc, tril, Key(2), 2, first, width, &mut later, &mut of_later).unwrap();
    assert_eq!((bits(&later), bits(&of_later)), (bits(&z[2 * rows * width..]), bits(&density[2 * rows..])));
    let (skip, rest) = (17, rows - 17);
    let mut part = zeros::<F>(particles * rest * width);
    let some = Tril::ByRow(&batch.tril[skip * width * width..]);
    rsample(&loc[skip * width..], some, Key(2), first + skip as u64, width, &mut part).unwrap();
    for (part, all) in part.chunks(rest * width).zip(z.chunks(rows * width)) {
        assert_eq!(bits(part), bits(&all[skip * width..]));
    }
    // log_prob of several particles is that of each alone.
    let mut together = zeros::<F>(particles * rows);
    log_prob(&z, loc, tril, width, &mut together).unwrap();
    let mut alone = zeros::<F>(rows);
    for (z, together) in z.chunks(rows * width).zip(together.chunks(rows)) {
        log_prob(z, loc, tril, width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(together));
    }
    // One row of many particles keeps its triangle.
    let one = Tril::ByRow(&batch.tril[..width * width]);
    let mut of_one = zeros::<F>(rows);
    log_prob(&z[..rows * width], &loc[..width], one, width, &mut of_one).unwrap();
    log_prob(&z[..rows * width], &loc[..width].repeat(rows), Tril::Shared(&batch.tril[..width * width]), width, &mut alone)
        .unwrap();
    assert_eq!(bits(&of_one), bits(&alone));
}

#[test]
fn draws_are_addressed_by_key_row_and_particle() {
    for width in [1, 3, 8, 17, 32] {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}
