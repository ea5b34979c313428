//! Matrix products in GFLOP/s on one thread, to be set beside `NumPy`'s in the same minute.

use std::time::Instant;

use elbokit_core::Float;
use elbokit_core::network::matmul::{Finish, Left, Right, multiply};
use elbokit_core::network::panels::{pack_transposed, packed_len, panel};

fn median(mut run: impl FnMut(), flops: f64) -> f64 {
    let repeats = (2e8 / flops).ceil() as usize;
    let mut rates: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| run());
            1e-9 * flops * repeats as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn rates<F: Float>(rows: usize, depth: usize, columns: usize) {
    let a: Vec<F> = (0..rows * depth).map(|i| F::from_f64((i % 101) as f64 * 0.01)).collect();
    let w: Vec<F> = (0..columns * depth + panel::<F>()).map(|i| F::from_f64((i % 97) as f64 * 0.01)).collect();
    let mut packed = vec![F::ZERO; packed_len::<F>(depth, columns)];
    let mut c = vec![F::ZERO; rows * columns];
    let flops = 2.0 * (rows * depth * columns) as f64;
    pack_transposed(&w[..columns * depth], depth, &mut packed);
    let (left, right) = (Left::rows(&a, depth), Right::packed(&packed, depth));
    let forward = median(|| multiply(rows, columns, depth, left, right, Finish::Sums, &mut c, columns), flops);
    // A third of A's columns 0 in every row.
    let some: Vec<F> = a.iter().enumerate().map(|(i, &x)| if i % depth % 3 == 1 { F::ZERO } else { x }).collect();
    let sparse = Left::sparse_rows(&some, depth);
    let sparse = median(|| multiply(rows, columns, depth, sparse, right, Finish::Sums, &mut c, columns), flops);
    let right = Right::rows(&w, columns);
    let backward = median(|| multiply(rows, columns, depth, left, right, Finish::Sums, &mut c, columns), flops);
    let left = Left::transposed(&a, rows, 0);
    let weights = median(|| multiply(rows, columns, depth, left, right, Finish::Sums, &mut c, columns), flops);
    let packing = median(|| pack_transposed(&w[..columns * depth], depth, &mut packed), (columns * depth) as f64);
    println!(
        "{} {rows:5} × {depth:4} × {columns:4}: packed B {forward:6.1}, sparse A {sparse:6.1}, row-major B {backward:6.1}, and transposed A {weights:6.1} GFLOP/s; packs {packing:.2} G/s",
        F::NAME
    );
}

fn main() {
    let shapes = [
        (1024, 1024, 1024),
        (128, 784, 400),
        (64, 784, 400),
        (32, 784, 400),
        (32, 400, 784),
        (32, 64, 256),
        (32, 256, 32),
        (160, 256, 64),
        (400, 128, 784),
        (32, 128, 784),
        (32, 512, 256),
        (1, 784, 400),
    ];
    for (rows, depth, columns) in shapes {
        rates::<f32>(rows, depth, columns);
    }
    for (rows, depth, columns) in [shapes[0], shapes[1], shapes[3]] {
        rates::<f64>(rows, depth, columns);
    }
}
