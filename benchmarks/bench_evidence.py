"""Sixty-four particles a row, drawn and weighed in float32: log p(x, z) − log q(z | x), the decoder the identity."""

import math

import numpy as np
from harness import Case, drawing, same_law

import elbokit as ek

PARTICLES = 64
SHAPES = ((1, 16), (128, 16), (16384, 16))
LOG_2PI = math.log(2 * math.pi)


def cases(peers):
    for shape in SHAPES:
        yield weights(peers, shape)


def weights(peers, shape):
    x, loc = ek.random.normal(shape, key=1), 0.5 * ek.random.normal(shape, key=2)
    log_var = 0.3 * ek.random.normal(shape, key=3) - 0.7
    post, likelihood = ek.GaussianParams(loc, log_var), ek.likelihood.Gaussian(1.0)

    def ours():
        return ek.log_weights(x, post, lambda z: z, likelihood, key=0, num_particles=PARTICLES)

    def draw(xp, _like, x, loc, log_var, eps):
        z = loc + xp.exp(log_var / 2) * eps
        log_q = -(eps * eps + log_var + LOG_2PI).sum(2) / 2
        log_p = -(z * z + (x - z) * (x - z) + 2 * LOG_2PI).sum(2) / 2
        return log_p - log_q

    # Only the shape of the first is read.
    like = np.zeros((PARTICLES, *shape), np.float32)
    numbers = PARTICLES * shape[0] * shape[1]
    return Case(
        "64 particles a row: draw, weigh",
        str(shape),
        ours,
        peers.drawing(draw, like, x, loc, log_var),
        beside=drawing(),
        numbers=numbers,
        targets={"best": 8},
        agree=same_law,
    )
