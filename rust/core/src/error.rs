//! The one error type of the core. Every variant says the argument, what was expected, what came, and the cure.

/// What can go wrong; the binding maps each variant onto one Python exception.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Two arrays do not fit together, or one has the wrong rank or width.
    #[error("{argument}: expected {expected}, got {got}; {cure}")]
    Shape {
        /// The argument's name.
        argument: &'static str,
        /// What its shape should be.
        expected: String,
        /// What it is.
        got: String,
        /// What to do.
        cure: String,
    },
    /// A NaN or infinity where a finite number is needed.
    #[error("{argument}: expected finite numbers, got {value} at row {row}, column {column}; remove or replace it")]
    NonFinite {
        /// The argument's name.
        argument: &'static str,
        /// The row of the first bad value.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A value that the likelihood gives no probability.
    #[error("{argument}: expected {expected}, got {value} at row {row}, column {column}; {cure}")]
    Support {
        /// The argument's name.
        argument: &'static str,
        /// The likelihood's support.
        expected: String,
        /// The row of the first bad value.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        value: f64,
        /// A likelihood that fits the column.
        cure: String,
    },
    /// An option outside its range.
    #[error("{argument}: expected {expected}, got {got}; {cure}")]
    Value {
        /// The argument's name.
        argument: &'static str,
        /// The option's range.
        expected: String,
        /// What came.
        got: String,
        /// What to do.
        cure: String,
    },
    /// A model file that cannot be used.
    #[error("model file: expected {expected}, got {got}; {cure}")]
    ModelFile {
        /// What the file should hold.
        expected: String,
        /// What it holds.
        got: String,
        /// What to do.
        cure: String,
    },
    /// The caller asked to stop; everything is as after the last finished step.
    #[error("interrupted")]
    Interrupted,
}

/// A result of the core.
pub type Result<T> = std::result::Result<T, Error>;

// By value, so that a call reads `Error::shape("x", 3, n, "…")`.
#[allow(clippy::needless_pass_by_value, reason = "a message takes whatever prints")]
impl Error {
    /// A [`Error::Shape`] from anything that prints.
    pub fn shape(argument: &'static str, expected: impl ToString, got: impl ToString, cure: impl ToString) -> Self {
        Self::Shape { argument, expected: expected.to_string(), got: got.to_string(), cure: cure.to_string() }
    }

    /// A [`Error::Value`] from anything that prints.
    pub fn value(argument: &'static str, expected: impl ToString, got: impl ToString, cure: impl ToString) -> Self {
        Self::Value { argument, expected: expected.to_string(), got: got.to_string(), cure: cure.to_string() }
    }

    /// A [`Error::ModelFile`] from anything that prints.
    pub fn model_file(expected: impl ToString, got: impl ToString, cure: impl ToString) -> Self {
        Self::ModelFile { expected: expected.to_string(), got: got.to_string(), cure: cure.to_string() }
    }

    /// The same error for a part of the rows that begins at row `first`: its row is counted from the whole's first.
    #[must_use]
    pub fn at_row(mut self, first: usize) -> Self {
        if let Self::NonFinite { row, .. } | Self::Support { row, .. } = &mut self {
            *row += first;
        }
        self
    }
}
