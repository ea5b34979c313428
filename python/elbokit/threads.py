"""How many threads kernels use, and what was built.

    >>> import elbokit as ek
    >>> with ek.num_threads(1):
    ...     ek.get_num_threads()
    1

The number is the only global state. It is set by `set_num_threads`, else by the environment variables
ELBOKIT_NUM_THREADS and OMP_NUM_THREADS, else it is what affinity and cgroup quota leave to the process. Results do
not depend on it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from elbokit import _core
from elbokit._arrays import count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["build_info", "get_num_threads", "num_threads", "set_num_threads"]


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels may use, 1 to 1024."""
    _core.set_num_threads(count("n", n, 1))


def get_num_threads() -> int:
    """The number of threads that kernels may use."""
    return _core.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """A number of threads for a block of code; the number before comes back at its end."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def build_info() -> dict[str, object]:
    """What was built and what it runs on, for reports of bugs: version, target, SIMD level, threads.

    The environment variable ELBOKIT_SIMD (``baseline``, ``avx2``, ``avx512``, ``neon``) caps the level; the bits of
    results do not change.
    """
    return _core.build_info()
