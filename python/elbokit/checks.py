"""Whether the installed binary computes what it should on this machine: `self_test`.

>>> import elbokit as ek
>>> result = ek.self_test()
>>> result.held
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit import bounds, gaussian, likelihood, random
from elbokit.diffusion import Diffusion
from elbokit.evidence import GaussianParams, elbo, log_weights
from elbokit.gradients import elbo_grad
from elbokit.linear_gaussian import LinearGaussian
from elbokit.mixture import GaussianMixture
from elbokit.threads import build_info, num_threads
from elbokit.vae import VAE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Check", "SelfTest", "self_test"]


class Check(NamedTuple):
    """One thing that must hold.

    Attributes
    ----------
    what : str
    found : float
        How far off it is; inf for what is not a number.
    allowed : float
    """

    what: str
    found: float
    allowed: float

    @property
    def held(self) -> bool:
        """Whether it holds; what is NaN does not."""
        return self.found <= self.allowed


class SelfTest:
    """What `self_test` found; prints as a table.

    Attributes
    ----------
    checks : tuple of Check
    build : dict
        `build_info` of the binary that was tested.
    """

    def __init__(self, checks: tuple[Check, ...], build: dict[str, object]) -> None:
        self.checks, self.build = checks, build

    @property
    def held(self) -> bool:
        """Whether everything held."""
        return all(check.held for check in self.checks)

    def __str__(self) -> str:
        head = ", ".join(f"{name} {value}" for name, value in self.build.items())
        rows = (
            f"{'held' if check.held else 'FAILED':6s}  {check.found:8.1e} of {check.allowed:7.1e}  {check.what}"
            for check in self.checks
        )
        return "\n".join((head, *rows))

    __repr__ = __str__


def self_test() -> SelfTest:
    """Check the installed binary against what is known exactly; half a second.

    The generator against its published answers; draws against their law; KL, evidence, bounds, gradients and k-hat
    against models whose evidence is known, a linear VAE and a diffusion of a Gaussian among them; results of one thread
    against those of several, bit for bit. What a row says is how far off the worst number was, of how far it may be:
    relative to the terms' magnitudes for what rounding alone should separate, in standard errors for what is drawn, a
    count of differing bytes where the bits must agree.

    Returns
    -------
    SelfTest
        ``held`` says whether everything did; printed, it is a table to put in a report.

    References
    ----------
    Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3": the known answers.

    Examples
    --------
    >>> all(check.found <= check.allowed for check in self_test().checks)
    True
    """
    groups = (
        _generator, _divergence, _linear_gaussian, _mixture, _diffusion, _gradient, _threads, _training, _importance
    )  # fmt: skip
    return SelfTest(tuple(check for group in groups for check in group()), build_info())


# In float64, of the terms' magnitudes; and in standard errors. The keys are fixed, so a right program always finds the
# same.
_ROUNDING, _ERRORS = 4e-15, 6.0


def _worst(errors: Any) -> float:
    return float(np.max(np.abs(errors)))


def _with_mean(off: NDArray[Any]) -> NDArray[Any]:
    """The rows' errors, in standard errors, and their mean's, which sees what is wrong with all of them a little."""
    return np.append(off, off.sum() / off.size**0.5)


def _bytes_apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.count_nonzero(np.ascontiguousarray(a).view(np.uint8) != np.ascontiguousarray(b).view(np.uint8)))


def _generator() -> Iterator[Check]:
    zeros = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32)
    ones = np.array([0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD], np.uint32)
    words = np.array([0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1], np.uint32)
    counter = 0x0370734413198A2E85A308D3243F6A88
    yield Check("Philox4x32-10 of zeros: its published words", _bytes_apart(random.raw(4, key=0), zeros), 0.0)
    got = random.raw(4, key=2**64 - 1, counter=2**128 - 1)
    yield Check("Philox4x32-10 of ones: its published words", _bytes_apart(got, ones), 0.0)
    got = random.raw(4, key=0x299F31D0A4093822, counter=counter)
    yield Check("Philox4x32-10 of the digits of π: its published words", _bytes_apart(got, words), 0.0)
    z = random.normal((1 << 18,), key=1, dtype=np.float64)
    # Moments of N(0, 1) are 0, 1, 0, 3; those of their powers' variances 1, 2, 15, 96.
    moments = ((z**k).mean() - m for k, m in zip((1, 2, 3, 4), (0, 1, 0, 3), strict=True))
    off = [m / np.sqrt(v / z.size) for m, v in zip(moments, (1, 2, 15, 96), strict=True)]
    yield Check("normals: four moments, in standard errors", _worst(off), _ERRORS)


def _divergence() -> Iterator[Check]:
    # ½ Σ (eᵛ − 1 − v) by its series, where the difference would have lost every digit.
    v = np.array([[1e-9, -3e-8], [2e-7, 1e-12]])
    expected = (v**2 / 4 + v**3 / 12 + v**4 / 48).sum(1)
    yield Check("KL near the prior, relative to itself", _worst(gaussian.kl(0 * v, v) / expected - 1), _ROUNDING)


def _linear_gaussian() -> Iterator[Check]:
    model = LinearGaussian(random.normal((12, 3), key=2, dtype=np.float64), np.arange(12.0), 0.5)
    x = model.sample(64, key=3)
    evidence = model.log_evidence(x)
    covariance = model.weight @ model.weight.T + np.diag(model.noise_var)
    off = x - model.offset
    by_numpy = (off * np.linalg.solve(covariance, off.T).T).sum(1)
    by_numpy = -0.5 * (by_numpy + np.linalg.slogdet(2 * np.pi * covariance)[1])
    # A backward bound, since a matrix enters.
    yield Check("linear Gaussian: log evidence as NumPy has it", _worst(evidence / by_numpy - 1), 1e-12)
    post = GaussianParams(np.zeros((64, 3)), np.full((64, 3), -1.0))
    whole = model.elbo(x, post) + model.gap(x, post)
    yield Check("linear Gaussian: ELBO + gap = log evidence", _worst(whole / evidence - 1), 1e-12)

    def decoder(z: NDArray[Any]) -> NDArray[Any]:
        return z @ model.weight.T + model.offset

    noise = likelihood.Gaussian(np.sqrt(model.noise_var))
    exact = model.posterior(x)
    weights = log_weights(x, exact, decoder, noise, key=4, num_particles=32)
    yield Check("each draw of the exact posterior weighs the evidence", _worst(weights / evidence - 1), 1e-12)
    variances = np.broadcast_to((exact.scale_tril**2).sum(-1), exact.loc.shape)
    near = GaussianParams(exact.loc, np.log(1.5 * variances))
    terms = elbo(x, near, decoder, noise, key=5, num_particles=4000, kl="monte_carlo")
    off = (terms.elbo - model.elbo(x, near)) / terms.standard_error
    yield Check("Monte Carlo ELBO against the exact one, in standard errors", _worst(off), _ERRORS)


def _mixture() -> Iterator[Check]:
    mixture = GaussianMixture([0.3, 0.7], [[-2.0], [2.0]], [0.04, 1.0])
    x = mixture.sample(256, key=6)
    evidence = mixture.log_evidence(x)
    known = np.logaddexp(
        np.log(0.3) - (x[:, 0] + 2) ** 2 / 0.08 - np.log(0.2) - np.log(2 * np.pi) / 2,
        np.log(0.7) - (x[:, 0] - 2) ** 2 / 2 - np.log(2 * np.pi) / 2,
    )
    yield Check("mixture: log evidence as NumPy has it", _worst((evidence - known) / (1 + np.abs(known))), 1e-13)
    halves = np.full((256, 2), 0.5)
    whole = mixture.elbo(x, halves) + mixture.gap(x, halves)
    yield Check("mixture: ELBO + gap = log evidence", _worst((whole - evidence) / (1 + np.abs(evidence))), 1e-13)
    # log w of N(0, 1) against N(0, 0.7²) has a Pareto tail of shape 1 − 0.49.
    z = 0.7 * random.normal((50_000, 1), key=7, dtype=np.float64)
    ratio = -z * z / 2 + z * z / (2 * 0.49)
    yield Check("k-hat of a tail of known shape", abs(float(bounds.psis(ratio).khat[0]) - 0.51), 0.2)


def _diffusion() -> Iterator[Check]:
    # Of a Gaussian with its exact score and the optimal variance the reverse steps are exact at any α, and after twenty
    # quarterings p_T is N(0, 1) to 1e-12: the bound's mean is log p itself, and what is drawn is p.
    loc, variance, n = 1.5, 0.25, 4096
    gaussian_law = GaussianMixture([1.0], [[loc]], [variance])
    steps = Diffusion(np.full(20, 0.25), variance="optimal")
    score = steps.score_of(gaussian_law)
    x = gaussian_law.sample(32, key=14)
    bound = steps.elbo(x, score, key=15, num_particles=200)
    off = (bound.elbo - gaussian_law.log_evidence(x)) / bound.standard_error
    yield Check("diffusion of a Gaussian: its bound is log p, in standard errors", _worst(_with_mean(off)), _ERRORS)
    path = steps.forward(gaussian_law.sample(n, key=16), key=17)[1:, :, 0]
    left = steps.alpha_bar
    laws = [(path, left**0.5 * loc, left * variance + 1 - left)]
    laws.append((steps.reverse(score, n, dim=1, key=18).T, np.array([loc]), np.array([variance])))
    for what, (rows, mean, spread) in zip(("forward to", "reverse from"), laws, strict=True):
        off = np.stack([(rows.mean(1) - mean) / (spread / n) ** 0.5, (rows.var(1) / spread - 1) / (2 / n) ** 0.5])
        yield Check(f"diffusion of a Gaussian, {what} noise: moments, in standard errors", _worst(off), _ERRORS)


def _gradient() -> Iterator[Check]:
    x = random.normal((16, 3), key=8, dtype=np.float64)
    exact = GaussianParams(x / 2, np.full((16, 3), np.log(0.5)))
    noise = likelihood.Gaussian(1.0)
    _, d_loc, d_log_var = elbo_grad(
        x, exact, lambda z: (z, lambda d: d), noise, key=9, num_particles=4, estimator="stl"
    )
    off = max(_worst(d_loc), _worst(d_log_var))
    yield Check("sticking the landing at the exact posterior: gradient 0", off, 1e-12)


def _threads() -> Iterator[Check]:
    loc = random.normal((4096, 64), key=10)
    log_var = random.normal((4096, 64), key=11)
    results = []
    for n in (1, 4):
        with num_threads(n):
            results.append((*gaussian.kl_grad(loc, log_var), gaussian.rsample(loc, log_var, key=12)))
    apart = sum(_bytes_apart(a, b) for a, b in zip(*results, strict=True))
    yield Check("one thread and four: bytes that differ", apart, 0.0)


def _training() -> Iterator[Check]:
    x = (random.uniform((256, 16), key=13) < 0.3).astype(np.float32)
    flat = []
    for n in (1, 4):
        with num_threads(n):
            vae = VAE(latent_dim=2, hidden=(16,), likelihood=likelihood.Bernoulli())
            history = vae.fit(x, epochs=20, progress=False, validation=0.0, key=0)
        flat.append(np.concatenate([p.ravel() for p in vae.parameters().values()]))
    yield Check("a fit on one thread and on four: bytes of parameters that differ", _bytes_apart(*flat), 0.0)
    gained = float(history.elbo[-1] - history.elbo[0])
    yield Check("a fit gains (nats a row lost)", -gained, 0.0)
    bound = vae.log_evidence(x[:32], num_particles=64)
    crossed = float(np.max(bound.lower - bound.upper))
    yield Check("log evidence: lower above upper", crossed, 0.0)


def _importance() -> Iterator[Check]:
    # A VAE without hidden layers is a linear Gaussian model; its q has the posterior's mean, 1.2 times the deviation of
    # its marginals, and no correlation.
    model = LinearGaussian(random.normal((6, 2), key=19, dtype=np.float64), np.arange(6.0), 0.5)
    x = model.sample(32, key=20)
    factor = model.posterior(x).scale_tril
    gain = factor @ factor.T @ (model.weight.T / model.noise_var)
    log_var = np.log(1.44 * (factor**2).sum(-1))
    given = {
        "encoder.0.weight": np.concatenate([gain, np.zeros_like(gain)]),
        "encoder.0.bias": np.concatenate([-gain @ model.offset, log_var]),
        "decoder.0.weight": model.weight,
        "decoder.0.bias": model.offset,
    }
    noise = likelihood.Gaussian(0.5**0.5)
    vae = VAE(latent_dim=2, hidden=(), likelihood=noise, standardize=False, dtype="float64")
    vae.fit(x, epochs=1, progress=False, validation=0.0)
    vae.core.restore(np.concatenate([given[name].ravel() for name in vae.parameters()]))
    evidence = model.log_evidence(x)
    for proposal, drawn in (("posterior", "of q"), ("laplace", "around the mode")):
        found = vae.log_evidence(x, key=21, num_particles=1000, proposal=proposal)
        off = (found.estimate - evidence) / found.standard_error
        yield Check(f"log evidence of 1000 draws {drawn}, in standard errors", _worst(_with_mean(off)), _ERRORS)
