//! Data sets in: a matrix of any element type, borrowed for a call and converted row by row in the core.

use elbokit_core::vae::{Conditioned, Matrix, Source, Subset};
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Element, borrowed, described};
use crate::errors::{argument_error, dtype_error, exception};

/// A C-contiguous matrix.
pub(crate) enum Rows<'py> {
    F32(PyReadonlyArray2<'py, f32>),
    F64(PyReadonlyArray2<'py, f64>),
    I8(PyReadonlyArray2<'py, i8>),
    I16(PyReadonlyArray2<'py, i16>),
    I32(PyReadonlyArray2<'py, i32>),
    I64(PyReadonlyArray2<'py, i64>),
    U8(PyReadonlyArray2<'py, u8>),
    U16(PyReadonlyArray2<'py, u16>),
    U32(PyReadonlyArray2<'py, u32>),
    U64(PyReadonlyArray2<'py, u64>),
    Bool(PyReadonlyArray2<'py, bool>),
}

impl<'py> Rows<'py> {
    /// Borrows an argument, which Python has coerced.
    pub(crate) fn new(x: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Self> {
        macro_rules! try_each {
            ($($variant:ident: $t:ty),*) => {
                $(if let Ok(array) = x.cast::<PyArray2<$t>>() {
                    let array = array.try_readonly().map_err(|error| borrowed(x.py(), argument, &error))?;
                    if !array.is_c_contiguous() || array.as_slice().is_err() {
                        return Err(strided(x.py(), argument));
                    }
                    return Ok(Self::$variant(array));
                })*
            };
        }
        try_each!(
            F32: f32, F64: f64, I64: i64, I32: i32, U8: u8, Bool: bool, I8: i8, I16: i16, U16: u16, U32: u32, U64: u64
        );
        Err(dtype_error(x.py(), argument, "a matrix of booleans, integers or floats", &described(x)))
    }

    /// The rows as the core reads them.
    pub(crate) fn source<F: Element>(&self) -> Box<dyn Source<F> + '_> {
        macro_rules! each {
            ($($variant:ident),*) => {
                match self {
                    // Checked to be contiguous when it was borrowed.
                    $(Self::$variant(array) => Box::new(Matrix::new(array.as_slice().unwrap_or_default(), array.shape()[1])),)*
                }
            };
        }
        each!(F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, Bool)
    }
}

/// Rows, and where the model has conditions one beside each.
pub(crate) struct Data<'py> {
    rows: Rows<'py>,
    condition: Option<Rows<'py>>,
}

impl<'py> Data<'py> {
    /// Borrows both, which Python has coerced.
    pub(crate) fn new(x: &Bound<'py, PyAny>, condition: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        Ok(Self { rows: Rows::new(x, "X")?, condition: condition.map(|c| Rows::new(c, "condition")).transpose()? })
    }

    /// Calls `f` with the rows, or with those that `subset` numbers.
    pub(crate) fn with<F: Element, R>(
        &self,
        py: Python<'py>,
        subset: Option<&[u32]>,
        f: impl FnOnce(&dyn Source<F>) -> PyResult<R>,
    ) -> PyResult<R> {
        let rows = self.rows.source::<F>();
        let condition = self.condition.as_ref().map(Rows::source::<F>);
        let (conditioned, chosen);
        let mut source: &dyn Source<F> = &*rows;
        if let Some(condition) = &condition {
            conditioned = Conditioned::new(source, &**condition).map_err(|error| exception(py, error))?;
            source = &conditioned;
        }
        if let Some(rows) = subset {
            chosen = Subset::new(source, rows);
            source = &chosen;
        }
        f(source)
    }
}

/// The elements of a contiguous vector.
pub(crate) fn vector<'a, T: numpy::Element>(array: &'a PyReadonlyArray1<'_, T>, argument: &'static str) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| strided(array.py(), argument))
}

fn strided(py: Python<'_>, argument: &'static str) -> PyErr {
    argument_error(py, argument, "expected an aligned C-contiguous array; copy it with numpy.array")
}
