"""Exact models beside scikit-learn's: EM from one start for as many iterations, factor analysis, log densities.

Factor analysis ends by each one's own rule, ours at 1e-10 nats a row and scikit-learn's at 1e-8 in all, or after 200
steps, which it takes; ours is then at least as likely, which is checked.
"""

import warnings

import numpy as np
from harness import Case

import elbokit as ek

ROWS, COLUMNS, COMPONENTS, LATENTS, ITERATIONS = 100_000, 16, 10, 4, 5
# Columns and latents of factor analysis.
FACTORS = (1000, 30, 5)


def cases(peers):
    del peers
    try:
        from sklearn.decomposition import PCA, FactorAnalysis
        from sklearn.mixture import GaussianMixture
    except ImportError:
        return
    yield from mixtures(GaussianMixture)
    yield from linear(PCA, FactorAnalysis)


def mixtures(peer):
    rng = np.random.default_rng(0)
    half = rng.standard_normal((COMPONENTS, COLUMNS, COLUMNS))
    covariances = half @ half.transpose(0, 2, 1) / COLUMNS + 0.3 * np.eye(COLUMNS)
    locs = 2 * rng.standard_normal((COMPONENTS, COLUMNS))
    X = ek.GaussianMixture(np.full(COMPONENTS, 1 / COMPONENTS), locs, covariances).sample(ROWS, key=0)
    size = f"({ROWS}, {COLUMNS}), {COMPONENTS} components, {ITERATIONS} iterations"
    begin = locs + rng.standard_normal(locs.shape)
    variances = {"full": np.tile(np.eye(COLUMNS), (COMPONENTS, 1, 1)), "diagonal": np.ones((COMPONENTS, COLUMNS))}
    weights = np.full(COMPONENTS, 1 / COMPONENTS)
    for kind, name in (("full", "full"), ("diagonal", "diag")):
        start = ek.GaussianMixture(weights, begin, variances[kind])
        model = peer(
            COMPONENTS, covariance_type=name, tol=0, max_iter=ITERATIONS, init_params="random", random_state=0,
            weights_init=weights, means_init=begin, precisions_init=variances[kind],
        )  # fmt: skip

        def ours(kind=kind, start=start):
            options = {"covariance": kind, "start": start, "tol": -1.0, "max_iter": ITERATIONS}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = ek.GaussianMixture.fit(X, COMPONENTS, key=0, **options)
            return fitted.weights, fitted.locs, fitted.variances

        def theirs(model=model):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X)
            return model.weights_, model.means_, model.covariances_

        read = ITERATIONS * X.nbytes
        yield Case(f"EM, {kind} covariances", size, ours, {"scikit-learn": theirs}, bytes=read, targets={"best": 3})
    model = peer(COMPONENTS, covariance_type="full", max_iter=20, random_state=0).fit(X)
    gm = ek.GaussianMixture(model.weights_, model.means_, model.covariances_)
    size = f"({ROWS}, {COLUMNS}), {COMPONENTS} components"
    yield Case(
        "mixture log density", size, lambda: gm.log_evidence(X), {"scikit-learn": lambda: model.score_samples(X)}
    )
    peers = {"scikit-learn": lambda: model.predict_proba(X)}
    yield Case("mixture responsibilities", size, lambda: gm.responsibilities(X), peers)


def linear(pca, factor_analysis):
    rng = np.random.default_rng(1)
    truth = ek.LinearGaussian(rng.standard_normal((COLUMNS, LATENTS)), np.zeros(COLUMNS), 0.5)
    X = truth.sample(ROWS, key=0)
    peer = pca(LATENTS, svd_solver="full").fit(X)
    # Its divisor is n − 1: at this many rows nothing that float32 would see.
    lg = ek.LinearGaussian.fit(X, LATENTS)
    size = f"({ROWS}, {COLUMNS}), {LATENTS} latents"
    densities = {"scikit-learn": lambda: peer.score_samples(X)}
    yield Case("pPCA log density", size, lambda: lg.log_evidence(X), densities, bytes=X.nbytes)

    rows, columns, latents = FACTORS
    noise = rng.uniform(0.2, 1, columns)
    Y = ek.LinearGaussian(rng.standard_normal((columns, latents)), np.zeros(columns), noise).sample(rows, key=1)

    def ours():
        return ek.LinearGaussian.fit(Y, latents, "diagonal").log_evidence(Y).mean()

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return factor_analysis(latents, svd_method="lapack", tol=1e-8, max_iter=200).fit(Y).score(Y)

    size = f"({rows}, {columns}), {latents} latents"
    yield Case("factor analysis", size, ours, {"scikit-learn": theirs}, agree=no_likelier)


def no_likelier(ours, theirs):
    """Whether a mean log density is no better than ours; what is wrong, or None."""
    return None if theirs <= ours + 1e-9 else f"{theirs - ours:.1e} nats a row likelier"
