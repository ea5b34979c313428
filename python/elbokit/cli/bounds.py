"""The bounds of rows that commands print and write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elbokit.cli.outputs import complaining

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

__all__ = ["Bounds", "bounds_of", "print_bounds"]


class Bounds(NamedTuple):
    """Bounds of some rows, each (rows,), in nats."""

    elbo: NDArray[Any]
    reconstruction: NDArray[Any]
    kl: NDArray[Any]
    standard_error: NDArray[Any]
    lower: NDArray[Any]
    estimate: NDArray[Any]
    upper: NDArray[Any]
    estimate_error: NDArray[Any]
    khat: NDArray[Any]
    ess: NDArray[Any]
    num_observed: NDArray[Any]

    def title(self, num_particles: int) -> str:
        """ELBO and evidence as means over the rows, and how many of them have an upper bound."""
        elbo, lower, estimate = (_mean(values) for values in (self.elbo, self.lower, self.estimate))
        return (
            f"ELBO {elbo:.2f}, log evidence: lower bound {lower:.2f}, estimate {estimate:.2f} nats a row, "
            f"upper bound for {self.bounded():.1%} of rows ({num_particles} particles)"
        )

    def bounded(self) -> float:
        """Share of rows whose k-hat allows an upper bound."""
        return _mean(np.isfinite(self.upper)) if len(self.upper) else float("nan")


def bounds_of(vae: Any, X: NDArray[Any], args: argparse.Namespace, condition: NDArray[Any] | None) -> Bounds:
    """Those of the rows X beside their condition, by the command's key and particles."""
    with complaining():
        terms = vae.elbo(X, condition=condition, key=args.key)
        evidence = vae.log_evidence(X, condition=condition, key=args.key, num_particles=args.num_particles)
    return Bounds(
        terms.elbo,
        terms.reconstruction,
        terms.kl,
        terms.standard_error,
        evidence.lower,
        evidence.estimate,
        evidence.upper,
        evidence.standard_error,
        evidence.khat,
        evidence.ess,
        evidence.num_observed,
    )


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values, dtype=np.float64))


def _cell(values: NDArray[Any]) -> str:
    """Mean over the rows, with the standard error of that mean where there is one."""
    if len(values) < 2 or not np.isfinite(values).all():
        return f"{_mean(values):.2f} (-)"
    return f"{_mean(values):.2f} ({np.std(values, ddof=1, dtype=np.float64) / len(values) ** 0.5:.3f})"


def print_bounds(parts: dict[str, Bounds], totals: dict[str, int], num_particles: int) -> None:
    """Print the means over each part's rows, of which there are so many in `totals`."""
    quantities = {
        "ELBO": "elbo",
        "  reconstruction": "reconstruction",
        "  KL": "kl",
        f"log evidence, lower ({num_particles} particles)": "lower",
        f"log evidence, estimate ({num_particles} particles)": "estimate",
    }
    lines = [["nats a row: mean (standard error)", *parts], ["rows"]]
    for name, bounds in parts.items():
        rows, total = len(bounds.elbo), totals[name]
        lines[1].append(f"{rows}" if rows == total else f"{rows} of {total}")
    lines += [[label, *(_cell(getattr(b, field)) for b in parts.values())] for label, field in quantities.items()]
    lines.append(["rows with an upper bound", *(f"{bounds.bounded():.1%}" for bounds in parts.values())])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    print()
    for label, *cells in lines:
        print(label.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True)), sep="  ")
    print()
