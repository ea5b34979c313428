//! Binds `elbokit_core::random`.

use elbokit_core::random::{self, Key};
use numpy::{PyArrayDyn, PyArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::arrays::{Element, Output, empty};
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
#[pyo3(signature = (n, key, counter=0))]
pub(crate) fn random_raw(py: Python<'_>, n: usize, key: u64, counter: u128) -> PyResult<Bound<'_, PyArrayDyn<u32>>> {
    let array = empty::<u32>(py, &[n])?;
    let mut words = array.try_readwrite()?;
    let words = words.as_slice_mut()?;
    enter(py, n, || {
        random::raw(Key(key), counter, words);
        Ok(())
    })?;
    Ok(array)
}

/// Standard normals of a shape (rows, …).
#[pyfunction]
#[pyo3(signature = (shape, key, double, first_row=0, out=None))]
pub(crate) fn random_normal<'py>(
    py: Python<'py>,
    shape: Vec<usize>,
    key: u64,
    double: bool,
    first_row: u64,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if double {
        fill(py, &shape, out, |width, out| random::fill_normals::<f64>(Key(key), 0, first_row, width, out))
    } else {
        fill(py, &shape, out, |width, out| random::fill_normals::<f32>(Key(key), 0, first_row, width, out))
    }
}

/// Uniforms in [0, 1) of a shape (rows, …).
#[pyfunction]
#[pyo3(signature = (shape, key, double, first_row=0, out=None))]
pub(crate) fn random_uniform<'py>(
    py: Python<'py>,
    shape: Vec<usize>,
    key: u64,
    double: bool,
    first_row: u64,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if double {
        fill(py, &shape, out, |width, out| random::fill_uniforms::<f64>(Key(key), 0, first_row, width, out))
    } else {
        fill(py, &shape, out, |width, out| random::fill_uniforms::<f32>(Key(key), 0, first_row, width, out))
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
