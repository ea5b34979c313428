//! Binds `elbokit_core::threads`, and tells what was built.

use elbokit_core::{simd, threads};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::exception;

/// Sets the number of threads that kernels may use.
#[pyfunction]
pub(crate) fn set_num_threads(py: Python<'_>, n: usize) -> PyResult<()> {
    threads::set_num_threads(n).map_err(|error| exception(py, error))
}

/// The number of threads that kernels may use.
#[pyfunction]
pub(crate) fn get_num_threads() -> usize {
    threads::num_threads()
}

/// What was built and what it runs on.
#[pyfunction]
pub(crate) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    info.set_item("simd", simd::level().name())?;
    info.set_item("simd_available", simd::levels().into_iter().map(simd::Level::name).collect::<Vec<_>>())?;
    info.set_item("num_threads", threads::num_threads())?;
    Ok(info)
}
