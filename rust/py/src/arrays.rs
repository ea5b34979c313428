//! Arrays in and out: read-only views of float32 or float64 arrays, and outputs that are made or given. An array that is ready is
//! viewed as it is; whatever else arrives goes through the one door for coercion, `_arrays.py`. Nothing panics here.

use elbokit_core::random::Draw;
use elbokit_core::{Error, Float};
use numpy::{
    BorrowError, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::errors::{argument_error, dtype_error, dtypes_differ, exception};

/// An element type that crosses the border.
pub(crate) trait Element: Float + Draw + numpy::Element {}
impl Element for f32 {}
impl Element for f64 {}

/// An element type of results.
pub(crate) trait Number: numpy::Element {
    /// The dtype's name.
    const DTYPE: &'static str;
}
impl<F: Element> Number for F {
    const DTYPE: &'static str = F::NAME;
}
impl Number for u32 {
    const DTYPE: &'static str = "uint32";
}

/// Coerces `$array` and calls a function generic over the element type with that of it; in the call it stands for the coerced array.
macro_rules! by_dtype {
    ($array:ident, $argument:literal, $function:ident($($value:expr),* $(,)?)) => {{
        let coerced = $crate::arrays::coerced($array, $argument)?;
        let $array = coerced.as_ref().unwrap_or($array);
        match $crate::arrays::dtype($array, $argument)? {
            $crate::arrays::Dtype::F32 => $function::<f32>($($value),*),
            $crate::arrays::Dtype::F64 => $function::<f64>($($value),*),
        }
    }};
}
pub(crate) use by_dtype;

/// The element types of results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F64,
}

/// The element type of an array.
pub(crate) fn dtype(array: &Bound<'_, PyAny>, argument: &'static str) -> PyResult<Dtype> {
    known(array).ok_or_else(|| dtype_error(array.py(), argument, "an array of float32 or float64", &described(array)))
}

/// The element type of an array of a native one.
fn known(array: &Bound<'_, PyAny>) -> Option<Dtype> {
    if array.cast::<PyArrayDyn<f32>>().is_ok() {
        Some(Dtype::F32)
    } else {
        array.cast::<PyArrayDyn<f64>>().is_ok().then_some(Dtype::F64)
    }
}

/// What `_arrays.floats` makes of an object, or `None` for an array whose element type is taken as it is.
pub(crate) fn coerced<'py>(object: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
    // A subclass may mean something else by its elements: a masked array does.
    let plain = object.cast_exact::<PyUntypedArray>().is_ok();
    if plain && known(object).is_some() {
        return Ok(None);
    }
    floats(object, argument).map(Some)
}

fn floats<'py>(object: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Bound<'py, PyAny>> {
    static FLOATS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FLOATS.import(object.py(), "elbokit._arrays", "floats")?.call1((argument, object))
}

pub(crate) fn described(array: &Bound<'_, PyAny>) -> String {
    let dtype = array.getattr("dtype").and_then(|d| d.str().map(|s| s.to_string()));
    dtype.unwrap_or_else(|_| array.get_type().name().map_or_else(|_| "an object".into(), |n| n.to_string()))
}

/// A contiguous read-only array.
pub(crate) struct View<'py, F: Element> {
    array: PyReadonlyArrayDyn<'py, F>,
}

