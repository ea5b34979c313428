//! One call's ranges, taken one after another by the calling thread and by the pool's threads as they wake.
//!
//! Contract. The calling thread works too, and waits only for threads that have begun a range: one that wakes when all is done finds the door
//! closed. So sharing work out costs a signal, and a pool that wakes late costs nothing more.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use super::Outputs;

/// Calls `body` on ranges of `grain` rows that together cover `rows`, each with its part of `out`, here and on up to `helpers` threads of the pool.
pub(super) fn share<O: Outputs, B: Fn(Range<usize>, O) + Sync>(
    pool: &rayon::ThreadPool,
    helpers: usize,
    rows: Range<usize>,
    grain: usize,
    out: O,
    body: &B,
) {
    let segments = Segments::new(rows, out, helpers + 1, grain);
    let work = |own| {
        while let Some((range, part)) = segments.take(own) {
            body(range, part);
        }
    };
    let door = Arc::new(Door { state: AtomicUsize::new(0), caller: std::thread::current(), panic: Mutex::new(None) });
    let task = Task::new(&work);
    for _ in 0..helpers {
        let door = Arc::clone(&door);
        pool.spawn(move || door.pass(task, 1 + rayon::current_thread_index().unwrap_or(0) % helpers));
    }
    let closing = Closing(&door);
    work(0);
    drop(closing);
    let panic = door.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// The rows of a call, cut into a segment for each thread, so that a call that follows on the same arrays finds them in the same threads' caches.
/// A thread that is done with its own takes from the far end of another's.
struct Segments<O> {
    grain: usize,
    rest: Vec<Mutex<Rest<O>>>,
}

/// What is left of a segment, with its part of the outputs.
type Rest<O> = Option<(Range<usize>, O)>;

impl<O: Outputs> Segments<O> {
    fn new(rows: Range<usize>, out: O, threads: usize, grain: usize) -> Self {
        let mut rest = Vec::with_capacity(threads);
        let (mut rows, mut out) = (rows, out);
        for left in (2..=threads).rev() {
            let len = rows.len() / left;
            let (low, high) = out.split_at(len);
            rest.push(Mutex::new(Some((rows.start..rows.start + len, low))));
            (rows.start, out) = (rows.start + len, high);
        }
        rest.push(Mutex::new(Some((rows, out))));
        Self { grain, rest }
    }

    /// The next range for a thread, and its part of the outputs.
    fn take(&self, own: usize) -> Option<(Range<usize>, O)> {
        let others = (own + 1..self.rest.len()).chain(0..own);
        self.cut(own, true).or_else(|| others.into_iter().find_map(|other| self.cut(other, false)))
    }

    /// One grain of a segment, from its low end or its high one.
    fn cut(&self, segment: usize, low_end: bool) -> Option<(Range<usize>, O)> {
        let mut rest = self.rest[segment].lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, out) = rest.take()?;
        if rows.len() <= self.grain {
            return Some((rows, out));
        }
        let len = if low_end { self.grain } else { rows.len() - self.grain };
        let middle = rows.start + len;
        let (low, high) = out.split_at(len);
        let (low, high) = ((rows.start..middle, low), (middle..rows.end, high));
        let (taken, left) = if low_end { (low, high) } else { (high, low) };
        *rest = Some(left);
        Some(taken)
    }
}

/// The work of a call that may be over when this is looked at.
#[derive(Clone, Copy)]
struct Task(*const (dyn Fn(usize) + Sync));

// SAFETY: what is pointed to is `Sync`, and only followed between the two counts of `Door::pass`.
unsafe impl Send for Task {}

impl Task {
    #[allow(clippy::transmute_ptr_to_ptr, reason = "a cast cannot lengthen a lifetime")]
    fn new<'a>(work: &'a (dyn Fn(usize) + Sync + 'a)) -> Self {
        // SAFETY: only the lifetime changes. The pointer is followed by threads inside the door alone, and the call, which the work outlives, waits for them.
        Self(unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + 'a), *const (dyn Fn(usize) + Sync + 'static)>(work) })
    }
}

/// Between a call and the threads that may come to help it.
struct Door {
    /// Twice the number of threads inside, and 1 once the door is closed.
    state: AtomicUsize,
    caller: Thread,
    /// What a thread inside panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Door {
    const CLOSED: usize = 1;
    const THREAD: usize = 2;

    /// Does the work as the thread of segment `own`, unless the call is over.
    fn pass(&self, task: Task, own: usize) {
        if self.state.fetch_add(Self::THREAD, Ordering::Acquire) & Self::CLOSED == 0 {
            // SAFETY: this thread is inside, so the call has not returned.
            let work = unsafe { &*task.0 };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(own))) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        if self.state.fetch_sub(Self::THREAD, Ordering::Release) == Self::THREAD + Self::CLOSED {
            self.caller.unpark();
        }
    }
}

/// Closes the door when dropped, by return or by panic, and waits until nobody is inside.
struct Closing<'a>(&'a Door);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        /// Looks before sleeping: about the time that a thread needs to wake.
        const LOOKS: usize = 2000;
        let door = self.0;
        door.state.fetch_or(Door::CLOSED, Ordering::Relaxed);
        let mut looks = 0;
        while door.state.load(Ordering::Acquire) != Door::CLOSED {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                std::thread::park();
            }
        }
    }
}
