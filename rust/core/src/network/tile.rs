//! The innermost loops of [`matmul`](super::matmul): a tile of C in registers.

use super::activation::Activation;
use super::live::Live;
use super::panels::panel;
use super::segment::{Cut, One, Segment, Sparse};
use crate::float::Float;
use crate::simd::{Fused, Simd, SimdBase, prefetch, prefetch_to_write};
use crate::vmath::Lanes;

/// Multiply-adds of a sum in one turn of the innermost loop. A turn asks for one row of B's next columns, so that as many tiles, one below another, have asked for all of them: at the
/// pace of one tile they would have to come from beyond the second-level cache faster than they can.
const UNROLLED: usize = 4;
/// Lanes of float32, the most that there are.
pub(super) const MOST_LANES: usize = 16;

/// Where tiles of C lie, one below another, whether their sums have been started, and what finishes them.
#[derive(Clone, Copy)]
pub(super) struct Place<F> {
    pub(super) c: *mut F,
    pub(super) stride: usize,
    pub(super) started: bool,
    /// Whether steps may have been left out, which −0 would show.
    pub(super) sparse: bool,
    /// Of the columns.
    pub(super) bias: Option<*const F>,
    pub(super) relu: bool,
}

/// Finds the live columns of tiles from row `first` of a sparse A on, of the height that [`tiles`] makes of `left` rows; returns the rows of those tiles, 0 where no more such tiles fit.
///
/// # Safety
/// As [`Live::find`].
#[inline(always)]
pub(super) unsafe fn find_live<F: Float, S: Simd>(
    simd: S,
    segment: &Segment<F>,
    (first, left): (usize, usize),
    live: &mut Live,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        if highest::<S>() == 8 {
            live.find::<F, S, 8>(simd, segment, first, left)
        } else {
            live.find::<F, S, 6>(simd, segment, first, left)
        }
    }
}

/// Tiles from row `first` of A and column `column` of B on, as high as `left` rows allow, and as many as have one height; returns their rows.
///
/// Registers: with 512-bit vectors a tile of 8 × 2 hides the latency of multiply-adds and leaves half of them free, which the compiler needs when it loads all of A
/// at once (12 × 2 was spilled: 145 instead of 230 GFLOP/s). Elsewhere one logical vector is two or four registers, and 6 × 1 fills them.
///
/// # Safety
/// `place` must have `left` rows and one vector of columns, or `two`, and the segments must be those of a C that has these rows and columns. `live` must have been found for these rows.
#[inline(always)]
pub(super) unsafe fn tiles<F: Float, S: Simd>(
    simd: S,
    segments: &[Segment<F>],
    (first, left): (usize, usize),
    column: usize,
    two: bool,
    place: Place<F>,
    live: Option<&Live>,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match (segments, live) {
            ([segment], Some(live)) => highest_tiles(simd, Sparse(*segment, live), (first, left), column, two, place),
            ([segment], None) if left >= highest::<S>() => highest_tiles(simd, One(*segment), (first, left), column, two, place),
            _ if left >= highest::<S>() => highest_tiles(simd, segments, (first, left), column, two, place),
            _ => match (left, two) {
                (4.., true) => tiles_of::<F, S, _, 4, 2>(simd, segments, (first, left), column, place),
                (4.., false) => tiles_of::<F, S, _, 4, 1>(simd, segments, (first, left), column, place),
                (2.., true) => tiles_of::<F, S, _, 2, 2>(simd, segments, (first, left), column, place),
                (2.., false) => tiles_of::<F, S, _, 2, 1>(simd, segments, (first, left), column, place),
                (_, true) => tiles_of::<F, S, _, 1, 2>(simd, segments, (first, left), column, place),
                (_, false) => tiles_of::<F, S, _, 1, 1>(simd, segments, (first, left), column, place),
            },
        }
    }
}

/// Rows of the tiles that are used while rows are left for them.
#[inline(always)]
fn highest<S: Simd>() -> usize {
    if S::f32s::LEN == 16 { 8 } else { 6 }
}

