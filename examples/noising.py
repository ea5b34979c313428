"""A mixture under noising steps: p_t with paths there and back, and what the bound loses by the step's size.

python examples/noising.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import elbokit as ek
from elbokit import plot


def main(folder: Path) -> None:
    """Draw both pictures into the folder."""
    p_0 = ek.GaussianMixture([0.3, 0.7], locs=[[-2.0], [2.0]], variances=[0.04, 1.0])

    steps = ek.Diffusion(np.full(200, 0.97), variance="optimal")
    grid = np.linspace(-5, 5, 201)
    noised = [p_0.diffuse(left) for left in (1.0, *steps.alpha_bar)]
    density = [np.exp(p_t.log_evidence(grid[:, None])) for p_t in noised]
    forward = steps.forward(p_0.sample(30, key=0), key=1)[..., 0]
    reverse = steps.reverse(steps.score_of(p_0), 30, dim=1, key=2, return_path=True)[..., 0]
    plot.noising(grid, density, forward, reverse).savefig(folder / "noising.png", dpi=80)

    # The same noise in 400 steps, which leave ᾱ = 5e-6, in twice as many, and so on.
    splits = np.array([1, 2, 4, 8, 16])
    gaps = {"1 − α": [], "optimal": []}
    for split in splits:
        alpha, T = 0.97 ** (1 / split), 400 * split
        for name, gap in zip(gaps, mean_gaps(p_0, alpha, T), strict=True):
            gaps[name].append(gap)
            print(f"variance {name}, {T} steps: mean gap {gap:.5f} nats a row")
    plot.step_gap(1 - 0.97 ** (1 / splits), gaps).savefig(folder / "step_gap.png")


def mean_gaps(p_0: ek.GaussianMixture, alpha: float, T: int) -> tuple[float, float]:
    """E log p_0 − E ELBO of T equal steps with the exact score, by quadrature: variance 1 − α, and the optimal one.

    It is Σ_t E KL(p(x_{t−1} | x_t) ‖ the reverse step) + KL(p_T ‖ N(0, 1)): means agree, and the entropy of x_{t−1}
    given x_t is that of x_{t−1}, plus that of the step's noise, less that of x_t. Estimates by `Diffusion.elbo` need
    10⁶ rows for a digit of it.
    """
    x = np.linspace(-9, 9, 6001)[:, None]
    cell, beta = x[1, 0] - x[0, 0], 1 - alpha
    log_p = p_0.log_evidence(x)
    entropy = -(np.exp(log_p) @ log_p) * cell
    gaps = np.zeros(2)
    for t in range(1, T + 1):
        p_t = p_0.diffuse(alpha**t)
        log_p = p_t.log_evidence(x)
        p = np.exp(log_p) * cell
        slope = (p_t.grad_log_prob(x + 1e-5) - p_t.grad_log_prob(x - 1e-5))[:, 0] / 2e-5
        exact = beta / alpha * (1 + beta * slope)
        conditional = entropy + 0.5 * np.log(2 * np.pi * np.e * beta) + p @ log_p
        for i, variance in enumerate((np.full_like(exact, beta), exact)):
            gaps[i] += p @ (0.5 * np.log(2 * np.pi * variance) + 0.5 * exact / variance) - conditional
        entropy = -p @ log_p
    gaps += p @ (log_p + 0.5 * np.log(2 * np.pi) + 0.5 * x[:, 0] ** 2)
    return gaps[0], gaps[1]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
