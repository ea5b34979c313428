"""Tests of standard normals: their distribution, moments and tails, the pairs they are made in, and their dependence.

p-values are two-sided and refused as in `battery`, but for Anderson and Darling's, whose lower tail is not looked at.
"""

import math

import battery
import numpy as np
from scipy import special, stats

# p-values of `distribution`, `tails`, `pairs` and of one `dependence`.
SIZES = (10, 12, 2, 2)


def distribution(x):
    """Kolmogorov–Smirnov, Anderson–Darling (1954), and the moments of order 1 to 8 in standard errors."""
    x = np.sort(x, axis=None).astype(np.float64)
    p_values = {"Kolmogorov-Smirnov": of_uniforms(special.ndtr(x)), "Anderson-Darling": _anderson_darling(x)}
    power = np.ones_like(x)
    for order in range(1, 9):
        power *= x
        mean = 0 if order % 2 else special.factorial2(order - 1)
        variance = special.factorial2(2 * order - 1) - mean**2
        p_values[f"moment {order}"] = battery.of_normal((power.mean() - mean) / math.sqrt(variance / len(x)))
    return p_values


def of_uniforms(u):
    """The p-value of Kolmogorov's statistic of sorted uniforms."""
    n = len(u)
    steps = np.arange(n + 1) / n
    law = stats.kstwobign(scale=1 / math.sqrt(n))
    distance = max((steps[1:] - u).max(), (u - steps[:-1]).max())
    return 2 * min(law.cdf(distance), law.sf(distance))


def _anderson_darling(x):
    n = len(x)
    weights = (2 * np.arange(n) + 1) / n
    statistic = -n - (weights * (special.log_ndtr(x) + special.log_ndtr(-x[::-1]))).sum()
    # The limit law is Σ χ²(1)/(j (j + 1)); in its tail the first term decides, and the others multiply its probability
    # by Π (1 − 2/(j (j + 1)))^−½ over j ≥ 2, which is √3 (Zolotarev 1961).
    return min(1.0, math.sqrt(3) * stats.chi2(1).sf(2 * statistic))


def tails(parts):
    """How many lie beyond 3 to 6 standard deviations, on either side, against Poisson's law."""
    limits = (3.0, 4.0, 4.5, 5.0, 5.5, 6.0)
    n, far = 0, []
    for x in parts:
        n += x.size
        far.append(x[np.abs(x) > limits[0]].astype(np.float64))
    far = np.concatenate(far)
    counts = {f"beyond {side * limit}": (far * side > limit).sum() for limit in limits for side in (1, -1)}
    return {name: battery.of_poisson(count, n * special.ndtr(-abs(float(name[7:])))) for name, count in counts.items()}


def pairs(x, y):
    """The radius and the angle of (x, y) pairs, which Box and Muller's transform starts from."""
    x, y = (np.ravel(half).astype(np.float64) for half in (x, y))
    return {
        "radius": of_uniforms(np.sort(-np.expm1(-0.5 * (x * x + y * y)))),
        "angle": of_uniforms(np.sort(np.arctan2(y, x) / (2 * math.pi) + 0.5)),
    }


def dependence(x):
    """Correlations between any two of the columns of x, and of their squares, each as one χ²."""
    x = x.astype(np.float64)
    p_values = {}
    for name, y in (("values", x), ("squares", (x * x - 1) / math.sqrt(2))):
        z = (y.T @ y)[np.triu_indices(y.shape[1], 1)] / math.sqrt(len(y))
        p_values[f"correlation of {name}"] = battery.of_chi_square((z**2).sum(), len(z))
    return p_values
