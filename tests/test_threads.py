"""Threads, forks and processors change nothing but the time: the same bits from each, and nothing hangs."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import elbokit as ek

DTYPES = (np.float32, np.float64)
SIMD = ek.build_info()["simd_available"]


def every_result(dtype, rows, width):
    """The arrays that every kernel makes of some input, by name."""
    rng = np.random.default_rng(width)
    z, loc, log_var, prior_loc, prior_log_var = (rng.standard_normal((rows, width)).astype(dtype) * 3 for _ in range(5))
    g, lik = ek.gaussian, ek.likelihood
    yield "normal", ek.random.normal((rows, width), key=1, dtype=dtype, first_row=5)
    yield "uniform", ek.random.uniform((rows, width), key=1, dtype=dtype, first_row=5)
    yield "rsample", g.rsample(loc, log_var, key=2, num_particles=3, first_row=7)
    yield from zip(("z", "log q"), g.rsample_and_log_prob(loc, log_var, key=2, num_particles=3), strict=True)
    yield "log_prob", g.log_prob(np.stack([z, loc]), loc, log_var)
    yield "entropy", g.entropy(log_var)
    for prior in ((), (prior_loc, prior_log_var), (prior_loc[0], prior_log_var[0])):
        yield "kl", g.kl(loc, log_var, *prior)
        yield "kl_per_dim", g.kl_per_dim(loc, log_var, *prior)
        for part in g.kl_grad(loc, log_var, *prior):
            yield "kl_grad", part
    for likelihood in (
        lik.Gaussian(0.7),
        lik.Gaussian(np.linspace(0.5, 2, width)),
        lik.Gaussian("predicted"),
        lik.Bernoulli(),
        lik.Binomial(9),
    ):
        params = np.concatenate([z, loc], axis=1)[:, : likelihood.num_params(width)]
        x = np.abs(np.rint(prior_loc)) % (getattr(likelihood, "total_count", 1) + 1)
        x = np.where(prior_log_var > 4, np.nan, x)
        yield repr(likelihood), likelihood.log_prob(x, params)
        for part in likelihood.log_prob_grad(x, np.concatenate([params, params[::-1]])):
            yield f"{likelihood} with its gradient", part
        yield f"{likelihood} mean", likelihood.mean(params)
        yield f"{likelihood} sample", likelihood.sample(params, key=4, first_row=1)
    terms = ek.elbo(
        z, ek.GaussianParams(loc, log_var), lambda z: z, lik.Gaussian(), key=5, num_particles=2, kl="monte_carlo"
    )
    yield from zip(terms._fields, terms, strict=True)
    weights = ek.log_weights(z, ek.GaussianParams(loc, log_var), lambda z: z, lik.Gaussian(), key=5, num_particles=4)
    yield "log_weights", weights
    for bound in (ek.bounds.elbo, ek.bounds.iwae):
        yield from zip(("bound", "its error"), bound(weights, return_error=True), strict=True)


def fingerprint(rows=40, widths=(1, 5, 16, 37)):
    """One hash of everything."""
    digest = hashlib.sha256()
    for dtype in DTYPES:
        for width in widths:
            for name, array in every_result(dtype, rows, width):
                digest.update(name.encode() + str((array.dtype, array.shape)).encode() + array.tobytes())
    return digest.hexdigest()


def python(code, **environment):
    """What a fresh interpreter prints; 60 s for a child that hangs to be found out."""
    here = {"PYTHONPATH": str(Path(__file__).parent)}
    kept = {k: v for k, v in os.environ.items() if k not in {"ELBOKIT_NUM_THREADS", "OMP_NUM_THREADS", "ELBOKIT_SIMD"}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | here | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    before = ek.get_num_threads()
    yield
    ek.set_num_threads(before)


# The same bits.


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(dtype):
    # 600 000 numbers an array: six times what keeps work on one thread.
    with ek.num_threads(1):
        expected = [(name, array.tobytes()) for name, array in every_result(dtype, 20_000, 30)]
    for threads in (2, 3, 8):
        with ek.num_threads(threads):
            for (name, array), (same, data) in zip(every_result(dtype, 20_000, 30), expected, strict=True):
                assert name == same
                assert array.tobytes() == data, (name, threads)


def test_every_level_of_the_processor_gives_the_same_bits():
    assert ek.build_info()["simd"] in SIMD
    assert "baseline" in SIMD or "neon" in SIMD
    code = "import test_threads as t, elbokit as ek; print(ek.build_info()['simd'], t.fingerprint())"
    assert {level: python(code, ELBOKIT_SIMD=level) for level in SIMD} == {
        level: f"{level} {fingerprint()}" for level in SIMD
    }


def test_an_unknown_level_is_ignored():
    assert python("import elbokit as ek; print(ek.build_info()['simd'])", ELBOKIT_SIMD="quantum") == SIMD[0]


# The number.


def test_the_number_of_threads_is_what_was_set():
    for n in (1, 3, 1024):
        ek.set_num_threads(n)
        assert ek.get_num_threads() == ek.build_info()["num_threads"] == n
    for wrong in (0, -1, 1025, 2.0, None, "2"):
        with pytest.raises(ValueError, match=r"^n: expected .+, got .+; "):
            ek.set_num_threads(wrong)
    assert ek.get_num_threads() == 1024


def test_the_context_puts_the_number_back():
    ek.set_num_threads(5)
    with ek.num_threads(2):
        assert ek.get_num_threads() == 2
        with ek.num_threads(7):
            assert ek.get_num_threads() == 7
        assert ek.get_num_threads() == 2
    assert ek.get_num_threads() == 5
    with pytest.raises(ZeroDivisionError), ek.num_threads(2):
        raise ZeroDivisionError
    assert ek.get_num_threads() == 5
    with pytest.raises(ValueError, match=r"^n: expected"), ek.num_threads(0):
        pass
    assert ek.get_num_threads() == 5


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ELBOKIT_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "4"}, "4"),
        ({"ELBOKIT_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, "3"),
        ({"ELBOKIT_NUM_THREADS": "many", "OMP_NUM_THREADS": "4"}, "4"),
        ({"ELBOKIT_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": ""}, None),
        ({}, None),
    ],
)
def test_the_environment_sets_the_number(environment, expected):
    code = (
        "import os, elbokit as ek; print(ek.get_num_threads(), len(getattr(os, 'sched_getaffinity', lambda _: '')(0)))"
    )
    got, processors = python(code, **environment).split()
    if expected is not None:
        assert got == expected
    else:
        assert int(got) >= 1
        assert int(processors) == 0 or int(got) <= int(processors)
    assert python("import elbokit as ek; ek.set_num_threads(6); print(ek.get_num_threads())", **environment) == "6"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_limits_the_number():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert python(f"{one}; import elbokit; print(elbokit.get_num_threads())") == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="counts a process's threads in /proc")
def test_small_work_makes_no_pool_and_large_work_one_of_the_stated_size():
    code = """
