//! The contract of `network::matmul`, bit for bit against three loops.

use crate::reference::settings;
use elbokit_core::Float;
use elbokit_core::network::matmul::{Finish, Left, Part, Right, multiply, multiply_parts};
use elbokit_core::network::panels::{pack_both_ways, pack_rows, pack_transposed, packed_len, panel, strip};
use elbokit_core::network::{Activation, Slope};
use elbokit_core::simd::{levels, with_level};
use elbokit_core::threads::{RowsMut, for_rows, set_num_threads};

/// Numbers between −1 and 1 with all bits in use: Weyl's sequence of a square root.
fn numbers<F: Float>(square: u32, len: usize) -> Vec<F> {
    let step = f64::from(square).sqrt();
    (1..=len).map(|i| F::from_f64((i as f64 * step).fract() * 2.0 - 1.0)).collect()
}

/// C = A · Wᵀ + bias, slowly and obviously.
fn three_loops<F: Float>(rows: usize, columns: usize, depth: usize, a: &[F], w: &[F], bias: Option<&[F]>) -> Vec<F> {
    let mut c = Vec::new();
    for i in 0..rows {
        for j in 0..columns {
            let mut sum = F::ZERO;
            for k in 0..depth {
                sum = a[i * depth + k].fused(w[j * depth + k], sum);
            }
            c.push(bias.map_or(sum, |bias| sum + bias[j]));
        }
    }
    c
}

fn transpose<F: Float>(rows: usize, columns: usize, x: &[F]) -> Vec<F> {
    (0..columns).flat_map(|j| (0..rows).map(move |i| x[i * columns + j])).collect()
}

fn packed<F: Float>(columns: usize, depth: usize, w: &[F]) -> Vec<F> {
    let mut packed = vec![F::NAN; packed_len::<F>(depth, columns)];
    pack_transposed(w, depth, &mut packed);
    packed
}