/// Tiles of [`highest`] rows.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn highest_tiles<F: Float, S: Simd, C: Cut<F>>(
    simd: S,
    cut: C,
    (first, left): (usize, usize),
    column: usize,
    two: bool,
    place: Place<F>,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match (S::f32s::LEN == 16, two) {
            (true, true) => tiles_of::<F, S, C, 8, 2>(simd, cut, (first, left), column, place),
            (true, false) => tiles_of::<F, S, C, 8, 1>(simd, cut, (first, left), column, place),
            (false, _) => tiles_of::<F, S, C, 6, 1>(simd, cut, (first, left), column, place),
        }
    }
}

/// All tiles of ROWS rows that `left ≥ ROWS` rows have, of VECTORS vectors of columns; returns their rows. A frame of its own: among its siblings the innermost loop
/// loses registers, and two fifths of its speed.
///
/// # Safety
/// As [`tiles`].
#[inline(never)]
unsafe fn tiles_of<F: Float, S: Simd, C: Cut<F>, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    cut: C,
    (first, left): (usize, usize),
    column: usize,
    place: Place<F>,
) -> usize {
    let rows = left / ROWS * ROWS;
    simd.vectorize(
        #[inline(always)]
        move || {
            for (t, down) in (0..rows).step_by(ROWS).enumerate() {
                let place = Place { c: place.c.wrapping_add(down * place.stride), ..place };
                // SAFETY: the caller's promise.
                unsafe { tile::<F, S, ROWS, VECTORS>(simd, cut.segments(), first + down, column, place, cut.live(t)) };
            }
        },
    );
    rows
}

/// One tile, of which only the columns `live` of A are looked at where they are given.
///
/// # Safety
/// As [`tiles`], of ROWS rows.
#[inline(always)]
unsafe fn tile<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    segments: &[Segment<F>],
    row: usize,
    column: usize,
    place: Place<F>,
    live: Option<&[u16]>,
) {
    let Place { c, stride, started, sparse, bias, relu } = place;
    let at = |i, v| c.wrapping_add(i * stride + v * F::LANES);
    let zero = F::Lanes::splat(simd, F::ZERO);
    let mut sums = [[zero; VECTORS]; ROWS];
    for (i, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            if started {
                // SAFETY: the caller's promise.
                *sum = unsafe { vector(simd, at(i, v)) };
            } else if v == 0 {
                // A row of C is a page or more from the next, so no processor foresees where the sums will go, and a gradient's place is seldom in its caches.
                prefetch_to_write(at(i, v));
            }
        }
    }
    for s in segments {
        let b = s.b.wrapping_add(column / panel::<F>() * s.b_panel);
        // SAFETY: the caller's promise; the pointers are moved past the last element with `wrapping_add` and not read there.
        unsafe {
            let a = s.row_start(row);
            if let Some(live) = live {
                leaps(simd, &mut sums, s, a, b, live);
            } else {
                let next = b.wrapping_add(VECTORS * s.b_panel);
                let part = (row / ROWS).min(UNROLLED - 1) * (s.depth / UNROLLED);
                chain(simd, &mut sums, s, a, b, next.wrapping_add(part * s.b_k));
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let sum = if sparse { sum + zero } else { sum };
            // SAFETY: the caller's promise.
            let mut sum = bias.map_or(sum, |bias| sum + unsafe { vector(simd, bias.wrapping_add(v * F::LANES)) });
            if relu {
                sum = Activation::Relu.lanes::<F, S>(simd, sum)[0];
            }
            // SAFETY: the caller's promise.
            sum.store_slice(unsafe { std::slice::from_raw_parts_mut(at(i, v), F::LANES) });
        }
    }
}

/// The innermost loop, once for either way that A stands: with both strides free, addresses would take registers from the sums.
///
/// # Safety
/// `a.add(a_rows[i] + k · a_k)` for i < ROWS, and a vector from each `b.add(v · b_panel + k · b_k)` on for v < VECTORS, must be readable for k < `s.depth`.
#[inline(always)]
unsafe fn chain<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    a: *const F,
    b: *const F,
    ahead: *const F,
) {
    if s.a_k == 1 {
        let mut rows: [usize; ROWS] = std::array::from_fn(|i| s.a_rows[i]);
        // As the compiler could not know from memory.
        rows[0] = 0;
        // SAFETY: the caller's promise.
        unsafe { turns(simd, sums, s, (a, 1, rows), b, ahead) };
    } else {
        debug_assert!(ROWS == 1 || s.a_rows[1] == 1);
        // SAFETY: the caller's promise.
        unsafe { turns(simd, sums, s, (a, s.a_k, std::array::from_fn(|i| i)), b, ahead) };
    }
}