import os, time, numpy as np, elbokit as ek
def count():
    return sum(open(f"/proc/self/task/{t}/comm").read().startswith("elbokit") for t in os.listdir("/proc/self/task"))
ek.set_num_threads(3)
small, large = np.zeros((100, 100)), np.zeros((10_000, 100))
ek.gaussian.kl(small, small)
print(count(), end=" ")
with ek.num_threads(1):
    ek.gaussian.kl(large, large)
print(count(), end=" ")
ek.gaussian.kl(large, large)
ek.gaussian.kl(large, large)
# A thread names itself once it runs, and the call may be over before that.
deadline = time.monotonic() + 20
while count() < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.1)
print(count())
"""
    assert python(code) == "0 0 2"  # beside the calling thread, which works too


# Forks, processes and other people's threads.

LARGE = """
import hashlib, os, sys, numpy as np, elbokit as ek
ek.set_num_threads(4)
def work(key=0):
    x = ek.random.normal((20_000, 50), key=key)
    return hashlib.sha256(ek.gaussian.kl(x, x).tobytes()).hexdigest()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("parent_first", [True, False])
def test_a_forked_child_makes_a_pool_of_its_own(parent_first):
    # The child is given 20 s; a pool that the fork left without threads would keep it forever.
    code = f"""{LARGE}
import select, warnings
warnings.simplefilter("ignore")  # Python 3.12 and later warn of a fork beside threads, which is what this is about
before = work() if {parent_first} else None
results = []
for _ in range(3):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, work().encode())
        os._exit(0)
    if not select.select([read], [], [], 20)[0]:
        os.kill(child, 9)
        os.waitpid(child, 0)
        sys.exit("the child hangs")
    results.append(os.read(read, 64).decode())
    assert os.waitpid(child, 0)[1] == 0
print(len({{*results, work(), before or work()}}))
"""
    assert python(code) == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_other_threads_work():
    code = f"""{LARGE}
import select, threading, warnings
warnings.simplefilter("ignore")
expected, stop = work(), threading.Event()
def busy():
    while not stop.is_set():
        work()
threads = [threading.Thread(target=busy) for _ in range(3)]
for t in threads:
    t.start()
good = 0
for _ in range(10):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, work().encode())
        os._exit(0)
    if not select.select([read], [], [], 20)[0]:
        os.kill(child, 9)
        stop.set()
        sys.exit("the child hangs")
    good += os.read(read, 64).decode() == expected
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
stop.set()
for t in threads:
    t.join()
print(good)
"""
    assert python(code) == "10"


