//! The k-hat of a stream of log weights: of them the tail alone is kept.

use std::cmp::Ordering;

use super::psis::{Row, longest};

/// The largest of one row's log weights, as they come.
///
/// ```
/// use elbokit_core::bound::{Tail, khat};
///
/// let log_weights: Vec<f64> = (0..400).map(|i| f64::from(i * i % 401).sin()).collect();
/// let mut tail = Tail::new(400);
/// log_weights.chunks(160).for_each(|block| tail.push(block));
/// let mut at_once = [0.0];
/// khat(&log_weights, 1.0, &mut at_once)?;
/// assert_eq!(tail.khat(f64::EPSILON), at_once[0]);
/// # Ok::<(), elbokit_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tail {
    particles: usize,
    /// Numbers that have to be kept: the tail and the next one.
    needed: usize,
    kept: Vec<f64>,
    /// What is not above it is not kept; NaN before anything was left out.
    floor: f64,
}

impl Tail {
    /// For a row of `particles`.
    #[must_use]
    pub fn new(particles: usize) -> Self {
        Self { particles, needed: longest(particles) + 1, kept: Vec::new(), floor: f64::NAN }
    }

    /// Takes log weights, none of them NaN.
    pub fn push(&mut self, mut log_weights: &[f64]) {
        while !log_weights.is_empty() {
            let before = self.kept.len();
            let (now, later) = log_weights.split_at(log_weights.len().min(2 * self.needed - before));
            log_weights = later;
            self.kept.resize(before + now.len(), 0.0);
            // Each is written, and by the next one over if it is not kept: no branch that nothing foretells.
            let mut len = before;
            for &w in now {
                self.kept[len] = w;
                len += usize::from(!matches!(w.partial_cmp(&self.floor), Some(Ordering::Less | Ordering::Equal)));
            }
            self.kept.truncate(len);
            if len == 2 * self.needed {
                let (_, floor, _) = self.kept.select_nth_unstable_by(self.needed - 1, |a, b| b.total_cmp(a));
                self.floor = *floor;
                self.kept.truncate(self.needed);
            }
        }
    }

    /// The k-hat of all particles, as [`khat`](super::khat) has it; +∞ beside a weight of +∞. `epsilon` is that of the type in which the log weights were rounded.
    ///
    /// # Panics
    /// Before all particles were taken.
    #[must_use]
    pub fn khat(&self, epsilon: f64) -> f64 {
        let mut row = Row::default();
        row.gather(self.kept.iter().copied(), 1.0);
        row.fit(self.particles, epsilon, None)
    }
}
