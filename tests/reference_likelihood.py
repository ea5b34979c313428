"""What the likelihoods should give: each kind's formula as printed, cell by cell, with 60 digits.

A cell function takes x and the cell's params, and returns the terms of log p and, for each param, those of its
derivative. `rows` adds them up for arrays laid out as the likelihoods lay them out.
"""

import numpy as np
from reference import Exact, mp

import elbokit as ek

lik = ek.likelihood
LN_2PI = mp.log(2 * mp.pi)

# Cases of every kind, of five columns.

FEATURES = 5
LIKELIHOODS = (
    lik.Gaussian(),
    lik.Gaussian(0.3),
    lik.Gaussian([0.5, 1.0, 2.0, 4.0, 0.1]),
    lik.Gaussian("shared"),
    lik.Gaussian("per_feature"),
    lik.Gaussian("predicted"),
    lik.Laplace(0.3),
    lik.Laplace("shared"),
    lik.Laplace("predicted"),
    lik.StudentT(5.0, [0.5, 1.0, 2.0, 4.0, 0.1]),
    lik.StudentT(0.7, "shared"),
    lik.StudentT(30.0, "predicted"),
    lik.Bernoulli(),
    lik.ContinuousBernoulli(),
    lik.Binomial(16),
    lik.Binomial(100_000),
    lik.Categorical(3),
    lik.Poisson(),
    lik.NegativeBinomial(),
    lik.ZeroInflatedNegativeBinomial(),
    lik.Columns([([4, 1], lik.NegativeBinomial()), (0, lik.Categorical(3)), ([2, 3], lik.Laplace("shared"))]),
)


def case(likelihood, dtype, rows=6, features=FEATURES, seed=0):
    """x in the likelihood's support and params of ordinary size."""
    rng = np.random.default_rng(seed)
    params = rng.standard_normal((rows, likelihood.num_params(features))).astype(dtype)
    if isinstance(likelihood, lik.Columns):
        x = np.empty((rows, features))
        for columns, member in likelihood.members:
            x[:, columns] = case(member, dtype, rows, len(columns), seed + 1)[0]
    elif isinstance(likelihood, (lik.Gaussian, lik.Laplace, lik.StudentT)):
        x = rng.standard_normal((rows, features))
    elif isinstance(likelihood, lik.ContinuousBernoulli):
        x = rng.random((rows, features))
    elif isinstance(likelihood, lik.Categorical):
        x = rng.integers(likelihood.num_classes, size=(rows, features))
    elif isinstance(likelihood, (lik.Bernoulli, lik.Binomial)):
        x = rng.binomial(getattr(likelihood, "total_count", 1), 0.4, (rows, features))
    else:
        x = rng.poisson(rng.choice([0.5, 3.0, 200.0], (rows, features)))
    return x.astype(dtype), params


def num_means(likelihood, features=FEATURES):
    """Numbers a row of means."""
    if isinstance(likelihood, lik.Columns):
        return sum(num_means(member, len(columns)) for columns, member in likelihood.members)
    return features * getattr(likelihood, "num_classes", 1)


def seen(likelihood, mask):
    """Which params some observed cell reads."""
    read = np.zeros((len(mask), likelihood.num_params(mask.shape[1])), bool)
    for column in range(mask.shape[1]):
        read[:, indices(likelihood, column, mask.shape[1])] |= mask[:, [column]]
    return read


# The formulas.


def softplus(u):
    return mp.log1p(mp.exp(u)) if u < 0 else u + mp.log1p(mp.exp(-u))


def sigmoid(u):
    return 1 / (1 + mp.exp(-u)) if u > 0 else mp.exp(u) / (1 + mp.exp(u))


def gaussian(x, loc, log_scale):
    delta = (x - loc) * mp.exp(-log_scale)
    value = [-(delta**2) / 2, -log_scale, -LN_2PI / 2]
    return value, [[delta * mp.exp(-log_scale)], [delta**2 / 2, -mp.mpf(1) / 2]]


def laplace(x, loc, log_scale):
    delta = (x - loc) * mp.exp(-log_scale)
    return [-abs(delta), -log_scale, -mp.log(2)], [[mp.sign(delta) * mp.exp(-log_scale)], [abs(delta), mp.mpf(-1)]]


