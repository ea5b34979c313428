"""The exceptions of elbokit: each says the argument, what was expected, what came, and the cure.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> try:
    ...     ek.gaussian.kl(np.array([[0.0, np.nan]]), np.zeros((1, 2)))
    ... except ek.NonFiniteError as error:
    ...     print(error.argument, error.row, error.column)
    loc 0 1

`except ElbokitError` catches all of them; each is also the built-in exception that a reader would expect.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArgumentError",
    "DtypeError",
    "ElbokitError",
    "ModelFileError",
    "NonFiniteError",
    "NotFittedError",
    "ShapeError",
    "SupportError",
]


class ElbokitError(Exception):
    """The base of all exceptions of elbokit.

    Attributes
    ----------
    argument : str or None
        The argument at fault.
    row, column : int or None
        Where its first bad value stands.
    value : float or None
        The value.
    """

    def __init__(
        self,
        message: str = "",
        *,
        argument: str | None = None,
        row: int | None = None,
        column: int | None = None,
        value: float | None = None,
    ) -> None:
        super().__init__(message)
        # Whether it is said as its reader will have it: see `_naming`.
        self.said = False
        self.argument = argument
        self.row = row
        self.column = column
        self.value = value


class ArgumentError(ElbokitError, ValueError):
    """An argument has a value that is not taken. Its name is what stands before the message's first colon."""

    def __init__(self, message: str = "", *, argument: str | None = None, **place: Any) -> None:
        name, colon, _ = message.partition(":")
        super().__init__(message, argument=argument or (name if colon else None), **place)


class ShapeError(ElbokitError, ValueError):
    """An array has the wrong rank or width, or two arrays do not fit together."""


class NonFiniteError(ElbokitError, ValueError):
    """A NaN or infinity stands where a finite number is needed."""


class SupportError(ElbokitError, ValueError):
    """A cell holds a value that its likelihood gives no probability."""


class ModelFileError(ElbokitError, ValueError):
    """A file holds no model that this version can read."""


class DtypeError(ElbokitError, TypeError):
    """An array has an element type that is not taken, or two arrays that must agree do not."""


class NotFittedError(ElbokitError, ValueError, AttributeError):
    """A model was used before it was fitted."""
