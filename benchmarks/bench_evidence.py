"""Particles drawn and weighed in float32, log p(x, z) − log q(z | x): the decoder the identity, or a VAE's."""

import math

import numpy as np
from harness import Case, drawing, multiplying, same_law
from scipy.special import gammaln
from sklearn.datasets import load_digits
from training_peers import layers

import elbokit as ek

PARTICLES = 64
SHAPES = ((1, 16), (128, 16), (16384, 16))
LOG_2PI = math.log(2 * math.pi)


# The demo's network, and a batch whose particles stay in the peers' caches.
ROWS, FEATURES, HIDDEN, LATENT, TOTAL = 16, 64, 256, 16, 16


def cases(peers):
    for shape in SHAPES:
        yield weights(peers, shape)
    for particles in (1000, 5000):
        yield log_evidence(peers, particles)


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


def log_evidence(peers, particles):
    """The demo's digits, from rows to bounds. Peers stop at the log mean weight; ours has error and k-hat too."""
    digits = load_digits().data.astype(np.float32)
    vae = ek.VAE(LATENT, hidden=(HIDDEN,), likelihood=ek.likelihood.Binomial(TOTAL))
    vae.fit(digits, epochs=200, validation=0.0, progress=False)
    x = digits[:ROWS]
    choices = (math.lgamma(TOTAL + 1) - gammaln(x + 1) - gammaln(TOTAL - x + 1)).sum(1).astype(np.float32)
    tensors = [
        tensor for part in ("encoder", "decoder") for layer in layers(vae.parameters(), part) for tensor in layer
    ]

    def draw(xp, _like, x, choices, w0, b0, w1, b1, v0, c0, v1, c1, eps):
        heads = xp.maximum(x / TOTAL @ w0 + b0, xp.zeros_like(b0)) @ w1 + b1
        loc, log_var = heads[:, :LATENT], heads[:, LATENT:]
        z = loc + xp.exp(log_var / 2) * eps
        logits = xp.maximum(z @ v0 + c0, xp.zeros_like(c0)) @ v1 + c1
        softplus = xp.maximum(logits, xp.zeros_like(c1)) + xp.log1p(xp.exp(-xp.abs(logits)))
        weights = choices + (x * logits - TOTAL * softplus).sum(2) + (eps * eps + log_var - z * z).sum(2) / 2
        top = xp.amax(weights, 0)
        return top + xp.log(xp.exp(weights - top).mean(0))

    like = np.zeros((particles, ROWS, LATENT), np.float32)
    return Case(
        f"log evidence, {particles} particles of q",
        f"{ROWS} rows, {FEATURES}-{HIDDEN}-{LATENT}",
        lambda: vae.log_evidence(x, num_particles=particles, proposal="posterior").lower,
        peers.drawing(draw, like, x, choices, *tensors),
        beside=multiplying(),
        flops=2 * ROWS * particles * HIDDEN * (LATENT + FEATURES),
        targets={"best": 4},
        # Over so few rows the means of two runs differ by a standard deviation of 0.4.
        agree=lambda mine, other: None if abs(np.mean(mine - np.asarray(other))) < 1 else "the evidence differs",
    )
