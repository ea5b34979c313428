"""Posterior collapse: whether it is there, what it most likely comes of, and what cures it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from elbokit.likelihood import Columns
from elbokit.report.latents import ACTIVE
from elbokit.report.words import nats

if TYPE_CHECKING:
    from elbokit.likelihood import Likelihood
    from elbokit.report.measured import Measured
    from elbokit.vae import VAE

__all__ = ["collapse", "warn_of_collapse"]

# Nats below which the decoder makes no use of a latent.
_UNUSED = 0.01


def collapse(m: Measured) -> tuple[str, ...]:
    """Sentences on the latents' state."""
    latents = m.latents
    active = latents.variance > ACTIVE
    count, total = int(active.sum()), len(active)
    first = (
        f"{count} of {total} latents are active: the variance of their loc over the rows is above {ACTIVE} (Burda, "
        "Grosse and Salakhutdinov 2016)."
    )
    if count == total:
        return (first, "No latent has collapsed: each tells something of its row.")
    used = m.decoder_use[~active]
    followed = used > _UNUSED
    said = [first]
    if count == 0:
        said.append("Posterior collapse: q is the same for every row, so latents tell nothing and make no features.")
    if followed.any():
        said.append(
            f"The decoder does use {_latents(int(followed.sum()))} that q ignores (one drawn anew changes p(x | z) by "
            f"{nats(np.nanmax(used))} nats): the encoder is at fault. Likely cause: it lags behind the decoder. Cure: "
            "more hidden units or epochs, or a smaller learning_rate."
        )
    pruned = int((~followed).sum())
    if pruned and count:
        said.append(
            f"Of {_latents(pruned)} encoder and decoder have both let go: no bound is worse for it. Likely cause: more "
            "latents than the rows support above the likelihood's noise. Cure: latent_dim="
            f"{total - pruned} gives the same model; if more should be there, {_cures(m.vae)}."
        )
    elif pruned:
        said.append(
            "The decoder makes no use of them either. Likely cause: the KL outweighed the reconstruction before the "
            "decoder had learned to use z, or the columns are independent of each other, and there is nothing to tell. "
            f"Cure: {_cures(m.vae)}; and see whether the estimate rises."
        )
    return tuple(said)


def warn_of_collapse(m: Measured, stacklevel: int) -> None:
    """A UserWarning where no latent is active."""
    if m.latents.rows > 1 and not (m.latents.variance > ACTIVE).any():
        cures = _cures(m.vae)
        warnings.warn(
            f"report: posterior collapse, none of {len(m.latents.kl)} latents is active; {cures}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _cures(vae: VAE) -> str:
    """What keeps latents in use, for a model of this likelihood and prior."""
    likelihood = vae.likelihood
    cures = "raise kl_weight from 0 (kl_weight=ek.training.Linear(0, 1, 50))"
    # A learned prior's KL has no parts by latent that could have a floor.
    if vae.prior == "standard":
        cures += ", or give free_bits=0.1"
    if (scale := _fixed_scale(likelihood)) is not None:
        cures += (
            f", or lower the noise: scale={scale:g} is fixed, and what varies less than it is noise to the model; "
            'scale="shared" learns it'
        )
    elif _has_scale(likelihood):
        cures += ', or keep a predicted noise from explaining the columns alone: scale="shared"'
    return cures


def _members(likelihood: Likelihood) -> list[Likelihood]:
    return [member for _, member in likelihood.members] if isinstance(likelihood, Columns) else [likelihood]


def _fixed_scale(likelihood: Likelihood) -> float | None:
    """The largest fixed scale of the likelihood's real columns."""
    scales = [getattr(member, "scale", "") for member in _members(likelihood)]
    fixed = [float(np.max(scale)) for scale in scales if not isinstance(scale, str)]
    return max(fixed, default=None)


def _has_scale(likelihood: Likelihood) -> bool:
    return any(getattr(member, "scale", "") == "predicted" for member in _members(likelihood))


def _latents(count: int) -> str:
    return "one latent" if count == 1 else f"{count} latents"
