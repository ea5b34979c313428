"""What the kernels should give: the documented formulas with 60 digits, one line each and no regard for speed.

A reference takes the arrays that the kernel under test takes and reads their numbers exactly. It returns `Exact`: the
value, and the sum of the magnitudes of the terms that were added to make it, which the accuracy is relative to.
"""

from typing import NamedTuple

import mpmath
import numpy as np

mp = mpmath.MPContext()
mp.dps = 60

# The stated accuracy of results by row, relative to the sum of the terms' magnitudes.
BOUND = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 4e-15}
# What a result may be off near 0: float32's least normal number, and in float64 the least number at the scale (2⁻⁶⁴)
# at which the core's `reduce` adds rows.
FLOOR = {np.dtype(np.float32): 2.0**-126, np.dtype(np.float64): 2.0**-1010}

exact = np.frompyfunc(lambda x: mp.mpf(float(x)), 1, 1)
exp, expm1, log, log1p, sqrt = (np.frompyfunc(f, 1, 1) for f in (mp.exp, mp.expm1, mp.log, mp.log1p, mp.sqrt))
LN_2PI = mp.log(2 * mp.pi)


class Exact(NamedTuple):
    """Numbers of 60 digits, and the sum of the magnitudes of the terms of each."""

    value: np.ndarray
    magnitude: np.ndarray


def total(*terms):
    """The sum of the terms of each cell."""
    value = sum(terms)
    return Exact(value, sum(abs(t) for t in terms) + 0 * value)


def by_row(*terms):
    """The sum of the terms of each row."""
    value, magnitude = total(*terms)
    return Exact(value.sum(-1), magnitude.sum(-1))


def worst(got, expected):
    """The largest error in units of the magnitudes; a value beyond the range must be the infinity of its sign."""
    got = np.asarray(got)
    info = np.finfo(got.dtype)
    value, magnitude = (np.broadcast_to(part, got.shape) for part in expected)
    errors = [0.0]
    for g, v, m in zip(got.ravel(), value.ravel(), magnitude.ravel(), strict=True):
        # Only a value within rounding of the range's end may be either.
        if not np.isfinite(g) or abs(v) > float(info.max) * (1 + float(info.eps)):
            past = abs(v) >= float(info.max) * (1 - float(info.eps)) and np.isinf(g) and (g > 0) == (v > 0)
            errors.append(0.0 if past else np.inf)
        else:
            off = max(abs(mp.mpf(float(g)) - v) - FLOOR[got.dtype], mp.mpf(0))
            errors.append(float(off / m) if off else 0.0)
    return max(errors)


def central_differences(function, x, step=1e-5):
    """∂function/∂x of a function from rows (batch, width) to (batch,) that treats rows alone, in float64."""
    columns = []
    for j in range(x.shape[1]):
        moved = np.zeros_like(x)
        moved[:, j] = step * np.maximum(1.0, np.abs(x[:, j]))
        up, down = x + moved, x - moved
        columns.append((function(up) - function(down)) / (up - down)[:, j])
    return np.stack(columns, axis=1)


# The diagonal Gaussian.


def log_prob(z, loc, log_var):
    z, loc, log_var = exact(z), exact(loc), exact(log_var)
    return by_row(-((z - loc) ** 2) * exp(-log_var) / 2, -log_var / 2, 0 * loc - LN_2PI / 2)


def log_prob_grad(z, loc, log_var):
    """∂log_prob/∂ z, loc, log_var."""
    z, loc, log_var = exact(z), exact(loc), exact(log_var)
    precision = exp(-log_var)
    d_loc, square = (z - loc) * precision, (z - loc) ** 2 * precision
    return total(-d_loc), total(d_loc), total(square / 2, 0 * square - mp.mpf(1) / 2)


def entropy(log_var):
    log_var = exact(log_var)
    return by_row(log_var / 2, 0 * log_var + (1 + LN_2PI) / 2)


@lambda f: np.frompyfunc(f, 1, 1)
def excess(v):
    """eᵛ − 1 − v, by its series where the difference would lose more digits than there are to spare."""
    if abs(v) > mp.mpf("1e-6"):
        return mp.expm1(v) - v
    return mp.fsum(v**k / mp.factorial(k) for k in range(2, 12))


def _kl_terms(loc, log_var, prior_loc=0.0, prior_log_var=0.0):
    loc, log_var, prior_loc, prior_log_var = (exact(x) for x in (loc, log_var, prior_loc, prior_log_var))
    return excess(log_var - prior_log_var) / 2, (loc - prior_loc) ** 2 * exp(-prior_log_var) / 2


