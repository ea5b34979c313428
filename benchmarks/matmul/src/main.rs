//! The float32 products of a training step by elbokit's own kernel and by the crates that could stand in its place, on one thread, by turns.
//!
//!     RAYON_NUM_THREADS=1 cargo run --release --manifest-path benchmarks/matmul/Cargo.toml
//!
//! C (rows × columns) = A · B with A row-major, as x · Wᵀ of a layer is; B is packed before the clock starts where a crate can do that.

use std::hint::black_box;
use std::time::Instant;

use elbokit_core::network::matmul::{Left, Right, multiply};
use elbokit_core::network::panels::{pack_transposed, packed_len};
use gemmkit::{MatMut, MatRef, Parallelism, gemm, gemm_packed_b, prepack_rhs};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

const ROUNDS: usize = 60;
/// About the multiply-adds of a turn.
const TURN: usize = 10_000_000;
/// gemmkit takes a packed B for a column-major C alone.
const BY_COLUMNS: usize = 1;

fn main() {
    println!("| product | elbokit | gemmkit, packed | gemmkit | rten-gemm, packed | rten-gemm | matrixmultiply |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (rows, depth, columns) in
        [(32, 64, 256), (32, 784, 400), (128, 784, 400), (128, 784, 512), (128, 512, 256), (512, 784, 512)]
    {
        measure(rows, depth, columns);
    }
}

fn measure(rows: usize, depth: usize, columns: usize) {
    let a: Vec<f32> = (0..rows * depth).map(|i| (i % 101) as f32 * 0.01 - 0.5).collect();
    // Wᵀ is B.
    let w: Vec<f32> = (0..columns * depth).map(|i| (i % 97) as f32 * 0.01 - 0.5).collect();
    let expected = reference(&a, &w, rows, depth, columns);

    let mut packed = vec![0.0; packed_len::<f32>(depth, columns)];
    pack_transposed(&w, depth, &mut packed);
    let (left, right) = (MatRef::from_row_major(&a, rows, depth), MatRef::from_col_major(&w, depth, columns));
    let prepacked = prepack_rhs(right);
    let executor = GemmExecutor::<f32>::new();
    let (ra, rb) = (NdTensorView::from_data([rows, depth], &a[..]), NdTensorView::from_data([columns, depth], &w[..]));
    let rpacked = executor.prepack_b(rb.transposed());

    let mut ways: Vec<Box<dyn FnMut(&mut [f32]) + '_>> = vec![
        Box::new(|c| multiply(rows, columns, depth, Left::rows(&a, depth), Right::packed(&packed, depth), None, c, columns)),
        Box::new(|c| gemm_packed_b(1.0, left, &prepacked, 0.0, MatMut::from_col_major(c, rows, columns), Parallelism::Serial)),
        Box::new(|c| gemm(1.0, left, right, 0.0, MatMut::from_row_major(c, rows, columns), Parallelism::Serial)),
        Box::new(|c| {
            executor
                .gemm(c, GemmInputA::Unpacked(ra), GemmInputB::Packed(&rpacked), GemmOptions::default())
                .expect("shapes that fit")
        }),
        Box::new(|c| {
            let b = GemmInputB::Unpacked(rb.transposed());
            executor.gemm(c, GemmInputA::Unpacked(ra), b, GemmOptions::default()).expect("shapes that fit")
        }),
        Box::new(|c| {
            let [k, n] = [depth as isize, columns as isize];
            // SAFETY: the strides are those of the slices, which have rows · depth, columns · depth and rows · columns numbers.
            unsafe {
                matrixmultiply::sgemm(rows, depth, columns, 1.0, a.as_ptr(), k, 1, w.as_ptr(), 1, k, 0.0, c.as_mut_ptr(), n, 1);
            }
        }),
    ];

    let mut c = vec![0.0; rows * columns];
    for (which, way) in ways.iter_mut().enumerate() {
        c.fill(f32::NAN);
        way(&mut c);
        let place = |at: usize| if which == BY_COLUMNS { at % columns * rows + at / columns } else { at };
        let off = expected.iter().enumerate().map(|(at, e)| (f64::from(c[place(at)]) - e).abs()).fold(0.0, f64::max);
        assert!(off < 1e-3, "a product is off by {off}");
    }
    let flops = 2 * rows * depth * columns;
    let calls = (2 * TURN).div_ceil(flops);
    let mut seconds = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, seconds) in ways.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            (0..calls).for_each(|_| way(black_box(&mut c)));
            seconds.push(start.elapsed().as_secs_f64() / calls as f64);
        }
    }
    let rates = seconds.iter_mut().map(|seconds| {
        seconds.sort_by(f64::total_cmp);
        format!("{:.0}", 1e-9 * flops as f64 / seconds[ROUNDS / 2])
    });
    println!("| {rows} × {depth} × {columns} | {} |", rates.collect::<Vec<_>>().join(" | "));
}

fn reference(a: &[f32], w: &[f32], rows: usize, depth: usize, columns: usize) -> Vec<f64> {
    let dot = |i: usize, j: usize| (0..depth).map(|k| f64::from(a[i * depth + k]) * f64::from(w[j * depth + k])).sum();
    (0..rows * columns).map(|at| dot(at / columns, at % columns)).collect()
}