impl<'py, F: Element> View<'py, F> {
    /// Views an array of this element type, coerced where need be.
    pub(crate) fn new(object: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Self> {
        Self::or(object, argument, |got| dtype_error(object.py(), argument, F::NAME, got))
    }

    /// Views an array that must have the element type of the argument `like`, which this is.
    pub(crate) fn like(object: &Bound<'py, PyAny>, argument: &'static str, like: &str) -> PyResult<Self> {
        Self::or(object, argument, |got| dtypes_differ(object.py(), argument, F::NAME, like, got))
    }

    /// Views observations, converted to this element type where need be, with NaN where `mask` is False.
    pub(crate) fn observed(object: &Bound<'py, PyAny>, mask: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        static OBSERVED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if mask.is_none()
            && let Some(view) = Self::ready(object, "x")?
        {
            return Ok(view);
        }
        let py = object.py();
        let given = OBSERVED.import(py, "elbokit._arrays", "observed")?.call1((object, F::get_dtype(py), mask))?;
        Self::ready(&given, "x")?.ok_or_else(|| dtype_error(py, "x", F::NAME, &described(&given)))
    }

    /// An array of zeros.
    pub(crate) fn zeros(py: Python<'py>, shape: &[usize], argument: &'static str) -> PyResult<Self> {
        let array = zeros::<F>(py, shape)?.try_readonly().map_err(|error| borrowed(py, argument, &error))?;
        Ok(Self { array })
    }

    fn or(object: &Bound<'py, PyAny>, argument: &'static str, other: impl FnOnce(&str) -> PyErr) -> PyResult<Self> {
        if let Some(view) = Self::ready(object, argument)? {
            return Ok(view);
        }
        let given = floats(object, argument)?;
        Self::ready(&given, argument)?.ok_or_else(|| other(&described(&given)))
    }

    /// A view of what needs no coercion: a plain, native, aligned, C-contiguous array of this element type.
    fn ready(object: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Option<Self>> {
        if object.cast_exact::<PyUntypedArray>().is_err() {
            return Ok(None);
        }
        let Ok(array) = object.cast::<PyArrayDyn<F>>() else { return Ok(None) };
        if !array.is_c_contiguous() {
            return Ok(None);
        }
        let array = array.try_readonly().map_err(|error| borrowed(object.py(), argument, &error))?;
        // Refused where the address is odd.
        let aligned = array.as_slice().is_ok();
        Ok(aligned.then_some(Self { array }))
    }

    /// The elements in row-major order.
    pub(crate) fn slice(&self) -> &[F] {
        // Checked to be contiguous when it was borrowed.
        self.array.as_slice().unwrap_or_default()
    }

    /// The shape.
    pub(crate) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// (rows, width) of a matrix.
    pub(crate) fn matrix(&self, py: Python<'_>, argument: &'static str, axes: &str) -> PyResult<(usize, usize)> {
        match *self.shape() {
            [rows, width] => Ok((rows, width)),
            ref shape => Err(shape_error(py, argument, axes, shape)),
        }
    }
}

/// The exception for an array of the wrong rank or shape.
pub(crate) fn shape_error(py: Python<'_>, argument: &'static str, expected: &str, got: &[usize]) -> PyErr {
    let cure = if got.len() == 1 && expected.contains(',') { "reshape one row with x[None, :]" } else { "reshape it" };
    exception(py, Error::shape(argument, expected, printed(got), cure))
}

/// A shape as Python prints it.
pub(crate) fn printed(shape: &[usize]) -> String {
    let inner = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("shape ({inner}{})", if shape.len() == 1 { "," } else { "" })
}

/// Checks that two arrays have one shape.
pub(crate) fn same_shape(py: Python<'_>, argument: &'static str, got: &[usize], like: &str, expected: &[usize]) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    let cure = format!("give {argument} and {like} one shape");
    Err(exception(py, Error::shape(argument, printed(expected), printed(got), cure)))
}

/// Checks that an array is (batch, latent), or (latent,) for every row.
pub(crate) fn of_rows(py: Python<'_>, argument: &'static str, got: &[usize], (rows, width): (usize, usize)) -> PyResult<()> {
    if got == [width] || got == [rows, width] {
        return Ok(());
    }
    Err(shape_error(py, argument, &format!("({rows}, {width}) or ({width},)"), got))
}

pub(crate) fn borrowed(py: Python<'_>, argument: &'static str, error: &BorrowError) -> PyErr {
    let rest = match error {
        BorrowError::NotWriteable => "expected a writeable array; copy it",
        _ => "shares memory with another argument or with a call in another thread; copy it",
    };
    argument_error(py, argument, rest)
}

/// An array to write to: made here, or the caller's `out=`.
pub(crate) struct Output<'py, T: Number> {
    array: Bound<'py, PyArrayDyn<T>>,
    /// Of an array of the caller's, whom it keeps from giving it twice. One that was made here has no other name, and a borrow would cost as much as making it.
    guard: Option<PyReadwriteArrayDyn<'py, T>>,
}