def student_t(x, loc, log_scale, df):
    delta = (x - loc) * mp.exp(-log_scale)
    ratio = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)
    value = [ratio, -mp.log(mp.pi * df) / 2, -log_scale, -(df + 1) / 2 * mp.log1p(delta**2 / df)]
    share = (df + 1) / (df + delta**2)
    return value, [[share * delta * mp.exp(-log_scale)], [share * delta**2, mp.mpf(-1)]]


def bernoulli(x, logit):
    sign = 1 - 2 * x
    return [-softplus(sign * logit)], [[-sign * sigmoid(sign * logit)]]


def continuous_bernoulli(x, logit):
    if logit == 0:
        return [mp.mpf(0)], [[x, -mp.mpf(1) / 2]]
    with mp.workdps(120 + int(max(0, -2 * mp.log10(abs(logit))))):
        a = abs(logit)
        normaliser = mp.log(-mp.expm1(-a) / a) + max(logit, 0)
        low = 1 / a - mp.exp(-a) / -mp.expm1(-a)
        mean = 1 - low if logit > 0 else low
    return [logit * x, -normaliser], [[x, -mean]]


def binomial(x, logit, n):
    choose = mp.loggamma(n + 1) - mp.loggamma(x + 1) - mp.loggamma(n - x + 1)
    value = [choose, -x * softplus(-logit), -(n - x) * softplus(logit)]
    return value, [[x * sigmoid(-logit), -(n - x) * sigmoid(logit)]]


def categorical(x, *logits):
    largest = max(logits)
    weights = [mp.exp(each - largest) for each in logits]
    total = mp.fsum(weights)
    gradient = [[mp.mpf(k == int(x)), -w / total] for k, w in enumerate(weights)]
    return [logits[int(x)] - largest, -mp.log(total)], gradient


def poisson(x, log_rate):
    return [x * log_rate, -mp.exp(log_rate), -mp.loggamma(x + 1)], [[x, -mp.exp(log_rate)]]


def negative_binomial(x, log_mean, log_concentration):
    r, odds = mp.exp(log_concentration), log_mean - log_concentration
    stay, leave = -softplus(odds), -softplus(-odds)
    of_mean, of_concentration = sigmoid(odds), sigmoid(-odds)
    # Differences of ln Γ of a large concentration lose as many digits as it has.
    with mp.workdps(90 + int(max(0, log_concentration))):
        r = mp.exp(log_concentration)
        gammas = [] if x == 0 else [mp.loggamma(r + x) - mp.loggamma(r), -mp.loggamma(x + 1)]
        slope = mp.mpf(0) if x == 0 else r * (mp.digamma(r + x) - mp.digamma(r))
    value = [*gammas, r * stay, x * leave]
    gradient = [[x * of_concentration, -r * of_mean], [slope, r * stay, -x * of_concentration, r * of_mean]]
    return value, gradient


def zero_inflated(x, log_mean, log_concentration, gate):
    value, gradient = negative_binomial(x, log_mean, log_concentration)
    if x > 0:
        return [*value, -softplus(gate)], [*gradient, [-sigmoid(gate)]]
    a = mp.fsum(value)
    lost = mp.expm1(a) * sigmoid(-gate)
    natural = sigmoid(a - gate)
    # A share's exponent is a difference of logarithms, each of them rounded.
    size = 1 + abs(a) + abs(gate)
    scaled = [[natural * mp.fsum(terms), *_void(natural * size * mp.fsum(map(abs, terms)))] for terms in gradient]
    by_gate = -sigmoid(gate - a) * lost
    far = max(gate, a) + mp.log1p(mp.exp(-abs(gate - a))) - softplus(gate)
    return [mp.log1p(lost) if lost > -0.5 else far], [*scaled, [by_gate, *_void(size * by_gate)]]


def _void(size):
    """Two terms that add nothing but their size."""
    return [size / 2, -size / 2]


def cell(likelihood):
    """The cell function of a kind."""
    name = type(likelihood).__name__
    if name == "StudentT":
        return lambda x, loc, s: student_t(x, loc, s, mp.mpf(likelihood.df))
    if name == "Binomial":
        return lambda x, logit: binomial(x, logit, mp.mpf(likelihood.total_count))
    return {
        "Gaussian": gaussian,
        "Laplace": laplace,
        "Bernoulli": bernoulli,
        "ContinuousBernoulli": continuous_bernoulli,
        "Categorical": categorical,
        "Poisson": poisson,
        "NegativeBinomial": negative_binomial,
        "ZeroInflatedNegativeBinomial": zero_inflated,
    }[name]


