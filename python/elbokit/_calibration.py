"""How odd a row is beside reference rows: a p-value of its ELBO, which an alert can be set on."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _metadata
from elbokit._arrays import count
from elbokit._naming import Worded, Words
from elbokit.errors import ArgumentError, ModelFileError, NotFittedError, ShapeError
from elbokit.random import Key, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from elbokit.evidence import ElboTerms

__all__ = ["Calibrated", "Calibration"]

_KEY = _metadata.CALIBRATION
_SCORE = np.dtype("<f8")
# Their text stands in the file's header, of which readers take no more than 100 MB.
_MOST_ROWS = 1 << 22
# A number in a file's header must not keep `p_value` at work for hours: a row with as many draws takes a tenth of a
# second. More than a few hundred only make the score of an odd row less noisy than it needs to be.
_MOST_PARTICLES = 1 << 16
_AS_REFERENCE = Worded({"X": Words("X_ref")})


class Calibration:
    """The reference rows' scores, in order, and how they were scored."""

    def __init__(self, scores: NDArray[np.float64], key: int, num_particles: int) -> None:
        self.scores = scores
        self.key = key
        self.num_particles = num_particles

    def to_text(self) -> str:
        """JSON, with the scores in float64, little end first, as base64."""
        scores = base64.b64encode(self.scores.astype(_SCORE).tobytes()).decode()
        return json.dumps({"key": self.key, "num_particles": self.num_particles, "scores": scores})

    @classmethod
    def from_text(cls, text: str) -> Calibration:
        """What `to_text` wrote; anything else is a ModelFileError."""
        found = _metadata.fields(_KEY, text, {"key": int, "num_particles": int, "scores": str})
        try:
            # Where what is no base64 would be passed over, a damaged text would give other scores.
            scores = np.frombuffer(base64.b64decode(found["scores"], validate=True), _SCORE).astype(np.float64)
        except ValueError as error:
            raise ModelFileError(
                f"expected scores in base64 in metadata {_KEY!r}, got {error}; {_metadata.CURE}"
            ) from None
        sound = len(scores) and not np.isnan(scores).any() and (scores[1:] >= scores[:-1]).all()
        if not (sound and 0 <= found["key"] < 1 << 64 and 1 <= found["num_particles"] <= _MOST_PARTICLES):
            raise ModelFileError(
                f"expected scores in order, a key and at most {_MOST_PARTICLES} particles in metadata {_KEY!r}, got "
                f"{text[:80]!r}; {_metadata.CURE}"
            )
        return cls(scores, found["key"], found["num_particles"])


class Calibrated:
    """A model that scores rows by `elbo`, and knows how reference rows score."""

    _calibration: Calibration | None = None

    if TYPE_CHECKING:

        def elbo(self, X: Any, *, condition: Any = None, key: Key | int = 0, num_particles: int = 16) -> ElboTerms: ...

    def calibrate(
        self, X_ref: ArrayLike, *, condition: ArrayLike | None = None, key: Key | int = 0, num_particles: int = 16
    ) -> None:
        """Keep the scores of reference rows, beside which `p_value` places others.

        Parameters
        ----------
        X_ref : array_like, shape (rows, features)
            Rows of the ordinary kind that the model was not trained on: it scores its training rows higher than others,
            and p-values beside those are too small.
        condition : array_like, shape (rows, columns), optional
            Theirs, of a conditional model.
        key : Key or int
            Of the noise of `elbo`, for these rows and for those of `p_value`.
        num_particles : int
            Draws of z a row; likewise. At most 65536.

        Raises
        ------
        NotFittedError, SupportError, ShapeError, DtypeError, NonFiniteError

        Notes
        -----
        The scores (8 bytes a row) are part of the model: of its file and its pickle. Another `fit` forgets them.
        """
        particles = count("num_particles", num_particles, 1)
        if particles > _MOST_PARTICLES:
            raise ArgumentError(
                f"num_particles: expected at most {_MOST_PARTICLES} for a calibration, got {particles}; give fewer"
            )
        with _AS_REFERENCE:
            terms = self.elbo(X_ref, condition=condition, key=key, num_particles=num_particles)
        scores = terms.elbo.astype(np.float64)
        if len(scores) > _MOST_ROWS:
            raise ShapeError(
                f"X_ref: expected at most 2**22 rows, got {len(scores)}; give a part of them, drawn at random",
                argument="X_ref",
            )
        if not len(scores):
            raise ShapeError(
                "X_ref: expected at least one row, got none; give rows of the ordinary kind", argument="X_ref"
            )
        self._calibration = Calibration(np.sort(scores), seed_of(key), particles)

    def p_value(self, X: ArrayLike, *, condition: ArrayLike | None = None) -> NDArray[np.float64]:
        """The share of reference rows that score no higher than each row, (rows,): (1 + #{ref ≤ score}) / (1 + n).

        Rows are scored by `elbo` with the key and particles of `calibrate`. The row counts itself, which makes the
        share a p-value: of rows drawn like the n reference rows, at most a share α has p ≤ α, for every n, model and α
        (over the draw of both). The smallest that can come is 1 / (1 + n).

        Parameters
        ----------
        X : array_like, shape (rows, features)
        condition : array_like, shape (rows, columns), optional
            Theirs, of a conditional model.

        Returns
        -------
        ndarray of float64, shape (rows,)

        Raises
        ------
        NotFittedError
            Before `calibrate`.
        SupportError, ShapeError, DtypeError, NonFiniteError

        Notes
        -----
        Rows with other patterns of missing cells than the reference rows have do not compare with them: they have
        fewer cells to be odd in. Calibrate on rows with the patterns that are to be judged.

        References
        ----------
        Vovk, Gammerman and Shafer (2005), "Algorithmic learning in a random world", section 2.2; Bates, Candès, Lei,
        Romano and Sesia (2023), "Testing for outliers with conformal p-values", eq. 2.

        Examples
        --------
        >>> import numpy as np
        >>> import elbokit as ek
        >>> X = ek.random.normal((400, 3), key=0)
        >>> vae = ek.VAE(1, hidden=(8,))
        >>> history = vae.fit(X[:300], epochs=20, progress=False)
        >>> vae.calibrate(X[300:])
        >>> vae.p_value(np.array([[0.0, 0.0, 9.0]]))  # 1 / 101
        array([0.00990099])
        """
        reference = self._calibration
        if reference is None:
            raise NotFittedError("the model is not calibrated; call calibrate with rows of the ordinary kind")
        terms = self.elbo(X, condition=condition, key=reference.key, num_particles=reference.num_particles)
        scores = terms.elbo.astype(np.float64)
        below = np.searchsorted(reference.scores, scores, side="right")
        return np.asarray((1 + below) / (1 + len(reference.scores)))
