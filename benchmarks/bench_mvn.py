"""The full-covariance Gaussian: divergence from one Gaussian to another with triangles of their own, and its gradient.

NumPy solves for all rows in one call, by LU for want of a batched triangular solve; JAX has one (its LU of a batch
waits for ever now and then where it has two threads). Numba's loop is a forward substitution that touches the triangles
alone, its inner loop along rows. SciPy's solver takes one matrix a call and is no rival.
"""

import numpy as np
from harness import Case
from peers import prange

import elbokit as ek

# Small; and what the budget names, within a core's cache and beyond it.
SHAPES = ((32, 8), (256, 32), (8192, 32))


def cases(peers):
    for dtype in (np.float32, np.float64):
        for shape in SHAPES:
            yield kl(peers, *gaussians(*shape, dtype))
    yield kl_grad(peers, *gaussians(256, 32, np.float32))


def gaussians(rows, latent, dtype):
    """Such a posterior and prior as a model with correlated latents has."""
    made = []
    for key in (1, 2):
        loc, spread = (ek.random.normal((rows, latent), key=10 * key + i, dtype=dtype) for i in range(2))
        below = ek.random.normal((rows, latent, latent), key=10 * key + 2, dtype=dtype)
        tril = np.tril(below, -1) * dtype(0.5 / latent**0.5)
        tril[:, range(latent), range(latent)] = np.exp(dtype(0.3) * spread)
        made += [loc, tril]
    return made


def divergence(xp, solve, loc, tril, prior_loc, prior_tril):
    """½ [‖L₂⁻¹L₁‖² + ‖L₂⁻¹Δ‖² − d] + ln det L₂ − ln det L₁, in as few calls as an array library allows."""
    d = np.arange(loc.shape[1])
    right = xp.concatenate((tril, (loc - prior_loc)[:, :, None]), 2)
    solved = solve(prior_tril, right)
    logs = xp.log(prior_tril[:, d, d] / tril[:, d, d]).sum(1)
    return 0.5 * ((solved * solved).sum((1, 2)) - len(d)) + logs


def libraries(peers, function, *arrays):
    """Ways to the value of `function(xp, solve, *arrays)`, where `solve(a, b, transposed)` takes lower triangles."""

    def lu(a, b, transposed=False):
        return np.linalg.solve(a.swapaxes(1, 2) if transposed else a, b)

    ways = {"NumPy": lambda: function(np, lu, *arrays)}
    # JAX computes in float32 unless the whole process is told otherwise.
    if peers.jax is None or arrays[0].dtype != np.float32:
        return ways

    def solve(a, b, transposed=False):
        return peers.jax.lax.linalg.triangular_solve(a, b, left_side=True, lower=True, transpose_a=transposed)

    compiled = peers.jax.jit(lambda *given: function(peers.jax.numpy, solve, *given))
    return ways | {"JAX": peers.blocked(compiled, *map(peers.jax.numpy.asarray, arrays))}


def size(loc):
    return f"({', '.join(map(str, (*loc.shape, loc.shape[1])))}) {loc.dtype}"


def kl(peers, loc, tril, prior_loc, prior_tril):
    arrays = (loc, tril, prior_loc, prior_tril)

    def loop(loc, tril, prior_loc, prior_tril):
        n, d = loc.shape
        value = np.empty(n, loc.dtype)
        for row in prange(n):
            q, p = tril[row], prior_tril[row]
            x, y = np.empty((d, d), loc.dtype), np.empty(d, loc.dtype)
            total = loc[row, 0] * 0
            for i in range(d):
                inverse = 1 / p[i, i]
                x[i, : i + 1] = q[i, : i + 1]
                y[i] = loc[row, i] - prior_loc[row, i]
                for k in range(i):
                    c = p[i, k]
                    y[i] -= c * y[k]
                    for j in range(k + 1):
                        x[i, j] -= c * x[k, j]
                y[i] *= inverse
                total += y[i] * y[i] - 1 - 2 * np.log(q[i, i] * inverse)
                for j in range(i + 1):
                    x[i, j] *= inverse
                    total += x[i, j] * x[i, j]
            value[row] = total / 2
        return value

    n, d = loc.shape
    return Case(
        "full-covariance KL",
        size(loc),
        lambda: ek.mvn.kl(*arrays),
        libraries(peers, divergence, *arrays) | peers.loop(loop, *arrays),
        bytes=sum(array.nbytes for array in arrays) + n * loc.itemsize,
        targets={} if d < 32 else {"best": 3.0},
    )


def kl_grad(peers, loc, tril, prior_loc, prior_tril):
    arrays = (loc, tril, prior_loc, prior_tril)

    def formula(xp, solve, loc, tril, prior_loc, prior_tril):
        d = np.arange(loc.shape[1])
        right = xp.concatenate((tril, (loc - prior_loc)[:, :, None]), 2)
        solved = solve(prior_tril, right)
        logs = xp.log(prior_tril[:, d, d] / tril[:, d, d]).sum(1)
        value = 0.5 * ((solved * solved).sum((1, 2)) - len(d)) + logs
        back = solve(prior_tril, solved, transposed=True)
        d_tril = xp.tril(back[:, :, :-1]) - xp.eye(len(d), dtype=tril.dtype) / tril[:, d, d][:, None, :]
        return value, 1.0 * back[:, :, -1], d_tril

    def ours():
        return ek.mvn.kl_grad(*arrays)[:3]

    return Case(
        "full-covariance KL, value and gradient",
        size(loc),
        ours,
        libraries(peers, formula, *arrays),
        # We return the prior's gradient as well.
        bytes=sum(array.nbytes for array in arrays) * 2 + len(loc) * loc.itemsize,
    )
