//! Where rows come from: any array of numbers, converted row by row as a batch is gathered, never copied as a whole.
//!
//! ```
//! use elbokit_core::vae::{Matrix, Source};
//!
//! let counts = Matrix::new(&[1_u8, 2, 3, 4, 5, 6], 3);
//! let mut row = [0.0_f32; 3];
//! counts.copy_row(1, &mut row);
//! assert_eq!(row, [4.0, 5.0, 6.0]);
//! ```

use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::fitting;
use crate::simd::{ahead, prefetch_all};

/// Rows that can be read as `F` in any order, by several threads at once.
pub trait Source<F>: Sync {
    /// How many rows.
    fn rows(&self) -> usize;
    /// Numbers a row.
    fn width(&self) -> usize;
    /// Writes row `row` to `out`, [`width`](Self::width) numbers.
    ///
    /// # Panics
    /// If there is no such row.
    fn copy_row(&self, row: usize, out: &mut [F]);
    /// Writes rows `rows` to `out`, one after another.
    ///
    /// # Panics
    /// If one of them is not there.
    fn copy_rows(&self, rows: &[u32], out: &mut [F]) {
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(self.width())) {
            self.copy_row(row as usize, out);
        }
    }
    /// Numbers of each row's condition; 0 where rows have none.
    fn condition_width(&self) -> usize {
        0
    }
    /// Writes the condition of row `row` to `out`, [`condition_width`](Self::condition_width) numbers.
    ///
    /// # Panics
    /// If there is no such row.
    fn copy_condition(&self, _row: usize, _out: &mut [F]) {}
}

/// An element type that a data set may have.
pub trait Element: Copy + Sync {
    /// The nearest number of the model's type.
    fn convert<F: Float>(self) -> F;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            #[inline(always)]
            #[allow(clippy::cast_lossless, reason = "one body for all types")]
            fn convert<F: Float>(self) -> F {
                // Rounded once: int64 by way of float64 would be rounded twice on its way to float32.
                F::from_f64(if size_of::<F>() == 4 { self as f32 as f64 } else { self as f64 })
            }
        }
    )*};
}

element!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

impl Element for bool {
    fn convert<F: Float>(self) -> F {
        if self { F::ONE } else { F::ZERO }
    }
}

/// A row-major array.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    width: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Views a slice as rows of `width` numbers; a last part of a row is left out.
    #[must_use]
    pub fn new(data: &'a [T], width: usize) -> Self {
        Self { data, width }
    }
}

impl<F: Float, T: Element> Source<F> for Matrix<'_, T> {
    fn rows(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.width
    }

    fn copy_row(&self, row: usize, out: &mut [F]) {
        for (out, x) in out.iter_mut().zip(&self.data[row * self.width..][..self.width]) {
            *out = x.convert();
        }
    }

    fn copy_rows(&self, rows: &[u32], out: &mut [F]) {
        /// Rows ahead that are asked for, which of a large array are in no cache.
        const AHEAD: usize = 8;
        // Of a long row as much as a loop asks for ahead.
        let beginning = self.width.min(ahead::<T>());
        let ask = |row: u32| prefetch_all(self.data.as_ptr().wrapping_add(row as usize * self.width), beginning);
        rows.iter().take(AHEAD).for_each(|&row| ask(row));
        for (i, (&row, out)) in rows.iter().zip(out.chunks_exact_mut(self.width)).enumerate() {
            if let Some(&next) = rows.get(i + AHEAD) {
                ask(next);
            }
            self.copy_row(row as usize, out);
        }
    }
}

/// Some rows of a source, in an order of their own.
#[derive(Clone, Copy)]
pub struct Subset<'a, F> {
    source: &'a dyn Source<F>,
    rows: &'a [u32],
}

impl<'a, F> Subset<'a, F> {
    /// Row r is row `rows[r]` of `source`, which panics when it is read if there is none.
    #[must_use]
    pub fn new(source: &'a dyn Source<F>, rows: &'a [u32]) -> Self {
        Self { source, rows }
    }
}

impl<F> Source<F> for Subset<'_, F> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn width(&self) -> usize {
        self.source.width()
    }

    fn copy_row(&self, row: usize, out: &mut [F]) {
        self.source.copy_row(self.rows[row] as usize, out);
    }

    fn copy_rows(&self, rows: &[u32], out: &mut [F]) {
        /// Rows that are looked up at a time, on the stack.
        const FEW: usize = 64;
        let mut chosen = [0; FEW];
        for (rows, out) in rows.chunks(FEW).zip(out.chunks_mut(FEW * self.width())) {
            for (chosen, &row) in chosen.iter_mut().zip(rows) {
                *chosen = self.rows[row as usize];
            }
            self.source.copy_rows(&chosen[..rows.len()], out);
        }
    }

    fn condition_width(&self) -> usize {
        self.source.condition_width()
    }

    fn copy_condition(&self, row: usize, out: &mut [F]) {
        self.source.copy_condition(self.rows[row] as usize, out);
    }
}

/// Rows with a condition each, from two sources.
#[derive(Clone, Copy)]
pub struct Conditioned<'a, F> {
    rows: &'a dyn Source<F>,
    condition: &'a dyn Source<F>,
}

impl<'a, F> Conditioned<'a, F> {
    /// Row r is row r of `rows`, and its condition row r of `condition`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of conditions than of rows.
    pub fn new(rows: &'a dyn Source<F>, condition: &'a dyn Source<F>) -> Result<Self> {
        if condition.rows() != rows.rows() {
            let expected = format!("{} rows", rows.rows());
            return Err(Error::shape("condition", expected, condition.rows(), "give one row for each row of x"));
        }
        Ok(Self { rows, condition })
    }
}

impl<F> Source<F> for Conditioned<'_, F> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn width(&self) -> usize {
        self.rows.width()
    }

    fn copy_row(&self, row: usize, out: &mut [F]) {
        self.rows.copy_row(row, out);
    }

    fn copy_rows(&self, rows: &[u32], out: &mut [F]) {
        self.rows.copy_rows(rows, out);
    }

    fn condition_width(&self) -> usize {
        self.condition.width()
    }

    fn copy_condition(&self, row: usize, out: &mut [F]) {
        self.condition.copy_row(row, out);
    }
}

/// An error of some rows of `source`; if a cell has no probability, the cure fits its whole column.
pub(super) fn of_whole_column<F: Float>(mut error: Error, source: &dyn Source<F>) -> Error {
    if let Error::Support { column, cure, .. } = &mut error {
        let mut row = vec![F::ZERO; source.width()];
        let cells = (0..source.rows()).map(|r| {
            source.copy_row(r, &mut row);
            row[*column].to_f64()
        });
        *cure = fitting(*column, cells);
    }
    error
}
