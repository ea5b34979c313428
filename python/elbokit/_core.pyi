# The compiled extension: what rust/py defines, held against it by stubtest.
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

__all__ = [
    "Likelihood",
    "RunningTerms",
    "Vae",
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
    "mvn_diagonal",
    "mvn_entropy",
    "mvn_kl",
    "mvn_kl_grad",
    "mvn_log_prob",
    "mvn_rsample",
    "mvn_rsample_and_log_prob",
    "random_normal",
    "random_raw",
    "random_uniform",
    "set_num_threads",
]

_Array: TypeAlias = NDArray[Any]

@final
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
    def check_support(self, x: _Array) -> None: ...
    def log_prob(self, x: _Array, params: _Array, out: _Array | None = None) -> _Array: ...
    def log_prob_grad(self, x: _Array, params: _Array) -> tuple[_Array, _Array]: ...
    def mean(self, params: _Array, out: _Array | None = None) -> _Array: ...
    def sample(self, params: _Array, key: int, first_row: int = 0) -> _Array: ...

@final
class RunningTerms:
    def __new__(cls, batch: int, double: bool) -> Self: ...
    def push(self, terms: _Array) -> None: ...
    def result(self) -> tuple[_Array, _Array]: ...

@final
class Vae:
    def __new__(
        cls,
        num_features: int,
        latent_dim: int,
        hidden: list[int],
        likelihood: Likelihood,
        activation: str,
        shift: list[float],
        scale: list[float],
        double: bool,
        key: int,
    ) -> Self: ...
    @property
    def activation(self) -> str: ...
    @property
    def double(self) -> bool: ...
    @property
    def hidden(self) -> list[int]: ...
    @property
    def latent_dim(self) -> int: ...
    @property
    def likelihood(self) -> tuple[str, list[float], bool, int]: ...
    @property
    def num_features(self) -> int: ...
    @property
    def scaling(self) -> tuple[list[float], list[float]]: ...
    def start(self, rows: int, batch_size: int, num_particles: int) -> None: ...
    def finish(self) -> None: ...
    def epoch(
        self,
        x: _Array,
        subset: NDArray[np.uint32] | None,
        weights: NDArray[np.float64] | None,
        epoch: int,
        key: int,
        learning_rate: float,
        kl_weight: float,
    ) -> tuple[float, float, float, float, int, int]: ...
    def check(self, x: _Array) -> None: ...
    def encode(self, x: _Array) -> tuple[_Array, _Array]: ...
    def decode(self, z: _Array) -> _Array: ...
    def mean(self, z: _Array) -> _Array: ...
    def elbo(
        self, x: _Array, subset: NDArray[np.uint32] | None, key: int, num_particles: int
    ) -> tuple[_Array, _Array, _Array, _Array]: ...
    def log_evidence(
        self, x: _Array, key: int, num_particles: int
    ) -> tuple[_Array, _Array, _Array, _Array, _Array, NDArray[np.int64]]: ...
    def named(self) -> list[tuple[str, _Array]]: ...
    def snapshot(self) -> _Array: ...
    def restore(self, parameters: _Array) -> None: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> Vae: ...

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
def mvn_diagonal(log_var: _Array) -> _Array: ...
def mvn_entropy(scale_tril: _Array, out: _Array | None = None) -> _Array: ...
def mvn_kl(
    loc: _Array,
    scale_tril: _Array,
    prior_loc: _Array | None = None,
    prior_scale_tril: _Array | None = None,
    out: _Array | None = None,
) -> _Array: ...
def mvn_kl_grad(
    loc: _Array, scale_tril: _Array, prior_loc: _Array | None = None, prior_scale_tril: _Array | None = None
) -> tuple[_Array, ...]: ...
def mvn_log_prob(z: _Array, loc: _Array, scale_tril: _Array, out: _Array | None = None) -> _Array: ...
def mvn_rsample(
    loc: _Array,
    scale_tril: _Array,
    key: int,
    num_particles: int | None = None,
    first_row: int = 0,
    out: _Array | None = None,
) -> _Array: ...
def mvn_rsample_and_log_prob(
    loc: _Array,
    scale_tril: _Array,
    key: int,
    num_particles: int | None = None,
    first_row: int = 0,
    first_particle: int = 0,
) -> tuple[_Array, _Array]: ...
def random_normal(
    shape: list[int], key: int, double: bool, first_row: int = 0, out: _Array | None = None
) -> _Array: ...
def random_raw(n: int, key: int, counter: int = 0) -> NDArray[np.uint32]: ...
def random_uniform(
    shape: list[int], key: int, double: bool, first_row: int = 0, out: _Array | None = None
) -> _Array: ...
def set_num_threads(n: int) -> None: ...
