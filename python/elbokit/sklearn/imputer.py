"""The VAE as an imputer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from elbokit.likelihood import Gaussian
from elbokit.sklearn.estimator import Estimator
from elbokit.sklearn.weights import weights_of
from elbokit.training import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from elbokit.likelihood import Likelihood
    from elbokit.training import Plateau, Stopping

__all__ = ["VAEImputer"]


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Estimator):  # type: ignore[misc]
    """Missing cells (NaN) filled by a VAE that is trained on the observed ones.

    The defaults are those of imputation, chosen on three tables (``docs/tables.md``): a scale learned for each column,
    a small net of tanh, the importance-weighted objective, and a stop by the held-out evidence of observed cells.

    Parameters
    ----------
    latent_dim, hidden, likelihood, activation, prior, prior_components, layer_norm, residual, standardize, dtype
        As in `elbokit.VAE`, but that the likelihood is ``Gaussian("per_feature")`` by default.
    epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, validation, objective
        As in `elbokit.VAE.fit`, and so are the next ones; epochs are the most.
    estimator, num_particles, kl_weight, free_bits, patience, progress
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
        prior: str = "standard",
        prior_components: int = 20,
        layer_norm: bool = False,
        residual: bool = False,
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
        estimator: str = "pathwise",
        num_particles: int = 10,
        kl_weight: float | Callable[[int], float] = 1.0,
        free_bits: float = 0.0,
        patience: int | Patience | Stopping | None = 30,
        impute_particles: int = 1000,
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
        self._train(rows, weights_of(sample_weight, rows))
        return self

    def _kind(self) -> Likelihood | None:
        return Gaussian("per_feature") if self.likelihood is None else self.likelihood

    def _rule(self, num_rows: int) -> int | Patience | Stopping | None:
        if np.ndim(self.validation) == 0 and not round(self.validation * num_rows):
            return None
        # Under "iwae" the ELBO turns down in the first epochs, and one surprising row may turn it down under "elbo".
        return Patience(self.patience, "evidence") if isinstance(self.patience, (int, np.integer)) else self.patience

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """X with its missing cells filled, (rows, features), in its own dtype; observed cells stay."""
        check_is_fitted(self, "model_")
        rows = self._rows(X)
        with self._worded():
            return self.model_.impute(rows, key=self._score_seed, num_particles=self.impute_particles)
