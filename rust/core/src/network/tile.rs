//! The innermost loops of [`matmul`](super::matmul): a tile of C in registers.

use super::activation::{Activation, Slope};
use super::panels::panel;
use super::segment::{Cut, FromTile, HIGHEST, One, Segment, Sparse};
use crate::float::Float;
use crate::simd::{Fused, Simd, SimdBase, opaque, prefetch, prefetch_to_write};
use crate::vmath::Lanes;

/// Multiply-adds of a sum in one turn of the innermost loop. A turn asks for one row of B's next columns, so that as many tiles, one below another, have asked for all of them: at the
/// pace of one tile they would have to come from beyond the second-level cache faster than they can.
const UNROLLED: usize = 4;
/// Rows of a tile of one 512-bit vector, where there are as many: six sums alone would wait for themselves. Of a step of 30-64-8 such tiles were 10 % and became 8.
const TALL: usize = 2 * HIGHEST;
/// Columns of the widest tile, of float32.
pub(super) const WIDEST: usize = 64;

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
    /// Behind a bias alone.
    pub(super) relu: bool,
    /// What gives each sum's factor, as far apart as C.
    pub(super) slope: Option<SlopeAt<F>>,
}

/// Where the numbers of a [`Slope`] begin.
#[derive(Clone, Copy)]
pub(super) enum SlopeAt<F> {
    Written(*const F),
    OfRelu(*const F),
}

impl<F: Float> SlopeAt<F> {
    pub(super) fn new(slope: Slope<F>) -> Self {
        match slope {
            Slope::Written(numbers) => Self::Written(numbers.as_ptr()),
            Slope::OfRelu(numbers) => Self::OfRelu(numbers.as_ptr()),
        }
    }

    /// The same, `numbers` further on.
    #[inline(always)]
    fn after(self, numbers: usize) -> Self {
        match self {
            Self::Written(at) => Self::Written(at.wrapping_add(numbers)),
            Self::OfRelu(at) => Self::OfRelu(at.wrapping_add(numbers)),
        }
    }

    /// The factors of the first vector.
    ///
    /// # Safety
    /// All of it must be readable.
    #[inline(always)]
    unsafe fn vector<S: Simd>(self, simd: S) -> Lanes<F, S> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Written(at) => vector(simd, at),
                Self::OfRelu(at) => Activation::Relu.lanes::<F, S>(simd, vector(simd, at))[1],
            }
        }
    }
}

impl<F: Float> Place<F> {
    /// Where vector v of row i begins.
    #[inline(always)]
    fn at(&self, i: usize, v: usize) -> *mut F {
        self.c.wrapping_add(i * self.stride + v * F::LANES)
    }

    /// The same place `down` rows below.
    #[inline(always)]
    fn below(self, down: usize) -> Self {
        let down = down * self.stride;
        Self { c: self.c.wrapping_add(down), slope: self.slope.map(|slope| slope.after(down)), ..self }
    }
}

