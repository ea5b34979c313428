"""A variational autoencoder whose whole training step runs in Rust.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> X = ek.random.uniform((300, 6), key=0) < 0.3
    >>> vae = ek.VAE(2, hidden=(16,), likelihood=ek.likelihood.Bernoulli())
    >>> history = vae.fit(X, epochs=5, progress=False, key=0)
    >>> vae.elbo(X[:2]).elbo.shape, vae.sample(3, key=1).shape
    ((2,), (3, 6))

The encoder maps a row to the Gaussian q(z | x), the decoder a latent z to the params of the likelihood p(x | z), and
the prior is N(0, I). Every value that is reported is in nats a row and of the row as it was given, whatever scaling
the model trains on, so differently scaled models compare. A score is a function of the row and the key: alone,
shuffled, repeated, chunked or on another thread it is the same bits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import _core, _plan, random, training
from elbokit._arrays import count, floats, rows_of
from elbokit._files import whole
from elbokit.errors import DtypeError, ModelFileError, NotFittedError, ShapeError
from elbokit.evidence import ElboTerms, GaussianParams
from elbokit.likelihood import Bernoulli, Binomial, Gaussian, Likelihood
from elbokit.random import Key, seed_of
from elbokit.training import History, Plateau, Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["VAE", "Evidence"]

_ACTIVATIONS = ("relu", "tanh", "silu", "softplus")


class Evidence(NamedTuple):
    """Bounds on log p(x) of each row's observed cells, in nats.

    Attributes
    ----------
    lower : ndarray, shape (batch,)
        The importance-weighted bound; in expectation at most log p(x).
    estimate : ndarray, shape (batch,)
        Its jackknife over folds of particles.
    upper : ndarray, shape (batch,)
        The cross-fitted tangent bound; in expectation at least log p(x), +inf for one particle.
    standard_error : ndarray, shape (batch,)
        Of the estimate, over the folds.
    ess : ndarray, shape (batch,)
        The effective sample size (Σw)² / Σw², at most the number of particles.
    num_observed : ndarray of int64, shape (batch,)
        Cells that are not missing.

    Notes
    -----
    The Pareto k-hat, which tells where the upper bound of one run is not to be trusted, is not computed yet.
    """

    lower: NDArray[Any]
    estimate: NDArray[Any]
    upper: NDArray[Any]
    standard_error: NDArray[Any]
    ess: NDArray[Any]
    num_observed: NDArray[np.int64]


class VAE:
    """A variational autoencoder with multilayer perceptrons for encoder and decoder.

    Parameters
    ----------
    latent_dim : int
        Latents a row.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse. () gives a linear model.
    likelihood : Likelihood, optional
        p(x | z); ``Gaussian(scale="predicted")`` by default.
    activation : {"relu", "tanh", "silu", "softplus"}
    prior : {"standard"}
        p(z) = N(0, I).
    standardize : "auto" or False
        "auto" scales the columns of a Gaussian likelihood by the mean and standard deviation of the training rows; a
        fixed scale is then in those units. The scaling is part of the model and of its file. Bits and counts stay as
        they are.
    dtype : {"float32", "float64"}
        What the model computes in.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes"; Rezende, Mohamed and Wierstra (2014), "Stochastic
    backpropagation and approximate inference in deep generative models".
    """

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (128, 64),
        likelihood: Likelihood | None = None,
        activation: str = "relu",
        prior: str = "standard",
        standardize: str | bool = "auto",
        dtype: DTypeLike = "float32",
    ) -> None:
        self.latent_dim = count("latent_dim", latent_dim, 1)
        if isinstance(hidden, int):
            raise ValueError(f"hidden: expected a sequence of widths, got {hidden}; use ({hidden},)")
        self.hidden = tuple(count("hidden", width, 1) for width in hidden)
        self.likelihood: Likelihood = Gaussian("predicted") if likelihood is None else likelihood
        if not isinstance(self.likelihood, Likelihood):
            raise ValueError(
                f"likelihood: expected one of elbokit.likelihood, got {likelihood!r}; make one, such as Bernoulli()"
            )
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation: expected one of {_ACTIVATIONS}, got {activation!r}; use one of them")
        self.activation = activation
        if prior != "standard":
            raise ValueError(f'prior: expected "standard", got {prior!r}; use that one')
        self.prior = prior
        if standardize != "auto" and standardize is not False:
            raise ValueError(f'standardize: expected "auto" or False, got {standardize!r}; use one of them')
        self.standardize = standardize
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise DtypeError(f"dtype: expected float32 or float64, got {kind}; use one of them", argument="dtype")
        self.dtype: np.dtype[Any] = kind
        self._core: _core.Vae | None = None

    def __repr__(self) -> str:
        return (
            f"VAE({self.latent_dim}, hidden={self.hidden}, likelihood={self.likelihood!r}, "
            f"activation={self.activation!r}, standardize={self.standardize!r}, dtype={self.dtype.name!r})"
        )

    # Training

    def fit(
        self,
        X: ArrayLike,
        *,
        epochs: int = 200,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        weight_decay: float | None = None,
        schedule: str | Plateau = "constant",
        warmup: float = 0.0,
        max_grad_norm: float | None = None,
        validation: float | ArrayLike = 0.1,
        sample_weight: ArrayLike | None = None,
        objective: str = "elbo",
        num_particles: int = 1,
        kl_weight: float | Callable[[int], float] = 1.0,
        free_bits: float = 0.0,
        patience: int | Stopping | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        callbacks: Sequence[Callable[[VAE, History], object]] = (),
        progress: bool = True,
        key: Key | int = 0,
    ) -> History:
        """Train from scratch, maximising Σ w_i [reconstruction_i − kl_weight · kl_i] / batch; what happened by epoch.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            Booleans, integers, float32 or float64. Rows are converted to the model's dtype as a batch is gathered, so
            no copy of a C-contiguous array (or memory map) is made. NaN is a missing cell: it adds nothing, and the
            encoder sees 0 there. The encoder sees counts over their total and, where the model standardises, scaled
            columns.
        epochs, batch_size : int
            A short last batch is used.
        learning_rate : float
            The largest one, of Adam (Kingma and Ba 2015) with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.
        optimizer : {"adam", "adamw"}
            "adamw" also takes learning rate · weight_decay of every parameter away in each step (Loshchilov and Hutter
            2019).
        weight_decay : float, optional
            Of "adamw": 0.01 by default; at most 1 / learning_rate.
        schedule : {"constant", "cosine", "plateau"} or Plateau
            "cosine" goes from learning_rate along half a cosine to 0, which it would reach after the last step
            (Loshchilov and Hutter 2017). "plateau" is ``ek.training.Plateau()``: half the rate after 10 epochs without
            a new best held-out ELBO, or training objective where no row is held out.
        warmup : float
            Epochs, or a part of one, in which the rate rises on a line from 0, step by step; before the schedule.
        max_grad_norm : float, optional
            A gradient whose Euclidean norm over all parameters is larger is scaled to this norm.
        validation : float or array_like
            The share of rows held out (drawn by key), or the rows to hold out themselves; 0 for none.
        sample_weight : array_like, shape (rows,), optional
            Not negative; scaled to mean 1 over the training rows.
        objective : {"elbo", "iwae"}
            "iwae" maximises Σ w_i ln (1/K Σ_k exp r_ik) / batch, r_ik = log p(x|z_k) + β (log p(z_k) − log q(z_k|x)),
            over K = num_particles draws, by the pathwise gradient (Burda, Grosse and Salakhutdinov 2016).
        num_particles : int
            Draws of z a row in each step.
        kl_weight : float or callable
            β: a number, or a function of the epoch (from 0) such as ``ek.training.Linear`` and
            ``ek.training.Cyclical``, which is called for every epoch before the first. The history's elbo is at β = 1
            whatever it is.
        free_bits : float
            λ, nats a latent: Σ_j max(λ, mean_i kl_ij) stands in the place of the KL, the mean being Σ w_i kl_ij / batch
            (Kingma et al. 2016). A latent whose mean KL is below λ gets no gradient from it. Only with "elbo".
        patience : int or Stopping, optional
            Stop when the held-out ELBO (at β = 1, under one key) has not risen for so many epochs, or by the test of
            ``ek.training.Stopping``, and keep the weights of its best epoch; by default the last ones are kept.
        checkpoint : path-like, optional
            A file that holds the whole fit after every `checkpoint_every` epochs and the last, written whole or not at
            all. Where it exists, the fit goes on from it: the parameters are then the same bits as of a fit that was
            never stopped. It must be of the same model, rows, key and options; `epochs` may be more, unless a cosine
            hangs on them.
        checkpoint_every : int
        callbacks : sequence of callable
            Each is called as callback(vae, history) after every epoch, when the model may be used, and stops the fit by
            returning True; anything else goes on. What it raises ends the fit and reaches the caller.
        progress : bool
            Show a bar on stderr, where tqdm is installed.
        key : Key or int
            The same key, rows and options give the same bits for any number of threads.

        Returns
        -------
        History

        Raises
        ------
        SupportError
            For a cell that the likelihood gives no probability, before any step is taken.
        ModelFileError
            For a checkpoint that cannot be read; one of another fit is a ValueError that names what differs.
        ShapeError, DtypeError, NonFiniteError, ValueError

        Notes
        -----
        A step whose gradient is not finite is not taken, counted in the history, and warned of at the end. Ctrl-C
        raises KeyboardInterrupt within a second, leaves the model usable at its last finished step, and says so.
        """
        initial, noise, splitting, scoring = Key(seed_of(key)).split(4)
        rows = rows_of("X", X)
        options = _plan.Options(
            epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, validation,
            sample_weight, objective, num_particles, kl_weight, free_bits, patience, checkpoint, checkpoint_every,
            callbacks, progress,
        )  # fmt: skip
        plan = _plan.checked(self, rows, options, seed_of(key), splitting)
        shift, scale = _plan.statistics(self, rows, plan.train)
        core = _core.Vae(
            rows.shape[1], self.latent_dim, list(self.hidden), self.likelihood._core, self.activation,
            shift, scale, self.dtype == np.float64, initial.seed,
        )  # fmt: skip
        core.check(rows)
        if plan.held_out is not None and plan.held_out[1] is None:
            _plan.check_held_out(core, plan.held_out[0])
        history = History(data=_plan.described(self, rows, plan))
        # Buffers and checkpoint come first: a fit that cannot start leaves the model of an earlier one in place.
        core.start(plan.num_rows, plan.batch_size, plan.num_particles)
        state = training.State(core, plan, history)
        self._core = core
        training.run(self, core, state, noise, scoring)
        return history

    # The parts of the model

    @property
    def core(self) -> _core.Vae:
        """The fitted model in the extension."""
        if self._core is None:
            raise NotFittedError("the model is not fitted; call fit, or VAE.load")
        return self._core

    @property
    def num_features(self) -> int:
        """Columns of a row."""
        return self.core.num_features

    @property
    def likelihood_(self) -> Likelihood:
        """The likelihood of rows as given, for `decode`'s params: a fixed scale is in the columns' own units."""
        if isinstance(self.likelihood, Gaussian) and self.likelihood.scale != "predicted":
            _, scale = self.core.scaling
            fixed = np.asarray(self.likelihood.scale, dtype=np.float64)
            return Gaussian(fixed * np.asarray(scale))
        return self.likelihood

    def encode(self, X: ArrayLike) -> GaussianParams:
        """The posterior q(z | x) of each row: loc and log_var, each (rows, latent_dim)."""
        return GaussianParams(*self.core.encode(self._checked(X)))

    def decode(self, z: ArrayLike) -> NDArray[Any]:
        """The likelihood's params at each row of z, (rows, num_params), for rows as given and `likelihood_`."""
        return self.core.decode(self._latents(z))

    def reconstruct(self, X: ArrayLike) -> NDArray[Any]:
        """The likelihood's mean at z = loc, (rows, features): deterministic, a picture that enters no bound."""
        return self.core.mean(self.encode(X).loc)

    def sample(self, n: int, *, key: Key | int) -> NDArray[Any]:
        """Rows drawn from the model, (n, features): z from the prior, then x from p(x | z)."""
        latents, cells = Key(seed_of(key)).split(2)
        z = random.normal((count("n", n), self.latent_dim), key=latents, dtype=self.dtype)
        return self.likelihood_.sample(self.decode(z), key=cells)

    # Scores

    def elbo(self, X: ArrayLike, *, key: Key | int = 0, num_particles: int = 16) -> ElboTerms:
        """The evidence lower bound of each row and its parts, each (rows,), in nats, whatever kl_weight trained it.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            Rows as given to fit; NaN is a missing cell, and the bound is then of the observed cells.
        key : Key or int
            A row's noise is a function of the key and the row, not of where it stands.
        num_particles : int
            Draws of z a row.

        Returns
        -------
        ElboTerms
            With the divergence in closed form; standard_error is the Monte Carlo error over particles.
        """
        particles = count("num_particles", num_particles, 1)
        return ElboTerms(*self.core.elbo(self._checked(X), None, seed_of(key), particles))

    def log_evidence(
        self, X: ArrayLike, *, key: Key | int = 0, num_particles: int = 1000, proposal: str = "posterior"
    ) -> Evidence:
        """Bounds on log p(x) of each row, each (rows,), in nats, by importance sampling from the encoder's q.

        Parameters
        ----------
        X : array_like, shape (rows, features)
        key : Key or int
            As in `elbo`.
        num_particles : int
            Draws a row; memory does not grow with them.
        proposal : {"posterior"}
            What z is drawn from.

        Returns
        -------
        Evidence

        Notes
        -----
        lower ≤ estimate ≤ upper always, and E[lower] ≤ log p(x) ≤ E[upper] for more than one particle. Where q is far
        narrower than the true posterior the weights have a heavy tail: lower stays a bound, but one run's upper may
        then lie below log p(x). A small ess is the sign.

        References
        ----------
        Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Nowozin (2018), "Debiasing
        evidence approximations".
        """
        if proposal != "posterior":
            raise ValueError(f'proposal: expected "posterior", got {proposal!r}; use that one')
        particles = count("num_particles", num_particles, 1)
        return Evidence(*self.core.log_evidence(self._checked(X), seed_of(key), particles))

    # Parameters and files

    def parameters(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters by the names of the file, "encoder.0.weight" (outputs, inputs) and so on."""
        return dict(self.core.named())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, whole or not at all; the same model gives the same bytes."""
        data = self.core.to_bytes()
        with whole(path) as draft:
            draft.write_bytes(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VAE:
        """The model of a file that `save` wrote; its scores are the same bits.

        Raises
        ------
        ModelFileError
            Where the file holds no model that this version can read.
        OSError
            Where it cannot be read at all.
        """
        try:
            return cls._from_core(_core.Vae.from_bytes(Path(path).read_bytes()))
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def _from_core(cls, core: _core.Vae) -> VAE:
        name, scale, per_feature, total = core.likelihood
        likelihood: Likelihood
        if name == "Gaussian":
            likelihood = Gaussian("predicted" if not scale else scale if per_feature else scale[0])
        elif name == "Bernoulli":
            likelihood = Bernoulli()
        elif name == "Binomial":
            likelihood = Binomial(total)
        else:
            raise ModelFileError(f"model file: expected a likelihood of this version, got {name}; update elbokit")
        shift, by = core.scaling
        scaled = any(s != 0.0 for s in shift) or any(s != 1.0 for s in by)
        made = cls(
            core.latent_dim,
            core.hidden,
            likelihood,
            core.activation,
            standardize="auto" if scaled or not isinstance(likelihood, Gaussian) else False,
            dtype="float64" if core.double else "float32",
        )
        made._core = core
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_core"] = None if self._core is None else self._core.to_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._core is not None:
            self._core = _core.Vae.from_bytes(state["_core"])

    def _checked(self, X: ArrayLike) -> NDArray[Any]:
        core = self.core
        rows = rows_of("X", X)
        if rows.shape[1] != core.num_features:
            raise ShapeError(
                f"X: expected {core.num_features} columns, got {rows.shape[1]}; give the columns of the fit",
                argument="X",
            )
        return rows

    def _latents(self, z: ArrayLike) -> NDArray[Any]:
        return floats("z", z).astype(self.dtype, copy=False)
