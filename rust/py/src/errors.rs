//! Core errors as Python exceptions: one exhaustive match onto the classes of `elbokit.errors`.

use elbokit_core::Error;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The exception for a core error, carrying the attributes that the error has.
pub(crate) fn exception(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Shape { argument, .. } => make(py, &SHAPE, "ShapeError", message, Some(argument), None),
        Error::NonFinite { argument, row, column, value } => {
            make(py, &NON_FINITE, "NonFiniteError", message, Some(argument), Some((row, column, value)))
        }
        Error::Support { argument, row, column, value, .. } => {
            make(py, &SUPPORT, "SupportError", message, Some(argument), Some((row, column, value)))
        }
        Error::Value { argument, .. } => make(py, &ARGUMENT, "ArgumentError", message, Some(argument), None),
        Error::ModelFile { .. } => make(py, &MODEL_FILE, "ModelFileError", message, None, None),
        Error::Interrupted => PyKeyboardInterrupt::new_err(message),
    }
}

/// The exception for an argument that is not taken as it is; the message begins with its name.
pub(crate) fn argument_error(py: Python<'_>, argument: &str, rest: &str) -> PyErr {
    make(py, &ARGUMENT, "ArgumentError", format!("{argument}: {rest}"), Some(argument), None)
}

/// The exception for an array of a type that a kernel does not take.
pub(crate) fn dtype_error(py: Python<'_>, argument: &'static str, expected: &str, got: &str) -> PyErr {
    let message = format!("{argument}: expected {expected}, got {got}; convert it with .astype");
    make(py, &DTYPE, "DtypeError", message, Some(argument), None)
}

/// The exception for an array whose type is not that of the argument it must agree with.
pub(crate) fn dtypes_differ(py: Python<'_>, argument: &'static str, expected: &str, like: &str, got: &str) -> PyErr {
    let message = format!("{argument}: expected {expected} like {like}, got {got}; convert one with .astype");
    make(py, &DTYPE, "DtypeError", message, Some(argument), None)
}

static ARGUMENT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static SHAPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NON_FINITE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static SUPPORT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static MODEL_FILE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static DTYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn make(
    py: Python<'_>,
    class: &PyOnceLock<Py<PyType>>,
    name: &str,
    message: String,
    argument: Option<&str>,
    place: Option<(usize, usize, f64)>,
) -> PyErr {
    let build = || -> PyResult<Bound<'_, PyAny>> {
        let options = PyDict::new(py);
        options.set_item("argument", argument)?;
        if let Some((row, column, value)) = place {
            options.set_item("row", row)?;
            options.set_item("column", column)?;
            options.set_item("value", value)?;
        }
        class.import(py, "elbokit.errors", name)?.call((message,), Some(&options))
    };
    match build() {
        Ok(instance) => PyErr::from_value(instance),
        Err(error) => error,
    }
}
