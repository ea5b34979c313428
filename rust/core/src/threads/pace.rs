//! Whether calls follow each other closely, as in a loop, so that the pool's threads have not yet gone to sleep.
//!
//! A guess that only time depends on: who shares out a call and who does not get the same bits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Within this time one call follows on another, and threads look out for the next.
pub(super) const CLOSE: Duration = Duration::from_micros(100);

const CLOSE_NANOS: u64 = CLOSE.as_nanos() as u64;

/// When the last call ended; 0 before the first.
static LAST_END: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since some moment before.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // Half a thousand years of nanoseconds fit.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + CLOSE_NANOS + 1
}

/// Whether another call ended just now.
pub(super) fn follows() -> bool {
    now().saturating_sub(LAST_END.load(Ordering::Relaxed)) < CLOSE_NANOS
}

/// Notes the end of a call when dropped.
pub(super) struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        LAST_END.store(now(), Ordering::Relaxed);
    }
}
