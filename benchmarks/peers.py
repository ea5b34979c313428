"""The libraries that elbokit is timed beside, and one expression handed to each of them.

NumPy is always there; Numba, JAX and PyTorch where they are installed. A formula is written once, on an array module
(`numpy`, `jax.numpy` or `torch`), so that all of them are asked for the same numbers: NumPy evaluates it as it stands,
JAX compiles it, PyTorch runs it eagerly and compiled. Numba gets a loop. What is absent is named beside the results.
"""

from __future__ import annotations

import importlib
import os
import platform

import numpy as np

import elbokit as ek

# A machine with an accelerator would compare something else.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One compiling process: none is left idling beside the measurements.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

LIBRARIES = ("NumPy", "Numba", "JAX", "PyTorch")


class Peers:
    """The peers of this environment, all on as many threads as elbokit."""

    def __init__(self, *, compile_torch=True):
        self.compile_torch = compile_torch
        self._loops = {}
        self.numba, self.jax, self.torch = (_present(name) for name in ("numba", "jax", "torch"))
        if self.numba is not None:
            self.numba.set_num_threads(min(ek.get_num_threads(), self.numba.config.NUMBA_NUM_THREADS))
        if self.torch is not None:
            self.torch.set_num_threads(ek.get_num_threads())
            self.torch.set_grad_enabled(False)

    @property
    def _optional(self):
        return {"Numba": self.numba, "JAX": self.jax, "PyTorch": self.torch}

    @property
    def absent(self):
        return [name for name, module in self._optional.items() if module is None]

    @property
    def versions(self):
        elbokit = str(ek.build_info()["version"])
        always = {"elbokit": elbokit, "Python": platform.python_version(), "NumPy": np.__version__}
        return always | {
            name: module.__version__.partition("+")[0] for name, module in self._optional.items() if module is not None
        }

    def formula(self, formula, *arrays):
        """`formula(array module, *arrays)` in NumPy, JAX and PyTorch, by the name of each way."""
        ways = {"NumPy": lambda: formula(np, *arrays)}
        if self.jax is not None:
            compiled = self.jax.jit(lambda *given: formula(self.jax.numpy, *given))
            ways["JAX"] = self.blocked(compiled, *map(self.jax.numpy.asarray, arrays))
        if self.torch is not None:
            ways |= self.in_torch(lambda *given: formula(self.torch, *given), *arrays)
        return ways

    def in_torch(self, function, *arrays):
        """A function of tensors, eager and compiled."""
        tensors = [self.torch.from_numpy(array) for array in arrays]
        ways = {"PyTorch eager": lambda: function(*tensors)}
        if self.compile_torch:
            compiled = self.torch.compile(function, dynamic=False)
            ways["PyTorch compiled"] = lambda: compiled(*tensors)
        return ways

    def drawing(self, draw, *arrays):
        """`draw(array module, *arrays, eps)`, eps standard normals like the first array, by every generator at hand."""
        like = arrays[0]
        ways = {}
        for name, generator in (("PCG64", np.random.PCG64(0)), ("SFC64", np.random.SFC64(0))):
            normals = np.random.Generator(generator).standard_normal
            ways[f"NumPy {name}"] = lambda normals=normals: draw(np, *arrays, normals(like.shape, np.float32))
        if self.jax is not None:
            xp, random = self.jax.numpy, self.jax.random
            compiled = self.jax.jit(lambda key, *given: draw(xp, *given, random.normal(key, like.shape, np.float32)))
            given = [xp.asarray(array) for array in arrays]
            # The default generator, and the one whose bits may change between versions of the compiler.
            for name in ("threefry2x32", "unsafe_rbg"):
                ways[f"JAX {name}"] = self.blocked(compiled, random.key(0, impl=name), *given)
        if self.torch is not None:
            ways |= self.in_torch(lambda *given: draw(self.torch, *given, self.torch.randn_like(given[0])), *arrays)
        return ways

    def blocked(self, function, *arguments):
        """A call of JAX that ends when its results are there."""
        wait = self.jax.block_until_ready
        return lambda: wait(function(*arguments))

    def loop(self, loop, *arguments):
        """A loop over `prange`, compiled for all threads and for one."""
        if self.numba is None:
            return {}
        # The sizes of one kernel share what was compiled.
        code = loop.__code__
        if code not in self._loops:
            self._loops[code] = [self.numba.njit(parallel=many, fastmath=False)(loop) for many in (True, False)]
        parallel, serial = self._loops[code]
        return {"Numba parallel": lambda: parallel(*arguments), "Numba serial": lambda: serial(*arguments)}

    def forget(self):
        """Drop what PyTorch compiled, so that no guard of an earlier case is checked in a later one."""
        if self.torch is not None:
            self.torch.compiler.reset()


def _present(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


try:
    from numba import prange
except ImportError:
    prange = range