/// How many vectors of columns, 4, 2 or 1, tiles take of `left ≥ 1` that are left. With 512-bit vectors 6 × 4 sums hide the latency of multiply-adds, and each number of A and vector
/// of B that is loaded serves four and six of them: a processor that two hyper-threads share runs out of instructions first (8 × 2, with the compiler's addresses, took 1.1 to 1.5 times as long).
/// Elsewhere one logical vector is two or four registers, and 6 × 1 fills them.
pub(super) fn width<S: Simd>(left: usize) -> usize {
    match left.min(if S::f32s::LEN == 16 { 4 } else { 1 }) {
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Tiles from row `first` of A and column `column` of B on, as high as `left` rows allow, and as many as have one height; returns their rows. `vectors` is a [`width`]; `live` is given for
/// whole tiles of [`HIGHEST`] rows alone.
///
/// # Safety
/// `place` must have `left` rows and `vectors` vectors of columns, which its bias and slope must have too, and the segments must be those of a C that has these rows and columns. `live` must
/// have been found for these rows. Rows may overlap where no sum has been started: they are stored from the first on.
#[inline(always)]
pub(super) unsafe fn tiles<F: Float, S: Simd>(
    simd: S,
    segments: &[Segment<F>],
    (first, left): (usize, usize),
    (column, vectors): (usize, usize),
    place: Place<F>,
    live: Option<FromTile>,
) -> usize {
    debug_assert!(vectors == width::<S>(vectors), "a tile's width");
    let (rows, columns, narrow) = ((first, left), (column, vectors), vectors == 1 && S::f32s::LEN == 16);
    // SAFETY: the caller's promise.
    unsafe {
        match (segments, live) {
            ([segment], Some(live)) => tiles_of_height::<F, S, _, HIGHEST>(simd, Sparse(*segment, live), rows, columns, place),
            ([segment], None) if narrow && left >= TALL => tiles_of::<F, S, _, TALL, 1>(simd, One(*segment), rows, column, place),
            _ if narrow && left >= TALL => tiles_of::<F, S, _, TALL, 1>(simd, segments, rows, column, place),
            ([segment], None) if left >= HIGHEST => tiles_of_height::<F, S, _, HIGHEST>(simd, One(*segment), rows, columns, place),
            _ => match left {
                HIGHEST.. => tiles_of_height::<F, S, _, HIGHEST>(simd, segments, rows, columns, place),
                4.. => tiles_of_height::<F, S, _, 4>(simd, segments, rows, columns, place),
                2.. => tiles_of_height::<F, S, _, 2>(simd, segments, rows, columns, place),
                _ => tiles_of_height::<F, S, _, 1>(simd, segments, rows, columns, place),
            },
        }
    }
}

/// Those of ROWS rows.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn tiles_of_height<F: Float, S: Simd, C: Cut<F>, const ROWS: usize>(
    simd: S,
    cut: C,
    rows: (usize, usize),
    (column, vectors): (usize, usize),
    place: Place<F>,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match (S::f32s::LEN == 16, vectors) {
            (true, 4) => tiles_of::<F, S, C, ROWS, 4>(simd, cut, rows, column, place),
            (true, 2) => tiles_of::<F, S, C, ROWS, 2>(simd, cut, rows, column, place),
            _ => tiles_of::<F, S, C, ROWS, 1>(simd, cut, rows, column, place),
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
    const { assert!(VECTORS * F::LANES <= WIDEST, "a tile's columns fit where edges are made") };
    let rows = left / ROWS * ROWS;
    simd.vectorize(
        #[inline(always)]
        move || {
            for (t, down) in (0..rows).step_by(ROWS).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { tile::<F, S, ROWS, VECTORS>(simd, cut.segments(), first + down, column, place.below(down), cut.live(t)) };
            }
        },
    );
    rows
}

/// One tile, of which only the columns `live` of A are looked at where they are given. Its loops over sums have a tile's shape for bounds and nothing to decide within, so
/// that sums are registers throughout.
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
    debug_assert!(!place.started || place.stride >= VECTORS * F::LANES, "rows that overlap would be started anew");
    let mut sums = [[F::Lanes::splat(simd, F::ZERO); VECTORS]; ROWS];
    if place.started {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *sum = unsafe { vector(simd, place.at(i, v)) };
            }
        }
    } else {
        for i in 0..ROWS {
            // A row of C is a page or more from the next, so no processor foresees where the sums will go, and a gradient's place is seldom in its caches.
            prefetch_to_write(place.at(i, 0));
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
    if place.sparse {
        for sum in sums.as_flattened_mut() {
            *sum += F::ZERO;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { put_down(simd, sums, place) };
}

/// Finishes a tile's sums and stores them.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn put_down<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    mut sums: [[Lanes<F, S>; VECTORS]; ROWS],
    place: Place<F>,
) {
    if let Some(bias) = place.bias {
        // SAFETY: the caller's promise.
        let bias: [_; VECTORS] = std::array::from_fn(|v| unsafe { vector(simd, bias.wrapping_add(v * F::LANES)) });
        for sums in &mut sums {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
        }
        if place.relu {
            for sum in sums.as_flattened_mut() {
                *sum = Activation::Relu.lanes::<F, S>(simd, *sum)[0];
            }
        }
    }
    if let Some(slope) = place.slope {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *sum *= unsafe { slope.after(i * place.stride + v * F::LANES).vector(simd) };
            }
        }
    }
    // From the first row on, as the next may have to overwrite what goes past this one's end.
    for (i, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            sum.store_slice(unsafe { std::slice::from_raw_parts_mut(place.at(i, v), F::LANES) });
        }
    }
}

