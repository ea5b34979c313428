"""Likelihoods of counts."""

from __future__ import annotations

from typing import Any

from elbokit import _core
from elbokit._arrays import count
from elbokit.errors import ArgumentError
from elbokit.likelihood.base import Likelihood

__all__ = ["Binomial", "NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]


class Binomial(Likelihood):
    """Counts from 0 to n: log p = Σ [ln C(n, x) − x softplus(−logit) − (n − x) softplus(logit)].

    The mean is the expected count. Above n = 4096 it is evaluated as `Poisson` is, from deviances and the remainder of
    Stirling's formula.

    Largest error measured: 1.3e-07 (float32) and 3.7e-15 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    Parameters
    ----------
    total_count : int
        n, the largest count a cell can hold, 1 ≤ n < 2³².

    Examples
    --------
    >>> Binomial(2).log_prob([[1]], [[0.0]])  # ln ½
    array([-0.69314718])
    """

    __slots__ = ("total_count",)

    total_count: int

    def __init__(self, total_count: int) -> None:
        self.total_count = count("total_count", total_count, 1)
        if self.total_count >= 1 << 32:
            raise ArgumentError(f"total_count: expected less than 2**32, got {self.total_count}; use a Poisson")
        self._core = _core.Likelihood.binomial(self.total_count)

    def _constants(self) -> dict[str, Any]:
        return {"total_count": self.total_count}


class Poisson(Likelihood):
    """Counts of a rate: log p = Σ [x · log_rate − e^log_rate − ln x!].

    Evaluated in Loader's form −x h(log_rate − ln x) − ½ ln 2πx − J(x), h(t) = eᵗ − 1 − t and J the remainder of
    Stirling's formula, in which nothing large is subtracted: exact at counts of 10⁹ as at 1.

    Largest error measured: 2.3e-07 (float32) and 3.6e-16 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    References
    ----------
    Loader (2000), "Fast and accurate computation of binomial probabilities".

    Examples
    --------
    >>> Poisson().log_prob_grad([[2]], [[0.0]])  # −1 − ln 2
    (array([-1.69314718]), array([[1.]]))
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._core = _core.Likelihood.poisson()


class NegativeBinomial(Likelihood):
    """Counts of mean μ = e^log_mean and variance μ + μ²/r, r = e^log_concentration.

    log p = Σ [ln Γ(x + r) − ln Γ(r) − ln x! + r ln(r / (r + μ)) + x ln(μ / (r + μ))], evaluated without a difference of
    large numbers at any concentration: with n = r + x, s = ln(n / (r + μ)) and t = ln(nμ / ((r + μ) x)) it is
    −r h(s) − x h(t) − ½ ln 2πx − ½ ln(1 + x/r) + J(n) − J(r) − J(x), h(y) = eʸ − 1 − y and J the remainder of
    Stirling's formula; −r ln(1 + μ/r) for x = 0. As r grows it becomes `Poisson`'s to the last digit.

    Largest error measured: 5.8e-08 (float32) and 8.8e-16 (float64), relative to the sum of the terms' magnitudes, of
    value, gradient and mean over random rows and cells of all sizes.

    References
    ----------
    Loader (2000), "Fast and accurate computation of binomial probabilities".

    Examples
    --------
    >>> import numpy as np
    >>> NegativeBinomial().log_prob([[0]], [[0.0, 0.0]])  # geometric with mean 1: ln ½
    array([-0.69314718])
    >>> NegativeBinomial().log_prob([[2]], [[0.0, 50.0]]), Poisson().log_prob([[2]], [[0.0]])
    (array([-1.69314718]), array([-1.69314718]))
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._core = _core.Likelihood.negative_binomial()


class ZeroInflatedNegativeBinomial(Likelihood):
    """`NegativeBinomial` counts of which a share π = sigmoid(gate_logits) is made 0 besides.

    log p = ln(π + (1 − π) NB(0)) for x = 0, else ln(1 − π) + ln NB(x). params holds log_mean, log_concentration, then
    gate_logits; the mean is (1 − π) e^log_mean.

    Largest error measured: 5.6e-08 (float32) and 1.1e-15 (float64), relative to the sum of the terms' magnitudes
    (`docs/likelihood.md` has it for the gradient at a zero), of value, gradient and mean over random rows and cells of
    all sizes.

    References
    ----------
    Lambert (1992), "Zero-inflated Poisson regression"; Greene (1994) for the negative binomial.

    Examples
    --------
    >>> ZeroInflatedNegativeBinomial().log_prob([[0]], [[0.0, 0.0, 0.0]])  # ln(½ + ½ · ½)
    array([-0.28768207])
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._core = _core.Likelihood.zero_inflated_negative_binomial()
