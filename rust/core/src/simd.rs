//! Lanes, and the one place where the processor's level is chosen.
//!
//! Contract. Every kernel is written for sixteen logical float32 lanes (eight of float64) whatever the hardware, as one body
//! generic over [`Simd`]; [`dispatch`] picks the best level of the processor once a call and runs the body compiled for it.
//! All levels give the same bits: only correctly rounded operations are used (`+ − × ÷ √`, conversions, comparisons and the
//! truly fused [`Fused::fma`]), never an approximate instruction, and never an order of operations that depends on the
//! hardware's width. Not promised: speed at the baseline level of x86-64, where
//! fusion is emulated.
//!
//! ```
//! use elbokit_core::simd::{Kernel, Simd, SimdBase, dispatch, f32x16};
//!
//! struct Double<'a>(&'a mut [f32; 16]);
//! impl Kernel for Double<'_> {
//!     type Output = ();
//!     #[inline(always)]
//!     fn run<S: Simd>(self, simd: S) {
//!         let x = f32x16::from_slice(simd, self.0);
//!         (x + x).store_slice(self.0);
//!     }
//! }
//! let mut x = [1.5; 16];
//! dispatch(Double(&mut x));
//! assert_eq!(x, [3.0; 16]);
//! ```

use std::any::TypeId;
use std::sync::atomic::{AtomicU8, Ordering};

pub use fearless_simd::prelude::*;
pub use fearless_simd::{Simd, f32x4, f32x8, f32x16, f64x4, f64x8, u32x16, u64x8};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of the architecture has: 128-bit vectors without fusion on x86-64.
    Baseline = 0,
    /// 128-bit vectors of aarch64.
    Neon = 1,
    /// 256-bit vectors with fused multiply-add (x86-64-v3).
    Avx2 = 2,
    /// 512-bit vectors of the Ice Lake class.
    Avx512 = 3,
}

impl Level {
    /// The level's name as [`ELBOKIT_SIMD`](level) spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Baseline];
}

/// The multiply-add of every kernel, rounded once at every level.
pub trait Fused<S: Simd>: SimdFloat<S> {
    /// `self · a + b`, rounded once.
    #[must_use]
    fn fma(self, a: impl SimdInto<Self, S>, b: impl SimdInto<Self, S>) -> Self;
}

impl<S: Simd, V: SimdFloat<S>> Fused<S> for V {
    #[inline(always)]
    fn fma(self, a: impl SimdInto<Self, S>, b: impl SimdInto<Self, S>) -> Self {
        let token = self.token();
        apart(
            token,
            (self, a.simd_into(token), b.simd_into(token)),
            #[inline(always)]
            |_, (x, a, b): (Self, Self, Self)| x.mul_add_precise(a, b),
        )
    }
}

/// `f` of x, lanes or a slice of them: a call at the level where fusion is emulated, which would otherwise be larger than all others together, and inlined elsewhere.
#[inline(always)]
pub(crate) fn apart<S: Simd, X, R>(simd: S, x: X, f: impl FnOnce(S, X) -> R) -> R {
    if fuses::<S>() { f(simd, x) } else { called(simd, x, f) }
}

/// Whether the level has a fused multiply-add: aarch64's baseline is NEON, which has.
#[inline(always)]
pub(crate) fn fuses<S: Simd>() -> bool {
    cfg!(target_arch = "aarch64") || TypeId::of::<S>() != TypeId::of::<Baseline>()
}

#[inline(never)]
fn called<S: Simd, X, R>(simd: S, x: X, f: impl FnOnce(S, X) -> R) -> R {
    f(simd, x)
}

/// An array as a slice whose length the compiler does not know, so that it does not unroll a loop over few elements whole and keep them in registers that the loop's body needs.
/// For speed and size alone: nothing depends on it.
#[inline(always)]
pub(crate) fn not_unrolled<T>(array: &mut [T]) -> &mut [T] {
    std::hint::black_box(array)
}

/// The same address, as one of which the compiler knows nothing, and so cannot make a chain of sums or a register of its own of each place that is reached from it. For speed alone.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // The address is passed on, and nothing read from it.
pub(crate) fn opaque<T>(at: *const T) -> *const T {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let mut at = at;
        // SAFETY: no instruction at all, only a comment that names the register.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
        at
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    at
}

/// Row l of the result holds lane l of every row; there are as many rows as lanes.
#[inline(always)]
pub(crate) fn transposed<S: Simd, V: SimdBase<S>, const N: usize>(mut rows: [V; N]) -> [V; N] {
    // Each round interleaves row r with row r + N/2; as many rounds as a row's number has bits exchange them with those of the lane's.
    for _ in 0..N.ilog2() {
        let before = rows;
        for r in 0..N / 2 {
            (rows[2 * r], rows[2 * r + 1]) = before[r].interleave(before[r + N / 2]);
        }
    }
    rows
}

