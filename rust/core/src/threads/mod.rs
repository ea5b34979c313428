//! The thread pool, the only way work is shared out, and the flag that stops it.
//!
//! Contract. Work is cut by rows into ranges, each written by one thread; no sum ever crosses a range, so results do not depend on
//! the number of threads or on the cuts. The calling thread takes part and never waits for one that is still asleep; the others look out for the next call for a tenth of a
//! millisecond before they sleep. The pool is our own, made on first use, and sized by
//! [`set_num_threads`], else by the environment variables `ELBOKIT_NUM_THREADS` and `OMP_NUM_THREADS`, else by the processors that affinity and cgroup quota
//! leave to the process. Small work stays on the calling thread and never makes a pool. A forked child makes a pool of its own. Not promised: an order in which ranges run.
//!
//! ```
//! use elbokit_core::threads::{RowsMut, for_rows};
//!
//! let mut squares = vec![0; 1000];
//! for_rows(1000, 1, RowsMut::new(&mut squares, 1), &|rows, out: RowsMut<u64>| {
//!     for (row, square) in rows.zip(out.data) {
//!         *square = (row * row) as u64;
//!     }
//! });
//! assert_eq!(squares[30], 900);
//! ```

mod pace;
mod share;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use share::Pool;

/// Nanoseconds of work from which a call is always shared out: a thread that sleeps needs about a tenth of a millisecond to be of use.
pub const PARALLEL_WORK: usize = 120_000;
/// The same for a call that follows closely on another, whose threads are still awake.
const FOLLOWING_WORK: usize = 10_000;
/// The same where the other threads are awake and wait for work.
const AWAKE_WORK: usize = 5_000;
/// Nanoseconds of work worth a range of its own.
const TASK_WORK: usize = 2_000;

static NUM_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets the number of threads that kernels may use; the pool is made anew when it is next needed.
///
/// # Errors
/// [`Error::Value`] for 0 or for more than 1024 threads.
pub fn set_num_threads(n: usize) -> Result<()> {
    if n == 0 || n > 1024 {
        return Err(Error::value("n", "1 to 1024 threads", n, "use 1 for the calling thread alone"));
    }
    NUM_THREADS.store(n, Ordering::Relaxed);
    Ok(())
}

/// The number of threads that kernels may use.
#[must_use]
pub fn num_threads() -> usize {
    match NUM_THREADS.load(Ordering::Relaxed) {
        0 => {
            // OpenMP gives one number a level of nesting; the first is the outermost's.
            let from = |name| std::env::var(name).ok()?.split(',').next()?.trim().parse().ok().filter(|n| (1..=1024).contains(n));
            let n = from("ELBOKIT_NUM_THREADS")
                .or_else(|| from("OMP_NUM_THREADS"))
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
            NUM_THREADS.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}

/// A process's pool. After a fork the child has the memory but none of the threads, and perhaps a lock that a lost thread holds, so
/// a slot belongs to one process and the child leaves its parent's slot alone.
struct Slot {
    process: u32,
    pool: Mutex<Option<Arc<Pool>>>,
}

static SLOT: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

fn slot() -> &'static Slot {
    let process = std::process::id();
    let current = SLOT.load(Ordering::Acquire);
    // SAFETY: the pointer is null or came from `Box::into_raw` below, and no slot is ever freed.
    if let Some(slot) = unsafe { current.as_ref() }
        && slot.process == process
    {
        return slot;
    }
    let fresh = Box::into_raw(Box::new(Slot { process, pool: Mutex::new(None) }));
    match SLOT.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `fresh` was just made and is never freed.
        Ok(_) => unsafe { &*fresh },
        Err(theirs) => {
            // SAFETY: nobody else has seen `fresh`.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: another thread of this process has just stored this slot; slots are never freed.
            unsafe { &*theirs }
        }
    }
}

/// The pool of this process, or `None` where one thread is asked for or threads cannot be made.
fn pool() -> Option<Arc<Pool>> {
    let threads = num_threads();
    if threads == 1 {
        return None;
    }
    let mut held = slot().pool.lock().unwrap_or_else(PoisonError::into_inner);
    if held.as_ref().is_none_or(|pool| pool.num_threads() != threads) {
        *held = Pool::new(threads).map(Arc::new);
    }
    held.clone()
}

