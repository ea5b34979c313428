"""The reconstruction term of 784 features in float32, value and value with gradient: bits under logits, and reals."""

import math

import numpy as np
from harness import ONE_CALL, Case, copying
from peers import prange

import elbokit as ek

FEATURES = 784
# One image, a batch of them, and more than every cache holds; and one short row, where only the call is left.
SHAPES = ((1, FEATURES), (128, FEATURES), (8192, FEATURES), (1, 8))
ONE = (1, 8)
LOG_2PI = math.log(2 * math.pi)


def cases(peers):
    for work in (bernoulli, bernoulli_grad, gaussian, gaussian_grad):
        for shape in SHAPES:
            limit = {"beside": copying()} if shape == SHAPES[2] else {}
            yield work(peers, shape, **(ONE_CALL if shape == ONE else limit))


def _bits_and_logits(shape):
    return (ek.random.uniform(shape, key=1) < 0.3).astype(np.float32), 2 * ek.random.normal(shape, key=2)


def _reals_and_loc(shape):
    return ek.random.normal(shape, key=1), ek.random.normal(shape, key=2)


def _case(work, shape, ours, peers, factor, arrays, **options):
    return Case(
        work,
        str(shape),
        ours,
        peers,
        bytes=4 * (arrays * shape[0] * shape[1] + shape[0]),
        targets={} if shape == ONE else {"best": factor},
        **options,
    )


def bernoulli(peers, shape, **options):
    x, logits = _bits_and_logits(shape)
    likelihood = ek.likelihood.Bernoulli()

    def loop(x, logits):
        value = np.empty(x.shape[0], np.float32)
        for i in prange(x.shape[0]):
            total = np.float32(0)
            for j in range(x.shape[1]):
                t = logits[i, j]
                total += x[i, j] * t - max(t, np.float32(0)) - np.log1p(np.exp(-abs(t)))
            value[i] = total
        return value

    ways = peers.formula(_bernoulli, x, logits) | peers.loop(loop, x, logits)
    if peers.torch is not None:
        fused = peers.torch.nn.functional.binary_cross_entropy_with_logits
        x_tensor, logits_tensor = peers.torch.from_numpy(x), peers.torch.from_numpy(logits)
        ways["PyTorch functional"] = lambda: -fused(logits_tensor, x_tensor, reduction="none").sum(1)
    return _case("Bernoulli", shape, lambda: likelihood.log_prob(x, logits), ways, 2.5, 2, **options)


def _bernoulli(xp, x, logits):
    positive = xp.relu(logits) if hasattr(xp, "relu") else xp.maximum(logits, 0)
    return (x * logits - positive - xp.log1p(xp.exp(-abs(logits)))).sum(1)


def bernoulli_grad(peers, shape, **options):
    x, logits = _bits_and_logits(shape)
    likelihood = ek.likelihood.Bernoulli()

    def formula(xp, x, logits):
        # One exponential serves both: sigmoid(t) is 1 / (1 + e) for t ≥ 0 and e / (1 + e) below, where e = exp(−|t|).
        e = xp.exp(-abs(logits))
        positive = xp.relu(logits) if hasattr(xp, "relu") else xp.maximum(logits, 0)
        value = (x * logits - positive - xp.log1p(e)).sum(1)
        return value, x - xp.where(logits >= 0, 1.0, e) / (1 + e)

    def loop(x, logits):
        value, gradient = np.empty(x.shape[0], np.float32), np.empty_like(logits)
        for i in prange(x.shape[0]):
            total = np.float32(0)
            for j in range(x.shape[1]):
                t = logits[i, j]
                e = np.exp(-abs(t))
                total += x[i, j] * t - max(t, np.float32(0)) - np.log1p(e)
                gradient[i, j] = x[i, j] - (np.float32(1) if t >= 0 else e) / (np.float32(1) + e)
            value[i] = total
        return value, gradient

    ways = peers.formula(formula, x, logits) | peers.loop(loop, x, logits)
    if peers.jax is not None:
        xp = peers.jax.numpy
        sigmoid = peers.jax.jit(lambda x, t: (_bernoulli(xp, x, t), x - peers.jax.nn.sigmoid(t)))
        ways["JAX sigmoid"] = peers.blocked(sigmoid, xp.asarray(x), xp.asarray(logits))
    if peers.torch is not None:
        torch, x_tensor, logits_tensor = peers.torch, peers.torch.from_numpy(x), peers.torch.from_numpy(logits)
        ways["PyTorch sigmoid"] = lambda: (
            _bernoulli(torch, x_tensor, logits_tensor),
            x_tensor - torch.sigmoid(logits_tensor),
        )
    return _case(
        "Bernoulli, value and gradient", shape, lambda: likelihood.log_prob_grad(x, logits), ways, 2.5, 3, **options
    )


def gaussian(peers, shape, **options):
    x, loc = _reals_and_loc(shape)
    likelihood = ek.likelihood.Gaussian(1.0)

    def formula(_, x, loc):
        return -0.5 * ((x - loc) ** 2).sum(1) - 0.5 * LOG_2PI * x.shape[1]

    def loop(x, loc):
        value = np.empty(x.shape[0], np.float32)
        for i in prange(x.shape[0]):
            total = np.float32(0)
            for j in range(x.shape[1]):
                off = x[i, j] - loc[i, j]
                total += off * off
            value[i] = -0.5 * total - 0.5 * LOG_2PI * x.shape[1]
        return value

    ways = peers.formula(formula, x, loc) | peers.loop(loop, x, loc)
    return _case("Gaussian(1)", shape, lambda: likelihood.log_prob(x, loc), ways, 1.2, 2, **options)


def gaussian_grad(peers, shape, **options):
    x, loc = _reals_and_loc(shape)
    likelihood = ek.likelihood.Gaussian(1.0)

    def formula(_, x, loc):
        off = x - loc
        return -0.5 * (off * off).sum(1) - 0.5 * LOG_2PI * x.shape[1], off

    def loop(x, loc):
        value, gradient = np.empty(x.shape[0], np.float32), np.empty_like(loc)
        for i in prange(x.shape[0]):
            total = np.float32(0)
            for j in range(x.shape[1]):
                off = x[i, j] - loc[i, j]
                total += off * off
                gradient[i, j] = off
            value[i] = -0.5 * total - 0.5 * LOG_2PI * x.shape[1]
        return value, gradient

    ways = peers.formula(formula, x, loc) | peers.loop(loop, x, loc)
    return _case(
        "Gaussian(1), value and gradient", shape, lambda: likelihood.log_prob_grad(x, loc), ways, 1.2, 3, **options
    )
