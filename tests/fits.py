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


def linear(weight, bias, scale, encoder, encoder_bias, dtype="float64"):
    """A model p(x | z) = N(weight z + bias, scale²) whose q has loc and log_var encoder x + encoder_bias, as given."""
    columns, latents = np.shape(weight)
    vae = ek.VAE(latents, hidden=(), likelihood=ek.likelihood.Gaussian(scale), standardize=False, dtype=dtype)
    vae.fit(np.zeros((4, columns)), epochs=1, validation=0.0, progress=False)
    given = {"encoder.0.weight": encoder, "encoder.0.bias": encoder_bias, "decoder.0.weight": weight}
    put(vae, given | {"decoder.0.bias": bias})
    return vae


def put(vae, given):
    """Give the model these parameters, by their names in its file."""
    all_of_them = vae.parameters() | {name: np.asarray(values, vae.dtype) for name, values in given.items()}
    vae.core.restore(np.concatenate([values.ravel() for values in all_of_them.values()]))
