"""Likelihoods of real cells: a loc, and a scale that is given, learned or predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import number
from elbokit.errors import ArgumentError
from elbokit.likelihood.base import Likelihood

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Gaussian", "Laplace", "StudentT"]

_FORMS = ("shared", "per_feature", "predicted")


def _scale(scale: float | ArrayLike | str) -> tuple[float | tuple[float, ...] | str, list[float], str]:
    """The scale as it is kept, and as the core takes it: numbers, and the form that they have."""
    if isinstance(scale, str):
        if scale not in _FORMS:
            raise ArgumentError(
                'scale: expected a number, an array by feature, "shared", "per_feature" or "predicted", '
                f"got {scale!r}; use one of them"
            )
        return scale, [], scale
    try:
        values = np.asarray(scale, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(
            'scale: expected a number, an array by feature, "shared", "per_feature" or "predicted", '
            f"got {scale!r}; use one of them"
        ) from None
    if values.ndim > 1:
        raise ArgumentError(f"scale: expected one number a feature, got shape {values.shape}; give one axis")
    numbers = values.ravel().tolist()
    if values.ndim == 0:
        return numbers[0], numbers, "fixed"
    return tuple(numbers), numbers, "by_feature"


class _Scaled(Likelihood):
    """A likelihood with a scale."""

    __slots__ = ("scale",)

    scale: float | tuple[float, ...] | str

    def _constants(self) -> dict[str, Any]:
        return {"scale": self.scale}


class Gaussian(_Scaled):
    """Real cells: log p = −½ Σ [((x − loc) / scale)² + 2 ln scale + ln 2π].

    Largest error measured: 2.2e-07 (float32) and 4.5e-16 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    Parameters
    ----------
    scale : float, array_like of shape (features,), "shared", "per_feature" or "predicted"
        The noise's standard deviation. The last three add a second block to params, of log-variances: one column for
        all features, or one for each.

    Notes
    -----
    Value and gradient are within 4e-7 (float32) and 4e-15 (float64) of the sum of the terms' magnitudes, which
    ``tests/test_likelihood_exact.py`` and ``rust/core/tests/likelihood/log_prob.rs`` assert.

    Examples
    --------
    >>> Gaussian(1.0).log_prob([[0.0]], [[0.0]])
    array([-0.91893853])
    >>> Gaussian("predicted").num_params(3), Gaussian("shared").num_params(3)
    (6, 4)
    """

    __slots__ = ()

    def __init__(self, scale: float | ArrayLike | str = 1.0) -> None:
        self.scale, numbers, form = _scale(scale)
        self._core = _core.Likelihood.gaussian(numbers, form)


class Laplace(_Scaled):
    """Real cells with an exponential's tails: log p = −Σ [|x − loc| / scale + ln (2 scale)].

    The gradient by loc is ±1 / scale, and 0 where x = loc.

    Largest error measured: 2.0e-07 (float32) and 2.1e-16 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    Parameters
    ----------
    scale : float, array_like of shape (features,), "shared", "per_feature" or "predicted"
        The mean of |x − loc|, no standard deviation. The last three add a second block to params, of log-scales: one
        column for all features, or one for each.

    Examples
    --------
    >>> Laplace(1.0).log_prob([[2.0]], [[0.0]])  # −2 − ln 2
    array([-2.69314718])
    """

    __slots__ = ()

    def __init__(self, scale: float | ArrayLike | str = 1.0) -> None:
        self.scale, numbers, form = _scale(scale)
        self._core = _core.Likelihood.laplace(numbers, form)


class StudentT(_Scaled):
    """Real cells with a power's tails: log p = Σ [C(df) − ln scale − ½ (df + 1) ln(1 + δ²/df)], δ = (x − loc) / scale.

    C(df) = ln Γ((df + 1)/2) − ln Γ(df/2) − ½ ln(π df). One odd cell costs a logarithm, where it costs a Gaussian a
    square.

    Largest error measured: 3.3e-07 (float32) and 3.6e-16 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    Parameters
    ----------
    df : float
        Degrees of freedom, positive; 1 is Cauchy's law and large ones approach the Gaussian.
    scale : float, array_like of shape (features,), "shared", "per_feature" or "predicted"
        Its own scale, no standard deviation. The last three add a second block to params, of log-scales: one column
        for all features, or one for each.

    Notes
    -----
    `mean` is loc, the centre; below one degree of freedom there is no mean.

    References
    ----------
    Lange, Little and Taylor (1989), "Robust statistical modeling using the t distribution".

    Examples
    --------
    >>> StudentT(1.0).log_prob([[0.0]], [[0.0]])  # −ln π
    array([-1.14472989])
    """

    __slots__ = ("df",)

    df: float

    def __init__(self, df: float, scale: float | ArrayLike | str = 1.0) -> None:
        self.df = number("df", df)
        self.scale, numbers, form = _scale(scale)
        self._core = _core.Likelihood.student_t(self.df, numbers, form)

    def _constants(self) -> dict[str, Any]:
        return {"df": self.df, "scale": self.scale}
