//! The words of one cell of a draw, taken one after the other: what a sampler needs that takes as many as it takes.
//!
//! A likelihood's draw has a cell a feature of each row, and a cell's words depend on the key and the cell alone. So a sampler may reject, and a
//! cell may take more words than its neighbour, without changing what any other cell gets.

use super::{Key, Purpose, philox};

/// 2⁻⁶⁴.
const SCALE: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// The words of one cell: those of the blocks whose counter is (cell, low word first; 0, 1, 2, …; purpose 6).
#[derive(Clone, Debug)]
pub struct CellWords {
    key: Key,
    cell: u64,
    /// The number of the block after the one held.
    next: u32,
    words: [u32; 4],
    /// How many of `words` are taken.
    taken: usize,
}

impl CellWords {
    /// The words of cell `cell`, which is row · width + column.
    #[must_use]
    pub fn new(key: Key, cell: u64) -> Self {
        Self { key, cell, next: 0, words: [0; 4], taken: 4 }
    }

    /// The next word.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.taken == 4 {
            let counter = [self.cell as u32, (self.cell >> 32) as u32, self.next, Purpose::Cell as u32];
            self.words = philox::block(counter, self.key.0);
            self.next = self.next.wrapping_add(1);
            self.taken = 0;
        }
        let word = self.words[self.taken];
        self.taken += 1;
        word
    }

    /// The next two words, the first one high.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let high = self.next_u32();
        u64::from(high) << 32 | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1): the top 53 bits of two words over 2⁵³.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in (0, 1), as likely u as 1 − u: (the top 52 bits of two words + ½) over 2⁵².
    #[inline]
    pub fn uniform_open(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) * (1.0 / 4_503_599_627_370_496.0)
    }

    /// Exponential with mean 1, between 2⁻⁶⁵ and 45.1: −ln((x + ½)/2⁶⁴) of the next two words.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -ln_unit(self.next_u64())
    }

    /// A standard normal within ±9.5: √(−2 ln((x + ½)/2⁶⁴)) cos(2π y/2⁶⁴) of the next four words (Box and Muller 1958).
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let r = libm::sqrt(-2.0 * ln_unit(self.next_u64()));
        // A signed y is the same angle in [−π, π).
        let turn = self.next_u64() as i64 as f64 * SCALE;
        r * libm::cos(turn * std::f64::consts::TAU)
    }
}

/// ln((x + ½)/2⁶⁴), below 0, with all of x's bits at both ends of its range.
fn ln_unit(x: u64) -> f64 {
    if x >> 63 == 0 { libm::log((x as f64 + 0.5) * SCALE) } else { libm::log1p((!x as f64 + 0.5) * -SCALE) }
}
