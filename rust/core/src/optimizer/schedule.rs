//! Learning rates by step: a linear warm-up, then the rate as it is, or along half a cosine to 0.
//!
//! Steps t count from 0. For t < W the rate is r (t + 1) / W; from there r, or r ½ (1 + cos(π (t − W) / (T − W))), which would be 0 at step T
//! (Loshchilov and Hutter 2017, eq. 5, without restarts).
//!
//! ```
//! use elbokit_core::optimizer::Schedule;
//!
//! let schedule = Schedule { rate: 0.1, warmup: 2, cosine: Some(6) };
//! let rates = [0, 1, 2, 4, 6].map(|step| (1e3 * schedule.at(step)).round());
//! assert_eq!(rates, [50.0, 100.0, 100.0, 50.0, 0.0]);
//! ```

use std::f64::consts::PI;

/// The learning rate of every step of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// r, the largest rate.
    pub rate: f64,
    /// W, steps of warm-up.
    pub warmup: u64,
    /// T, the steps at which a cosine ends; `None` leaves the rate as it is.
    pub cosine: Option<u64>,
}

impl Schedule {
    /// One rate for all steps.
    #[must_use]
    pub const fn constant(rate: f64) -> Self {
        Self { rate, warmup: 0, cosine: None }
    }

    /// The rate of step `step`, counted from 0.
    #[must_use]
    pub fn at(self, step: u64) -> f64 {
        if step < self.warmup {
            return self.rate * ((step + 1) as f64 / self.warmup as f64);
        }
        match self.cosine {
            None => self.rate,
            Some(end) if step >= end => 0.0,
            Some(end) => {
                let turn = (step - self.warmup) as f64 / (end - self.warmup) as f64;
                self.rate * (0.5 * (1.0 + libm::cos(PI * turn)))
            }
        }
    }
}
