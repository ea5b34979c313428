"""Counter-based random numbers: a draw is a function of its key and of where it stands.

    >>> import elbokit as ek
    >>> whole = ek.random.normal((5, 3), key=ek.Key(7))
    >>> bool((ek.random.normal((2, 3), key=ek.Key(7), first_row=3) == whole[3:]).all())
    True

The generator is Philox4x32-10 (Salmon et al. 2011). Row i of a draw depends on the key, i and the row's width; never
on the batch, the threads or what was drawn before, and is the same bits on every processor. How counters, words and
numbers correspond is written down in the core's ``random`` module and pinned by the tests; a change of any drawn
value is announced in the changelog under its own heading. Using one key for two draws gives the same numbers twice:
split it instead.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._arrays import count
from elbokit.errors import ArgumentError, DtypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = ["Key", "normal", "raw", "uniform"]


class Key:
    """A key of the generator: its two key words, unhashed.

    Parameters
    ----------
    seed : int
        0 ≤ seed < 2⁶⁴; the low 32 bits are the first key word.

    Examples
    --------
    >>> key = Key(0)
    >>> a, b = key.split(2)
    >>> a == b, key.fold_in(3) == key.fold_in(3)
    (False, True)
    """

    __slots__ = ("seed",)

    seed: int

    def __init__(self, seed: int) -> None:
        object.__setattr__(self, "seed", _word("seed", seed))

    def fold_in(self, data: int) -> Key:
        """A key that is a function of this one and `data` (0 ≤ data < 2⁶⁴), for an independent stream."""
        return Key(_core.key_fold_in(self.seed, _word("data", data)))

    def split(self, n: int) -> list[Key]:
        """`n` keys for independent streams; the first of them do not depend on `n`."""
        return [Key(_core.key_split(self.seed, i)) for i in range(count("n", n))]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Key does not change; fold_in and split make new ones")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Key does not change; fold_in and split make new ones")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other.seed == self.seed

    def __hash__(self) -> int:
        return hash((Key, self.seed))

    def __repr__(self) -> str:
        return f"Key({self.seed})"

    def __reduce__(self) -> tuple[type[Key], tuple[int]]:
        return Key, (self.seed,)


def _word(argument: str, value: Any, bits: int = 64) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"{argument}: expected a whole number below 2**{bits}, got {value!r}; give an int"
        ) from None
    if not 0 <= number < 1 << bits:
        raise ArgumentError(
            f"{argument}: expected 0 <= {argument} < 2**{bits}, got {number}; give a number in that range"
        )
    return number


def seed_of(key: Key | int) -> int:
    """The key words of a `key=` argument, which takes a Key or an int seed."""
    return key.seed if type(key) is Key else _word("key", key)


# Of the binding, for what it does not take by itself.


def _double(dtype: DTypeLike) -> bool:
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise DtypeError(f"dtype: expected float32 or float64, got {kind}; draw one of those", argument="dtype")
    return kind == np.float64


def _shape(shape: int | Sequence[int]) -> list[int]:
    sizes = list(shape) if hasattr(shape, "__iter__") else [shape]
    return [count("shape", size) for size in sizes]


def normal(
    shape: int | Sequence[int],
    *,
    key: Key | int,
    dtype: DTypeLike = np.float32,
    out: NDArray[Any] | None = None,
    first_row: int = 0,
) -> NDArray[Any]:
    """Standard normals of a shape (rows, …).

    Box and Muller's transform of two words (float32) or four (float64) a pair; float32 uses all 32 bits of a word, so
    that its tails reach 6.76.

    Parameters
    ----------
    shape : int or sequence of int
        (rows, …); an int is that many rows of one number.
    key : Key or int
        The key, or a seed for one.
    dtype : dtype
        float32 or float64; their numbers are unrelated.
    out : ndarray, optional
        Where to write; of this shape and dtype, C-contiguous.
    first_row : int
        The number of the first row: a draw of rows 0 … n is continued by ``first_row=n``.

    Returns
    -------
    ndarray, shape (rows, …)

    Raises
    ------
    DtypeError, ShapeError, ValueError

    References
    ----------
    Box and Muller (1958), "A note on the generation of random normal deviates".

    Examples
    --------
    >>> normal((2, 3), key=0).shape
    (2, 3)
    """
    return _core.random_normal(shape, key, dtype, first_row, out)


def uniform(
    shape: int | Sequence[int],
    *,
    key: Key | int,
    dtype: DTypeLike = np.float32,
    out: NDArray[Any] | None = None,
    first_row: int = 0,
) -> NDArray[Any]:
    """Uniforms in [0, 1) of a shape (rows, …): 24 bits each in float32, 53 in float64.

    Parameters, returns and errors are those of `normal`.

    Examples
    --------
    >>> bool((uniform(1000, key=0) < 1).all())
    True
    """
    return _core.random_uniform(shape, key, dtype, first_row, out)


def raw(n: int, *, key: Key | int, counter: int = 0, out: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
    """The generator's own words, so that published answers can be checked: shape (n,), uint32.

    Word 4 b + w is word w of the block whose 128-bit counter is `counter` + b. `out`, of that shape and type, takes
    the place of a new array.

    Examples
    --------
    >>> [f"{word:08x}" for word in raw(4, key=0)]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    return _core.random_raw(count("n", n), seed_of(key), _word("counter", counter, 128), out)
