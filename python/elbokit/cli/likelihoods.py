"""Likelihoods as the command line names them."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import elbokit as ek
from elbokit.cli.outputs import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIKELIHOODS", "likelihood"]

LIKELIHOODS = (
    "gaussian, gaussian(0.5), gaussian(predicted), laplace(shared), student_t(4,per_feature), bernoulli, "
    "continuous_bernoulli, binomial(16), categorical(3), poisson, negative_binomial or zero_inflated_negative_binomial"
)
_BARE = {
    "bernoulli": ek.likelihood.Bernoulli,
    "continuous_bernoulli": ek.likelihood.ContinuousBernoulli,
    "poisson": ek.likelihood.Poisson,
    "negative_binomial": ek.likelihood.NegativeBinomial,
    "zero_inflated_negative_binomial": ek.likelihood.ZeroInflatedNegativeBinomial,
}
_COUNTED = {"binomial": ek.likelihood.Binomial, "categorical": ek.likelihood.Categorical}
_SCALED = {"gaussian": ek.likelihood.Gaussian, "laplace": ek.likelihood.Laplace}


def likelihood(text: str | None, data: str) -> Any:
    """Likelihood of the option; by default that of the digits' counts, or a Gaussian that learns its scale."""
    if text is None:
        return ek.likelihood.Binomial(16) if data == "digits" else ek.likelihood.Gaussian(scale="predicted")
    match = re.fullmatch(r"([a-z_]+)(?:\((.+)\))?", text.lower().replace(" ", ""))
    name, argument = match.groups() if match else ("", None)
    with contextlib.suppress(ValueError):
        if name in _SCALED:
            return _checked(text, _SCALED[name], _scale(argument))
        if name == "student_t" and argument is not None:
            df, _, scale = argument.partition(",")
            return _checked(text, ek.likelihood.StudentT, float(df), _scale(scale or None))
        if name in _BARE and argument is None:
            return _BARE[name]()
        if name in _COUNTED and argument is not None:
            return _checked(text, _COUNTED[name], int(argument))
    raise UserError(f"--likelihood {text}: expected {LIKELIHOODS}")


def _scale(text: str | None) -> float | str:
    """A scale of the option: a number, or the name of how it is learned."""
    if text is None:
        return 1.0
    return text if text in ("shared", "per_feature", "predicted") else float(text)


def _checked(text: str, make: Callable[..., Any], *arguments: object) -> Any:
    try:
        return make(*arguments)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--likelihood {text}: {error}") from error
