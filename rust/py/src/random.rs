//! Binds `elbokit_core::random`.

use elbokit_core::random::{self, Key};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use crate::arrays::{Element, Output};
use crate::enter::enter;

/// The key of a `key=` argument, which takes a Key or an int seed.
pub(crate) fn seed(key: &Bound<'_, PyAny>) -> PyResult<Key> {
    static KEY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SEED_OF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = key.py();
    if key.get_type().is(KEY.import(py, "elbokit.random", "Key")?) {
        return Ok(Key(key.getattr(intern!(py, "seed"))?.extract()?));
    }
    if let Ok(word) = key.extract() {
        return Ok(Key(word));
    }
    // Which says what is wrong.
    Ok(Key(SEED_OF.import(py, "elbokit.random", "seed_of")?.call1((key,))?.extract()?))
}

/// The key of `Key(key).fold_in(data)`.
#[pyfunction]
pub(crate) fn key_fold_in(key: u64, data: u64) -> u64 {
    Key(key).fold_in(data).0
}

/// The key of the `index`-th part of `Key(key).split(n)`.
#[pyfunction]
pub(crate) fn key_split(key: u64, index: u64) -> u64 {
    Key(key).split(index).0
}

/// The generator's words.
#[pyfunction]
#[pyo3(signature = (n, key, counter=0, out=None))]
pub(crate) fn random_raw<'py>(
    py: Python<'py>,
    n: usize,
    key: u64,
    counter: u128,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut out = Output::<u32>::new(py, out, &[n])?;
    let words = out.slice();
    enter(py, n, || {
        random::raw(Key(key), counter, words);
        Ok(())
    })?;
    Ok(out.done())
}

/// Standard normals of a shape (rows, …).
#[pyfunction]
#[pyo3(signature = (shape, key, dtype, first_row, out=None))]
pub(crate) fn random_normal<'py>(
    shape: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    first_row: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (shape, key, double, first_row) = (sizes(shape)?, seed(key)?, is_double(dtype)?, row_number(first_row)?);
    if double {
        fill(dtype.py(), &shape, out, |width, out| random::fill_normals::<f64>(key, 0, first_row, width, out))
    } else {
        fill(dtype.py(), &shape, out, |width, out| random::fill_normals::<f32>(key, 0, first_row, width, out))
    }
}

/// Uniforms in [0, 1) of a shape (rows, …).
#[pyfunction]
#[pyo3(signature = (shape, key, dtype, first_row, out=None))]
pub(crate) fn random_uniform<'py>(
    shape: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    first_row: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (shape, key, double, first_row) = (sizes(shape)?, seed(key)?, is_double(dtype)?, row_number(first_row)?);
    if double {
        fill(dtype.py(), &shape, out, |width, out| random::fill_uniforms::<f64>(key, 0, first_row, width, out))
    } else {
        fill(dtype.py(), &shape, out, |width, out| random::fill_uniforms::<f32>(key, 0, first_row, width, out))
    }
}

// What is not of the usual kind goes to the functions in Python, which take more or say what is wrong.

fn sizes(shape: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    static SHAPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match shape.cast::<PyTuple>().map(|sizes| sizes.extract()) {
        Ok(Ok(sizes)) => Ok(sizes),
        _ => SHAPE.import(shape.py(), "elbokit.random", "_shape")?.call1((shape,))?.extract(),
    }
}

fn is_double(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    static FLOAT32: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static DOUBLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = dtype.py();
    if dtype.is(FLOAT32.import(py, "numpy", "float32")?) {
        return Ok(false);
    }
    DOUBLE.import(py, "elbokit.random", "_double")?.call1((dtype,))?.extract()
}

fn row_number(first_row: &Bound<'_, PyAny>) -> PyResult<u64> {
    static WORD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match first_row.extract() {
        Ok(row) => Ok(row),
        Err(_) => WORD.import(first_row.py(), "elbokit.random", "_word")?.call1(("first_row", first_row))?.extract(),
    }
}

fn fill<'py, F: Element>(
    py: Python<'py>,
    shape: &[usize],
    out: Option<&Bound<'py, PyAny>>,
    draw: impl FnOnce(usize, &mut [F]) + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let mut out = Output::<F>::new(py, out, shape)?;
    let width = shape.iter().skip(1).product();
    let slice = out.slice();
    enter(py, slice.len(), || {
        draw(width, slice);
        Ok(())
    })?;
    Ok(out.done())
}
