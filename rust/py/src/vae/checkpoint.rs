//! Binds the container of training's checkpoints: a text and named vectors as bytes.

use elbokit_core::vae::{self, Numbers};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::Any;
use crate::arrays::{Dtype, View, dtype, filled};
use crate::errors::exception;

type Named<'py> = Vec<(String, Any<'py>)>;

/// A text and named vectors of float32 or float64 as a checkpoint's bytes.
#[pyfunction]
pub(crate) fn checkpoint_to_bytes<'py>(py: Python<'py>, text: &str, vectors: Named<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let numbers = |x: &Any<'py>| {
        Ok::<_, PyErr>(match dtype(x, "vectors")? {
            Dtype::F32 => Numbers::F32(View::new(x, "vectors")?.slice().to_vec()),
            Dtype::F64 => Numbers::F64(View::new(x, "vectors")?.slice().to_vec()),
        })
    };
    let vectors = vectors.iter().map(|(name, x)| Ok((name.clone(), numbers(x)?))).collect::<PyResult<Vec<_>>>()?;
    let bytes = py.detach(|| vae::checkpoint_to_bytes(text, &vectors)).map_err(|error| exception(py, error))?;
    Ok(PyBytes::new(py, &bytes))
}

/// What `checkpoint_to_bytes` was given.
#[pyfunction]
pub(crate) fn checkpoint_from_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<(String, Named<'py>)> {
    let (text, vectors) = vae::checkpoint_from_bytes(data).map_err(|error| exception(py, error))?;
    let arrays = vectors.into_iter().map(|(name, numbers)| {
        let array = match numbers {
            Numbers::F32(x) => filled(py, &[x.len()], x)?,
            Numbers::F64(x) => filled(py, &[x.len()], x)?,
        };
        Ok((name, array))
    });
    Ok((text, arrays.collect::<PyResult<_>>()?))
}