/// A flag that a long call polls between steps.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    /// Asks the call to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Interrupted`] once [`raise`](Self::raise) was called.
    pub fn poll(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Runs `f` on a thread of its own while the calling thread runs `watch` every 50 ms: how the thread that hears a signal stays free
/// to hear it. `watch` raises the flag that `f` polls. Where no thread can be made, `f` runs on the calling thread, unwatched.
///
/// # Panics
/// If `f` panics.
pub fn watched<R: Send>(f: impl FnOnce() -> R + Send, mut watch: impl FnMut()) -> R {
    // A refused thread would take `f` with it.
    let held = Mutex::new(Some(f));
    let run = || {
        let f = held.lock().unwrap_or_else(PoisonError::into_inner).take();
        f.map(|f| f())
    };
    let result = std::thread::scope(|scope| {
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let run = &run;
        let worker = std::thread::Builder::new().spawn_scoped(scope, move || {
            // Dropped when `f` ends, by return or by panic.
            let _done = done;
            run()
        });
        let Ok(worker) = worker else { return run() };
        while finished.recv_timeout(std::time::Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
            watch();
        }
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    result.unwrap_or_else(|| unreachable!("one thread takes `f`"))
}

/// Arrays that can be cut at a row into two parts that do not overlap.
pub trait Outputs: Send + Sized {
    /// The rows before `row`, and the rest.
    fn split_at(self, row: usize) -> (Self, Self);
}

/// A writable array of rows, each `width` numbers.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    /// The numbers, row after row.
    pub data: &'a mut [T],
    /// Numbers a row.
    pub width: usize,
}

impl<'a, T> RowsMut<'a, T> {
    /// Views a slice as rows.
    pub fn new(data: &'a mut [T], width: usize) -> Self {
        Self { data, width }
    }

    /// One row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.width..][..self.width]
    }
}

impl<T: Send> Outputs for RowsMut<'_, T> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = self.data.split_at_mut(row * self.width);
        (Self { data: low, width: self.width }, Self { data: high, width: self.width })
    }
}

impl<O: Outputs> Outputs for Option<O> {
    fn split_at(self, row: usize) -> (Self, Self) {
        self.map_or((None, None), |o| {
            let (low, high) = o.split_at(row);
            (Some(low), Some(high))
        })
    }
}

impl<O: Outputs, const N: usize> Outputs for [O; N] {
    fn split_at(self, row: usize) -> (Self, Self) {
        let mut highs = Vec::with_capacity(N);
        let lows = self.map(|o| {
            let (low, high) = o.split_at(row);
            highs.push(high);
            low
        });
        let mut highs = highs.into_iter();
        // One high part was pushed for each low one.
        let highs = std::array::from_fn(|_| highs.next().unwrap_or_else(|| unreachable!()));
        (lows, highs)
    }
}

impl<A: Outputs, B: Outputs> Outputs for (A, B) {
    fn split_at(self, row: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.split_at(row), self.1.split_at(row));
        ((a, b), (c, d))
    }
}

impl Outputs for () {
    fn split_at(self, _row: usize) -> (Self, Self) {
        ((), ())
    }
}

/// About the nanoseconds of a row whose float32 elements cost `work` each; those of float64 are half as many a vector.
pub(crate) fn row_work<F>(width: usize, work: f64) -> usize {
    const ROW: usize = 4;
    ROW + (width as f64 * work * (size_of::<F>() / 4) as f64) as usize
}

/// Calls `body` on ranges that together cover `0..rows`, each with its part of `out`; on several threads where the rows, each `work` nanoseconds
/// or about that on one core, are work enough: less of it where this call follows closely on another.
pub fn for_rows<O: Outputs, B: Fn(Range<usize>, O) + Sync>(rows: usize, work: usize, out: O, body: &B) {
    let all = rows.saturating_mul(work);
    if rows <= 1 || all < FOLLOWING_WORK {
        return body(0..rows, out);
    }
    // Within a call that is shared out already only much work is worth sharing.
    let inside = share::inside();
    let _ends = (!inside).then(|| pace::Ends);
    if all < PARALLEL_WORK && (inside || !pace::follows()) {
        return body(0..rows, out);
    }
    // Some ranges a thread even out noise; more only add their own cost.
    share_out(rows, (TASK_WORK / work).max(rows / (8 * num_threads())).max(1), out, body);
}

/// As [`for_rows`], for the parts of a long loop, which follow each other so closely that no thread falls asleep between them: work is shared out row by row
/// from where it is worth a look around.
pub fn for_rows_awake<O: Outputs, B: Fn(Range<usize>, O) + Sync>(rows: usize, work: usize, out: O, body: &B) {
    if rows <= 1 || rows.saturating_mul(work) < AWAKE_WORK || share::inside() {
        return body(0..rows, out);
    }
    share_out(rows, 1, out, body);
}

fn share_out<O: Outputs, B: Fn(Range<usize>, O) + Sync>(rows: usize, grain: usize, out: O, body: &B) {
    match pool() {
        Some(pool) => pool.share(0..rows, grain, out, body),
        None => body(0..rows, out),
    }
}