/// A multiply-add to every sum for each k of `live`, of an A by rows.
///
/// # Safety
/// As [`chain`], for these k.
#[inline(always)]
unsafe fn leaps<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    a: *const F,
    b: *const F,
    live: &[u16],
) {
    let mut rows: [usize; ROWS] = std::array::from_fn(|i| s.a_rows[i]);
    rows[0] = 0;
    let mut held = *sums;
    let turns = live.chunks_exact(UNROLLED);
    let rest = turns.remainder();
    for turn in turns {
        for &k in turn {
            // SAFETY: the caller's promise.
            unsafe { leap(simd, &mut held, s, (a, rows), b, k) };
        }
    }
    for &k in rest {
        // SAFETY: the caller's promise.
        unsafe { leap(simd, &mut held, s, (a, rows), b, k) };
    }
    *sums = held;
}

/// That for one k.
///
/// # Safety
/// As [`chain`], for this k.
#[inline(always)]
unsafe fn leap<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    (a, rows): (*const F, [usize; ROWS]),
    b: *const F,
    k: u16,
) {
    let k = usize::from(k);
    // SAFETY: the caller's promise.
    unsafe { step(simd, sums, (a.wrapping_add(k), rows), (b.wrapping_add(k * s.b_k), s.b_panel)) };
}

/// A multiply-add to every sum for each k. A begins at `a`, and has its columns `a_k` and its rows `rows` from there. A part of the next tile's columns of B
/// is asked for, from `ahead` on.
///
/// # Safety
/// As [`chain`].
#[inline(always)]
unsafe fn turns<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    (mut a, a_k, rows): (*const F, usize, [usize; ROWS]),
    mut b: *const F,
    ahead: *const F,
) {
    let mut held = *sums;
    for turn in 0..s.depth / UNROLLED {
        for v in 0..VECTORS {
            prefetch(ahead.wrapping_add(turn * s.b_k + v * s.b_panel));
        }
        for _ in 0..UNROLLED {
            // SAFETY: the caller's promise.
            unsafe { step(simd, &mut held, (a, rows), (b, s.b_panel)) };
            (a, b) = (a.wrapping_add(a_k), b.wrapping_add(s.b_k));
        }
    }
    for _ in 0..s.depth % UNROLLED {
        // SAFETY: the caller's promise.
        unsafe { step(simd, &mut held, (a, rows), (b, s.b_panel)) };
        (a, b) = (a.wrapping_add(a_k), b.wrapping_add(s.b_k));
    }
    *sums = held;
}

/// One multiply-add to every sum: A's numbers stand at `rows` from `a` on, B's vectors `panel` apart from `b` on.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn step<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    (a, rows): (*const F, [usize; ROWS]),
    (b, panel): (*const F, usize),
) {
    // SAFETY: the caller's promise.
    let columns: [_; VECTORS] = std::array::from_fn(|v| unsafe { vector(simd, b.wrapping_add(v * panel)) });
    for (sums, row) in sums.iter_mut().zip(rows) {
        // SAFETY: the caller's promise.
        let x = F::Lanes::splat(simd, unsafe { *a.wrapping_add(row) });
        for (sum, &column) in sums.iter_mut().zip(&columns) {
            *sum = x.fma(column, *sum);
        }
    }
}

/// The vector that begins at `from`.
///
/// # Safety
/// All of it must be readable.
#[inline(always)]
unsafe fn vector<F: Float, S: Simd>(simd: S, from: *const F) -> Lanes<F, S> {
    // SAFETY: the caller's promise. Said for the compiler, which would look for null in the innermost loop and there lose the sums' registers.
    unsafe { std::hint::assert_unchecked(!from.is_null()) };
    // SAFETY: the caller's promise.
    F::Lanes::from_slice(simd, unsafe { std::slice::from_raw_parts(from, F::LANES) })
}
