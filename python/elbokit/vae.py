"""A variational autoencoder whose whole training step runs in Rust.

    >>> import numpy as np
    >>> import elbokit as ek
    >>> X = ek.random.uniform((300, 6), key=0) < 0.3
    >>> vae = ek.VAE(2, hidden=(16,), likelihood=ek.likelihood.Bernoulli())
    >>> history = vae.fit(X, epochs=5, progress=False, key=0)
    >>> vae.elbo(X[:2]).elbo.shape, vae.sample(3, key=1).shape
    ((2,), (3, 6))

The encoder maps a row to the Gaussian q(z | x), the decoder a latent z to the params of the likelihood p(x | z), and
the prior is N(0, I) or a learned mixture. Every value that is reported is in nats a row and of the row as it was given,
whatever scaling the model trains on, so differently scaled models compare. A score is a function of the row and the
key: alone, shuffled, repeated, chunked or on another thread it is the same bits.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from elbokit import _condition, _core, _metadata, _plan, _scaling, training
from elbokit import likelihood as likelihoods
from elbokit._arrays import choice, count, file_path, float_type, floats, rows_of
from elbokit._calibration import Calibrated, Calibration
from elbokit._files import whole
from elbokit._names import Names
from elbokit._naming import AS_GIVEN, say_given
from elbokit.batches import Batches, streamed
from elbokit.errors import ArgumentError, ElbokitError, ModelFileError, NotFittedError, ShapeError
from elbokit.evidence import ElboTerms, GaussianParams
from elbokit.likelihood import Gaussian, Likelihood
from elbokit.random import Key, seed_of
from elbokit.training import History, Patience, Plateau, Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from elbokit.mixture import GaussianMixture
    from elbokit.report import EvidenceReport
    from elbokit.self_check import SelfCheck
    from elbokit.table_model import TableVAE

__all__ = ["VAE", "Evidence"]

_Told = TypeVar("_Told")

_PRIORS = ("standard", "mixture", "vamp")
_ACTIVATIONS = ("relu", "tanh", "silu", "softplus", "gelu")


class Evidence(NamedTuple):
    """Bounds on log p(x) of each row's observed cells, in nats.

    Attributes
    ----------
    lower : ndarray, shape (batch,)
        The importance-weighted bound; in expectation at most log p(x).
    estimate : ndarray, shape (batch,)
        Its jackknife over folds of particles.
    upper : ndarray, shape (batch,)
        The cross-fitted tangent bound; in expectation at least log p(x). +inf where one run of it is not to be trusted:
        where khat exceeds min(1 − 1/log10 K, 0.7), K the number of particles, and so for fewer than 25.
    standard_error : ndarray, shape (batch,)
        Of the estimate, over the folds.
    khat : ndarray, shape (batch,)
        The Pareto k-hat of the weights' tail: 0 for equal weights, +inf for fewer than 25 particles.
    ess : ndarray, shape (batch,)
        The effective sample size (Σw)² / Σw², at most the number of particles.
    num_observed : ndarray of int64, shape (batch,)
        Cells that are not missing.
    """

    lower: NDArray[Any]
    estimate: NDArray[Any]
    upper: NDArray[Any]
    standard_error: NDArray[Any]
    khat: NDArray[Any]
    ess: NDArray[Any]
    num_observed: NDArray[np.int64]


class VAE(Calibrated):
    """A variational autoencoder with multilayer perceptrons for encoder and decoder.

    Parameters
    ----------
    latent_dim : int
        Latents a row.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse. () gives a linear model.
    likelihood : Likelihood, optional
        p(x | z); ``Gaussian(scale="predicted")`` by default.
    activation : {"relu", "tanh", "silu", "softplus", "gelu"}
        "gelu" is x Φ(x) with the normal distribution function itself, not its approximation by tanh (Hendrycks and
        Gimpel 2016).
    prior : {"standard", "mixture", "vamp"}
        p(z): N(0, I), or what is learned with the rest and does not decay. "mixture" is the sum over k of
        w_k N(loc_k, exp(log_var_k)), with diagonal covariances ("prior.loc", "prior.log_var", "prior.logits"). "vamp"
        is 1/K Σ_k q(z | u_k), the mixture of the encoder's posteriors at pseudo-inputs u_k ("prior.pseudo_inputs"),
        which start at training rows as the encoder sees them (Tomczak and Welling 2018, VampPrior). With either the KL
        is the draws' mean of log q(z | x) − log p(z) in training and in `elbo`.
    standardize : "auto" or False
        "auto" scales the columns of a Gaussian likelihood by the mean and standard deviation of the training rows; a
        fixed scale is then in those units. The scaling is part of the model and of its file. Bits and counts stay as
        they are.
    dtype : {"float32", "float64"}
        What the model computes in.
    layer_norm : bool
        Whether every hidden layer normalises its rows before the activation: gain · (h − mean) / √(variance + 1e-5) +
        shift, over the layer's width, with gains and shifts that are learned ("encoder.0.norm.weight" and
        "encoder.0.norm.bias") and do not decay (Ba, Kiros and Hinton 2016).
    residual : bool
        Whether a hidden layer whose input has its own width adds that input to its activation (He et al. 2016).
    prior_components : int
        K of a learned prior.

    References
    ----------
    Ba, Kiros and Hinton (2016), "Layer normalization"; He, Zhang, Ren and Sun (2016), "Deep residual learning for image
    recognition"; Hendrycks and Gimpel (2016), "Gaussian error linear units".

    Kingma and Welling (2014), "Auto-encoding variational Bayes"; Rezende, Mohamed and Wierstra (2014), "Stochastic
    backpropagation and approximate inference in deep generative models"; Sohn, Lee and Yan (2015), "Learning structured
    output representation using deep conditional generative models"; Tomczak and Welling (2018), "VAE with a
    VampPrior".
    """

    # Of a file's columns, where `elbokit fit` read them.
    _names: Names | None = None

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: Sequence[int] = (128, 64),
        likelihood: Likelihood | None = None,
        activation: str = "relu",
        prior: str = "standard",
        standardize: str | bool = "auto",
        dtype: DTypeLike = "float32",
        layer_norm: bool = False,
        residual: bool = False,
        prior_components: int = 20,
    ) -> None:
        self.latent_dim = count("latent_dim", latent_dim, 1)
        self.hidden = _widths(hidden)
        self.likelihood: Likelihood = Gaussian("predicted") if likelihood is None else likelihood
        if not isinstance(self.likelihood, Likelihood):
            raise ArgumentError(
                f"likelihood: expected one of elbokit.likelihood, got {likelihood!r}; make one, such as Bernoulli()"
            )
        self.activation = choice("activation", activation, _ACTIVATIONS)
        self.prior = choice("prior", prior, _PRIORS)
        self.prior_components = count("prior_components", prior_components, 1)
        if standardize != "auto" and standardize is not False:
            raise ArgumentError(f'standardize: expected "auto" or False, got {standardize!r}; use one of them')
        self.standardize = standardize
        self.dtype: np.dtype[Any] = float_type(dtype)
        for argument, on in (("layer_norm", layer_norm), ("residual", residual)):
            if not isinstance(on, (bool, np.bool_)):
                raise ArgumentError(f"{argument}: expected True or False, got {on!r}; use one of them")
        self.layer_norm = bool(layer_norm)
        self.residual = bool(residual)
        self._core: _core.Vae | None = None

    def __repr__(self) -> str:
        layers = "".join(f", {name}=True" for name in ("layer_norm", "residual") if getattr(self, name))
        if self.prior != "standard":
            layers += f", prior={self.prior!r}, prior_components={self.prior_components}"
        return (
            f"VAE({self.latent_dim}, hidden={self.hidden}, likelihood={self.likelihood!r}, "
            f"activation={self.activation!r}, standardize={self.standardize!r}, dtype={self.dtype.name!r}{layers})"
        )

    @classmethod
    def for_table(cls, df: Any, kinds: Mapping[Any, str | Likelihood] | None = None, **options: Any) -> TableVAE:
        """A model for a pandas or polars DataFrame, with a likelihood proposed for each column; still to be fitted.

        `proposal` of what comes back prints the columns with the reason of each, to be looked at before `fit`. By a
        column's observed cells, the first that holds:

        - nothing that is modelled (times, lists, names that hardly repeat, one value only): left out;
        - booleans, or two values of any kind: `Bernoulli`;
        - text and categories: `Categorical`, of the declared categories or of the values in order;
        - real numbers: `Gaussian`, whose scale is learned for each column;
        - at most 10 different whole numbers, each with 10 rows on average: `Categorical`;
        - whole numbers below 0, of a mean above 10⁵, or of a variance below two thirds of the mean: `Gaussian`;
        - other whole numbers are counts: `Poisson` where the variance is below 1.5 times the mean, else
          `NegativeBinomial`.

        Parameters
        ----------
        df : DataFrame
            Of pandas or polars; an empty cell (null, None, NaN) is missing.
        kinds : mapping, optional
            Columns' names to what they shall be instead: a likelihood, or one of "gaussian", "laplace", "student_t"
            (4 degrees of freedom), "bernoulli", "continuous_bernoulli", "categorical", "poisson", "negative_binomial",
            "zero_inflated_negative_binomial", "leave_out" and "condition": given and not modelled, so that the model is
            p(the other columns | these), as `fit` has it with a condition. Numbers and booleans are then one number
            each, text and categories a bit for each value of the table, and no cell may be missing.
        **options
            Of `VAE`, all but its likelihood.

        Returns
        -------
        TableVAE
            Of `elbokit.table_model`, whose `load` reads the file that it saves.

        Raises
        ------
        DtypeError, ShapeError, SupportError, ValueError

        Examples
        --------
        >>> import polars as pl
        >>> import elbokit as ek
        >>> df = pl.DataFrame({"ward": ["eye", "lung", "heart"] * 50, "visits": [0, 3, 9] * 50})
        >>> model = ek.VAE.for_table(df, kinds={"visits": "poisson"}, latent_dim=1, hidden=(8,))
        >>> history = model.fit(df, epochs=2, progress=False)
        >>> model.sample(3, key=0).columns
        ['ward', 'visits']
        """
        from elbokit.table_model import TableVAE  # noqa: PLC0415 -- it is made of this class

        return TableVAE._for(df, kinds, options)

    # Training

    def fit(
        self,
        X: ArrayLike | Batches,
        *,
        condition: ArrayLike | Batches | None = None,
        epochs: int = 200,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        weight_decay: float | None = None,
        schedule: str | Plateau = "constant",
        warmup: float = 0.0,
        max_grad_norm: float | None = None,
        validation: float | ArrayLike | Batches | tuple[ArrayLike | Batches, ArrayLike | Batches] = 0.1,
        sample_weight: ArrayLike | None = None,
        objective: str = "elbo",
        estimator: str = "pathwise",
        num_particles: int = 1,
        kl_weight: float | Callable[[int], float] = 1.0,
        free_bits: float = 0.0,
        patience: int | Patience | Stopping | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        callbacks: Sequence[Callable[[VAE, History], object]] = (),
        progress: bool = True,
        key: Key | int = 0,
    ) -> History:
        """Train from scratch, maximising Σ w_i [reconstruction_i − kl_weight · kl_i] / batch; what happened by epoch.

        Parameters
        ----------
        X : array_like, shape (rows, features), or Batches
            Booleans, integers, float32 or float64. Rows are converted to the model's dtype as a batch is gathered, so
            no copy of a C-contiguous array (or memory map) is made; `Batches` are written to a temporary file first.
            NaN is a missing cell: it adds nothing, and the encoder sees 0 there. The encoder sees counts over their
            total and, where the model standardises, scaled columns.
        condition : array_like, shape (rows, columns), optional
            Makes the model conditional: numbers c beside each row that encoder and decoder see too, q(z | x, c) and
            p(x | z, c), while p(z) stays as it is (Sohn, Lee and Yan 2015). Finite, of any real dtype, read row by row
            as X is. Where the model standardises, columns are scaled by the mean and deviation of the training rows,
            but those that hold 0 and 1 alone. Every method then asks for the condition of its rows.
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
        validation : float, array_like or pair of array_like
            The share of rows held out (drawn by key), or the rows to hold out themselves, with a condition as a pair
            (rows, condition); 0 for none.
        sample_weight : array_like, shape (rows,), optional
            Not negative; scaled to mean 1 over the training rows. The columns' means and deviations are by weight too.
        objective : {"elbo", "iwae"}
            "iwae" maximises Σ w_i ln (1/K Σ_k exp r_ik) / batch, r_ik = log p(x|z_k) + β (log p(z_k) − log q(z_k|x)),
            over K = num_particles draws (Burda, Grosse and Salakhutdinov 2016).
        estimator : {"pathwise", "stl", "dreg", "score"}
            How the gradient with respect to the posterior, and so the encoder's, is estimated: as in `elbo_grad`. With
            w̃_k = 1/K ("elbo") or exp r_k / Σ exp r ("iwae"), "stl" is Σ_k w̃_k ∂r_k/∂z · ∂z/∂(loc, log_var), "dreg" the
            same by 1 − β (1 − w̃_k) for "iwae", and "score" Σ_k c_k ∂log q/∂(loc, log_var) with c_k = (r_k − mean r) /
            (K − 1), or ℓ − ℓ₋ₖ − β w̃_k. These three draw the KL that "pathwise" has in closed form for "elbo", and
            go without free bits; decoder and prior get w̃_k ∂r_k whatever the estimator. "stl" is for "elbo" alone,
            "score" for two particles or more.
        num_particles : int
            Draws of z a row in each step.
        kl_weight : float or callable
            β: a number, or a function of the epoch (from 0) such as ``ek.training.Linear`` and
            ``ek.training.Cyclical``, which is called for every epoch before the first. The history's elbo is at β = 1
            whatever it is.
        free_bits : float
            λ, nats a latent: Σ_j max(λ, mean_i kl_ij) stands in the place of the KL, the mean being Σ w_i kl_ij / batch
            (Kingma et al. 2016). A latent whose mean KL is below λ gets no gradient from it. Only with "elbo".
        patience : int, Patience or Stopping, optional
            Stop when the held-out ELBO (at β = 1, under one key) has not risen for so many epochs, when the held-out
            evidence has not (``ek.training.Patience(20, watch="evidence")``), or by the test of
            ``ek.training.Stopping``, and keep the weights of the best epoch; by default the last ones are kept.
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
        OSError
            For a checkpoint that cannot be written, before any step is taken.
        ShapeError, DtypeError, NonFiniteError, ValueError

        Notes
        -----
        A step whose gradient is not finite is not taken, counted in the history, and warned of at the end, with the
        term (reconstruction, KL or the parameters' gradient) that was not finite after the first such epoch. Ctrl-C
        raises KeyboardInterrupt within a second, leaves the model usable at its last finished step, and says so.
        """
        initial, noise, splitting, scoring = Key(seed_of(key)).split(4)
        rows = rows_of("X", X)
        options = _plan.Options(
            epochs, batch_size, learning_rate, optimizer, weight_decay, schedule, warmup, max_grad_norm, condition,
            validation, sample_weight, objective, estimator, num_particles, kl_weight, free_bits, patience, checkpoint,
            checkpoint_every, callbacks, progress,
        )  # fmt: skip
        plan = _plan.checked(self, rows, options, seed_of(key), splitting)
        shift, scale, spread = _scaling.statistics(self, rows, plan.train, plan.weights)
        beside = _scaling.condition_statistics(self, plan.condition, plan.train, plan.weights)
        try:
            core = _core.Vae(
                rows.shape[1], self.latent_dim, list(self.hidden), self.likelihood._core, self.activation,
                self.layer_norm, self.residual, self.prior, self.prior_components, shift, scale, spread, *beside,
                self.dtype == np.float64, initial.seed,
            )  # fmt: skip
        except ArgumentError as error:
            # The core says so of too many parameters, whatever they are of.
            if error.argument == "hidden":
                raise _plan.too_large(self, rows.shape[1]) from None
            raise
        self._of_given(core.check, rows, plan.condition)
        if plan.held_out is not None and plan.held_out.index is None:
            _plan.check_held_out(core, plan.held_out, self.dtype)
        if self.prior == "vamp":
            # A key that no layer's start is drawn by.
            chosen = _plan.first_pseudo_inputs(self, plan, initial.fold_in(1 << 32))
            core.start_prior(rows, chosen, plan.condition)
        history = History(data=_scaling.described(self, rows, plan))
        # Buffers and checkpoint come first: a fit that cannot start leaves the model of an earlier one in place.
        core.start(plan.num_rows, plan.batch_size, plan.num_particles)
        state = training.State(core, plan, history)
        self._core, self._calibration, self._names = core, None, None
        with AS_GIVEN:
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
        """The likelihood of rows as given, for `decode`'s params: scales are in the columns' own units.

        A fixed scale is then one by feature, and a "shared" one of columns that were scaled differently "per_feature".
        """
        return _likelihood(*self.core.likelihood_as_given)

    @property
    def prior_(self) -> GaussianMixture:
        """p(z) as a mixture, of one component where it is N(0, I): a prior of `elbokit.elbo` too."""
        from elbokit.mixture import GaussianMixture  # noqa: PLC0415 -- models are imported when asked for

        weights, locs, variances = map(np.array, self.core.prior_parts)
        # A fit that has diverged may leave logits and log-variances of which exp is 0 or past the range.
        limits = np.finfo(weights.dtype)
        weights, variances = weights.clip(limits.tiny), variances.clip(limits.tiny, limits.max)
        return GaussianMixture(weights, locs.reshape(len(weights), -1), variances.reshape(len(weights), -1))

    @property
    def condition_width(self) -> int:
        """Columns of the condition that every method asks for; 0 for none."""
        return self.core.condition_width

    def encode(self, X: ArrayLike | Batches, *, condition: ArrayLike | Batches | None = None) -> GaussianParams:
        """The posterior q(z | x) of each row: loc and log_var, each (rows, latent_dim).

        A row for which the encoder leaves the float range is a NonFiniteError.
        """
        return GaussianParams(*self._each(X, condition, self.core.encode))

    def decode(self, z: ArrayLike, *, condition: ArrayLike | None = None) -> NDArray[Any]:
        """The likelihood's params at each row of z, (rows, num_params), for rows as given and `likelihood_`.

        A conditional model takes as many rows of `condition`, or one for all. A row for which the decoder leaves the
        float range is a NonFiniteError.
        """
        given = floats("z", z)
        beside = self._condition_of_latents(condition, given, "z")
        try:
            return self.core.decode(self._latents(given), beside)
        except ElbokitError as error:
            say_given(error, self.dtype, "z", z=given, condition=beside)
            raise

    def reconstruct(self, X: ArrayLike, *, condition: ArrayLike | None = None) -> NDArray[Any]:
        """The likelihood's mean at z = loc, (rows, features): deterministic, a picture that enters no bound.

        Of `Categorical` columns it holds the classes' probabilities, as `likelihood_.mean` does. A row for which a
        network leaves the float range is a NonFiniteError.
        """
        core = self.core
        given = self._checked(X, condition)
        return self._of_given(lambda rows, beside: core.mean(core.encode(rows, beside)[0], beside), *given)

    def sample(self, n: int, *, key: Key | int, condition: ArrayLike | None = None, first_row: int = 0) -> NDArray[Any]:
        """Rows drawn from the model, (n, features): z from the prior, then x from p(x | z).

        A conditional model takes n rows of `condition`, or one for all. `first_row` is the number of the first row: a
        draw of n rows is continued by ``first_row=n``.
        """
        latents, cells = Key(seed_of(key)).split(2)
        z = self.core.sample_prior(count("n", n), latents.seed, count("first_row", first_row))
        beside = self._condition_of_latents(condition, z, "n")
        try:
            return self.likelihood_.sample(self.core.decode(z, beside), key=cells, first_row=first_row)
        except ElbokitError as error:
            say_given(error, self.dtype, "n", condition=beside)
            raise

    # Scores

    def elbo(
        self,
        X: ArrayLike | Batches,
        *,
        condition: ArrayLike | Batches | None = None,
        key: Key | int = 0,
        num_particles: int = 16,
    ) -> ElboTerms:
        """The evidence lower bound of each row and its parts, each (rows,), in nats, whatever kl_weight trained it.

        Parameters
        ----------
        X : array_like, shape (rows, features), or Batches
            Rows as given to fit; NaN is a missing cell, and the bound is then of the observed cells.
        condition : array_like, shape (rows, columns), optional
            Of a conditional model, as given to fit; the bound is then on log p(x | c).
        key : Key or int
            A row's noise is a function of the key and the row with its condition, not of where it stands.
        num_particles : int
            Draws of z a row.

        Returns
        -------
        ElboTerms
            With the divergence in closed form for the standard prior, else by the same draws, where it may be negative;
            standard_error is the Monte Carlo error over particles, of all that is drawn.
        """
        particles, seed = count("num_particles", num_particles, 1), seed_of(key)
        return ElboTerms(
            *self._each(X, condition, lambda rows, beside: self.core.elbo(rows, None, seed, particles, beside))
        )

    def elbo_per_column(
        self, X: ArrayLike, *, condition: ArrayLike | None = None, key: Key | int = 0, num_particles: int = 16
    ) -> NDArray[Any]:
        """Each column's part of the reconstruction, (rows, features), in nats: which column made a row odd.

        E_q[log p(x_j | z)], by the draws of `elbo` with the same key and particles: a row's columns add up to its
        `reconstruction`, to rounding. A missing cell has 0.

        Parameters
        ----------
        X : array_like, shape (rows, features)
        condition : array_like, shape (rows, columns), optional
            As in `elbo`.
        key : Key or int
            As in `elbo`.
        num_particles : int
            Draws of z a row.

        Returns
        -------
        ndarray, shape (rows, features)

        Raises
        ------
        SupportError, ShapeError, DtypeError, NonFiniteError, NotFittedError

        Examples
        --------
        >>> import numpy as np
        >>> import elbokit as ek
        >>> X = ek.random.normal((300, 4), key=0)
        >>> vae = ek.VAE(2, hidden=(8,))
        >>> history = vae.fit(X, epochs=3, progress=False)
        >>> odd = np.array([[0.0, 0.0, 9.0, 0.0]])
        >>> int(vae.elbo_per_column(odd).argmin())
        2
        """
        particles = count("num_particles", num_particles, 1)
        core, seed, given = self.core, seed_of(key), self._checked(X, condition)
        return self._of_given(lambda rows, beside: core.elbo_per_column(rows, seed, particles, beside), *given)

    def impute(
        self,
        X: ArrayLike,
        *,
        condition: ArrayLike | None = None,
        key: Key | int = 0,
        num_particles: int = 1000,
        draws: int | None = None,
        proposal: str = "laplace",
    ) -> NDArray[Any]:
        """Rows with their missing cells (NaN) filled from the model, given the observed ones; observed cells stay.

        z is drawn from a proposal r and weighed by w_k ∝ p(x_obs | z_k) p(z_k) / r(z_k). A cell of a real or count
        column gets Σ_k w_k E[x | z_k] / Σ_k w_k, one of `Bernoulli` or `Categorical` the value that is most probable by
        the weighted mean of its probabilities. With `draws`, each copy of a row takes one z_k by its weight, and its
        missing cells from p(x | z_k): sampling-importance-resampling, for multiple imputation.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            Rows as given to fit, which may have had missing cells too.
        condition : array_like, shape (rows, columns), optional
            As in `elbo`; it has no missing cells.
        key : Key or int
            A row's cells are a function of the key and the row: the same bits alone, shuffled or in chunks.
        num_particles : int
            Draws of z a row; memory does not grow with rows times particles.
        draws : int, optional
            Copies to draw; draw d does not depend on how many there are.
        proposal : {"laplace", "posterior"}
            As in `log_evidence`: a Gaussian around the mode of log p(x_obs, z), or the encoder's q. A row without an
            observed cell, or without a mode, is drawn from q.

        Returns
        -------
        ndarray, shape (rows, features) or (draws, rows, features)
            Of X's dtype. Integers and booleans have no missing cell and come back as they are.

        Raises
        ------
        SupportError, ShapeError, DtypeError, NonFiniteError, NotFittedError, ValueError

        Warns
        -----
        RuntimeWarning
            As `log_evidence`, of the rows that have a missing cell.

        Notes
        -----
        The mean is right in the limit of many particles, and where r covers the posterior. Given few cells, or cells
        unlike those of the training rows, the encoder's q does so worse than the mode's Gaussian; where a learned
        prior gives the posterior several modes, it may do so better.

        References
        ----------
        Mattei and Frellsen (2019), "MIWAE: deep generative modelling and imputation of incomplete data sets", eq. 10;
        Rubin (1987), "The calculation of posterior distributions by data augmentation: comment".

        Examples
        --------
        >>> import numpy as np
        >>> import elbokit as ek
        >>> X = ek.random.normal((300, 1), key=0) * np.ones((1, 4)) + 0.1 * ek.random.normal((300, 4), key=1)
        >>> vae = ek.VAE(1, hidden=())
        >>> history = vae.fit(X, epochs=200, learning_rate=1e-2, progress=False)
        >>> filled = vae.impute([[1.0, np.nan, 1.0, 1.0]])
        >>> bool(abs(filled[0, 1] - 1.0) < 0.3), vae.impute(X, draws=3).shape
        (True, (3, 300, 4))
        """
        laplace, particles = _is_laplace(proposal), count("num_particles", num_particles, 1)
        copies = None if draws is None else count("draws", draws, 1)
        core, seed = self.core, seed_of(key)

        def filled_in(rows: NDArray[Any], beside: NDArray[Any] | None) -> tuple[NDArray[Any], int]:
            if copies is None:
                return core.impute(rows, seed, particles, laplace, beside)
            return core.impute_draws(rows, seed, particles, copies, laplace, beside)

        rows, beside = self._checked(X, condition)
        filled, without = self._of_given(filled_in, rows, beside)
        if without:
            _tell_of_q("impute", without, int(np.isnan(rows).any(axis=1).sum()))
        if filled.dtype == rows.dtype:
            return filled
        if rows.dtype.kind != "f":
            return np.array(np.broadcast_to(rows, filled.shape))
        return np.where(np.isnan(rows), filled.astype(rows.dtype), rows)

    def log_evidence(
        self,
        X: ArrayLike | Batches,
        *,
        condition: ArrayLike | Batches | None = None,
        key: Key | int = 0,
        num_particles: int = 1000,
        proposal: str = "laplace",
    ) -> Evidence:
        """Bounds on log p(x) of each row, each (rows,), in nats, by importance sampling.

        Parameters
        ----------
        X : array_like, shape (rows, features), or Batches
        condition : array_like, shape (rows, columns), optional
            Of a conditional model: the bounds are then on log p(x | c).
        key : Key or int
            As in `elbo`.
        num_particles : int
            Draws a row; memory does not grow with them.
        proposal : {"laplace", "posterior"}
            What z is drawn from: a Gaussian around the mode of log p(x, z), or the encoder's q, whose lower is the
            importance-weighted bound that training may maximise.

        Returns
        -------
        Evidence

        Raises
        ------
        ShapeError, NonFiniteError, SupportError, NotFittedError, ValueError

        Warns
        -----
        RuntimeWarning
            Where no mode was found for some rows, which are then drawn from q.

        Notes
        -----
        lower ≤ estimate ≤ upper always, and E[lower] ≤ log p(x) ≤ E[upper] for more than one particle, whatever z is
        drawn from. Where that is narrower than the true posterior the weights have a heavy tail: lower stays a bound,
        but one run's upper may then lie below log p(x). khat tells, and upper is then +inf.

        "laplace" draws from N(z*, 1.15² H⁻¹). z* is found by damped Gauss-Newton steps from the encoder's loc, without
        randomness; H = I + JᵀFJ, J the decoder's Jacobian and F the likelihood's Fisher information in its params at
        z*: exact, but for the concentration of the negative binomials and the couplings of the zero-inflated one's
        params. With a learned prior its curvature at z* stands in the place of I, and where H would then not be
        positive definite the mean of the components' precisions by their shares. The weights are exact whatever H is.
        One Gaussian covers one mode: where components make a posterior of several, khat tells. A row without an
        observed cell has evidence 0.

        References
        ----------
        Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Nowozin (2018), "Debiasing
        evidence approximations"; Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling";
        Marquardt (1963), "An algorithm for least-squares estimation of nonlinear parameters".
        """
        laplace, particles, seed = _is_laplace(proposal), count("num_particles", num_particles, 1), seed_of(key)
        without = 0

        def bounds(rows: NDArray[Any], beside: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
            nonlocal without
            evidence, lost = self.core.log_evidence(rows, seed, particles, laplace, beside)
            without += lost
            return evidence

        evidence = Evidence(*self._each(X, condition, bounds))
        if without:
            _tell_of_q("log_evidence", without, len(evidence.lower))
        return evidence

    # What the model is worth

    def report(
        self, X: ArrayLike, *, condition: ArrayLike | None = None, key: Key | int = 0, num_particles: int = 1000
    ) -> EvidenceReport:
        """What the bounds of these rows say, how far to trust them and what to do: a report to print, show and save.

        Bounds of each row and the ladder of bounds over particles from both proposals; rows by their k-hat; the rate,
        active latents, what latents tell of rows, and posterior collapse with its likely cause and cure; the rows
        hardest to explain with their columns. ``print(report)``; a notebook shows it with its picture;
        ``report.save("report.html")`` writes one file.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            As in `elbo`; rows that were not trained on tell most.
        condition : array_like, shape (rows, columns), optional
            As in `elbo`: everything is then of log p(x | c).
        key : Key or int
            As in `elbo`: a row's numbers are a function of the key and the row.
        num_particles : int
            Draws a row of the log evidence, the last rung of the ladder.

        Returns
        -------
        EvidenceReport

        Raises
        ------
        ShapeError, NonFiniteError, SupportError, NotFittedError, ValueError

        Warns
        -----
        UserWarning
            Where the posterior has collapsed: no latent is active.

        Notes
        -----
        Bounds and latents are of all rows, a second for 1000 of a small net; what takes both proposals or pairs of
        rows is of the 2000 rows of the smallest hashes, and says so. Cells are looked at in blocks of rows.

        References
        ----------
        Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders": active units; Hoffman and Johnson
        (2016), "ELBO surgery": index information; Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed
        importance sampling".

        Examples
        --------
        >>> import elbokit as ek
        >>> X = ek.random.normal((300, 1), key=0) * [1.0, 1.0, 1.0] + 0.2 * ek.random.normal((300, 3), key=1)
        >>> vae = ek.VAE(1, hidden=(8,))
        >>> history = vae.fit(X, epochs=60, learning_rate=1e-2, progress=False)
        >>> report = vae.report(X, num_particles=100)
        >>> report.active.tolist(), [rung.num_particles for rung in report.ladder]
        ([True], [1, 10, 100, 1, 10, 100])
        """
        from elbokit.report import report  # noqa: PLC0415 -- it calls this class

        return report(self, X, condition=condition, key=key, num_particles=num_particles, stacklevel=2)

    def self_check(
        self,
        n: int = 200,
        *,
        condition: ArrayLike | None = None,
        key: Key | int = 0,
        num_particles: int = 1000,
        proposal: str = "laplace",
    ) -> SelfCheck:
        """The model's bounds on rows that it simulates itself: the true mean log evidence lies between two numbers.

        z* ~ p(z), then x ~ p(x | z*), so that z* is an exact draw of the posterior. With the weights wₖ of K draws of
        `log_evidence` and w* of z* under the same proposal, lower = ln 1/K Σ wₖ and upper = ln 1/(K+1) (w* + Σ wₖ).

        Parameters
        ----------
        n : int
            Rows to simulate.
        condition : array_like, shape (n, columns) or (1, columns), optional
            Of a conditional model, beside which they are simulated.
        key : Key or int
            Of all randomness.
        num_particles : int
            K.
        proposal : {"laplace", "posterior"}
            As in `log_evidence`.

        Returns
        -------
        SelfCheck
            Means with standard errors; ``print`` says what they mean. It also has ranks of each z* among draws of q,
            which are uniform where q is the posterior.

        Raises
        ------
        NotFittedError, ValueError

        Notes
        -----
        E[lower] ≤ log p(x) ≤ E[upper] for every K and proposal. For the upper one, A = 1/(K+1) (w* + Σ wₖ) has
        E[p(x) / A] = ∫ w* q(z*) Π q(zₖ) / A = E_q[w₀ / A] ≤ 1 by symmetry over K + 1 draws of q, and Jensen's
        inequality does the rest. The draws are those that the bounds of real rows would have; what it does not test is
        whether rows look like the model's.

        References
        ----------
        Grosse, Ancha and Roy (2016), "Measuring the reliability of MCMC inference with bidirectional Monte Carlo";
        Talts, Betancourt, Simpson, Vehtari and Gelman (2018), "Validating Bayesian inference algorithms with
        simulation-based calibration": the ranks.

        Examples
        --------
        >>> import elbokit as ek
        >>> X = ek.random.normal((300, 1), key=0) + 0.5 * ek.random.normal((300, 3), key=1)
        >>> vae = ek.VAE(1, hidden=(8,))
        >>> history = vae.fit(X, epochs=50, learning_rate=1e-2, progress=False)
        >>> check = vae.self_check(100, num_particles=100)
        >>> low, high = check.interval
        >>> low < check.lower <= check.upper < high
        True
        """
        from elbokit.self_check import self_check  # noqa: PLC0415 -- it calls this class

        return self_check(self, n, condition=condition, key=key, num_particles=num_particles, proposal=proposal)

    # Parameters and files

    def parameters(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters by the names of the file, "encoder.0.weight" (outputs, inputs) and so on."""
        return dict(self.core.named())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, whole or not at all; the same model gives the same bytes."""
        file, data = file_path("path", path), self._to_bytes()
        with whole(file) as draft:
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
            return cls._from_bytes(file_path("path", path).read_bytes())
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None

    def _to_bytes(self, **texts: str) -> bytes:
        """The model's file, with texts under further keys of its metadata."""
        if self._calibration is not None:
            texts[_metadata.CALIBRATION] = self._calibration.to_text()
        if self._names is not None:
            texts[_metadata.COLUMNS] = self._names.to_text()
        return _metadata.added(self.core.to_bytes(), texts)

    @classmethod
    def _from_bytes(cls, data: bytes) -> VAE:
        made = cls._from_core(_core.Vae.from_bytes(data))
        texts = _metadata.texts(data)
        if _metadata.CALIBRATION in texts:
            made._calibration = Calibration.from_text(texts[_metadata.CALIBRATION])
        if _metadata.COLUMNS in texts:
            made._names = Names.from_text(texts[_metadata.COLUMNS], made.num_features, made.condition_width)
        return made

    @classmethod
    def _from_core(cls, core: _core.Vae) -> VAE:
        likelihood = _likelihood(*core.likelihood)
        (shift, by), (beside_shift, beside_by) = core.scaling, core.condition_scaling
        shift, by = shift + beside_shift, by + beside_by
        scaled = any(s != 0.0 for s in shift) or any(s != 1.0 for s in by)
        made = cls(
            core.latent_dim,
            core.hidden,
            likelihood,
            core.activation,
            standardize="auto" if scaled or not _scaling.real_columns(likelihood, core.num_features).any() else False,
            dtype="float64" if core.double else "float32",
            layer_norm=core.layer_norm,
            residual=core.residual,
            prior=core.prior[0],
            prior_components=core.prior[1] or 20,
        )
        made._core = core
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_core"] = None if self._core is None else self._core.to_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of a pickle made before these were options, the model had none of them.
        self.__dict__.update({"layer_norm": False, "residual": False, "prior_components": 20} | state)
        if self._core is not None:
            self._core = _core.Vae.from_bytes(state["_core"])

    def _each(
        self,
        X: ArrayLike | Batches,
        condition: ArrayLike | Batches | None,
        of: Callable[[NDArray[Any], NDArray[Any] | None], Sequence[NDArray[Any]]],
    ) -> Sequence[NDArray[Any]]:
        """Arrays that `of` makes of each row and its condition, batch by batch where they come so."""
        if isinstance(X, Batches):
            return streamed(X, condition, lambda rows, beside: self._each(rows, beside, of))
        return self._of_given(of, *self._checked(X, condition))

    def _of_given(
        self, of: Callable[[NDArray[Any], NDArray[Any] | None], _Told], rows: NDArray[Any], beside: NDArray[Any] | None
    ) -> _Told:
        """What the core makes of rows and their conditions; its errors speak of them as they were given."""
        try:
            return of(rows, beside)
        except ElbokitError as error:
            say_given(error, self.dtype, x=rows, condition=beside)
            raise

    def _checked(
        self, X: ArrayLike | Batches, condition: ArrayLike | Batches | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        core = self.core
        rows = rows_of("X", X)
        if rows.shape[1] != core.num_features:
            raise ShapeError(
                f"X: expected {core.num_features} columns, got {rows.shape[1]}; give the columns of the fit",
                argument="X",
            )
        return rows, _condition.beside(condition, len(rows), core.condition_width)

    def _condition_of_latents(self, condition: ArrayLike | None, z: NDArray[Any], of: str) -> NDArray[Any] | None:
        return _condition.for_latents(condition, len(z), self.core.condition_width, of)

    def _latents(self, z: NDArray[Any]) -> NDArray[Any]:
        if z.dtype == self.dtype:
            return z
        # What the model's dtype has no number for is an error by its place, not a warning.
        with np.errstate(over="ignore"):
            return z.astype(self.dtype)


def _widths(hidden: Any) -> tuple[int, ...]:
    try:
        widths = None if isinstance(hidden, str) else tuple(hidden)
    except TypeError:
        widths = None
    if widths is None:
        cure = f"({hidden},)" if isinstance(hidden, (int, np.integer)) else "(128, 64)"
        raise ArgumentError(f"hidden: expected a sequence of widths, got {hidden!r}; use {cure}")
    return tuple(count("hidden", width, 1) for width in widths)


def _is_laplace(proposal: str) -> bool:
    return choice("proposal", proposal, ("laplace", "posterior")) == "laplace"


def _tell_of_q(method: str, without: int, rows: int) -> None:
    text = f"{method}: no mode was found for {without} of {rows} rows, which are drawn from q"
    warnings.warn(text, RuntimeWarning, stacklevel=3)


def _likelihood(name: str, arguments: list[Any]) -> Likelihood:
    """The likelihood that the core describes."""
    if name == "Columns":
        return likelihoods.Columns([(columns, _likelihood(*member)) for columns, member in arguments[0]])
    made: Likelihood = getattr(likelihoods, name)(*arguments)
    return made
