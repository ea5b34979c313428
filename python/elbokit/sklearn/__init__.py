"""The VAE in scikit-learn's contract: transformer, density estimator, outlier detector, imputer.

    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from elbokit.sklearn import VAE
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> pipe = make_pipeline(StandardScaler(), VAE(latent_dim=2, hidden=(16,), epochs=5, random_state=0)).fit(X)
    >>> pipe.transform(X).shape, pipe.score_samples(X).shape
    ((200, 2), (200,))

The estimators pass all of scikit-learn's own `check_estimator`. Where one batch holds all rows, a row of weight 2
trains the same model, bit for bit, as the row twice, whatever the order; of more rows each step's rows and noise are
drawn by position, and the two are two models of one objective. NaN is a missing cell throughout. A score is a function
of the row and `random_state`: alone, shuffled, in chunks or on another worker it is the same bits.

scikit-learn 1.6 or newer comes with ``pip install "elbokit[sklearn]"``, and is imported by this package alone.
"""

from elbokit.sklearn.imputer import VAEImputer
from elbokit.sklearn.vae import VAE

__all__ = ["VAE", "VAEImputer"]
