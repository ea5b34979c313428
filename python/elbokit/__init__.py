"""elbokit: everything about the evidence lower bound on a CPU, on NumPy alone.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> ek.gaussian.kl(np.array([[1.0, 2.0]]), np.zeros((1, 2)))
    array([2.5])

Kernels: `gaussian`, `mvn`, `likelihood`, `random`, `bounds`; the bound itself: `elbo`, `elbo_joint`, `log_weights`, and
its gradient `elbo_grad`; a model that trains: `VAE`, with `training` for its schedules and stopping rule, and
`VAE.for_table` for frames; those whose evidence is known: `LinearGaussian`, `GaussianMixture` and its `Diffusion`. The
unit is nats a row, an elbo is larger when better, and every random number is a function of a `Key`.
"""

from __future__ import annotations

from elbokit import bounds, errors, gaussian, likelihood, mvn, random, training
from elbokit.diffusion import Diffusion
from elbokit.errors import (
    DtypeError,
    ElbokitError,
    ModelFileError,
    NonFiniteError,
    NotFittedError,
    ShapeError,
    SupportError,
)
from elbokit.estimators import EstimatorComparison, EstimatorMoments, compare_estimators
from elbokit.evidence import ElboTerms, GaussianParams, MvnParams, elbo, log_weights
from elbokit.gaussian_fit import GaussianFit, fit_gaussian
from elbokit.gradients import elbo_grad
from elbokit.joint import JointTerms, elbo_joint, log_weights_joint
from elbokit.linear_gaussian import LinearGaussian
from elbokit.mixture import GaussianMixture
from elbokit.random import Key
from elbokit.threads import build_info, get_num_threads, num_threads, set_num_threads
from elbokit.training import History
from elbokit.vae import VAE, Evidence

__all__ = [
    "VAE",
    "Diffusion",
    "DtypeError",
    "ElboTerms",
    "ElbokitError",
    "EstimatorComparison",
    "EstimatorMoments",
    "Evidence",
    "GaussianFit",
    "GaussianMixture",
    "GaussianParams",
    "History",
    "JointTerms",
    "Key",
    "LinearGaussian",
    "ModelFileError",
    "MvnParams",
    "NonFiniteError",
    "NotFittedError",
    "ShapeError",
    "SupportError",
    "bounds",
    "build_info",
    "compare_estimators",
    "elbo",
    "elbo_grad",
    "elbo_joint",
    "errors",
    "fit_gaussian",
    "gaussian",
    "get_num_threads",
    "likelihood",
    "log_weights",
    "log_weights_joint",
    "mvn",
    "num_threads",
    "random",
    "set_num_threads",
    "training",
]
