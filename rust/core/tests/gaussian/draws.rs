//! Draws of diagonal Gaussians: loc + scale · ε by their address, their density from ε, and the pullback of a cotangent.

use crate::reference::cell::{column, single_cells, zeros};
use crate::reference::double::LN_2PI;
use crate::reference::{Double, Numbers, Terms, assert_rows, bits, row_bound};
use elbokit_core::gaussian::{rsample, rsample_and_log_prob, rsample_grad};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::{Error, Float};

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    let (rows, particles, first) = (60, 5, 1_000_000_007_u64);
    let cells = single_cells(rows * width);
    let [loc, log_var] = [column::<F>(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let mut z = zeros::<F>(particles * rows * width);
    rsample(&loc, &log_var, Key(2), first, width, &mut z).unwrap();
    for (k, z) in z.chunks(rows * width).enumerate() {
        let mut eps = zeros::<F>(rows * width);
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        for (i, (&z, eps)) in z.iter().zip(eps).enumerate() {
            let scale = Double::from(0.5 * log_var[i].to_f64()).exp();
            let expected = Terms::of([loc[i].to_f64().into(), scale * eps.to_f64()]);
            assert!(expected.error(z) <= row_bound::<F>(), "particle {k}, number {i}: {z} for {expected:?}");
        }
    }
    // Fewer particles, some of the rows, and the form with the density are the same draws.
    let mut fewer = zeros::<F>(2 * rows * width);
    rsample(&loc, &log_var, Key(2), first, width, &mut fewer).unwrap();
    assert_eq!(bits(&fewer), bits(&z[..2 * rows * width]));
    let (skip, rest) = (17, rows - 17);
    let mut part = zeros::<F>(particles * rest * width);
    rsample(&loc[skip * width..], &log_var[skip * width..], Key(2), first + skip as u64, width, &mut part).unwrap();
    for (part, all) in part.chunks(rest * width).zip(z.chunks(rows * width)) {
        assert_eq!(bits(part), bits(&all[skip * width..]));
    }
    let (mut again, mut density) = (zeros::<F>(z.len()), zeros(particles * rows));
    rsample_and_log_prob(&loc, &log_var, Key(2), 0, first, width, &mut again, &mut density).unwrap();
    assert_eq!(bits(&again), bits(&z));
    let (last, at) = (particles - 1, (particles - 1) * rows);
    let (mut z_alone, mut alone) = (zeros::<F>(rows * width), zeros(rows));
    rsample_and_log_prob(&loc, &log_var, Key(2), last as u32, first, width, &mut z_alone, &mut alone).unwrap();
    assert_eq!((bits(&z_alone), bits(&alone)), (bits(&z[at * width..]), bits(&density[at..])));
    // The density comes from ε, and agrees with that of z but for z's own rounding against its scale.
    let mut eps = zeros::<F>(rows * width);
    for (k, density) in density.chunks(rows).enumerate() {
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        let expected: Vec<Terms> = (0..rows)
            .map(|row| {
                let cells = row * width..(row + 1) * width;
                Terms::of(cells.flat_map(|i| {
                    let e = Double::from(eps[i].to_f64());
                    [e * e * -0.5, Double::from(log_var[i].to_f64()) * -0.5, LN_2PI * -0.5]
                }))
            })
            .collect();
        assert_rows("log_prob of draws", density, &expected, row_bound::<F>());
    }
}

#[test]
fn draws_are_addressed_by_key_row_and_particle() {
    for width in WIDTHS {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}

#[test]
fn particles_past_the_last_are_refused() {
    let (loc, log_var) = ([0.0_f32; 2], [0.0_f32; 2]);
    let draw = |first: u32| {
        let (mut z, mut log_prob) = ([0.0; 6], [0.0; 3]);
        rsample_and_log_prob(&loc, &log_var, Key(0), first, 0, 2, &mut z, &mut log_prob)
    };
    assert_eq!(draw(u32::MAX - 2), Ok(()));
    assert!(matches!(draw(u32::MAX - 1), Err(Error::Value { argument: "num_particles", .. })));
}

/// The largest error of the pulled back gradients, in units of their terms' magnitudes.
fn cotangents_are_pulled_back<F: Float + Draw>(width: usize, particles: usize) -> f64 {
    let (rows, first) = (2100 / width + 1, 77_u64);
    let cells = single_cells(rows * width);
    let [loc, log_var] = [column::<F>(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let d_z: Vec<F> = Numbers(10).vec(particles * rows * width, -3.0, 3.0);
    let (mut d_loc, mut d_log_var) = (zeros::<F>(rows * width), zeros(rows * width));
    rsample_grad(&loc, &log_var, &d_z, Key(4), first, width, &mut d_loc, &mut d_log_var).unwrap();
    let mut eps = zeros::<F>(d_z.len());
    for (k, eps) in eps.chunks_mut(rows * width).enumerate() {
        fill_normals(Key(4), k as u32, first, width, eps);
    }
    let of = |i: usize| (i..d_z.len()).step_by(rows * width);
    let by_loc: Vec<Terms> = (0..rows * width).map(|i| Terms::of(of(i).map(|at| d_z[at].to_f64().into()))).collect();
    let by_log_var: Vec<Terms> = (0..rows * width)
        .map(|i| {
            let half_scale = Double::from(0.5 * log_var[i].to_f64()).exp() * 0.5;
            Terms::of(of(i).map(|at| half_scale * d_z[at].to_f64() * eps[at].to_f64()))
        })
        .collect();
    let bound = row_bound::<F>();
    // Some of the rows are the same rows.
    let skip = rows / 3;
    let part: Vec<F> = d_z.chunks(rows * width).flat_map(|d_z| d_z[skip * width..].to_vec()).collect();
    let (mut a, mut b) = (zeros::<F>((rows - skip) * width), zeros((rows - skip) * width));
    let (l, v) = (&loc[skip * width..], &log_var[skip * width..]);
    rsample_grad(l, v, &part, Key(4), first + skip as u64, width, &mut a, &mut b).unwrap();
    assert_eq!((bits(&a), bits(&b)), (bits(&d_loc[skip * width..]), bits(&d_log_var[skip * width..])));
    let worst = assert_rows("d_loc", &d_loc, &by_loc, bound);
    worst.max(assert_rows("d_log_var", &d_log_var, &by_log_var, bound))
}

#[test]
fn cotangents_are_pulled_back_through_the_draw() {
    let (mut single, mut double) = (0.0_f64, 0.0_f64);
    for width in WIDTHS {
        for particles in [1, 3, 50] {
            single = single.max(cotangents_are_pulled_back::<f32>(width, particles));
            double = double.max(cotangents_are_pulled_back::<f64>(width, particles));
        }
    }
    println!("rsample_grad: float32 {single:.2e}, float64 {double:.2e} of the terms' magnitudes");
}

#[test]
fn the_pullback_is_the_derivative_of_the_draw() {
    let (rows, width, particles) = (3, 5, 4);
    let mut numbers = Numbers(11);
    let [loc, log_var] = [(); 2].map(|()| numbers.vec::<f64>(rows * width, -2.0, 2.0));
    let d_z: Vec<f64> = numbers.vec(particles * rows * width, -1.0, 1.0);
    let value = |loc: &[f64], log_var: &[f64]| {
        let mut z = zeros(d_z.len());
        rsample(loc, log_var, Key(6), 0, width, &mut z).unwrap();
        z.iter().zip(&d_z).map(|(z, d)| z * d).sum::<f64>()
    };
    let (mut d_loc, mut d_log_var) = (zeros(loc.len()), zeros(loc.len()));
    rsample_grad(&loc, &log_var, &d_z, Key(6), 0, width, &mut d_loc, &mut d_log_var).unwrap();
    for i in 0..loc.len() {
        let moved = |x: &[f64], step: f64| {
            let mut x = x.to_vec();
            x[i] += step;
            x
        };
        let h = 1e-5;
        let by_loc = (value(&moved(&loc, h), &log_var) - value(&moved(&loc, -h), &log_var)) / (2.0 * h);
        let by_log_var = (value(&loc, &moved(&log_var, h)) - value(&loc, &moved(&log_var, -h))) / (2.0 * h);
        assert!((d_loc[i] - by_loc).abs() < 1e-8, "{i}: {} for {by_loc}", d_loc[i]);
        assert!((d_log_var[i] - by_log_var).abs() < 1e-8, "{i}: {} for {by_log_var}", d_log_var[i]);
    }
}

#[test]
fn parts_of_a_pulled_back_sum_may_leave_the_range() {
    let d_z = [f64::MAX, f64::MAX, -f64::MAX, -f64::MAX, 1.0];
    let (mut d_loc, mut d_log_var) = ([0.0], [0.0]);
    rsample_grad(&[0.0], &[-1e4], &d_z, Key(0), 0, 1, &mut d_loc, &mut d_log_var).unwrap();
    assert_eq!((d_loc, d_log_var), ([1.0], [0.0]));
}