fn every_way_agrees<F: Float>(rows: usize, columns: usize, depth: usize) {
    let shape = format!("{rows} × {depth} × {columns}");
    let (a, w, bias) = (numbers::<F>(2, rows * depth), numbers::<F>(3, columns * depth), numbers::<F>(5, columns));
    let expected = three_loops(rows, columns, depth, &a, &w, Some(&bias));
    let mut activated = expected.clone();
    Activation::Relu.apply(&mut activated);
    let plain = three_loops(rows, columns, depth, &a, &w, None);
    let packed = packed(columns, depth, &w);
    let mut b = transpose(columns, depth, &w);
    b.resize(b.len() + panel::<F>(), F::NAN);
    let a_transposed = transpose(rows, depth, &a);
    let slopes = numbers::<F>(7, rows * columns);
    let _alone = settings();
    for level in levels() {
        with_level(level, || {
            let mut c = vec![F::NAN; rows * columns];
            let (left, right) = (Left::rows(&a, depth), Right::packed(&packed, depth));
            multiply(rows, columns, depth, left, right, Finish::Bias(&bias), &mut c, columns);
            assert_eq!(c, expected, "packed, {level:?}, {shape}");
            multiply(rows, columns, depth, left, right, Finish::BiasRelu(&bias), &mut c, columns);
            assert_eq!(c, activated, "activated, {level:?}, {shape}");
            let (left, right) = (Left::transposed(&a_transposed, rows, 0), Right::rows(&b, columns));
            // Nothing behind C is touched.
            let mut longer = vec![F::ONE; rows * columns + 70];
            multiply(rows, columns, depth, left, right, Finish::Sums, &mut longer, columns);
            assert_eq!(longer[..c.len()], plain, "in place, {level:?}, {shape}");
            assert!(longer[c.len()..].iter().all(|x| *x == F::ONE), "wrote past the end, {level:?}, {shape}");
            for slope in [Slope::Written(&slopes), Slope::OfRelu(&slopes)] {
                multiply(rows, columns, depth, left, right, Finish::Times(slope), &mut c, columns);
                let mut expected = plain.clone();
                slope.times(&mut expected);
                assert_eq!(c, expected, "times the slope, {level:?}, {shape}");
            }
            // B packed from rows, a strip of C's rows at a time.
            let mut right = vec![F::NAN; packed_len::<F>(depth, columns)];
            pack_rows(&b[..depth * columns], columns, &mut right);
            for (first, c) in (0..rows).step_by(strip::<F>()).zip(c.chunks_mut((strip::<F>() * columns).max(1))) {
                let (left, right) = (Left::transposed(&a_transposed, rows, first), Right::packed(&right, depth));
                multiply(strip::<F>().min(rows - first), columns, depth, left, right, Finish::Bias(&bias), c, columns);
            }
            assert_eq!(c, expected, "strips, {level:?}, {shape}");
            // In parts of 13, C being the left columns of a wider matrix.
            let parts = (0..depth).step_by(13).map(|k| Part {
                a: Left::transposed(&a_transposed[k * rows..], rows, 0),
                b: Right::rows(&b[k * columns..], columns),
                depth: (depth - k).min(13),
            });
            let mut c = vec![F::NAN; rows * (columns + 3)];
            multiply_parts(rows, columns, parts.clone(), Finish::Sums, &mut c, columns + 3);
            for (row, expected) in c.chunks(columns + 3).zip(plain.chunks(columns.max(1))) {
                assert_eq!(row[..columns], *expected, "parts, {level:?}, {shape}");
                assert!(row[columns..].iter().all(|x| !x.finite()), "wrote past the row");
            }
            let apart = numbers::<F>(11, rows * (columns + 3));
            multiply_parts(rows, columns, parts, Finish::Times(Slope::Written(&apart)), &mut c, columns + 3);
            let rows_of_slope = apart.chunks(columns + 3);
            for ((row, expected), slope) in c.chunks(columns + 3).zip(plain.chunks(columns.max(1))).zip(rows_of_slope) {
                assert!(
                    row.iter().zip(expected).zip(slope).all(|((x, sum), slope)| *x == *sum * *slope),
                    "parts, {level:?}, {shape}"
                );
                assert!(row[columns..].iter().all(|x| !x.finite()), "wrote past the row");
            }
        });
    }
}

/// A whose neighbouring rows are 0 in mostly the same columns, in all but `dense` of them.
fn sparse_numbers<F: Float>(rows: usize, depth: usize, dense: usize) -> Vec<F> {
    let mut a = numbers::<F>(2, rows * depth);
    for (i, row) in a.chunks_exact_mut(depth.max(1)).enumerate() {
        for (k, x) in row.iter_mut().enumerate() {
            if (i / 5 + k * 7) % 11 >= dense {
                *x = if k % 2 == 0 { F::ZERO } else { F::from_f64(-0.0) };
            }
        }
    }
    a
}

fn a_sparse_factor_agrees<F: Float>(rows: usize, columns: usize, depth: usize) {
    let (w, bias) = (numbers::<F>(3, columns * depth), numbers::<F>(5, columns));
    let packed = packed(columns, depth, &w);
    for dense in [0, 1, 5, 11] {
        let a = sparse_numbers::<F>(rows, depth, dense);
        let expected = three_loops(rows, columns, depth, &a, &w, Some(&bias));
        let mut activated = expected.clone();
        Activation::Relu.apply(&mut activated);
        let _alone = settings();
        for level in levels() {
            with_level(level, || {
                let mut c = vec![F::NAN; rows * columns];
                let (left, right) = (Left::sparse_rows(&a, depth), Right::packed(&packed, depth));
                multiply(rows, columns, depth, left, right, Finish::Bias(&bias), &mut c, columns);
                let bits = |c: &[F]| c.iter().map(|c| c.to_f64().to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&c), bits(&expected), "{level:?}, {rows} × {depth} × {columns}, {dense} in 11");
                multiply(rows, columns, depth, left, right, Finish::BiasRelu(&bias), &mut c, columns);
                assert_eq!(c, activated, "relu, {level:?}, {rows} × {depth} × {columns}, {dense} in 11");
            });
        }
    }
}

