//! Arrays that begin at a cache line, so that no vector of a panel, or of rows of whole lines, lies across two: up to a tenth of a product's time.

use crate::float::Float;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// As many numbers as were asked for, which a copy has at a cache line too.
#[derive(Clone)]
pub struct Aligned<F> {
    lines: Vec<Line<F>>,
    len: usize,
}

/// One cache line of float32, two of float64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<F>([F; 16]);

impl<F: Float> Aligned<F> {
    /// `len` zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        const { assert!(size_of::<Line<F>>() == size_of::<[F; 16]>(), "numbers that leave no gap between lines") };
        Self { lines: vec![Line([F::ZERO; 16]); len.div_ceil(16)], len }
    }
}

impl<F> Deref for Aligned<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        // SAFETY: the lines are `len` numbers or more without gaps, as `zeros` has made sure.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<F> DerefMut for Aligned<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<F: fmt::Debug> fmt::Debug for Aligned<F> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins_at_a_line_and_holds_what_is_written<F: Float>() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut x = Aligned::<F>::zeros(len);
            x.iter_mut().enumerate().for_each(|(i, x)| *x = F::from_f64(i as f64));
            let copy = x.clone();
            drop(x);
            assert_eq!((copy.len(), copy.as_ptr().addr() % 64), (len, 0));
            assert!(copy.iter().enumerate().all(|(i, x)| *x == F::from_f64(i as f64)));
        }
    }

    #[test]
    fn begins_at_a_line_and_holds_what_is_written_of_both_types() {
        begins_at_a_line_and_holds_what_is_written::<f32>();
        begins_at_a_line_and_holds_what_is_written::<f64>();
    }
}
