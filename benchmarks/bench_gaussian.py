"""The diagonal Gaussian in float32, 32 latents a row: divergence, its gradient, and reparameterised draws.

Everyone returns new arrays, so NumPy, JAX and PyTorch copy loc where it is a gradient, as we do.
"""

# ruff: noqa: NPY002 -- a loop of Numba's has this generator, one for each thread

import math

import numpy as np
from harness import ONE_CALL, Case, copying, drawing, same_law
from peers import prange

import elbokit as ek

# Small, within a core's cache, beyond every cache; and one row, where only the call is left.
SHAPES = ((32, 16), (1024, 32), (262144, 32), (1, 8))
ONE = (1, 8)
LOG_2PI = np.float32(math.log(2 * math.pi))


def cases(peers):
    for work in (kl, kl_grad, rsample, rsample_and_log_prob):
        for shape in SHAPES:
            yield work(peers, *posterior(*shape), **_beside(work, shape))


def _beside(work, shape):
    """What a row runs toward: an empty call, the generator's words, or memory where the arrays outgrow the caches."""
    if shape == ONE:
        return ONE_CALL
    if work in (rsample, rsample_and_log_prob):
        return {"beside": drawing()}
    return {"beside": copying()} if shape == SHAPES[2] else {}


def posterior(rows, latent):
    """Such loc and log_var as an encoder gives."""
    loc, spread = (ek.random.normal((rows, latent), key=key) for key in (1, 2))
    return loc, (0.5 * spread - 1).astype(np.float32)


def _kl_target(shape):
    return {} if shape == ONE else {"best": 2.0 if shape[0] > 100_000 else 3.0}


def kl(peers, loc, log_var, **options):
    def formula(xp, loc, log_var):
        return 0.5 * (xp.exp(log_var) - 1 - log_var + loc * loc).sum(1)

    def loop(loc, log_var):
        value = np.empty(loc.shape[0], np.float32)
        for i in prange(loc.shape[0]):
            total = np.float32(0)
            for j in range(loc.shape[1]):
                total += np.exp(log_var[i, j]) - np.float32(1) - log_var[i, j] + loc[i, j] * loc[i, j]
            value[i] = np.float32(0.5) * total
        return value

    return Case(
        "KL to N(0, I)",
        str(loc.shape),
        lambda: ek.gaussian.kl(loc, log_var),
        peers.formula(formula, loc, log_var) | peers.loop(loop, loc, log_var),
        bytes=4 * (2 * loc.size + len(loc)),
        targets=_kl_target(loc.shape),
        **options,
    )


def kl_grad(peers, loc, log_var, **options):
    def formula(xp, loc, log_var):
        variance = xp.exp(log_var)
        value = 0.5 * (variance - 1 - log_var + loc * loc).sum(1)
        return value, 1.0 * loc, 0.5 * (variance - 1)

    def loop(loc, log_var):
        value = np.empty(loc.shape[0], np.float32)
        d_loc, d_log_var = np.empty_like(loc), np.empty_like(log_var)
        for i in prange(loc.shape[0]):
            total = np.float32(0)
            for j in range(loc.shape[1]):
                less = np.exp(log_var[i, j]) - np.float32(1)
                total += less - log_var[i, j] + loc[i, j] * loc[i, j]
                d_loc[i, j] = loc[i, j]
                d_log_var[i, j] = np.float32(0.5) * less
            value[i] = np.float32(0.5) * total
        return value, d_loc, d_log_var

    return Case(
        "KL, value and gradient",
        str(loc.shape),
        lambda: ek.gaussian.kl_grad(loc, log_var),
        peers.formula(formula, loc, log_var) | peers.loop(loop, loc, log_var),
        bytes=4 * (4 * loc.size + len(loc)),
        targets=_kl_target(loc.shape),
        **options,
    )


def rsample(peers, loc, log_var, **options):
    def draw(xp, loc, log_var, eps):
        return loc + xp.exp(0.5 * log_var) * eps

    def loop(loc, log_var):
        z = np.empty_like(loc)
        for i in prange(loc.shape[0]):
            for j in range(loc.shape[1]):
                z[i, j] = loc[i, j] + np.exp(np.float32(0.5) * log_var[i, j]) * np.float32(np.random.standard_normal())
        return z

    return Case(
        "rsample",
        str(loc.shape),
        lambda: ek.gaussian.rsample(loc, log_var, key=0),
        peers.drawing(draw, loc, log_var) | peers.loop(loop, loc, log_var),
        numbers=loc.size,
        bytes=4 * 3 * loc.size,
        targets={} if loc.shape == ONE else {"best": 5.0},
        agree=same_law,
        **options,
    )


def rsample_and_log_prob(peers, loc, log_var, **options):
    def draw(xp, loc, log_var, eps):
        return loc + xp.exp(0.5 * log_var) * eps, -0.5 * (eps * eps + log_var + LOG_2PI).sum(1)

    def loop(loc, log_var):
        z, log_prob = np.empty_like(loc), np.empty(loc.shape[0], np.float32)
        for i in prange(loc.shape[0]):
            total = np.float32(0)
            for j in range(loc.shape[1]):
                eps = np.float32(np.random.standard_normal())
                z[i, j] = loc[i, j] + np.exp(np.float32(0.5) * log_var[i, j]) * eps
                total += eps * eps + log_var[i, j] + LOG_2PI
            log_prob[i] = np.float32(-0.5) * total
        return z, log_prob

    return Case(
        "rsample and log_prob",
        str(loc.shape),
        lambda: ek.gaussian.rsample_and_log_prob(loc, log_var, key=0),
        peers.drawing(draw, loc, log_var) | peers.loop(loop, loc, log_var),
        numbers=loc.size,
        bytes=4 * (3 * loc.size + len(loc)),
        targets={} if loc.shape == ONE else {"best": 5.0},
        agree=same_law,
        **options,
    )