#[test]
fn leaving_zeros_out_does_not_change_a_bit() {
    // Fewer rows than a tile, blocks of tiles with rows left over; a depth of whole vectors or not, cut or not.
    for rows in [1, 5, 8, 13, 50, 129] {
        for depth in [1, 16, 41, 256, 300] {
            for columns in [1, 16, 30, 37, 50, 64] {
                a_sparse_factor_agrees::<f32>(rows, columns, depth);
                a_sparse_factor_agrees::<f64>(rows, columns, depth);
            }
        }
    }
}

#[test]
fn what_is_zero_in_a_tile_is_not_multiplied() {
    // Rows of B that would make NaN of 0 meet columns of A that are 0, all rows of which are in whole tiles. C's columns are whole vectors, or end in one or several that are not.
    let (rows, depth) = (48, 40);
    for columns in [14, 30, 32, 50, 64, 100] {
        let mut a = numbers::<f32>(2, rows * depth);
        let mut w = numbers::<f32>(3, columns * depth);
        for k in [0, 7, 16, 39] {
            a.iter_mut().skip(k).step_by(depth).for_each(|x| *x = 0.0);
            w.iter_mut().skip(k).step_by(depth).for_each(|x| *x = f32::INFINITY);
        }
        let packed = packed(columns, depth, &w);
        let _alone = settings();
        for level in levels() {
            with_level(level, || {
                let mut c = vec![f32::NAN; rows * columns];
                let (left, right) = (Left::sparse_rows(&a, depth), Right::packed(&packed, depth));
                multiply(rows, columns, depth, left, right, Finish::Sums, &mut c, columns);
                assert!(c.iter().all(|c| c.is_finite()), "{level:?}, {columns}");
            });
        }
    }
}

#[test]
fn a_column_with_any_number_in_a_tile_is_multiplied() {
    let (rows, depth, columns) = (12, 20, 16);
    let packed = packed(columns, depth, &vec![1.0_f32; columns * depth]);
    let _alone = settings();
    for number in [-0.5, f32::from_bits(1), -f32::MIN_POSITIVE, f32::INFINITY, f32::NAN] {
        for (row, k) in [(0, 0), (5, 15), (7, 19)] {
            let mut a = vec![-0.0; rows * depth];
            a[row * depth + k] = number;
            for level in levels() {
                with_level(level, || {
                    let mut c = vec![7.0; rows * columns];
                    let (left, right) = (Left::sparse_rows(&a, depth), Right::packed(&packed, depth));
                    multiply(rows, columns, depth, left, right, Finish::Sums, &mut c, columns);
                    for (i, c) in c.chunks(columns).enumerate() {
                        let expected = if i == row { number } else { 0.0 };
                        assert!(
                            c.iter().all(|c| *c == expected || c.is_nan() && expected.is_nan()),
                            "{level:?}, {number}, {row}, {k}"
                        );
                    }
                });
            }
        }
    }
}

#[test]
fn a_sparse_sum_is_never_minus_zero() {
    // The first product underflows to −0, the second adds −0 where it is not left out: of rows in whole tiles it is, of the last one it is not.
    let rows = 17;
    let mut a = vec![0.0_f32; 2 * rows];
    a.iter_mut().step_by(2).for_each(|x| *x = -1e-30);
    a[2 * rows - 1] = f32::MIN_POSITIVE;
    let mut packed = vec![0.0; packed_len::<f32>(2, 16)];
    pack_transposed(&[[1e-30_f32, -1e-30]; 16].concat(), 2, &mut packed);
    let _alone = settings();
    for level in levels() {
        with_level(level, || {
            let mut c = vec![1.0_f32; rows * 16];
            multiply(rows, 16, 2, Left::sparse_rows(&a, 2), Right::packed(&packed, 2), Finish::Sums, &mut c, 16);
            assert!(c.iter().all(|c| c.to_bits() == 0), "{level:?}: {c:?}");
        });
    }
}