@pytest.mark.parametrize("method", [m for m in ("spawn", "forkserver") if m in multiprocessing.get_all_start_methods()])
def test_other_processes_give_the_same_bits(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(fingerprint, [3, 3]).get(timeout=60) == [fingerprint(3)] * 2


def test_calls_from_many_threads_at_once():
    ek.set_num_threads(2)
    x = ek.random.normal((8000, 50), key=0, dtype=np.float64)
    likelihood = ek.likelihood.Gaussian(0.5)

    def work(key):
        z = ek.gaussian.rsample(x, x, key=key)
        with ek.num_threads(2):
            return (
                z.tobytes(),
                ek.gaussian.kl(x, x).tobytes(),
                likelihood.log_prob(x[:, : key % 5 + 3], z[:, : key % 5 + 3]).tobytes(),
            )

    expected = [work(key) for key in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24), timeout=60)) == expected


def test_the_number_may_change_while_others_work():
    x = ek.random.normal((20_000, 20), key=0, dtype=np.float64)
    expected = ek.gaussian.kl(x, x).tobytes()

    def work(i):
        ek.set_num_threads(i % 4 + 1)
        return ek.gaussian.kl(x, x).tobytes()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(60), timeout=60)) == {expected}


def test_an_array_may_be_read_by_all_and_written_by_one():
    out, x = np.zeros(20_000), np.zeros((20_000, 20))
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(ek.gaussian.kl, x, x, out=out) for _ in range(40)]
    # A second writer at the same time is refused, not let in.
    for result in done:
        error = result.exception(timeout=60)
        assert error is None or str(error).startswith(
            "out: shares memory with another argument or with a call in another"
        )
    assert any(result.exception() is None for result in done)


def test_a_long_call_lets_other_threads_run():
    code = f"""{LARGE}
import threading, time
x = ek.random.normal((200_000, 50), key=1)
ticks, stop = 0, False
def tick():
    global ticks
    while not stop:
        ticks += 1
        time.sleep(0.001)
thread = threading.Thread(target=tick)
thread.start()
start = time.perf_counter()
with ek.num_threads(1):
    ek.likelihood.Binomial(200).sample(x[:20_000], key=0)
seconds, seen = time.perf_counter() - start, ticks
stop = True
thread.join()
print(seen > 1 + 20 * seconds)
"""
    assert python(code) == "True"
