# The compiled extension: what rust/py defines, held against it by stubtest.
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Likelihood",
    "RunningTerms",
    "bound_elbo",
    "bound_iwae",
    "build_info",
    "gaussian_entropy",
    "gaussian_kl",
    "gaussian_kl_grad",
    "gaussian_kl_per_dim",
    "gaussian_log_prob",
    "gaussian_rsample",
    "gaussian_rsample_and_log_prob",
    "get_num_threads",
    "key_fold_in",
    "key_split",
    "random_normal",
    "random_raw",
    "random_uniform",
    "set_num_threads",
]

_Array = NDArray[Any]

class Likelihood:
    @staticmethod
    def gaussian(scale: list[float], per_feature: bool) -> Likelihood: ...
    @staticmethod
    def gaussian_predicted() -> Likelihood: ...
    @staticmethod
    def bernoulli() -> Likelihood: ...
    @staticmethod
    def binomial(total_count: int) -> Likelihood: ...
    def num_params(self, num_features: int) -> int: ...
    def log_prob(self, x: _Array, params: _Array, out: _Array | None = None) -> _Array: ...
    def log_prob_grad(self, x: _Array, params: _Array) -> tuple[_Array, _Array]: ...
    def mean(self, params: _Array, out: _Array | None = None) -> _Array: ...
    def sample(self, params: _Array, key: int, first_row: int = 0) -> _Array: ...

class RunningTerms:
    def __new__(cls, batch: int, double: bool) -> RunningTerms: ...
    def push(self, terms: _Array) -> None: ...
    def result(self) -> tuple[_Array, _Array]: ...

def bound_elbo(log_weights: _Array) -> tuple[_Array, _Array]: ...
def bound_iwae(log_weights: _Array) -> tuple[_Array, _Array]: ...
def build_info() -> dict[str, object]: ...
def gaussian_entropy(log_var: _Array, out: _Array | None = None) -> _Array: ...
def gaussian_kl(
    loc: _Array,
    log_var: _Array,
    prior_loc: _Array | None = None,
    prior_log_var: _Array | None = None,
    out: _Array | None = None,
) -> _Array: ...
def gaussian_kl_grad(
    loc: _Array, log_var: _Array, prior_loc: _Array | None = None, prior_log_var: _Array | None = None
) -> tuple[_Array, ...]: ...
def gaussian_kl_per_dim(
    loc: _Array,
    log_var: _Array,
    prior_loc: _Array | None = None,
    prior_log_var: _Array | None = None,
    out: _Array | None = None,
) -> _Array: ...
def gaussian_log_prob(z: _Array, loc: _Array, log_var: _Array, out: _Array | None = None) -> _Array: ...
def gaussian_rsample(
    loc: _Array,
    log_var: _Array,
    key: int,
    num_particles: int | None = None,
    first_row: int = 0,
    out: _Array | None = None,
) -> _Array: ...
def gaussian_rsample_and_log_prob(
    loc: _Array,
    log_var: _Array,
    key: int,
    num_particles: int | None = None,
    first_row: int = 0,
    first_particle: int = 0,
) -> tuple[_Array, _Array]: ...
def get_num_threads() -> int: ...
def key_fold_in(key: int, data: int) -> int: ...
def key_split(key: int, index: int) -> int: ...
def random_normal(
    shape: list[int], key: int, double: bool, first_row: int = 0, out: _Array | None = None
) -> _Array: ...
def random_raw(n: int, key: int, counter: int = 0) -> NDArray[np.uint32]: ...
def random_uniform(
    shape: list[int], key: int, double: bool, first_row: int = 0, out: _Array | None = None
) -> _Array: ...
def set_num_threads(n: int) -> None: ...
