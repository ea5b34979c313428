"""A Gaussian fitted to an unnormalised log density: `fit_gaussian`, with its bound and a k-hat that judges the fit.

>>> import numpy as np
>>> import elbokit as ek
>>> def log_joint_grad(z):  # μ ~ N(1.5, 1), and 1.6 and 1.4 drawn from N(μ, 1)
...     offs = np.stack([z - 1.5, z - 1.6, z - 1.4])
...     return -0.5 * (offs**2).sum(axis=(0, 2)) - 1.5 * np.log(2 * np.pi), -offs.sum(axis=0)
>>> fit = ek.fit_gaussian(log_joint_grad, 1, key=0)
>>> fit.post.loc.round(4), (fit.post.scale_tril**2).round(4), round(fit.elbo, 4)  # N(1.5, 1/3), the log evidence
(array([[1.5]]), array([[[0.3333]]]), -2.3972)
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import bounds, random
from elbokit._arrays import agree, choice, count, floats, number
from elbokit.errors import ArgumentError, NonFiniteError, ShapeError
from elbokit.evidence import GaussianParams, MvnParams, _coerced, _divergence, _is_full
from elbokit.joint import _log_density, log_weights_joint
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["GaussianFit", "fit_gaussian"]

# Steps of a round, after which the rate is judged.
_ROUND = 100
# By what the rate is divided where two rounds in a row gain nothing, and how often before the fit ends.
_COOLING, _STAGES = 4.0, 4
# Memory of a gradient's mean square.
_MEMORY = 0.9
# What a scale of q may be: a draw of more would be infinite, of less constant.
_SCALES = float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max)


class GaussianFit(NamedTuple):
    """A fitted Gaussian, and what fresh draws of it say of the fit.

    Attributes
    ----------
    post : GaussianParams or MvnParams
        q, of one row: what `elbo_joint` and `log_weights_joint` take.
    elbo, standard_error : float
        The evidence lower bound, by fresh draws, in nats; its expectation is at most the log of the density's integral.
    estimate : float
        Of that log, by Pareto-smoothed weights; no bound.
    khat : float
        Of the weights of q: below 0.7 it may be used as a proposal, above 1 the fit misses the target's tails.
    history : list of float
        The mean bound of each round of 100 steps.
    num_steps, skipped_steps : int
        Steps taken, and those whose draws or gradient were infinite, which were not.
    converged : bool
        Whether the stopping rule ended the fit, not max_steps.
    """

    post: GaussianParams | MvnParams
    elbo: float
    standard_error: float
    estimate: float
    khat: float
    history: list[float]
    num_steps: int
    skipped_steps: int
    converged: bool


def fit_gaussian(
    log_joint_grad: Callable[[NDArray[Any]], tuple[ArrayLike, ArrayLike]],
    dim: int,
    *,
    key: Key | int,
    covariance: str = "full",
    init: GaussianParams | MvnParams | None = None,
    num_particles: int = 32,
    learning_rate: float = 0.1,
    tolerance: float = 1e-4,
    max_steps: int = 20_000,
    check_particles: int = 10_000,
) -> GaussianFit:
    """The Gaussian q that maximises E_q[log p(x, z) − log q(z)], full or diagonal, by stochastic natural gradients.

    In the frame of q, z = loc + L (u + (I + A) ε), the gradient of the bound with log q's parameters held still is the
    mean over particles of v = Lᵀ ∂log p/∂z + ε in u, and of tril(v εᵀ) in A, whatever the units of z. A step moves u by
    rate · mean / max(1, standard deviation over particles), at most by 1, and A by rate · mean / max(1, root mean
    square of the means so far), its diagonal by half of that and inside an exponential. At a Gaussian target the noise
    of both goes to 0 with their means, and q converges to rounding.

    Parameters
    ----------
    log_joint_grad : callable
        z (rows, dim) -> (log p(x, z) (rows,), ∂log p/∂z (rows, dim)), float64; any log density without its constant.
        −inf and infinite gradients are taken for a bad step, NaN is an error.
    dim : int
    key : Key or int
    covariance : {"full", "diagonal"}
    init : GaussianParams or MvnParams, optional
        Of one row, (1, dim); N(0, I) by default.
    num_particles : int
        Draws a step, at least 2.
    learning_rate : float
        The first rate, above 0 and at most 1; 1 is a whole natural gradient step.
    tolerance : float
        What a round of 100 steps must gain, in nats, to count as progress.
    max_steps : int
    check_particles : int
        Fresh draws for the bound and k-hat of the result; at least 25 for a k-hat.

    Returns
    -------
    GaussianFit

    Warns
    -----
    RuntimeWarning
        Where max_steps ends the fit.

    Raises
    ------
    ValueError, ShapeError, DtypeError, NonFiniteError

    Notes
    -----
    Stopping rule: where the mean bound of a round is not above that of the one before by the tolerance and two standard
    errors, twice in a row, the rate is divided by 4; the fourth time the fit ends, and q is the mean of the last
    round's iterates. The rule sees a gain per round only: progress slower than that, or lost in the noise of few
    particles, ends a fit early. k-hat then tells. A step is of one standard deviation of q at most: give a start,
    init, where the density lies thousands of them away from N(0, I).

    The bits depend on those of NumPy's matrix products and exponentials: on the processor, and of a full covariance on
    the number of threads that NumPy's BLAS runs on, which is not elbokit's. For the same bits on one machine hold it
    fixed, by OPENBLAS_NUM_THREADS or what that BLAS reads. A start's scales are held within the range of float64's
    normal numbers; a step whose draws, or the Gaussian it leads to, would leave the range is skipped.

    μ ~ N(1.5, 1), y = (1.6, 1.4) is reached to 1e-12 nats, with k-hat below 0.2, in 1000 steps and 0.1 s (asserted in
    tests/test_gaussian_fit.py).

    References
    ----------
    Roeder, Wu and Duvenaud (2017), "Sticking the landing". Amari (1998), "Natural gradient works efficiently in
    learning". Yao, Vehtari, Simpson and Gelman (2018), "Yes, but did it work?: evaluating variational inference".
    """
    if not callable(log_joint_grad):
        raise ArgumentError(
            "log_joint_grad: expected a function from z to (log p(x, z), its gradient), "
            f"got {log_joint_grad!r}; give one"
        )
    choice("covariance", covariance, ("full", "diagonal"))
    rate, least_gain = number("learning_rate", learning_rate), number("tolerance", tolerance)
    if not 0 <= least_gain < math.inf:
        raise ArgumentError(f"tolerance: expected a finite number not below 0, got {least_gain}; use 1e-4")
    if not 0 < rate <= 1:
        raise ArgumentError(f"learning_rate: expected a number above 0 and at most 1, got {rate}; use 0.1")
    steps, checks = count("max_steps", max_steps, 1), count("check_particles", check_particles, 1)
    noise, fresh = Key(seed_of(key)).split(2)
    frame = _Frame(count("dim", dim, 1), covariance == "full", init, count("num_particles", num_particles, 2))
    history: list[float] = []
    errors: list[float] = []
    taken = skipped = idle = stage = 0
    while stage < _STAGES and taken + skipped < steps:
        frame.begin_round()
        values = []
        for _ in range(min(_ROUND, steps - taken - skipped)):
            value = frame.step(log_joint_grad, noise.fold_in(taken + skipped), rate)
            if value is None:
                skipped += 1
            else:
                taken += 1
                values.append(value)
        if not values:
            raise _stuck(frame.left_range, taken)
        history.append(float(np.mean(values)))
        errors.append(float(np.std(values)) / math.sqrt(len(values)))
        gain = history[-1] - history[-2] if len(history) > 1 else math.inf
        idle = idle + 1 if gain <= least_gain + 2 * math.hypot(*errors[-2:]) else 0
        if idle == 2:
            rate, idle, stage = rate / _COOLING, 0, stage + 1
    if stage < _STAGES:
        warnings.warn(
            f"fit_gaussian: stopped by max_steps={steps} before the bound settled; raise max_steps, or look at khat",
            RuntimeWarning,
            stacklevel=2,
        )
    post = frame.mean()
    weights = log_weights_joint(lambda z: _evaluated(log_joint_grad, z)[0], post, key=fresh, num_particles=checks)
    bound, error = bounds.elbo(weights, return_error=True)
    smoothed, khat = bounds.psis(weights)
    return GaussianFit(
        post,
        float(bound[0]),
        float(error[0]),
        float(bounds.iwae(smoothed)[0]),
        float(khat[0]),
        history,
        taken,
        skipped,
        stage == _STAGES,
    )


def _stuck(left_range: bool, taken: int) -> NonFiniteError:
    """What is wrong where no step of a round could be taken."""
    if left_range and taken == 0:
        argument, expected = "init", "draws within float64's range"
        cure = "start with a smaller scale"
    elif left_range:
        argument, expected = "log_joint_grad", "a density with a finite integral, to hold q within float64's range"
        cure = "look at the model far out"
    else:
        argument, expected, cure = "log_joint_grad", "finite numbers", "start where the density is, with init="
    return NonFiniteError(
        f"{argument}: expected {expected}, got none in {_ROUND} steps in a row; {cure}", argument=argument
    )


class _Frame:
    """q as it moves: its loc and triangle, its gradient's mean square, and the sum of a round's iterates."""

    def __init__(self, dim: int, full: bool, init: GaussianParams | MvnParams | None, particles: int) -> None:
        self.dim, self.full, self.particles = dim, full, particles
        self.loc, self.tril = np.zeros(dim), np.eye(dim) if full else np.ones(dim)
        if init is not None:
            self._start(init)
        # Of the gradient in A.
        self.squares, self.seen = np.zeros_like(self.tril), 0
        # Whether draws of the last step had.
        self.left_range = False
        self.begin_round()

    def _start(self, init: GaussianParams | MvnParams) -> None:
        init = _coerced("init", init)
        # Whatever is wrong with it is found here.
        _divergence(init, None)
        if init[0].shape != (1, self.dim):
            raise ShapeError(
                f"init: expected loc of shape (1, {self.dim}), got shape {init[0].shape}; give one row of dim numbers",
                argument="init",
            )
        self.loc = init[0][0].astype(np.float64)
        if _is_full(init):
            tril = np.tril(init[1].reshape(self.dim, self.dim)).astype(np.float64)
            # Not by squares, which leave the range before their root does.
            self.tril = tril if self.full else np.clip(np.hypot.reduce(tril, axis=1), *_SCALES)
        else:
            with np.errstate(over="ignore", under="ignore"):
                scale = np.clip(np.exp(init[1][0].astype(np.float64) / 2), *_SCALES)
            self.tril = np.diag(scale) if self.full else scale

    def begin_round(self) -> None:
        self.sums, self.count = [np.zeros_like(self.loc), np.zeros_like(self.tril)], 0

    def mean(self) -> GaussianParams | MvnParams:
        """The mean of the round's iterates, as a posterior of one row."""
        # A sum may have left the range before its terms do.
        loc, tril = (
            np.where(np.isfinite(total), total / self.count, last)
            for total, last in zip(self.sums, (self.loc, self.tril), strict=True)
        )
        if self.full:
            return MvnParams(loc[None], tril[None])
        return GaussianParams(loc[None], 2 * np.log(tril)[None])

    def step(self, log_joint_grad: Callable[..., Any], key: Key, rate: float) -> float | None:
        """Moves q once; the mean log weight, or None where it or a gradient is infinite and nothing was moved."""
        eps = random.normal((self.particles, self.dim), key=key, dtype=np.float64)
        scale = np.diag(self.tril) if self.full else self.tril
        with np.errstate(over="ignore", invalid="ignore"):
            z = self.loc + (eps @ self.tril.T if self.full else eps * self.tril)
        self.left_range = not np.isfinite(z).all()
        if self.left_range:
            return None
        density, d_z = _evaluated(log_joint_grad, z)
        log_q = -0.5 * (eps * eps).sum(axis=1) - np.log(scale).sum() - 0.5 * self.dim * math.log(2 * math.pi)
        with np.errstate(over="ignore", invalid="ignore"):
            pulled = (d_z @ self.tril if self.full else d_z * self.tril) + eps
            by_loc, spread = pulled.mean(axis=0), pulled.std(axis=0, ddof=1)
            by_tril = np.tril(pulled.T @ eps) / self.particles if self.full else (pulled * eps).mean(axis=0)
            value = float((density - log_q).mean())
        if not (math.isfinite(value) and np.isfinite(spread).all() and np.isfinite(by_tril).all()):
            return None
        self.seen += 1
        # The spread of v over ε is its slope: of a Gaussian target this is Newton's step, whatever the way to go.
        by_loc = np.clip(rate * by_loc / np.maximum(1, spread), -1, 1)
        self.squares += (1 - _MEMORY) * (by_tril * by_tril - self.squares)
        # Corrected for its start at 0.
        by_tril = rate * by_tril / np.maximum(1, np.sqrt(self.squares / (1 - _MEMORY**self.seen)))
        # The Fisher information of A is 2 on the diagonal and 1 below it.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.full:
                loc = self.loc + self.tril @ by_loc
                tril = self.tril @ (np.tril(by_tril, -1) + np.diag(np.exp(0.5 * np.diag(by_tril))))
            else:
                loc = self.loc + self.tril * by_loc
                tril = self.tril * np.exp(0.5 * by_tril)
            self.left_range = not (np.isfinite(loc).all() and np.isfinite(tril).all())
            if self.left_range:
                return None
            self.loc, self.tril = loc, tril
            self.sums[0] += loc
            self.sums[1] += tril
        self.count += 1
        return value


def _evaluated(log_joint_grad: Callable[..., Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """log p(x, z) and its gradient, checked."""
    returned = log_joint_grad(z)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise ArgumentError(
            "log_joint_grad: expected a pair (log p(x, z), its gradient) of what it returns, "
            f"got {type(returned).__name__}; return both"
        )
    density = _log_density("log_joint", returned[0], z)
    d_z = floats("d_z", returned[1])
    agree("z", z, "d_z", d_z)
    if d_z.shape != z.shape:
        raise ShapeError(
            f"d_z: expected shape {z.shape} like z, got shape {d_z.shape}; return the gradient of each row",
            argument="d_z",
        )
    if np.isnan(d_z).any():
        row, column = (int(at) for at in np.argwhere(np.isnan(d_z))[0])
        raise NonFiniteError(
            f"d_z: expected finite numbers, got nan at row {row}, column {column}; look at the gradient there",
            argument="d_z",
            row=row,
            column=column,
            value=float("nan"),
        )
    return density, d_z