impl<'py, T: Number> Output<'py, T> {
    /// `out` where given, which must have the shape and element type of the result, else a new array.
    pub(crate) fn new(py: Python<'py>, out: Option<&Bound<'py, PyAny>>, shape: &[usize]) -> PyResult<Self> {
        let Some(out) = out else {
            return Ok(Self { array: empty(py, shape)?, guard: None });
        };
        let array = out.cast::<PyArrayDyn<T>>().map_err(|_| dtype_error(py, "out", T::DTYPE, &described(out)))?;
        same_shape(py, "out", array.shape(), "the result", shape)?;
        let mut guard = array.try_readwrite().map_err(|error| borrowed(py, "out", &error))?;
        // A slice of a Fortran-ordered array would be had, with its axes the other way round.
        if !array.is_c_contiguous() || guard.as_slice_mut().is_err() {
            return Err(argument_error(py, "out", "expected an aligned C-contiguous array; make it with numpy.empty"));
        }
        Ok(Self { array: array.clone(), guard: Some(guard) })
    }

    /// The elements in row-major order.
    #[expect(unsafe_code, reason = "the only one: a borrow of what nobody else can reach")]
    pub(crate) fn slice(&mut self) -> &mut [T] {
        // Contiguous: checked when it was borrowed, or made so.
        match &mut self.guard {
            Some(guard) => guard.as_slice_mut(),
            // SAFETY: `new` made the array and `done`, which ends this value, is the first to give it away; `&mut self` keeps the slice the only one.
            None => unsafe { self.array.as_slice_mut() },
        }
        .unwrap_or_default()
    }

    /// The array, as Python gets it back.
    pub(crate) fn done(self) -> Bound<'py, PyAny> {
        self.array.into_any()
    }
}

/// An array of zeros.
fn zeros<'py, T: numpy::Element>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    static ZEROS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    made_small(py, shape).map_or_else(|| made_by(ZEROS.import(py, "numpy", "zeros")?, shape), Ok)
}

/// An array whose every element is about to be written. Zeros would cost a pass over memory by the calling thread, from whose cache the others would then
/// fetch their parts; in a small array they cost less than the call of `numpy.empty`.
pub(crate) fn empty<'py, T: numpy::Element>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    made_small(py, shape).map_or_else(|| made_by(EMPTY.import(py, "numpy", "empty")?, shape), Ok)
}

/// Zeros without a call of Python, where they are few.
fn made_small<'py, T: numpy::Element>(py: Python<'py>, shape: &[usize]) -> Option<Bound<'py, PyArrayDyn<T>>> {
    const SMALL: usize = 1 << 12;
    const MANY: usize = 8;
    // NumPy refuses a size that overflows even where another axis is 0.
    let elements = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size.max(1)));
    let small = elements.is_some_and(|n| n < SMALL) && shape.len() <= MANY;
    small.then(|| PyArrayDyn::zeros(py, shape, false))
}

/// By a function of numpy, whose refusal is an exception rather than a panic.
fn made_by<'py, T: numpy::Element>(maker: &Bound<'py, PyAny>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let py = maker.py();
    Ok(maker.call1((PyTuple::new(py, shape)?, T::get_dtype(py)))?.cast_into()?)
}

/// A new array with these elements.
pub(crate) fn filled<'py, F: Element>(
    py: Python<'py>,
    shape: &[usize],
    values: impl IntoIterator<Item = F>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut out = Output::<F>::new(py, None, shape)?;
    for (slot, value) in out.slice().iter_mut().zip(values) {
        *slot = value;
    }
    Ok(out.done())
}
