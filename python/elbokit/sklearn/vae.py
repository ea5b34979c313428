"""The VAE as transformer, density estimator and outlier detector."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from elbokit import _further, vae
from elbokit._codes import likeliest
from elbokit._condition import for_latents
from elbokit.errors import ArgumentError
from elbokit.random import Key
from elbokit.report import EvidenceReport, report
from elbokit.sklearn.condition import parts, places, together
from elbokit.sklearn.estimator import Estimator
from elbokit.sklearn.weights import quantile, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from elbokit.likelihood import Likelihood
    from elbokit.training import History, Patience, Plateau, Stopping

__all__ = ["VAE"]


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, Estimator):  # type: ignore[misc]
    """A variational autoencoder as transformer, density estimator and outlier detector.

    Parameters
    ----------
    latent_dim, hidden, likelihood, activation, prior, prior_components, layer_norm, residual, standardize, dtype
        As in `elbokit.VAE`. The columns of a likelihood are those that are modelled, in their order.
    condition_columns : array_like of int, bool or str, or one int or str, optional
        Columns of X that the model is conditioned on and does not model: by place (negative ones from the end), by a
        mask, or by name where X has names. They stand in X wherever rows do, must be finite, and every score is then of
        p(the other columns | these). `inverse_transform` and `sample` take them as `condition`.
    epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, objective, estimator
        As in `elbokit.VAE.fit`, and so are the next ones.
    num_particles, kl_weight, free_bits, patience, progress
        patience needs a share of rows in `validation`.
    validation : float
        The share of rows that `fit` holds out; none by default, since cross-validation holds out its own.
    contamination : float in (0, 0.5]
        The share of the training rows, by weight, that `predict` calls outliers.
    score_particles : int
        Draws of z a row when rows are scored.
    random_state : int, RandomState or None
        What all keys are drawn from, at `fit`.

    Attributes
    ----------
    model_ : elbokit.VAE
        The model itself, with all it can do.
    history_ : elbokit.History
        What happened in training; after `partial_fit`, in its last call.
    condition_columns_ : ndarray of int
        Places of the condition's columns in X, in the order of the condition; none for a model without one.
    offset_ : float
        The score below which a row is an outlier.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X had names.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, benign = load_breast_cancer(return_X_y=True)
    >>> detector = VAE(4, hidden=(32,), epochs=20, contamination=0.05, random_state=0).fit(X[benign == 1])
    >>> float((detector.predict(X[benign == 0]) == -1).mean()) > 0.5  # of malignant rows, that no model has seen
    True
    """

    offset_: float
    condition_columns_: NDArray[np.intp]

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
        condition_columns: Sequence[int] | Sequence[bool] | Sequence[str] | int | str | None = None,
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
        contamination: float = 0.1,
        score_particles: int = 16,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            latent_dim, hidden, likelihood, activation=activation, prior=prior, prior_components=prior_components,
            layer_norm=layer_norm, residual=residual, standardize=standardize, dtype=dtype, epochs=epochs,
            batch_size=batch_size, learning_rate=learning_rate, optimizer=optimizer, weight_decay=weight_decay,
            schedule=schedule, warmup=warmup, max_grad_norm=max_grad_norm, validation=validation, objective=objective,
            estimator=estimator, num_particles=num_particles, kl_weight=kl_weight, free_bits=free_bits,
            patience=patience, progress=progress, random_state=random_state,
        )  # fmt: skip
        self.condition_columns = condition_columns
        self.contamination = contamination
        self.score_particles = score_particles

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            state = {"condition_columns_": np.zeros(0, dtype=np.intp)} | state
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # What comes out has the model's dtype.
        tags.transformer_tags.preserves_dtype = []
        return tags

    # Training

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:  # noqa: ARG002
        """Train from scratch; y is ignored.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            NaN is a missing cell.
        y : ignored
        sample_weight : array_like, shape (rows,), optional
            Not negative.
        """
        self._check_contamination()
        rows = self._rows(X, reset=True)
        weights = weights_of(sample_weight, rows)
        self._find_condition()
        modelled, condition = parts(rows, self.condition_columns_)
        self._train(modelled, weights, condition)
        self._moments: _further.Moments | None = None
        self._calls = 0
        self.offset_ = quantile(self._scores(rows), self.contamination, weights)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:  # noqa: ARG002
        """Train one epoch on these rows, going on from where the model is; y is ignored.

        The first call makes the model, and scales columns by its rows for good. The rate is `learning_rate` throughout,
        without schedule or warm-up, no row is held out, and `kl_weight` as a function gets the number of the call. The
        optimiser goes on from call to call, and starts anew after `fit`. `offset_` is that of the last call's rows.

        Parameters
        ----------
        X : array_like, shape (rows, features)
        y : ignored
        sample_weight : array_like, shape (rows,), optional
        """
        self._check_contamination()
        first = not hasattr(self, "model_")
        rows = self._rows(X, reset=first)
        weights = weights_of(sample_weight, rows)
        if first:
            self._find_condition()
            self._draw_keys()
            self._calls, self._moments = 0, None
        modelled, condition = parts(rows, self.condition_columns_)
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "condition": condition,
            "sample_weight": weights,
            "objective": self.objective,
            "estimator": self.estimator,
            "num_particles": self.num_particles,
            "kl_weight": self.kl_weight(self._calls) if callable(self.kl_weight) else self.kl_weight,
            "free_bits": self.free_bits,
            "callbacks": (self._keep_moments,),
            "progress": self.progress,
        }
        # Each call trains under noise of its own.
        key = Key(self._fit_seed).fold_in(self._calls)
        with self._worded():
            if first:
                model = self._new()
                self.history_ = model.fit(modelled, epochs=1, validation=0.0, key=key, **options)
                self.model_ = model
            else:
                self.history_ = _further.train(self.model_, modelled, options, key, self._moments)
        self._calls += 1
        self.offset_ = quantile(self._scores(rows), self.contamination, weights)
        return self

    def _keep_moments(self, model: vae.VAE, _: History) -> None:
        self._moments = model.core.moments()

    def _find_condition(self) -> None:
        names = getattr(self, "feature_names_in_", None)
        self.condition_columns_ = places(self.condition_columns, self.n_features_in_, names)

    def _check_contamination(self) -> None:
        # scikit-learn's own detectors know "auto" too.
        share = self.contamination
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share <= 0.5:
            raise ArgumentError(f"contamination: expected a share in (0, 0.5], got {self.contamination!r}; use 0.1")

    # The latent space

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """The posterior's mean of each row, (rows, latent_dim), in the model's dtype."""
        check_is_fitted(self, "model_")
        modelled, condition = parts(self._rows(X), self.condition_columns_)
        with self._worded():
            loc: NDArray[Any] = self.model_.encode(modelled, condition=condition).loc
        return loc

    def inverse_transform(self, X: ArrayLike, *, condition: ArrayLike | None = None) -> NDArray[Any]:
        """The likelihood's mean at each latent row, (rows, features); of `Categorical` columns the likeliest code.

        Parameters
        ----------
        X : array_like, shape (rows, latent_dim)
            What `transform` gives.
        condition : array_like, shape (rows, columns) or (1, columns), optional
            With `condition_columns`, the values of these columns, in the order in which they were given: of each row,
            or one for all. What comes back has them in their places.

        Raises
        ------
        ShapeError
            Where a model with a condition gets none, or one without gets one.
        """
        check_is_fitted(self, "model_")
        z = check_array(X, dtype=self.model_.dtype)
        if z.shape[1] != self.model_.latent_dim:
            raise ArgumentError(f"X: expected {self.model_.latent_dim} columns, one a latent, got {z.shape[1]}")
        model = self.model_
        beside = for_latents(condition, len(z), model.condition_width, "X")
        cells = likeliest(model.core.mean(z, beside), model.likelihood, model.num_features)
        return together(cells, beside, self.condition_columns_)

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_dim

    # The density

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The ELBO of each row, (rows,), in nats: a lower bound of its log density; larger is more ordinary."""
        check_is_fitted(self, "model_")
        return self._scores(self._rows(X))

    def score(self, X: ArrayLike, y: object = None) -> float:  # noqa: ARG002
        """The mean ELBO of the rows, in nats a row, which a grid search maximises; y is ignored."""
        return float(self.score_samples(X).mean())

    def report(self, X: ArrayLike, *, num_particles: int = 1000) -> EvidenceReport:
        """What the bounds of these rows say and what to do, as `elbokit.VAE.report` has it, with the columns' names."""
        check_is_fitted(self, "model_")
        names = getattr(self, "feature_names_in_", None)
        if names is None and len(self.condition_columns_):
            names = [f"column {place}" for place in range(self.n_features_in_)]
        modelled, condition = parts(self._rows(X), self.condition_columns_)
        with self._worded():
            return report(
                self.model_,
                modelled,
                condition=condition,
                key=self._score_seed,
                num_particles=num_particles,
                columns=None if names is None else np.delete(names, self.condition_columns_).tolist(),
                stacklevel=2,
            )

    def sample(
        self,
        n_samples: int = 1,
        *,
        condition: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[Any]:
        """Rows drawn from the model, (n_samples, features).

        Parameters
        ----------
        n_samples : int
        condition : array_like, shape (n_samples, columns) or (1, columns), optional
            As in `inverse_transform`.
        random_state : int, RandomState or None
            What the draws' key is drawn from; by default the estimator's own, so that a whole number there gives the
            same rows in every call.
        """
        check_is_fitted(self, "model_")
        beside = for_latents(condition, n_samples, self.model_.condition_width, "n_samples")
        state = check_random_state(self.random_state if random_state is None else random_state)
        cells = self.model_.sample(n_samples, key=int(state.randint(2**31 - 1)), condition=beside)
        return together(cells, beside, self.condition_columns_)

    def _scores(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        modelled, condition = parts(rows, self.condition_columns_)
        with self._worded():
            terms = self.model_.elbo(
                modelled, condition=condition, key=self._score_seed, num_particles=self.score_particles
            )
        return terms.elbo.astype(np.float64)

    # Outliers

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """`score_samples` above `offset_`, (rows,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for ordinary rows and -1 for outliers, (rows,): of the training rows, `contamination` are outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
