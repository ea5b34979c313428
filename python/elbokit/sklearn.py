"""The VAE in scikit-learn's contract: transformer, density estimator, outlier detector, imputer.

    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from elbokit.sklearn import VAE
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> pipe = make_pipeline(StandardScaler(), VAE(latent_dim=2, hidden=(16,), epochs=5, random_state=0)).fit(X)
    >>> pipe.transform(X).shape, pipe.score_samples(X).shape
    ((200, 2), (200,))

The estimators pass scikit-learn's own `check_estimator` but for one check: a row of weight 2 does not train the same
model as the row twice, since each step's rows and noise are drawn by position. NaN is a missing cell throughout. A
score is a function of the row and `random_state`: alone, shuffled, in chunks or on another worker it is the same bits.

scikit-learn 1.6 or newer comes with ``pip install "elbokit[sklearn]"``, and is imported by this module alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from elbokit import _further, vae
from elbokit._codes import likeliest
from elbokit.likelihood import Gaussian
from elbokit.random import Key
from elbokit.report import EvidenceReport, report
from elbokit.training import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from elbokit.likelihood import Likelihood
    from elbokit.training import History, Plateau, Stopping

__all__ = ["VAE", "VAEImputer"]


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: their parameters, and the model that they train."""

    model_: vae.VAE
    history_: History

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (128, 64),
        likelihood: Likelihood | None = None,
        *,
        activation: str = "relu",
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
        self.num_particles = num_particles
        self.kl_weight = kl_weight
        self.free_bits = free_bits
        self.patience = patience
        self.progress = progress
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: ArrayLike, reset: bool = False) -> NDArray[Any]:
        """X as an array of numbers with the fit's columns, NaN for a missing cell."""
        rows: NDArray[Any] = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan")
        return rows

    def _new(self) -> vae.VAE:
        return vae.VAE(
            self.latent_dim, self.hidden, self.likelihood, self.activation,
            standardize=self.standardize, dtype=self.dtype,
        )  # fmt: skip

    def _train(self, rows: NDArray[Any], weights: NDArray[np.float64] | None) -> None:
        """Train a new model; the keys of training and of everything later are drawn from random_state."""
        self._draw_keys()
        model = self._new()
        options = {
            name: getattr(self, name)
            for name in (
                "epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "warmup",
                "max_grad_norm", "validation", "objective", "num_particles", "kl_weight", "free_bits", "progress",
            )
        }  # fmt: skip
        options["patience"] = self._rule(len(rows))
        self.history_ = model.fit(rows, sample_weight=weights, key=self._fit_seed, **options)
        self.model_ = model

    def _rule(self, num_rows: int) -> int | Patience | Stopping | None:  # noqa: ARG002 -- the imputer's own needs it
        """When to stop."""
        return self.patience

    def _draw_keys(self) -> None:
        draw = check_random_state(self.random_state).randint
        # Kept: a score must not change from call to call, whatever random_state is.
        self._fit_seed, self._score_seed = (int(seed) for seed in draw(2**31 - 1, size=2))


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, _Estimator):  # type: ignore[misc]
    """A variational autoencoder as transformer, density estimator and outlier detector.

    Parameters
    ----------
    latent_dim, hidden, likelihood, activation, standardize, dtype
        As in `elbokit.VAE`.
    epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, objective
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

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (128, 64),
        likelihood: Likelihood | None = None,
        *,
        activation: str = "relu",
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
            latent_dim, hidden, likelihood, activation=activation, standardize=standardize, dtype=dtype, epochs=epochs,
            batch_size=batch_size, learning_rate=learning_rate, optimizer=optimizer, weight_decay=weight_decay,
            schedule=schedule, warmup=warmup, max_grad_norm=max_grad_norm, validation=validation, objective=objective,
            num_particles=num_particles, kl_weight=kl_weight, free_bits=free_bits, patience=patience,
            progress=progress, random_state=random_state,
        )  # fmt: skip
        self.contamination = contamination
        self.score_particles = score_particles

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
        weights = _weights(sample_weight, rows)
        self._train(rows, weights)
        self._moments: _further.Moments | None = None
        self._calls = 0
        self.offset_ = _quantile(self._scores(rows), self.contamination, weights)
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
        weights = _weights(sample_weight, rows)
        if first:
            self._draw_keys()
            self._calls, self._moments = 0, None
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "sample_weight": weights,
            "objective": self.objective,
            "num_particles": self.num_particles,
            "kl_weight": self.kl_weight(self._calls) if callable(self.kl_weight) else self.kl_weight,
            "free_bits": self.free_bits,
            "callbacks": (self._keep_moments,),
            "progress": self.progress,
        }
        # Each call trains under noise of its own.
        key = Key(self._fit_seed).fold_in(self._calls)
        if first:
            model = self._new()
            self.history_ = model.fit(rows, epochs=1, validation=0.0, key=key, **options)
            self.model_ = model
        else:
            self.history_ = _further.train(self.model_, rows, options, key, self._moments)
        self._calls += 1
        self.offset_ = _quantile(self._scores(rows), self.contamination, weights)
        return self

    def _keep_moments(self, model: vae.VAE, _: History) -> None:
        self._moments = model.core.moments()

    def _check_contamination(self) -> None:
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination: expected a share in (0, 0.5], got {self.contamination!r}; use 0.1")

    # The latent space

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """The posterior's mean of each row, (rows, latent_dim), in the model's dtype."""
        check_is_fitted(self, "model_")
        loc: NDArray[Any] = self.model_.encode(self._rows(X)).loc
        return loc

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """The likelihood's mean at each latent row, (rows, features); of `Categorical` columns the likeliest code.

        Parameters
        ----------
        X : array_like, shape (rows, latent_dim)
            What `transform` gives.
        """
        check_is_fitted(self, "model_")
        z = check_array(X, dtype=self.model_.dtype)
        if z.shape[1] != self.model_.latent_dim:
            raise ValueError(f"X: expected {self.model_.latent_dim} columns, one a latent, got {z.shape[1]}")
        return likeliest(self.model_.core.mean(z), self.model_.likelihood, self.n_features_in_)

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
        return report(
            self.model_, self._rows(X), key=self._score_seed, num_particles=num_particles, columns=names, stacklevel=2
        )

    def sample(self, n_samples: int = 1, *, random_state: int | np.random.RandomState | None = None) -> NDArray[Any]:
        """Rows drawn from the model, (n_samples, features), by `random_state` or else by the estimator's own."""
        check_is_fitted(self, "model_")
        state = check_random_state(self.random_state if random_state is None else random_state)
        return self.model_.sample(n_samples, key=int(state.randint(2**31 - 1)))

    def _scores(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        terms = self.model_.elbo(rows, key=self._score_seed, num_particles=self.score_particles)
        return terms.elbo.astype(np.float64)

    # Outliers

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """`score_samples` above `offset_`, (rows,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for ordinary rows and -1 for outliers, (rows,): of the training rows, `contamination` are outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, _Estimator):  # type: ignore[misc]
    """Missing cells (NaN) filled by a VAE that is trained on the observed ones.

    The defaults are those of imputation, chosen on three tables (``docs/tables.md``): a scale learned for each column,
    a small net of tanh, the importance-weighted objective, and a stop by the held-out evidence of observed cells.

    Parameters
    ----------
    latent_dim, hidden, likelihood, activation, standardize, dtype
        As in `elbokit.VAE`, but that the likelihood is ``Gaussian("per_feature")`` by default.
    epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, validation, objective
        As in `elbokit.VAE.fit`, and so are the next ones; epochs are the most.
    num_particles, kl_weight, free_bits, patience, progress
        num_particles is that of training. patience, a number of epochs, is ``Patience(patience, "evidence")``. Where
        `validation` holds out no row, as of one to five rows by default, nothing is waited on and all epochs are run.
    impute_particles : int
        Draws of z a row when its cells are filled.
    random_state : int, RandomState or None
        What all keys are drawn from, at `fit`.

    Attributes
    ----------
    model_ : elbokit.VAE
        The model itself.
    history_ : elbokit.History
        What happened in training.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X had names.

    See Also
    --------
    elbokit.VAE.impute : what fills the cells, and its draws for multiple imputation.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(300, 1)) * np.ones(4)
    >>> holes = X.copy()
    >>> holes[::3, 1] = np.nan
    >>> imputer = VAEImputer(1, hidden=(), learning_rate=1e-2, random_state=0)
    >>> bool(np.abs(imputer.fit_transform(holes) - X).max() < 0.2)
    True
    """

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (64,),
        likelihood: Likelihood | None = None,
        *,
        activation: str = "tanh",
        standardize: str | bool = "auto",
        dtype: str = "float32",
        epochs: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        optimizer: str = "adam",
        weight_decay: float | None = None,
        schedule: str | Plateau = "constant",
        warmup: float = 0.0,
        max_grad_norm: float | None = None,
        validation: float = 0.1,
        objective: str = "iwae",
        num_particles: int = 10,
        kl_weight: float | Callable[[int], float] = 1.0,
        free_bits: float = 0.0,
        patience: int | Patience | Stopping | None = 30,
        impute_particles: int = 1000,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            latent_dim, hidden, likelihood, activation=activation, standardize=standardize, dtype=dtype, epochs=epochs,
            batch_size=batch_size, learning_rate=learning_rate, optimizer=optimizer, weight_decay=weight_decay,
            schedule=schedule, warmup=warmup, max_grad_norm=max_grad_norm, validation=validation, objective=objective,
            num_particles=num_particles, kl_weight=kl_weight, free_bits=free_bits, patience=patience,
            progress=progress, random_state=random_state,
        )  # fmt: skip
        self.impute_particles = impute_particles

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:  # noqa: ARG002
        """Train on the observed cells; y is ignored.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            NaN is a missing cell.
        y : ignored
        sample_weight : array_like, shape (rows,), optional
            Not negative.
        """
        rows = self._rows(X, reset=True)
        self._train(rows, _weights(sample_weight, rows))
        return self

    def _new(self) -> vae.VAE:
        likelihood = Gaussian("per_feature") if self.likelihood is None else self.likelihood
        return vae.VAE(
            self.latent_dim, self.hidden, likelihood, self.activation, standardize=self.standardize, dtype=self.dtype
        )

    def _rule(self, num_rows: int) -> int | Patience | Stopping | None:
        if np.ndim(self.validation) == 0 and not round(self.validation * num_rows):
            return None
        # Under "iwae" the ELBO turns down in the first epochs, and one surprising row may turn it down under "elbo".
        return Patience(self.patience, "evidence") if isinstance(self.patience, (int, np.integer)) else self.patience

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """X with its missing cells filled, (rows, features), in its own dtype; observed cells stay."""
        check_is_fitted(self, "model_")
        return self.model_.impute(self._rows(X), key=self._score_seed, num_particles=self.impute_particles)


def _weights(sample_weight: ArrayLike | None, rows: NDArray[Any]) -> NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    weights: NDArray[np.float64] = _check_sample_weight(sample_weight, rows, dtype=np.float64)
    return weights


def _quantile(scores: NDArray[np.float64], share: float, weights: NDArray[np.float64] | None) -> float:
    """NumPy's linear quantile; with weights that of rows which stand as often as they weigh."""
    if weights is None:
        return float(np.quantile(scores, share))
    order = np.argsort(scores, kind="stable")
    ends = np.cumsum(weights[order])
    place = share * max(ends[-1] - 1.0, 0.0)
    below = np.floor(place)
    at = np.minimum(np.searchsorted(ends, [below, below + 1.0], side="right"), len(scores) - 1)
    low, high = scores[order[at]]
    return float(low + (place - below) * (high - low) if place > below else low)
