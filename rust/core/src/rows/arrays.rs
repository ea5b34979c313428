//! What a kernel over rows reads and writes.

use crate::float::Float;
use crate::threads::{Outputs, RowsMut};

/// An array that a kernel reads: row r starts at `data[((first + r) mod rows) · stride]`, so one row, or every particle's batch, can be read again
/// and again.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a, F> {
    data: &'a [F],
    stride: usize,
    rows: usize,
    first: usize,
}

impl<'a, F: Float> Input<'a, F> {
    /// Rows of `width` numbers, repeated where the kernel has more rows.
    #[must_use]
    pub fn rows(data: &'a [F], width: usize) -> Self {
        Self { data, stride: width, rows: data.len().checked_div(width).unwrap_or(0).max(1), first: 0 }
    }

    /// The columns from `column` on of rows of `stride` numbers.
    #[must_use]
    pub fn columns(data: &'a [F], stride: usize, column: usize) -> Self {
        Self { data: data.get(column..).unwrap_or_default(), ..Self::rows(data, stride) }
    }

    /// The same rows from row `first` on.
    #[must_use]
    pub fn after(self, first: usize) -> Self {
        Self { first: (self.first + first) % self.rows, ..self }
    }

    /// Whether every row of the kernel reads the same.
    #[must_use]
    pub fn is_one_row(&self) -> bool {
        self.rows == 1
    }

    /// Row `row` and all that follows it in memory.
    #[inline(always)]
    #[must_use]
    pub fn from(&self, row: usize) -> &'a [F] {
        &self.data[self.at(row)..]
    }

    fn at(&self, row: usize) -> usize {
        (self.first + row) % self.rows * self.stride
    }

    /// Its rows from row `row` on, one after another.
    #[inline(always)]
    pub(super) fn cursor(&self, row: usize) -> Cursor<'a, F> {
        Cursor { data: self.data, stride: self.stride, at: self.at(row), end: self.rows * self.stride }
    }
}

/// A place in an [`Input`] that starts again after the last row.
pub(super) struct Cursor<'a, F> {
    data: &'a [F],
    stride: usize,
    at: usize,
    end: usize,
}

impl<'a, F> Cursor<'a, F> {
    /// Whether every row is the same.
    #[inline(always)]
    pub(super) fn is_one_row(&self) -> bool {
        self.end == self.stride
    }

    /// How many rows lie one after another, of `width` numbers each: all, and from the next one on. Of one row for all any number does.
    #[inline(always)]
    pub(super) fn stretch(&self, width: usize) -> [usize; 2] {
        if self.is_one_row() {
            [usize::MAX; 2]
        } else if self.stride == width {
            [self.end / width, (self.end - self.at) / width]
        } else {
            [0; 2]
        }
    }

    /// The next `rows` rows, of those of a [`stretch`](Self::stretch).
    #[inline(always)]
    pub(super) fn take(&mut self, rows: usize) -> &'a [F] {
        let end = self.at + rows * self.stride;
        let taken = &self.data[self.at..end];
        self.at = if end == self.end { 0 } else { end };
        taken
    }

    /// The next row and all that follows it in memory.
    #[inline(always)]
    pub(super) fn next(&mut self) -> &'a [F] {
        let row = &self.data[self.at..];
        self.at += self.stride;
        if self.at == self.end {
            self.at = 0;
        }
        row
    }
}

/// Where a row's sum goes.
#[derive(Debug)]
pub enum Totals<'a, F> {
    /// Nowhere: the kernel is called for its elementwise outputs.
    Nowhere,
    /// To its row, in the element type.
    Each(&'a mut [F]),
    /// To what other kernels have added for its row.
    Added(&'a mut [f64]),
}

impl<'a, F> From<Option<&'a mut [F]>> for Totals<'a, F> {
    fn from(sums: Option<&'a mut [F]>) -> Self {
        sums.map_or(Self::Nowhere, Self::Each)
    }
}

impl<F: Float> Totals<'_, F> {
    /// Takes the sum of row `row`; returns whether it is finite.
    #[inline(always)]
    pub(crate) fn put(&mut self, row: usize, sum: f64) -> bool {
        self.put_each(row, &[sum])
    }

    /// [`put`](Self::put) of the rows from `first` on.
    #[inline(always)]
    pub(super) fn put_each(&mut self, first: usize, results: &[f64]) -> bool {
        let mut finite = true;
        match self {
            Self::Nowhere => {}
            Self::Each(sums) => {
                for (slot, &result) in sums[first..].iter_mut().zip(results) {
                    *slot = F::from_f64(result);
                    finite &= slot.finite();
                }
            }
            Self::Added(sums) => {
                for (slot, &result) in sums[first..].iter_mut().zip(results) {
                    *slot += result;
                    finite &= result.is_finite();
                }
            }
        }
        finite
    }
}

impl<F: Send> Outputs for Totals<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        match self {
            Self::Nowhere => (Self::Nowhere, Self::Nowhere),
            Self::Each(sums) => {
                let (low, high) = sums.split_at_mut(row);
                (Self::Each(low), Self::Each(high))
            }
            Self::Added(sums) => {
                let (low, high) = sums.split_at_mut(row);
                (Self::Added(low), Self::Added(high))
            }
        }
    }
}

/// The elementwise outputs of a row, as slices.
pub trait RowOutputs<F, const O: usize>: Outputs {
    /// The slices of one row.
    fn row(&mut self, row: usize) -> [&mut [F]; O];

    /// `count` rows of `width` numbers from row `first` on, if they are known to lie one after another.
    fn rows(&mut self, _first: usize, _count: usize, _width: usize) -> Option<[&mut [F]; O]> {
        None
    }
}

impl<F: Send, const O: usize> RowOutputs<F, O> for [RowsMut<'_, F>; O] {
    #[inline(always)]
    fn row(&mut self, row: usize) -> [&mut [F]; O] {
        self.each_mut().map(|rows| rows.row(row))
    }

    #[inline(always)]
    fn rows(&mut self, first: usize, count: usize, width: usize) -> Option<[&mut [F]; O]> {
        let whole = self.iter().all(|rows| rows.width == width);
        whole.then(|| self.each_mut().map(|rows| &mut rows.data[first * width..][..count * width]))
    }
}

/// `O` outputs of `width` numbers side by side in one array from column `first` on, as `params` holds its blocks.
#[derive(Debug)]
pub struct Blocks<'a, F> {
    /// The whole rows.
    pub rows: RowsMut<'a, F>,
    /// The first block's first column.
    pub first: usize,
    /// Columns a block.
    pub width: usize,
}

impl<F: Send> Outputs for Blocks<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = self.rows.split_at(row);
        (Self { rows: low, ..self }, Self { rows: high, ..self })
    }
}

impl<F: Send, const O: usize> RowOutputs<F, O> for Blocks<'_, F> {
    #[inline(always)]
    fn row(&mut self, row: usize) -> [&mut [F]; O] {
        let mut rest = &mut self.rows.row(row)[self.first..];
        [(); O].map(|()| {
            let (block, after) = std::mem::take(&mut rest).split_at_mut(self.width);
            rest = after;
            block
        })
    }

    #[inline(always)]
    fn rows(&mut self, first: usize, count: usize, width: usize) -> Option<[&mut [F]; O]> {
        // One block that is the whole row, or none at all.
        let mut rest = (self.rows.width == width).then(|| &mut self.rows.data[first * width..][..count * width]);
        let blocks = [(); O].map(|()| rest.take());
        blocks.iter().all(Option::is_some).then(|| blocks.map(Option::unwrap_or_default))
    }
}