def kl(*arguments):
    return by_row(*_kl_terms(*arguments))


def kl_per_dim(*arguments):
    return total(*_kl_terms(*arguments))


def kl_grad(loc, log_var, prior_loc=0.0, prior_log_var=0.0):
    """∂KL/∂ loc, log_var, prior_loc, prior_log_var."""
    loc, log_var, prior_loc, prior_log_var = (exact(x) for x in (loc, log_var, prior_loc, prior_log_var))
    half_expm1 = expm1(log_var - prior_log_var) / 2
    precision = exp(-prior_log_var)
    d_loc = (loc - prior_loc) * precision
    return total(d_loc), total(half_expm1), total(-d_loc), total(-half_expm1, -((loc - prior_loc) ** 2) * precision / 2)


def scale(log_var):
    """A draw's scale, capped at the largest finite number."""
    largest = mp.mpf(float(np.finfo(log_var.dtype).max))
    return np.frompyfunc(lambda s: min(s, largest), 1, 1)(exp(exact(log_var) / 2))


def rsample(eps, loc, log_var):
    return total(exact(loc), scale(log_var) * exact(eps))


def rsample_grad(eps, log_var, d_z):
    """d_loc and d_log_var of particles (particles, batch, latent)."""
    d_z = exact(d_z)
    terms = d_z * scale(log_var) * exact(eps) / 2
    return tuple(Exact(x.sum(0), abs(x).sum(0)) for x in (d_z, terms))


def log_prob_of_eps(eps, log_var):
    eps, log_var = exact(eps), exact(log_var)
    return by_row(-(eps**2) / 2, 0 * eps - log_var / 2, 0 * eps - LN_2PI / 2)


# The mixture of Gaussians.


def mixture(weights, locs, variances, x):
    """The log density of each row, and its gradient; the gradient's magnitude is that of its components' terms."""
    total_weight = mp.fsum(exact(weights))
    values, gradients, magnitudes = [], [], []
    for row in exact(x):
        shares, pulls = [], []
        for weight, loc, variance in zip(exact(weights), exact(locs), exact(np.asarray(variances)), strict=True):
            d = len(row)
            full = np.ndim(variance) == 2
            matrix = mp.matrix(variance.tolist()) if full else mp.diag(list(0 * loc + variance))
            off = mp.matrix((row - loc).tolist())
            pull = mp.lu_solve(matrix, off)
            square = (off.T * pull)[0]
            shares.append(weight / total_weight * mp.exp(-square / 2) / mp.sqrt((2 * mp.pi) ** d * mp.det(matrix)))
            pulls.append([-p for p in pull])
        density = mp.fsum(shares)
        values.append(mp.log(density))
        terms = [[s / density * p for p in pull] for s, pull in zip(shares, pulls, strict=True)]
        gradients.append([mp.fsum(column) for column in zip(*terms, strict=True)])
        magnitudes.append([mp.fsum(map(abs, column)) for column in zip(*terms, strict=True)])
    return np.array(values, object), Exact(np.array(gradients, object), np.array(magnitudes, object))


# Likelihoods: (log_prob, d_params), without missing cells.


def softplus(u):
    return log1p(exp(u))


def sigmoid(u):
    return 1 / (1 + exp(-u))


def gaussian(x, loc, scale):
    x, loc, scale = exact(x), exact(loc), exact(scale)
    value = by_row(-(((x - loc) / scale) ** 2) / 2, 0 * loc - log(scale), 0 * loc - LN_2PI / 2)
    return value, total((x - loc) / scale**2)


def gaussian_predicted(x, params):
    x = exact(x)
    loc, log_var = np.split(exact(params), 2, axis=1)
    square = (x - loc) ** 2 * exp(-log_var) / 2
    d_loc, d_log_var = total((x - loc) * exp(-log_var)), total(square, 0 * square - mp.mpf(1) / 2)
    d_params = Exact(*(np.concatenate(pair, axis=1) for pair in zip(d_loc, d_log_var, strict=True)))
    return by_row(-square, -log_var / 2, 0 * loc - LN_2PI / 2), d_params


def bernoulli(x, logits):
    sign = 1 - 2 * exact(x)
    u = sign * exact(logits)
    return by_row(-softplus(u)), total(-sign * sigmoid(u))


