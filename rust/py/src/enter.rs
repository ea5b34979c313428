//! The one way into the core: the GIL is released, an error becomes an exception, and a long call hears Ctrl-C.

use elbokit_core::Result;
use elbokit_core::threads::{Interrupt, watched};
use pyo3::prelude::*;

use crate::errors::exception;

/// Below this many elements a call is over before another thread could have used the GIL.
const SMALL: usize = 4096;

/// Runs a kernel over `elements` elements without the GIL.
pub(crate) fn enter<R: Send>(py: Python<'_>, elements: usize, f: impl FnOnce() -> Result<R> + Send) -> PyResult<R> {
    let result = if elements < SMALL { f() } else { py.detach(f) };
    result.map_err(|error| exception(py, error))
}

/// Below this many multiply-adds a call is over in milliseconds, and a thread to listen beside it would cost more than it saves.
const BRIEF: usize = 100_000_000;

/// Runs a call of about `work` multiply-adds without the GIL, and if it may take long, on another thread, while this one listens for signals. A signal raises the call's
/// [`Interrupt`]; what the signal's handler raised is what the caller sees.
pub(crate) fn enter_long<R: Send>(py: Python<'_>, work: usize, f: impl FnOnce(&Interrupt) -> Result<R> + Send) -> PyResult<R> {
    let interrupt = Interrupt::default();
    if work < BRIEF {
        return py.detach(|| f(&interrupt)).map_err(|error| exception(py, error));
    }
    let mut heard: Option<PyErr> = None;
    let result = py.detach(|| {
        watched(
            || f(&interrupt),
            || {
                if heard.is_none()
                    && let Err(error) = Python::attach(check_signals)
                {
                    heard = Some(error);
                    interrupt.raise();
                }
            },
        )
    });
    match heard {
        Some(error) => Err(error),
        None => result.map_err(|error| exception(py, error)),
    }
}

// By name: a path to the method is not general enough over the lifetime of the GIL.
fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}
