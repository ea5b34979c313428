"""Every function of the diagonal Gaussian against its formula in 60 digits, over the whole domain of both dtypes.

What the docstrings state is the largest error found here and in the core's tests; the same bits come on every
processor, so what was measured is what is asserted.
"""

import re

import numpy as np
import pytest
import reference

import elbokit as ek

DTYPES = (np.float32, np.float64)
g = ek.gaussian

NAMES = (
    "rsample",
    "rsample_and_log_prob",
    "rsample_grad",
    "log_prob",
    "log_prob_grad",
    "entropy",
    "kl",
    "kl_per_dim",
    "kl_grad",
)


def stated(name, dtype):
    """The largest error that the function's docstring states for the dtype, in units of the terms' magnitudes."""
    found = re.search(r"Largest error measured: (\S+) \(float32\)\s+and\s+(\S+) \(float64\)", getattr(g, name).__doc__)
    assert found, name
    return float(found[1 if dtype == np.float32 else 2])


def numbers(dtype):
    """Numbers of all sizes, subnormal ones and the ends of the range included."""
    info = np.finfo(dtype)
    root = np.sqrt(info.max)
    sizes = [0, info.smallest_subnormal, info.tiny / 3, info.tiny, 1e-30, 1e-7, 0.3, 1, 7, 1e4]
    sizes += [root / 2, root, root * 1.3, root * 2, info.max / 2, info.max]
    return np.array([sign * size for size in sizes for sign in (1, -1)]).astype(dtype)


def log_variances(dtype):
    """From −1e4 to 1e4, dense about the places where exp, its square root and its inverse leave the range."""
    edge = -np.log(np.finfo(dtype).tiny.astype(np.float64))
    sizes = [0, np.finfo(dtype).smallest_subnormal, 1e-20, 1e-7, 1e-3, 0.2, 1, 5, 40, 700, 1e4]
    sizes += [edge + step for step in (-2, 0, 1, 1.5, 1.9, 2.5)]
    sizes += [2 * edge + step for step in (-4, 0, 3, 4, 9)]
    sizes += [3 * edge, 3.9 * edge]
    return np.array([sign * size for size in sizes for sign in (1, -1)]).astype(dtype)


def cells(dtype, seed, n=1500):
    """z, loc, log_var, prior_loc, prior_log_var of rows of one latent; in a third of the rows z and loc are close."""
    rng = np.random.default_rng(seed)
    z, loc, prior_loc = (rng.choice(numbers(dtype), n) for _ in range(3))
    log_var, prior_log_var = (rng.choice(log_variances(dtype), n) for _ in range(2))
    close = rng.random(n) < 1 / 3
    z = np.where(close, np.nextafter(loc, dtype(0)), z)
    prior_loc = np.where(close, loc, prior_loc)
    prior_log_var = np.where(rng.random(n) < 1 / 4, log_var, prior_log_var)
    return tuple(x.reshape(-1, 1) for x in (z, loc, log_var, prior_loc, prior_log_var))


def ordinary(dtype, seed, width):
    rng = np.random.default_rng(seed)
    return tuple((rng.standard_normal((40, width)) * s).astype(dtype) for s in (3, 2, 1.5, 2, 1.5))


def results(z, loc, log_var, prior_loc, prior_log_var):
    """Name, result and reference of every function."""
    yield "log_prob", g.log_prob(z, loc, log_var), reference.log_prob(z, loc, log_var)
    value, *gradients = g.log_prob_grad(z, loc, log_var)
    assert value.tobytes() == g.log_prob(z, loc, log_var).tobytes()
    for got, expected in zip(gradients, reference.log_prob_grad(z, loc, log_var), strict=True):
        yield "log_prob_grad", got, expected
    yield "entropy", g.entropy(log_var), reference.entropy(log_var)
    for prior in ((), (prior_loc, prior_log_var)):
        yield "kl", g.kl(loc, log_var, *prior), reference.kl(loc, log_var, *prior)
        yield "kl_per_dim", g.kl_per_dim(loc, log_var, *prior), reference.kl_per_dim(loc, log_var, *prior)
        value, *gradients = g.kl_grad(loc, log_var, *prior)
        assert value.tobytes() == g.kl(loc, log_var, *prior).tobytes()
        for got, expected in zip(gradients, reference.kl_grad(loc, log_var, *prior), strict=False):
            yield "kl_grad", got, expected
    draw, log_prob = g.rsample_and_log_prob(loc, log_var, key=3)
    eps = ek.random.normal(loc.shape, key=3, dtype=loc.dtype)
    yield "rsample", draw, reference.rsample(eps, loc, log_var)
    yield "rsample_and_log_prob", log_prob, reference.log_prob_of_eps(eps, log_var)
    d_z = np.stack([z, prior_loc, loc])
    eps = (g.rsample(np.zeros_like(loc), np.zeros_like(loc), key=3, num_particles=3)).astype(loc.dtype)
    pulled = g.rsample_grad(loc, log_var, d_z, key=3, num_particles=3)
    for got, expected in zip(pulled, reference.rsample_grad(eps, log_var, d_z), strict=True):
        yield "rsample_grad", got, expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_function_is_as_exact_as_its_docstring_says(dtype):
    worst = dict.fromkeys(NAMES, 0.0)
    inputs = [cells(dtype, seed) for seed in (1, 2)] + [
        ordinary(dtype, seed, width) for seed, width in ((3, 1), (4, 20))
    ]
    for arrays in inputs:
        for name, got, expected in results(*arrays):
            assert got.dtype == dtype
            assert not np.isnan(got).any(), name
            worst[name] = max(worst[name], reference.worst(got, expected))
    for name, error in worst.items():
        assert error <= stated(name, dtype) <= reference.BOUND[np.dtype(dtype)], (name, error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_divergence_is_exact_and_never_negative_next_to_the_prior(dtype):
    # Relative to itself. Measured maxima: 1.1e-7 in float32, 3.2e-16 in float64.
    rng = np.random.default_rng(6)
    size = 10.0 ** rng.uniform(-17 if dtype == np.float32 else -130, -7, (2, 800, 1))
    loc, log_var = (size * rng.choice([-1, 1], size.shape)).astype(dtype)
    prior_log_var = rng.choice(np.array([-3, 0.5, 7]), loc.shape).astype(dtype)
    near = (prior_log_var * (1 + dtype(4) * np.finfo(dtype).eps * rng.integers(-3, 4, loc.shape))).astype(dtype)
    for arguments in ((loc, log_var), (np.zeros_like(loc), log_var), (loc, near, np.zeros_like(loc), prior_log_var)):
        got, (value, _) = g.kl(*arguments), reference.kl(*arguments)
        assert (got >= 0).all()
        error = reference.worst(got, reference.Exact(value, value))
        assert error <= (1.1e-7 if dtype == np.float32 else 3.3e-16), error
