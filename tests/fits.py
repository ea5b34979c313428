"""A small data set and a small model, whose fits are over in milliseconds."""

import numpy as np

import elbokit as ek


def counts():
    """Binomial counts of 300 rows in two groups, so that there is something to learn."""
    logits = np.repeat([[2.0] * 6 + [-2.0] * 6, [-2.0] * 6 + [2.0] * 6], 150, axis=0)
    return ek.likelihood.Binomial(16).sample(logits, key=1).astype(np.uint8)


def model(**options):
    return ek.VAE(**{"latent_dim": 3, "hidden": (8,), "likelihood": ek.likelihood.Binomial(16)} | options)


def fit(rows, **options):
    vae = model()
    history = vae.fit(rows, **{"epochs": 6, "batch_size": 50, "progress": False, "key": 4} | options)
    return vae, history


def same(a, b):
    first, second = a.parameters(), b.parameters()
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