/// Where column `column` of row k stands in panels of a matrix of `depth` rows.
fn place<F: Float>(depth: usize, k: usize, column: usize) -> usize {
    let width = panel::<F>();
    column / width * width * depth + k * width + column % width
}

fn panels_hold_the_transpose<F: Float>(columns: usize, depth: usize) {
    let w = numbers::<F>(5, columns * depth);
    let (len, back_len) = (packed_len::<F>(depth, columns), packed_len::<F>(columns, depth));
    let (mut expected, mut expected_back) = (vec![F::ZERO; len], vec![F::ZERO; back_len]);
    for (column, row) in w.chunks_exact(depth).enumerate() {
        for (k, x) in row.iter().enumerate() {
            expected[place::<F>(depth, k, column)] = *x;
            expected_back[place::<F>(columns, column, k)] = *x;
        }
    }
    for level in levels() {
        // Longer than that takes, and nothing behind it is touched.
        let mut packed = vec![F::ONE; len + 3];
        with_level(level, || pack_transposed(&w, depth, &mut packed));
        assert!(packed[..len] == expected, "{columns} × {depth}, {level:?}");
        assert!(packed[len..] == [F::ONE; 3], "{columns} × {depth}, {level:?}");
        let (mut both, mut back) = (vec![F::ONE; len + 3], vec![F::ONE; back_len + 3]);
        with_level(level, || pack_both_ways(&w, depth, &mut both, Some(&mut back)));
        assert!(both == packed, "{columns} × {depth}, {level:?}");
        assert!(back[..back_len] == expected_back, "{columns} × {depth}, {level:?}");
        assert!(back[back_len..] == [F::ONE; 3], "{columns} × {depth}, {level:?}");
        back.fill(F::ONE);
        with_level(level, || pack_rows(&w, depth, &mut back));
        assert!(back[..back_len] == expected_back, "{columns} × {depth}, {level:?}");
    }
}

#[test]
fn panels_hold_the_transpose_at_every_level() {
    let _alone = settings();
    for columns in [1, 7, 8, 16, 33, 48] {
        for depth in [1, 7, 8, 15, 16, 17, 40] {
            panels_hold_the_transpose::<f32>(columns, depth);
            panels_hold_the_transpose::<f64>(columns, depth);
        }
    }
    pack_transposed::<f32>(&[], 0, &mut []);
    pack_transposed(&[1.0], 0, &mut [2.0]);
}

#[test]
fn every_shape_and_level_equals_three_loops() {
    const SIZES: [usize; 9] = [0, 1, 7, 12, 16, 30, 33, 50, 100];
    for rows in SIZES {
        for columns in SIZES {
            for depth in SIZES {
                every_way_agrees::<f32>(rows, columns, depth);
                every_way_agrees::<f64>(rows, columns, depth);
            }
        }
    }
}

#[test]
fn relu_lets_nan_through() {
    let (mut packed, mut y) = ([0.0; 16], [0.0; 3]);
    pack_transposed(&[1.0_f32, f32::NAN, -1.0], 1, &mut packed);
    multiply(1, 3, 1, Left::rows(&[2.0], 1), Right::packed(&packed, 1), Finish::BiasRelu(&[0.0; 3]), &mut y, 3);
    assert_eq!((y[0], y[1].is_nan(), y[2]), (2.0, true, 0.0));
}