/// The innermost loop, once for either way that A stands: with both strides free, addresses would take registers from the sums.
///
/// # Safety
/// `a.add(i · s.a_row + k · s.a_k)` for i < ROWS, and a vector from each `b.add(v · b_panel + k · b_k)` on for v < VECTORS, must be readable for k < `s.depth`.
#[inline(always)]
unsafe fn chain<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    a: *const F,
    b: *const F,
    ahead: *const F,
) {
    // SAFETY: the caller's promise; one of the strides is 1.
    unsafe {
        if s.a_k == 1 {
            turns(simd, sums, s, (a, s.a_row, 1), b, ahead);
        } else {
            debug_assert!(ROWS == 1 || s.a_row == 1);
            turns(simd, sums, s, (a, 1, s.a_k), b, ahead);
        }
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
    let mut held = *sums;
    let turns = live.chunks_exact(UNROLLED);
    let rest = turns.remainder();
    for turn in turns {
        for &k in turn {
            // SAFETY: the caller's promise.
            unsafe { leap(simd, &mut held, s, a, b, k) };
        }
    }
    for &k in rest {
        // SAFETY: the caller's promise.
        unsafe { leap(simd, &mut held, s, a, b, k) };
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
    a: *const F,
    b: *const F,
    k: u16,
) {
    let k = usize::from(k);
    // SAFETY: the caller's promise.
    unsafe { step(simd, sums, (a.wrapping_add(k), s.a_row), (b.wrapping_add(k * s.b_k), s.b_panel)) };
}

/// A multiply-add to every sum for each k. A begins at `a`, and has its rows `a_row` and its columns `a_k` apart. A part of the next tile's columns of B
/// is asked for, from `ahead` on.
///
/// # Safety
/// As [`chain`].
#[inline(always)]
unsafe fn turns<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    (mut a, a_row, a_k): (*const F, usize, usize),
    mut b: *const F,
    mut ahead: *const F,
) {
    let Segment { b_k, b_panel, depth, .. } = *s;
    let mut held = *sums;
    for _ in 0..depth / UNROLLED {
        for v in 0..VECTORS {
            prefetch(ahead.wrapping_add(v * b_panel));
        }
        ahead = opaque(ahead.wrapping_add(b_k));
        for k in 0..UNROLLED {
            // SAFETY: the caller's promise.
            unsafe { step(simd, &mut held, (a.wrapping_add(k * a_k), a_row), (b, b_panel)) };
            b = opaque(b.wrapping_add(b_k));
        }
        a = opaque(a.wrapping_add(UNROLLED * a_k));
    }
    for k in 0..depth % UNROLLED {
        // SAFETY: the caller's promise.
        unsafe { step(simd, &mut held, (a.wrapping_add(k * a_k), a_row), (b.wrapping_add(k * b_k), b_panel)) };
    }
    *sums = held;
}

/// One multiply-add to every sum: A's numbers stand `row` apart from `a` on, B's vectors `panel` apart from `b` on.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn step<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    (a, row): (*const F, usize),
    (b, panel): (*const F, usize),
) {
    // SAFETY: the caller's promise.
    let columns: [_; VECTORS] = std::array::from_fn(|v| unsafe { vector(simd, b.wrapping_add(v * panel)) });
    for (i, sums) in sums.iter_mut().enumerate() {
        // Four rows share a register for their address, as an instruction can add to it one, two or, from another register, three strides.
        let four = a.wrapping_add(i / 4 * 4 * row);
        // SAFETY: the caller's promise.
        let x = F::Lanes::splat(simd, unsafe { *four.wrapping_add(i % 4 * row) });
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
