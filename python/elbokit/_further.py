"""One more epoch for a model that has been trained: on further rows, by the same optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elbokit import _plan, _scaling, training
from elbokit._arrays import rows_of
from elbokit._naming import say_given
from elbokit.errors import ElbokitError
from elbokit.random import Key
from elbokit.training import History

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elbokit.vae import VAE

__all__ = ["Moments", "train"]

# Steps taken and both of Adam's moments, as the core gives them.
Moments = tuple[int, "NDArray[Any]", "NDArray[Any]"]


def train(vae: VAE, rows: NDArray[Any], options: dict[str, Any], key: Key, moments: Moments | None) -> History:
    """Train a fitted model for one epoch of all the rows; without moments the optimiser starts anew.

    options are those of `VAE.fit` that hold within an epoch, and the rows' condition. Columns stay scaled as they are.
    """
    noise, scoring, splitting = key.split(3)
    given = _plan.Options(
        epochs=1, schedule="constant", warmup=0.0, validation=0.0, patience=None, checkpoint=None, checkpoint_every=1,
        **options,
    )  # fmt: skip
    rows = rows_of("X", rows)
    plan = _plan.checked(vae, rows, given, key.seed, splitting)
    core = vae.core
    history = History(data=_scaling.described(vae, rows, plan))
    try:
        core.check(rows, plan.condition)
        core.start(plan.num_rows, plan.batch_size, plan.num_particles)
        if moments is not None:
            core.resume(*moments)
        training.run(vae, core, training.State(core, plan, history), noise, scoring)
    except ElbokitError as error:
        say_given(error, vae.dtype, x=rows, condition=plan.condition)
        raise
    return history
