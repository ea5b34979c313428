"""What the estimators share: their parameters, and the model that they train."""

from __future__ import annotations

import inspect
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from elbokit import vae
from elbokit._naming import Worded, Words
from elbokit.errors import ArgumentError, ElbokitError
from elbokit.sklearn.weights import distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from elbokit.likelihood import Likelihood
    from elbokit.training import History, Patience, Plateau, Stopping

__all__ = ["Estimator"]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """The parameters of an estimator, and how its model is trained."""

    model_: vae.VAE
    history_: History

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (128, 64),
        likelihood: Likelihood | None = None,
        *,
        activation: str = "relu",
        prior: str = "standard",
        prior_components: int = 20,
        layer_norm: bool = False,
        residual: bool = False,
        standardize: str | bool = "auto",
        dtype: str = "float32",
        epochs: int = 200,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        weight_decay: float | None = None,
        schedule: str | Plateau = "constant",
        warmup: float = 0.0,
        max_grad_norm: float | None = None,
        validation: float = 0.0,
        objective: str = "elbo",
        estimator: str = "pathwise",
        num_particles: int = 1,
        kl_weight: float | Callable[[int], float] = 1.0,
        free_bits: float = 0.0,
        patience: int | Patience | Stopping | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.likelihood = likelihood
        self.activation = activation
        self.prior = prior
        self.prior_components = prior_components
        self.layer_norm = layer_norm
        self.residual = residual
        self.standardize = standardize
        self.dtype = dtype
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.max_grad_norm = max_grad_norm
        self.validation = validation
        self.objective = objective
        self.estimator = estimator
        self.num_particles = num_particles
        self.kl_weight = kl_weight
        self.free_bits = free_bits
        self.patience = patience
        self.progress = progress
        self.random_state = random_state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of a pickle made before these were parameters, the model had none of them.
        known = (inspect.signature(of).parameters.values() for of in (Estimator, type(self)))
        super().__setstate__({option.name: option.default for options in known for option in options} | state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: ArrayLike, reset: bool = False) -> NDArray[Any]:
        """X as an array of numbers with the fit's columns, NaN for a missing cell."""
        rows: NDArray[Any] = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan")
        return rows

    def _worded(self) -> Worded:
        """For code in which the model sees a part of X: its errors name the columns of X."""
        names = getattr(self, "feature_names_in_", None)
        given = getattr(self, "condition_columns_", None)
        if given is None or not len(given):
            return Worded({"X": Words("X", names=names)})
        modelled = np.delete(np.arange(self.n_features_in_), given)
        return Worded({"X": Words("X", None, modelled, names), "condition": Words("X", None, given, names)})

    def _kind(self) -> Likelihood | None:
        """The likelihood."""
        return self.likelihood

    def _rule(self, num_rows: int) -> int | Patience | Stopping | None:  # noqa: ARG002 -- the imputer's own needs it
        """When to stop."""
        return self.patience

    def _new(self) -> vae.VAE:
        return vae.VAE(
            self.latent_dim, self.hidden, self._kind(), self.activation, self.prior, self.standardize, self.dtype,
            self.layer_norm, self.residual, self.prior_components,
        )  # fmt: skip

    def _train(
        self, rows: NDArray[Any], weights: NDArray[np.float64] | None, condition: NDArray[Any] | None = None
    ) -> None:
        """Train a new model; the keys of training and of everything later are drawn from random_state."""
        self._draw_keys()
        # Noise is drawn by a row's place in its epoch. Where one batch holds all rows, equal ones can have one place,
        # so that a weight of 2 trains the very model that the row twice does, in whatever order they come. Of more
        # rows the equal ones stay apart: an epoch has as many steps as they fill batches.
        whole = isinstance(self.batch_size, Integral) and len(rows) <= self.batch_size
        if whole and (found := distinct(rows, weights, condition)):
            first, together = found
            try:
                self._fit(rows[first], together, None if condition is None else condition[first])
                return
            except ArgumentError:
                raise
            except ElbokitError:
                # Once more, so that the error names a row as it was given.
                pass
        with self._worded():
            self._fit(rows, weights, condition)

    def _fit(self, rows: NDArray[Any], weights: NDArray[np.float64] | None, condition: NDArray[Any] | None) -> None:
        model = self._new()
        options = {
            name: getattr(self, name)
            for name in (
                "epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "warmup",
                "max_grad_norm", "validation", "objective", "estimator", "num_particles", "kl_weight", "free_bits",
                "progress",
            )
        }  # fmt: skip
        options["patience"] = self._rule(len(rows))
        self.history_ = model.fit(rows, condition=condition, sample_weight=weights, key=self._fit_seed, **options)
        self.model_ = model

    def _draw_keys(self) -> None:
        draw = check_random_state(self.random_state).randint
        # Kept: a score must not change from call to call, whatever random_state is.
        self._fit_seed, self._score_seed = (int(seed) for seed in draw(2**31 - 1, size=2))
