"""Reconstruction likelihoods p(x | z): a row's log probability given the decoder's params, its gradient, mean, draws.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> coin = ek.likelihood.Bernoulli()
    >>> coin.log_prob([[1, 0, np.nan]], np.zeros((1, 3)))  # 2 ln ½: the missing cell adds nothing
    array([-1.38629436])

`params` holds a likelihood's blocks in order, each as wide as the features. x is (batch, features) of any real dtype;
results have the dtype of params. Every density and mass carries all its constants. A missing cell (NaN in x, or False
in `mask`) adds exactly 0 to value and gradient, whatever it or its params hold; rows with different patterns of
missing cells are not comparable.

| likelihood | params | x |
|---|---|---|
| `Gaussian(scale=1.0)` | loc [, log_var] | real numbers |
| `Laplace(scale=1.0)`, `StudentT(df, scale=1.0)` | loc [, log_scale] | real numbers |
| `Bernoulli()` | logits | 0 or 1 |
| `ContinuousBernoulli()` | logits | numbers from 0 to 1 |
| `Binomial(total_count)` | logits | whole numbers from 0 to total_count |
| `Categorical(num_classes)` | num_classes logits a feature, feature by feature | codes from 0 to num_classes − 1 |
| `Poisson()` | log_rate | whole numbers from 0 on |
| `NegativeBinomial()` | log_mean, log_concentration | whole numbers from 0 on |
| `ZeroInflatedNegativeBinomial()` | log_mean, log_concentration, gate_logits | whole numbers from 0 on |
| `Columns([(columns, likelihood), …])` | the members' params in list order | each column what its member takes |

`scale` is a number or an array by feature, and then no part of params; or "shared" (a second block of one column),
"per_feature" or "predicted" (of as many columns as features; the first is learned for all rows, the second comes from
the decoder).
"""

from elbokit.likelihood.base import Likelihood
from elbokit.likelihood.columns import Columns
from elbokit.likelihood.counts import Binomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from elbokit.likelihood.outcomes import Bernoulli, Categorical, ContinuousBernoulli
from elbokit.likelihood.reals import Gaussian, Laplace, StudentT

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
