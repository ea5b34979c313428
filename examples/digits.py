"""Train a VAE on handwritten digits, print its bounds, draw it: what ``elbokit fit digits`` does, in Python.

python examples/digits.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import elbokit as ek
from elbokit import plot


def main(folder: Path) -> None:
    """Train, print and draw; the model and the pictures go into the folder."""
    digits = load_digits()  # 1797 images of 8 × 8 cells, each a count from 0 to 16
    train, held_out = np.split(np.random.default_rng(0).permutation(len(digits.data)), [1500])
    X, X_held_out = digits.data[train], digits.data[held_out]

    vae = ek.VAE(latent_dim=16, hidden=(256,), likelihood=ek.likelihood.Binomial(16))
    history = vae.fit(X, epochs=200, validation=X_held_out, key=0)

    terms = vae.elbo(X_held_out, key=0)
    evidence = vae.log_evidence(X_held_out, key=0, num_particles=1000)
    lower, estimate = evidence.lower.mean(), evidence.estimate.mean()
    print(f"held-out ELBO {terms.elbo.mean():.2f} nats a row", end=" ")
    print(f"(reconstruction {terms.reconstruction.mean():.2f}, KL {terms.kl.mean():.2f})")
    print(f"held-out log evidence: lower bound {lower:.2f}, estimate {estimate:.2f} nats a row", end=" ")
    print(f"({np.isfinite(evidence.upper).mean():.1%} of rows have an upper bound)")

    vae.save(folder / "digits.safetensors")
    plot.history(history).savefig(folder / "history.png")
    plot.model(
        vae,
        X_held_out,
        key=1,
        labels=digits.target[held_out],
        image_shape=(8, 8),
        title=f"held-out ELBO {terms.elbo.mean():.2f} nats a row",
    ).savefig(folder / "digits.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
