//! What a kernel over rows states: what happens to a vector of lanes.

use crate::float::Float;
use crate::simd::{Simd, SimdBase, apart};
use crate::threads::RowsMut;
use crate::vmath::Lanes;

/// The comparison mask of an element type's lanes.
pub type Mask<F, S> = <Lanes<F, S> as SimdBase<S>>::Mask;

/// What a kernel makes of one vector of lanes.
#[derive(Clone, Copy)]
pub struct Term<F: Float, S: Simd, const O: usize> {
    /// Each lane's term of the row's sum.
    pub sum: Lanes<F, S>,
    /// The elementwise outputs.
    pub out: [Lanes<F, S>; O],
    /// +0 in the lanes whose input the kernel has a value for, anything else elsewhere.
    pub flaw: Lanes<F, S>,
}

/// No flaw in any lane: of kernels whose bad input shows in the row's sum.
#[inline(always)]
pub(crate) fn no_flaw<F: Float, S: Simd>(simd: S) -> Lanes<F, S> {
    F::Lanes::splat(simd, F::ZERO)
}

/// A kernel of `I` input arrays, `O` elementwise output arrays and one sum a row.
pub trait LaneOp<F: Float, const I: usize, const O: usize>: Sync {
    /// The kernel on one vector; mark the implementation `#[inline(always)]`.
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; I]) -> Term<F, S, O>;

    /// The row's result from the sum of its terms.
    fn finish(&self, sum: f64) -> f64 {
        sum
    }

    /// Whether short rows are taken together, whose vectors would otherwise be cut at each row's end: for kernels that are called most, as each takes twice the code, and of
    /// these for float64 only those that are called on arrays of a user's own.
    const SHORT_ROWS: bool = false;

    /// Whether [`turn`](Self::turn) is to be called, of a kernel in which many operations wait for each other. A processor sees only so many instructions ahead: where a part of
    /// them is run on a few vectors before the next part is, those of several vectors are among what it sees, and do not wait for each other.
    const IN_PARTS: bool = false;

    /// [`lanes`](Self::lanes) of up to eight vectors, the same bits: of vector k from what `load` gives for k to `put`.
    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; I],
        mut put: impl FnMut(usize, Term<F, S, O>),
    ) {
        // Of a number that the compiler does not know to be at most eight: it would write the kernel out as often.
        for k in 0..std::hint::black_box(vectors) {
            put(k, self.lanes(simd, load(k)));
        }
    }

    /// Whether [`mend`](Self::mend) is to be asked.
    const MENDS: bool = false;

    /// The result, [`finish`](Self::finish)ed, of a row for which `sum` is what the lanes gave and not finite, computed another way; of its elementwise outputs, where they are asked
    /// for, those that are not finite are replaced. What it returns may be infinite, and NaN where the input is not finite.
    fn mend(&self, _x: [&[F]; I], _out: &mut [&mut [F]], sum: f64) -> f64 {
        sum
    }
}

/// What [`LaneOp::lanes`] makes of these lanes, [`apart`].
#[inline(always)]
pub(crate) fn lanes_of<F: Float, S: Simd, Op: LaneOp<F, I, O>, const I: usize, const O: usize>(
    op: &Op,
    simd: S,
    x: [Lanes<F, S>; I],
) -> Term<F, S, O> {
    apart(
        simd,
        (op, x),
        #[inline(always)]
        |simd, (op, x): (&Op, [Lanes<F, S>; I])| op.lanes(simd, x),
    )
}

/// Vectors of a row that a kernel in parts takes in turn.
pub(crate) const TURN: usize = 8;

/// A kernel whose elementwise outputs are not wanted; the compiler drops their arithmetic.
pub struct SumOnly<'a, Op, const O: usize>(pub &'a Op);

impl<F: Float, Op: LaneOp<F, I, O>, const I: usize, const O: usize> LaneOp<F, I, 0> for SumOnly<'_, Op, O> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; I]) -> Term<F, S, 0> {
        let term = lanes_of(self.0, simd, x);
        Term { sum: term.sum, out: [], flaw: term.flaw }
    }

    fn finish(&self, sum: f64) -> f64 {
        self.0.finish(sum)
    }

    const SHORT_ROWS: bool = Op::SHORT_ROWS;

    const IN_PARTS: bool = Op::IN_PARTS;

    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; I],
        mut put: impl FnMut(usize, Term<F, S, 0>),
    ) {
        self.0.turn(
            simd,
            vectors,
            load,
            #[inline(always)]
            |k, term| put(k, Term { sum: term.sum, out: [], flaw: term.flaw }),
        );
    }

    const MENDS: bool = Op::MENDS;

    fn mend(&self, x: [&[F]; I], out: &mut [&mut [F]], sum: f64) -> f64 {
        self.0.mend(x, out, sum)
    }
}

/// The outputs of [`SumOnly`].
#[must_use]
pub fn no_outputs<'a, F>() -> [RowsMut<'a, F>; 0] {
    []
}
