"""The other likelihoods in float32, value with gradient: counts with their gamma functions, shares, tails and codes."""

import math

import numpy as np
import scipy.special
from harness import Case, copying

import elbokit as ek

# A row, a batch that stays in cache, and more than every cache holds.
SHAPES = ((1, 64), (128, 256), (8192, 512))
CLASSES = 5


def cases(peers):
    for work in (poisson, negative_binomial, zero_inflated, student_t, laplace, continuous_bernoulli, categorical):
        for shape in SHAPES:
            yield work(peers, shape)


def _case(work, shape, likelihood, x, params, formula, peers):
    blocks = params.shape[1] // shape[1]
    beside = {} if shape != SHAPES[-1] else copying()
    return Case(
        f"{work}, value and gradient",
        str(shape),
        lambda: likelihood.log_prob_grad(x, params),
        _ways(peers, formula, x, params),
        beside=beside,
        bytes=4 * (shape[0] * shape[1] * (1 + 2 * blocks) + shape[0]),
        agree=_close,
    )


def _ways(peers, formula, x, params):
    """The formula in NumPy with SciPy's special functions, and compiled by JAX with its own."""
    ways = {"NumPy": lambda: formula(np, scipy.special, x, params)}
    if peers.jax is not None:
        from jax.scipy import special

        xp = peers.jax.numpy
        compiled = peers.jax.jit(lambda x, params: formula(xp, special, x, params))
        ways["JAX"] = peers.blocked(compiled, xp.asarray(x), xp.asarray(params))
    return ways


def _close(ours, theirs):
    """Formulas that subtract large logarithms of gamma functions keep three digits of float32, not six."""
    for mine, other in zip(ours, theirs, strict=True):
        off = float(np.max(np.abs(mine - np.asarray(other))) / np.max(np.abs(mine)))
        if not off < 1e-2:
            return f"results differ by {off:.1e} of the largest"
    return None


def _params(shape, blocks, scale=0.7):
    return scale * ek.random.normal((shape[0], blocks * shape[1]), key=2)


def _counts(shape):
    return ek.likelihood.Poisson().sample(np.full(shape, 1.2, np.float32), key=1)


def _softplus(xp, u):
    return xp.maximum(u, 0) + xp.log1p(xp.exp(-abs(u)))


def poisson(peers, shape):
    def formula(xp, special, x, log_rate):
        rate = xp.exp(log_rate)
        return (x * log_rate - rate - special.gammaln(x + 1)).sum(1), x - rate

    return _case("Poisson", shape, ek.likelihood.Poisson(), _counts(shape), _params(shape, 1), formula, peers)


def _negative_binomial(xp, special, x, m, c):
    r, odds = xp.exp(c), m - c
    stay, leave = -_softplus(xp, odds), -_softplus(xp, -odds)
    value = special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1) + r * stay + x * leave
    of_mean = special.expit(odds)
    d_m = x * (1 - of_mean) - r * of_mean
    d_c = r * (special.digamma(x + r) - special.digamma(r) + stay) - d_m
    return value, d_m, d_c


def negative_binomial(peers, shape):
    def formula(xp, special, x, params):
        value, d_m, d_c = _negative_binomial(xp, special, x, *xp.split(params, 2, axis=1))
        return value.sum(1), xp.concatenate([d_m, d_c], axis=1)

    likelihood = ek.likelihood.NegativeBinomial()
    return _case("Negative binomial", shape, likelihood, _counts(shape), _params(shape, 2), formula, peers)


def zero_inflated(peers, shape):
    def formula(xp, special, x, params):
        m, c, g = xp.split(params, 3, axis=1)
        value, d_m, d_c = _negative_binomial(xp, special, x, m, c)
        natural = xp.where(x > 0, 1, special.expit(value - g))
        total = xp.where(x > 0, value, xp.logaddexp(g, value)) - _softplus(xp, g)
        d_g = 1 - natural - special.expit(g)
        return total.sum(1), xp.concatenate([natural * d_m, natural * d_c, d_g], axis=1)

    likelihood = ek.likelihood.ZeroInflatedNegativeBinomial()
    return _case("Zero-inflated", shape, likelihood, _counts(shape), _params(shape, 3), formula, peers)


def student_t(peers, shape):
    df = 4.0
    constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(math.pi * df) / 2

    def formula(xp, _special, x, params):
        loc, log_scale = xp.split(params, 2, axis=1)
        inverse = xp.exp(-log_scale)
        delta = (x - loc) * inverse
        value = constant - log_scale - (df + 1) / 2 * xp.log1p(delta * delta / df)
        share = (df + 1) * delta / (df + delta * delta)
        return value.sum(1), xp.concatenate([share * inverse, share * delta - 1], axis=1)

    x = ek.random.normal(shape, key=1)
    likelihood = ek.likelihood.StudentT(df, "predicted")
    return _case("Student t", shape, likelihood, x, _params(shape, 2), formula, peers)


def laplace(peers, shape):
    def formula(xp, _special, x, params):
        loc, log_scale = xp.split(params, 2, axis=1)
        inverse = xp.exp(-log_scale)
        delta = (x - loc) * inverse
        value = -abs(delta) - log_scale - math.log(2)
        return value.sum(1), xp.concatenate([xp.sign(delta) * inverse, abs(delta) - 1], axis=1)

    x = ek.random.normal(shape, key=1)
    return _case("Laplace", shape, ek.likelihood.Laplace("predicted"), x, _params(shape, 2), formula, peers)


def continuous_bernoulli(peers, shape):
    def formula(xp, _special, x, logits):
        # Away from 0, where this form cancels.
        safe = xp.where(abs(logits) < 0.03, 0.03, logits)
        log_norm = xp.where(abs(logits) < 0.03, logits / 2, xp.log(xp.expm1(safe) / safe))
        mean = xp.where(abs(logits) < 0.03, 0.5 + logits / 12, 1 / -xp.expm1(-safe) - 1 / safe)
        return (x * logits - log_norm).sum(1), x - mean

    x, likelihood = ek.random.uniform(shape, key=1), ek.likelihood.ContinuousBernoulli()
    return _case("Continuous Bernoulli", shape, likelihood, x, _params(shape, 1, 2.0), formula, peers)


def categorical(peers, shape):
    shape = (shape[0], shape[1] // CLASSES)

    def formula(xp, special, x, params):
        logits = params.reshape(*x.shape, CLASSES)
        log_p = logits - special.logsumexp(logits, axis=2, keepdims=True)
        seen = (x[:, :, None] == xp.arange(CLASSES, dtype=x.dtype)).astype(x.dtype)
        return (seen * log_p).sum((1, 2)), (seen - xp.exp(log_p)).reshape(params.shape)

    x = np.floor(CLASSES * ek.random.uniform(shape, key=1))
    return _case(
        "Categorical(5)", shape, ek.likelihood.Categorical(CLASSES), x, _params(shape, CLASSES), formula, peers
    )
