"""Filling an array with standard normals in float32: a new array, and one that is there."""

# ruff: noqa: NPY002 -- a loop of Numba's has this generator, one for each thread

import numpy as np
from harness import ONE_CALL, Case, drawing, same_law
from peers import prange

import elbokit as ek

SHAPES = ((32, 16), (1024, 32), (262144, 32), (1, 8))
ONE = (1, 8)


def cases(peers):
    for shape in SHAPES:
        yield normal(peers, shape, **(ONE_CALL if shape == ONE else {"beside": drawing()}))
    for shape in SHAPES:
        if shape != ONE:
            yield normal_into(peers, shape)


def _fill(out):
    for i in prange(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.random.standard_normal()
    return out


def normal(peers, shape, **options):
    def loop(rows, columns):
        out = np.empty((rows, columns), np.float32)
        for i in prange(rows):
            for j in range(columns):
                out[i, j] = np.random.standard_normal()
        return out

    return Case(
        "fill with normals",
        str(shape),
        lambda: ek.random.normal(shape, key=0),
        peers.drawing(lambda *given: given[-1], np.zeros(shape, np.float32)) | peers.loop(loop, *shape),
        numbers=shape[0] * shape[1],
        targets={} if shape == ONE else {"best": 5.0},
        agree=same_law,
        **options,
    )


def normal_into(peers, shape, **options):
    out, other = np.empty(shape, np.float32), np.empty(shape, np.float32)
    pcg, sfc = np.random.default_rng(0), np.random.Generator(np.random.SFC64(0))
    ways = {
        "NumPy PCG64": lambda: pcg.standard_normal(out=other, dtype=np.float32),
        "NumPy SFC64": lambda: sfc.standard_normal(out=other, dtype=np.float32),
    }
    if peers.torch is not None:
        ways["PyTorch eager"] = peers.torch.from_numpy(other).normal_
    return Case(
        "fill with normals, out=",
        str(shape),
        lambda: ek.random.normal(shape, key=0, out=out),
        ways | peers.loop(_fill, other),
        numbers=out.size,
        targets={"best": 5.0},
        agree=same_law,
        **options,
    )