#[test]
fn where_the_inner_dimension_is_cut_does_not_change_a_bit() {
    for depth in [255, 256, 257, 1000] {
        for columns in [8, 16, 24, 30, 48, 50] {
            for rows in [13, 25] {
                every_way_agrees::<f32>(rows, columns, depth);
                every_way_agrees::<f64>(rows, columns, depth);
            }
        }
    }
}

#[test]
fn a_row_alone_equals_the_row_among_a_thousand() {
    let (rows, columns, depth) = (1000, 70, 300);
    let (a, w) = (numbers::<f32>(2, rows * depth), numbers::<f32>(3, columns * depth));
    let packed = packed(columns, depth, &w);
    let b = Right::packed(&packed, depth);
    let mut all = vec![0.0; rows * columns];
    multiply(rows, columns, depth, Left::rows(&a, depth), b, Finish::Sums, &mut all, columns);
    for (a, expected) in a.chunks(depth).zip(all.chunks(columns)) {
        let mut alone = vec![0.0; columns];
        multiply(1, columns, depth, Left::rows(a, depth), b, Finish::Sums, &mut alone, columns);
        assert_eq!(alone, expected);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let _alone = settings();
    let (rows, columns, depth) = (500, 90, 300);
    let (a, w) = (numbers::<f32>(2, rows * depth), numbers::<f32>(3, columns * depth));
    let packed = packed(columns, depth, &w);
    let run = |threads| {
        set_num_threads(threads).unwrap();
        let mut c = vec![0.0; rows * columns];
        for_rows(rows, columns * depth / 50, RowsMut::new(&mut c, columns), &|range, c: RowsMut<f32>| {
            let left = Left::rows(&a[range.start * depth..], depth);
            multiply(range.len(), columns, depth, left, Right::packed(&packed, depth), Finish::Sums, c.data, columns);
        });
        c
    };
    assert_eq!(run(1), run(2));
}

#[test]
#[should_panic(expected = "B is too short")]
fn panels_on_top_of_each_other_are_refused() {
    let mut c = [0.0_f32; 33];
    multiply(1, 33, 1, Left::rows(&[1.0], 1), Right::packed(&[0.0; 16], 0), Finish::Sums, &mut c, 33);
}

#[test]
#[should_panic(expected = "B is too short")]
fn panels_on_top_of_each_other_are_refused_even_where_one_is_whole() {
    let mut c = [0.0_f32; 33];
    multiply(1, 33, 1, Left::rows(&[1.0], 1), Right::packed(&[0.0; 32], 0), Finish::Sums, &mut c, 33);
}

#[test]
#[should_panic(expected = "A is too short")]
fn a_stride_past_all_numbers_is_refused() {
    let mut c = [0.0_f32; 3];
    multiply(3, 1, 1, Left::rows(&[1.0; 3], 1 << (usize::BITS - 1)), Right::packed(&[0.0; 32], 1), Finish::Sums, &mut c, 1);
}

#[test]
#[should_panic(expected = "B is too short")]
fn a_row_past_all_numbers_is_refused() {
    let mut c = [0.0_f32; 1];
    multiply(1, 1, 3, Left::rows(&[1.0; 3], 3), Right::rows(&[0.0; 32], 1 << (usize::BITS - 1)), Finish::Sums, &mut c, 1);
}

#[test]
#[should_panic(expected = "slope is too short")]
fn a_slope_of_fewer_rows_is_refused() {
    let finish = Finish::Times(Slope::Written(&[1.0_f32; 2]));
    multiply(3, 1, 1, Left::rows(&[1.0; 3], 1), Right::packed(&[0.0; 32], 1), finish, &mut [0.0; 3], 1);
}

#[test]
#[should_panic(expected = "C is too short")]
fn a_stride_of_c_past_all_numbers_is_refused() {
    multiply(3, 1, 1, Left::rows(&[1.0; 3], 1), Right::packed(&[0.0; 32], 1), Finish::Sums, &mut [0.0_f32], 1 << (usize::BITS - 1));
}
