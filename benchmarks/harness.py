"""Times a piece of work beside its peers, in turn, so that noise hits all of them alike.

A case is called once by everyone, which compiles what is compiled, and our result is held against the others'. Then it
is timed in rounds: in each, everyone has one block of calls of about the same length; the order turns from round to
round, and a block begins when no thread of this process, such as one of another library's pool, is still spinning. A
time is the median over rounds.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import elbokit as ek
from elbokit import _core

OURS = "elbokit"


class Effort(NamedTuple):
    """How long to measure: rounds, and the seconds of one block of calls."""

    rounds: int
    block: float


FULL = Effort(rounds=11, block=0.015)
QUICK = Effort(rounds=2, block=0.003)


# What a call of a (1, 8) array is beside: a function of the extension that does next to nothing.
ONE_CALL = {"beside": {"empty call": _core.get_num_threads}, "overhead": 2e-6}

# Numbers that the copy moves, more than every cache holds, and words that the generator makes.
COPIED = 1 << 24
RAW_WORDS = 1 << 20
# Rows and columns of the product's factors.
SGEMM = 1024


def copying():
    """Beside a row that memory limits: a copy of an array by all threads, whose bytes a second are its limit."""
    source, target = np.ones(COPIED, np.float32), np.zeros(COPIED, np.float32)
    threads = _core.get_num_threads()
    parts = [slice(COPIED * i // threads, COPIED * (i + 1) // threads) for i in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return {"copy": lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))}


def drawing():
    """Beside a row that draws: the generator's own words on one thread, whose time a word is its limit a core."""
    return {"raw words": lambda: _core.random_raw(RAW_WORDS, 0)}


def multiplying():
    """Beside a row of matrix products: NumPy's own in float32, on all threads."""
    a, b = (ek.random.normal((SGEMM, SGEMM), key=key) for key in (3, 4))
    out = np.empty_like(a)
    return {"sgemm": lambda: np.matmul(a, b, out=out)}


def close(ours, theirs):
    """Whether two results are the same numbers but for float32's rounding; what is wrong, or None."""
    for mine, other in zip(_arrays(ours), _arrays(theirs), strict=True):
        if mine.shape != other.shape:
            return f"shape {other.shape}, not {mine.shape}"
        off = float(np.max(np.abs(mine - other), initial=0.0) / np.max(np.abs(mine), initial=1e-30))
        if not off < 1e-4:
            return f"results differ by {off:.1e} of the largest"
    return None


def same_law(ours, theirs):
    """Whether two results are draws of one law, by shape, mean and standard deviation; what is wrong, or None."""
    for mine, other in zip(_arrays(ours), _arrays(theirs), strict=True):
        if mine.shape != other.shape:
            return f"shape {other.shape}, not {mine.shape}"
        if mine.size < 1000:
            continue
        sd = float(mine.std(dtype=np.float64))
        shift = abs(float(mine.mean(dtype=np.float64) - other.mean(dtype=np.float64)))
        if shift > 8 * sd / mine.size**0.5 or abs(float(other.std(dtype=np.float64)) / sd - 1) > 0.15:
            return "draws differ in mean or standard deviation"
    return None


def _arrays(result):
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes
    ----------
    ours : callable
        The work as it is called from Python.
    peers : mapping of callables
        The same work by others; a name opens with its library, such as "JAX scan".
    beside : mapping of callables
        Timed in the same rounds, no rivals: what a rate is a share of.
    numbers, bytes, flops : int
        Numbers drawn, bytes of the arguments and results, and floating-point operations of one call.
    targets : mapping of floats
        The least ratio that the project asks for, against "the best" or against one way or library.
    overhead : float
        The most seconds that a call may take over the first of `beside`, an empty call; 0 where nothing is asked.
    agree : callable
        What is wrong between our result and a peer's, or None.
    own_clock : bool
        The callables take the seconds that a block should last, and return those of one call.
    """

    work: str
    size: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    beside: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    numbers: int = 0
    bytes: int = 0
    flops: int = 0
    targets: Mapping[str, float] = field(default_factory=dict)
    overhead: float = 0.0
    agree: Callable[[Any, Any], str | None] = close
    own_clock: bool = False


@dataclass(frozen=True)
class Row:
    """What was measured of a case: the seconds of one call in each round, by name, and who failed and why."""

    case: Case
    rounds: Mapping[str, list[float]]
    failed: Mapping[str, str]

    def seconds(self, name):
        return statistics.median(self.rounds[name])

    @property
    def ours(self):
        return self.seconds(OURS)

    def ratio(self, name):
        """How many times our time another needs."""
        return self.seconds(name) / self.ours

    def best(self, which=""):
        """The fastest of the peers whose name opens with `which`, or None."""
        names = [name for name in self.rounds if name in self.case.peers and name.startswith(which)]
        return min(names, key=self.seconds, default=None)


def measure(case, effort):
    """The row of a case."""
    contenders = {OURS: case.ours, **case.beside, **case.peers}
    calls, failed = {}, {}
    expected = None
    for name, call in contenders.items():
        try:
            result = call(effort.block) if case.own_clock else call()
        except Exception as error:
            # A peer that cannot do it is named, and the others are timed; one that does something else is our mistake.
            if name == OURS or isinstance(error, AssertionError):
                raise
            failed[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        if name == OURS:
            expected = result
        elif name in case.peers and not case.own_clock and (wrong := case.agree(expected, result)):
            raise AssertionError(f"{case.work} {case.size}: {name} does something else: {wrong}")
        calls[name] = 1 if case.own_clock else _calls(call, effort.block)
    del expected, result

    rounds = {name: [] for name in calls}
    names = list(calls)
    gc.collect()
    gc.disable()
    try:
        for turn in range(effort.rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                _settle()
                call = contenders[name]
                rounds[name].append(call(effort.block) if case.own_clock else _block(call, calls[name]))
    finally:
        gc.enable()
    return Row(case, rounds, failed)


def _calls(call, seconds):
    """How many calls fill a block."""
    n = 1
    while True:
        elapsed = _timed(call, n)
        if elapsed > seconds / 4:
            return max(1, round(n * seconds / elapsed))
        n *= 4


def _block(call, n):
    # A pool that sleeps is woken, and caches are filled, before the clock starts.
    _timed(call, -(-n // 8))
    return _timed(call, n) / n


def _timed(call, n):
    steps = range(n)
    start = time.perf_counter()
    for _ in steps:
        call()
    return time.perf_counter() - start


def _settle():
    for _ in range(200):
        before = time.process_time()
        time.sleep(1e-3)
        if time.process_time() - before < 2e-4:
            return
