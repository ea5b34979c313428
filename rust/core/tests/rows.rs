//! The loop over rows: a row has the bits that it has alone, whether it is short or long, and wherever it lies.

#![allow(missing_docs)]

mod reference;

use elbokit_core::Float;
use elbokit_core::rows::{Blocks, Input, LaneOp, Term, map_rows};
use elbokit_core::simd::{Fused, Select, Simd, SimdBase};
use elbokit_core::threads::RowsMut;
use elbokit_core::vmath::Lanes;
use reference::{Numbers, bits, same_at_every_level};

/// Terms a b + c, outputs a + b and a c; a flaw where a is above 3.
struct Probe;
/// The same, where short rows are not taken together.
struct Plain;

impl<F: Float> LaneOp<F, 3, 2> for Probe {
    const SHORT_ROWS: bool = true;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [a, b, c]: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        let [zero, one] = [F::ZERO, F::ONE].map(|x| F::Lanes::splat(simd, x));
        let flaw = a.simd_gt(F::from_f64(3.0)).select(one, zero);
        Term { sum: a.fma(b, c), out: [a + b, a * c], flaw }
    }
}

impl<F: Float> LaneOp<F, 3, 2> for Plain {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        Probe.lanes(simd, x)
    }
}

/// One output alone, as params of one block have it.
struct First;

impl<F: Float> LaneOp<F, 3, 1> for First {
    const SHORT_ROWS: bool = true;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; 3]) -> Term<F, S, 1> {
        let Term { sum, out: [out, _], flaw }: Term<F, S, 2> = Probe.lanes(simd, x);
        Term { sum, out: [out], flaw }
    }
}

/// Rows of every kind of input: each its own, those of a batch again and again, one for all, or columns of wider rows.
struct Case<F> {
    width: usize,
    batch: usize,
    stride: usize,
    data: [Vec<F>; 3],
}

impl<F: Float> Case<F> {
    fn new(rows: usize, width: usize, batch: usize, wider: usize) -> Self {
        let mut n = Numbers((rows * 1000 + width) as u64);
        let stride = width + wider;
        let data = [n.vec(rows * stride, -2.0, 2.0), n.vec(batch * width, -2.0, 2.0), n.vec(width, -2.0, 2.0)];
        Self { width, batch, stride, data }
    }

    fn inputs(&self) -> [Input<'_, F>; 3] {
        let [own, batch, one] = &self.data;
        assert_eq!(batch.len(), self.batch * self.width);
        [Input::columns(own, self.stride, 0), Input::rows(batch, self.width), Input::rows(one, self.width)]
    }

    /// The sums, both outputs, and whether anything looked bad.
    fn all(&self, op: &impl LaneOp<F, 3, 2>, first: usize, rows: usize) -> (Vec<F>, bool) {
        let mut sums = vec![F::ZERO; rows];
        let (mut a, mut b) = (vec![F::ZERO; rows * self.width], vec![F::ZERO; rows * self.width]);
        let outputs = [&mut a, &mut b].map(|out| RowsMut::new(&mut out[..], self.width));
        let inputs = self.inputs().map(|input| input.after(first));
        let bad = map_rows(op, inputs, rows, self.width, 0.0, Some(&mut *sums), outputs);
        sums.extend(a.into_iter().chain(b));
        (sums, bad)
    }
}

fn rows_stand_alone<F: Float>(width: usize) {
    for (rows, batch, wider) in
        [(1, 1, 0), (7, 7, 0), (16, 16, 0), (48, 24, 0), (61, 61, 0), (200, 100, 0), (40, 5, 0), (33, 33, 3)]
    {
        let case = Case::<F>::new(rows, width, batch, wider);
        let (together, bad) = case.all(&Probe, 0, rows);
        assert!(!bad);
        assert_eq!(bits(&together), bits(&case.all(&Plain, 0, rows).0), "{rows} rows of {width}");
        let (sums, outputs) = together.split_at(rows);
        let (a, b) = outputs.split_at(rows * width);
        for row in 0..rows {
            let alone = case.all(&Probe, row, 1).0;
            let at = row * width..(row + 1) * width;
            let here = [&sums[row..=row], &a[at.clone()], &b[at]].concat();
            assert_eq!(bits(&alone), bits(&here), "row {row} of {rows}, {width} wide, a batch of {batch}");
        }
    }
}

#[test]
fn a_row_has_the_bits_that_it_has_alone() {
    for width in (1..=40).chain([47, 48, 63, 64, 65, 100, 126, 127, 128, 129, 200]) {
        rows_stand_alone::<f32>(width);
        rows_stand_alone::<f64>(width);
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in [1, 5, 8, 16, 30, 32, 33, 100] {
        same_at_every_level(&format!("width {width}"), || Case::<f32>::new(48, width, 24, 0).all(&Probe, 0, 48).0);
        same_at_every_level(&format!("width {width}"), || Case::<f64>::new(48, width, 24, 0).all(&Probe, 0, 48).0);
    }
}

fn a_flaw_is_seen_wherever_it_is<F: Float>(width: usize) {
    let rows = 40;
    for at in (0..rows * width).step_by(7).chain([rows * width - 1]) {
        let mut case = Case::<F>::new(rows, width, rows, 0);
        case.data[0][at] = F::from_f64(4.0);
        assert!(case.all(&Probe, 0, rows).1, "cell {at} of {rows} rows of {width}");
    }
}

#[test]
fn flaws_are_seen_in_every_cell_and_behind_no_row() {
    for width in [1, 3, 16, 30, 64, 100] {
        a_flaw_is_seen_wherever_it_is::<f32>(width);
        a_flaw_is_seen_wherever_it_is::<f64>(width);
    }
    // What follows a row of wider rows is nobody's.
    let mut case = Case::<f32>::new(40, 30, 40, 2);
    for row in case.data[0].chunks_exact_mut(32) {
        row[30..].fill(4.0);
    }
    assert!(!case.all(&Probe, 0, 40).1);
}

#[test]
fn one_block_of_a_row_is_written_as_a_part_of_it() {
    let case = Case::<f32>::new(40, 30, 40, 0);
    let expected = case.all(&Probe, 0, 40).0;
    // The whole row, and columns 1 to 30 of rows of 32.
    for (stride, first) in [(30, 0), (32, 1)] {
        let (mut sums, mut out) = (vec![0.0; 40], vec![7.0; 40 * stride]);
        let blocks = Blocks { rows: RowsMut::new(&mut out, stride), first, width: 30 };
        assert!(!map_rows(&First, case.inputs(), 40, 30, 0.0, Some(&mut *sums), blocks));
        assert_eq!(bits(&sums), bits(&expected[..40]));
        for (row, out) in out.chunks_exact(stride).enumerate() {
            assert_eq!(bits(&out[first..first + 30]), bits(&expected[40 + row * 30..][..30]));
            assert!(out[..first].iter().chain(&out[first + 30..]).all(|x| *x == 7.0));
        }
    }
}