/// A body to be compiled once for each level.
pub trait Kernel {
    /// What the body returns.
    type Output;
    /// The body; mark the implementation `#[inline(always)]`, or it is compiled for the baseline instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Every level that this processor runs, best first; [`Level::Baseline`] is always last.
#[must_use]
pub fn levels() -> Vec<Level> {
    Level::ALL.into_iter().filter(|&l| available(l)).collect()
}

#[cfg(target_arch = "x86_64")]
fn available(level: Level) -> bool {
    let best = fearless_simd::Level::new();
    match level {
        Level::Avx512 => best.as_avx512().is_some(),
        Level::Avx2 => best.as_avx2().is_some(),
        Level::Neon => false,
        Level::Baseline => true,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn available(level: Level) -> bool {
    level == Level::Baseline || (level == Level::Neon && cfg!(target_arch = "aarch64"))
}

// Not fearless_simd's scalar fallback, whose lanes are sixteen scalars: it takes the compiler twenty times as long as all other levels
// together (74 s against 4 s for `kl_grad` alone).
/// The token of [`Level::Baseline`].
#[cfg(target_arch = "x86_64")]
type Baseline = fearless_simd::x86::Sse2;
/// The token of [`Level::Baseline`]; aarch64 has NEON everywhere.
#[cfg(target_arch = "aarch64")]
type Baseline = fearless_simd::aarch64::Neon;
/// The token of [`Level::Baseline`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Baseline = fearless_simd::Fallback;

const UNSET: u8 = u8::MAX;
static IN_FORCE: AtomicU8 = AtomicU8::new(UNSET);

/// The level that kernels run at: the best of the processor, or the one named by the environment variable `ELBOKIT_SIMD`
/// (`baseline`, `neon`, `avx2`, `avx512`; ignored where the processor lacks it), read on first use.
#[must_use]
pub fn level() -> Level {
    // A list to search would cost more than the rest of a call's dispatch.
    match IN_FORCE.load(Ordering::Relaxed) {
        0 => Level::Baseline,
        1 => Level::Neon,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => detect(),
    }
}

#[cold]
fn detect() -> Level {
    let found = levels();
    let wanted = std::env::var("ELBOKIT_SIMD").unwrap_or_default();
    let level = found.iter().copied().find(|l| l.name() == wanted).unwrap_or(found[0]);
    IN_FORCE.store(level as u8, Ordering::Relaxed);
    level
}

/// Runs `f` with every kernel of the process at `level`, for tests that compare levels by bytes. Work that other threads do
/// meanwhile may run at this level too; by the contract its bits do not change.
///
/// # Panics
/// If the processor lacks the level.
pub fn with_level<R>(level: Level, f: impl FnOnce() -> R) -> R {
    /// Sets the level back when dropped, by return or by panic.
    struct Before(Level);
    impl Drop for Before {
        fn drop(&mut self) {
            IN_FORCE.store(self.0 as u8, Ordering::Relaxed);
        }
    }
    assert!(levels().contains(&level), "this processor has no {}", level.name());
    let _before = Before(self::level());
    IN_FORCE.store(level as u8, Ordering::Relaxed);
    f()
}

/// Asks for the cache line of a number that will soon be read, which may lie past any array's end; elsewhere than on x86-64 nothing is done.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which may name any address at all.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// [`prefetch`] of all lines of `len` numbers.
#[inline(always)]
pub(crate) fn prefetch_all<T>(from: *const T, len: usize) {
    const LINE: usize = 64;
    for at in (0..len * size_of::<T>()).step_by(LINE) {
        prefetch(from.wrapping_byte_add(at));
    }
    // The first need not begin a line, and the last then is one more.
    prefetch(from.wrapping_add(len).wrapping_byte_sub(1));
}

/// As [`prefetch`], for a number that will soon be written to: of a line that is asked for by it other cores lose their copies.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint, which may name any address at all.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// How many numbers ahead a loop over long arrays asks for what it will read, 2 KiB of each: what a processor asks for by itself
/// did not hide the waits for memory behind the arithmetic. Beyond the caches kernels took 0.73 to 0.84 of their
/// time by it (two cores of an Intel Xeon with AVX-512: divergence, Bernoulli and Gaussian rows of 25 to 34 MB an array); in the caches it costs nothing that could be measured.
pub(crate) const fn ahead<F>() -> usize {
    2048 / size_of::<F>()
}

/// [`prefetch`] where it can make a kernel faster: not where fusion is emulated.
#[inline(always)]
pub(crate) fn ask_for<S: Simd, T>(_simd: S, at: *const T) {
    if fuses::<S>() {
        prefetch(at);
    }
}

/// Runs a kernel at the [`level`] in force.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    let best = fearless_simd::Level::new();
    #[cfg(target_arch = "x86_64")]
    {
        let level = level();
        if level == Level::Avx512
            && let Some(token) = best.as_avx512()
        {
            return enter(token, kernel);
        }
        if level >= Level::Avx2
            && let Some(token) = best.as_avx2()
        {
            return enter(token, kernel);
        }
    }
    enter(baseline(best), kernel)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn baseline(best: fearless_simd::Level) -> Baseline {
    match best.as_sse2() {
        Some(token) => token,
        None => unreachable!("SSE2 is part of x86-64"),
    }
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn baseline(best: fearless_simd::Level) -> Baseline {
    match best.as_neon() {
        Some(token) => token,
        None => unreachable!("NEON is part of aarch64"),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn baseline(_best: fearless_simd::Level) -> Baseline {
    fearless_simd::Fallback::new()
}

/// The only frame that switches instruction sets: everything below it is inlined into it.
#[inline(never)]
pub(crate) fn enter<S: Simd, K: Kernel>(simd: S, kernel: K) -> K::Output {
    simd.vectorize(
        #[inline(always)]
        || kernel.run(simd),
    )
}