def ln_choose(n, k):
    gamma = np.frompyfunc(mp.loggamma, 1, 1)
    return gamma(mp.mpf(n) + 1) - gamma(k + 1) - gamma(n - k + 1)


def binomial(x, logits, n):
    x, logits = exact(x), exact(logits)
    value = by_row(ln_choose(n, x), -x * softplus(-logits), -(n - x) * softplus(logits))
    return value, total(x * sigmoid(-logits), -(n - x) * sigmoid(logits))


# The generator's numbers from its words, as the core's `random` module documents them.

NORMALS, UNIFORMS, FOLD_IN, SPLIT = 1, 2, 3, 4


def counter(block=0, particle=0, purpose=0):
    """Words 0 and 1 of the counter hold the block, word 2 the particle, word 3 the purpose."""
    return block | particle << 64 | purpose << 96


def place(number, dtype):
    """(block, number within it) of a number of the stream: number 16 v + l of tile t is number v of block 16 t + l."""
    numbers = 4 if np.dtype(dtype) == np.float32 else 2
    tile, within = divmod(number, 16 * numbers)
    return 16 * tile + within % 16, within // 16


def normal(words, number, dtype):
    """Number `number` of a block's four words."""
    if np.dtype(dtype) == np.float32:
        x, y = words[number // 2 * 2 : number // 2 * 2 + 2]
        bits = 32
    else:
        x, y = words[0] << 32 | words[1], words[2] << 32 | words[3]
        bits = 64
    r = mp.sqrt(-2 * mp.log((x + mp.mpf(1) / 2) / 2**bits))
    angle = 2 * mp.pi * y / 2**bits
    return r * (mp.sin(angle) if number % 2 else mp.cos(angle))


def uniform(words, number, dtype):
    if np.dtype(dtype) == np.float32:
        return (words[number] >> 8) / 2**24
    return ((words[2 * number] << 32 | words[2 * number + 1]) >> 11) / 2**53


# Bounds.


def log_mean_exp(log_weights):
    """ln of the mean weight of each column, and its standard error by the delta method."""
    weights = exp(exact(log_weights))
    mean = weights.mean(axis=0)
    value = [float(mp.log(m)) if m else -np.inf for m in mean]
    k = len(weights)
    if k == 1:
        return np.array(value), np.full(len(value), np.inf)
    squares = ((weights - mean) ** 2).sum(axis=0) / (k - 1)
    error = [float(mp.sqrt(s / k) / m) if m else np.inf for s, m in zip(squares, mean, strict=True)]
    return np.array(value), np.array(error)


def power_mean(log_weights, power):
    """(1/s) ln of the mean of weight^s of each column, and its standard error by the delta method."""
    value, error = log_mean_exp(np.asarray(log_weights, float) * power)
    return value / power, error / abs(power)


def effective(log_weights):
    """(Σ w)² / Σ w² of each column, and its standard error from what each weight's share in both means does to it."""
    weights = exp(exact(log_weights))
    k = len(weights)
    first, second = weights.mean(axis=0), (weights**2).mean(axis=0)
    value = k * first**2 / second
    influences = value * (2 * weights / first - weights**2 / second - 1)
    error = [mp.sqrt(s / (k - 1) / k) for s in (influences**2).sum(axis=0)] if k > 1 else [np.inf] * len(value)
    return value.astype(float), np.array(error, float)


def psis(log_weights):
    """Smoothed log weights and k-hat of one row, straight from the papers, in float64."""
    k = len(log_weights)
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    longest = int(np.ceil(min(k / 5, 3 * np.sqrt(k))))
    order = np.argsort(weights, kind="stable")
    cut, tail = weights[order[-longest - 1]], order[-longest:]
    tail = tail[weights[tail] > cut]
    y = weights[tail] - cut
    n, m = len(y), 30 + int(np.sqrt(len(y)))
    theta = 1 / y[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * y[int(n / 4 + 0.5) - 1])
    shapes = np.log1p(-theta[:, None] * y).mean(axis=1)
    likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    share = np.exp(likelihood - likelihood.max())
    best = (theta * share).sum() / share.sum()
    shape = np.log1p(-best * y).mean()
    scale, shape = -shape / best, (n * shape + 5) / (n + 10)
    p = (np.arange(n) + 0.5) / n
    smoothed = np.array(log_weights)
    smoothed[tail] = top + np.minimum(np.log(cut + scale * np.expm1(-shape * np.log1p(-p)) / shape), 0)
    return smoothed, shape