def indices(likelihood, column, features):
    """The columns of params that a cell reads."""
    if isinstance(likelihood, lik.Columns):
        first = 0
        for columns, member in likelihood.members:
            if column in columns:
                inner = indices(member, columns.index(column), len(columns))
                return [first + i for i in inner]
            first += member.num_params(len(columns))
    if isinstance(likelihood, lik.Categorical):
        return [column * likelihood.num_classes + k for k in range(likelihood.num_classes)]
    if getattr(likelihood, "scale", None) == "shared":
        return [column, features]
    return [block * features + column for block in range(likelihood.num_params(features) // features)]


def terms(likelihood, column, x, params):
    """The terms of a cell, its params in the order of `indices`."""
    if isinstance(likelihood, lik.Columns):
        columns, member = next(pair for pair in likelihood.members if column in pair[0])
        return terms(member, columns.index(column), x, params)
    function = cell(likelihood)
    if not hasattr(likelihood, "scale"):
        return function(x, *params)
    if not isinstance(likelihood.scale, str):
        scale = likelihood.scale[column] if isinstance(likelihood.scale, tuple) else likelihood.scale
        value, gradient = function(x, params[0], mp.log(mp.mpf(float(scale))))
        return value, gradient[:1]
    if isinstance(likelihood, lik.Gaussian):
        value, (by_loc, by_scale) = function(x, params[0], params[1] / 2)
        return value, [by_loc, by_scale]
    return function(x, *params)


def rows(likelihood, x, params):
    """(log_prob, d_params) as `Exact`; a NaN in x adds nothing."""
    value = np.full((2, len(x)), mp.mpf(0))
    gradient = np.full((2, *params.shape), mp.mpf(0))
    for i, (cells, numbers) in enumerate(zip(x, params, strict=True)):
        for j, c in enumerate(cells):
            if np.isnan(c):
                continue
            where = indices(likelihood, j, x.shape[1])
            by_value, by_params = terms(likelihood, j, mp.mpf(float(c)), [mp.mpf(float(numbers[k])) for k in where])
            value[:, i] += [mp.fsum(by_value), mp.fsum(map(abs, by_value))]
            for k, by in zip(where, by_params, strict=True):
                gradient[:, i, k] += [mp.fsum(by), mp.fsum(map(abs, by))]
    return Exact(*value), Exact(*gradient)


def conditioned(likelihood, x, params):
    """log_prob of single cells with, as its size, what rounding the result and each param amounts to."""
    value, gradient = rows(likelihood, x, params)
    weight = np.maximum(1, np.abs(np.frompyfunc(lambda p: mp.mpf(float(p)), 1, 1)(params)))
    return Exact(value.value, abs(value.value) + (abs(gradient.value) * weight).sum(-1))


def mean(likelihood, column, params):
    """The means of a cell, its params in the order of `indices`."""
    if isinstance(likelihood, lik.Columns):
        columns, member = next(pair for pair in likelihood.members if column in pair[0])
        return mean(member, columns.index(column), params)
    if isinstance(likelihood, lik.Categorical):
        return [-by[1] for by in categorical(mp.mpf(0), *params)[1]]
    formulas = {
        "Bernoulli": sigmoid,
        "ContinuousBernoulli": lambda logit: -continuous_bernoulli(mp.mpf(0), logit)[1][0][1],
        "Binomial": lambda logit: likelihood.total_count * sigmoid(logit),
        "Poisson": mp.exp,
        "NegativeBinomial": lambda log_mean, _: mp.exp(log_mean),
        "ZeroInflatedNegativeBinomial": lambda log_mean, _, gate: mp.exp(log_mean) * sigmoid(-gate),
    }
    formula = formulas.get(type(likelihood).__name__)
    return [formula(*params) if formula else params[0]]


def means(likelihood, params, features):
    """The means of rows of params as `Exact`."""
    table = []
    for numbers in params:
        exact = [mp.mpf(float(p)) for p in numbers]
        cells = [mean(likelihood, j, [exact[k] for k in indices(likelihood, j, features)]) for j in range(features)]
        table.append([value for each in cells for value in each])
    value = np.array(table, dtype=object)
    return Exact(value, abs(value))
