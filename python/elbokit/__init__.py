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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from elbokit import bounds, errors, gaussian, likelihood, mvn, random
from elbokit.errors import (
    ArgumentError,
    DtypeError,
    ElbokitError,
    ModelFileError,
    NonFiniteError,
    NotFittedError,
    ShapeError,
    SupportError,
)
from elbokit.evidence import ElboTerms, GaussianParams, MvnParams, elbo, log_weights
from elbokit.mixture import GaussianMixture
from elbokit.random import Key
from elbokit.threads import build_info, get_num_threads, num_threads, set_num_threads

if TYPE_CHECKING:
    from elbokit import training
    from elbokit.batches import Batches
    from elbokit.checks import SelfTest, self_test
    from elbokit.diffusion import Diffusion
    from elbokit.estimators import EstimatorComparison, EstimatorMoments, compare_estimators
    from elbokit.gaussian_fit import GaussianFit, fit_gaussian
    from elbokit.gradients import elbo_grad
    from elbokit.joint import JointTerms, elbo_joint, log_weights_joint
    from elbokit.linear_gaussian import LinearGaussian
    from elbokit.report import EvidenceReport
    from elbokit.self_check import SelfCheck
    from elbokit.training import History
    from elbokit.vae import VAE, Evidence

# Imported when one of their names is first asked for: a program that calls kernels does not wait for models.
_LATER = {
    "batches": ("Batches",),
    "checks": ("SelfTest", "self_test"),
    "diffusion": ("Diffusion",),
    "estimators": ("EstimatorComparison", "EstimatorMoments", "compare_estimators"),
    "gaussian_fit": ("GaussianFit", "fit_gaussian"),
    "gradients": ("elbo_grad",),
    "joint": ("JointTerms", "elbo_joint", "log_weights_joint"),
    "linear_gaussian": ("LinearGaussian",),
    "report": ("EvidenceReport",),
    "self_check": ("SelfCheck",),
    "training": ("training", "History"),
    "vae": ("VAE", "Evidence"),
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    value = globals()[name] = module if name == _MODULE_OF[name] else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


__all__ = [
    "VAE",
    "ArgumentError",
    "Batches",
    "Diffusion",
    "DtypeError",
    "ElboTerms",
    "ElbokitError",
    "EstimatorComparison",
    "EstimatorMoments",
    "Evidence",
    "EvidenceReport",
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
    "SelfCheck",
    "SelfTest",
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
    "self_test",
    "set_num_threads",
    "training",
]
