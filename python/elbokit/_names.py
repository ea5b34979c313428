"""The names of the columns that a model was fitted on, where a file told them: in the model's file, and beside others.

A model takes columns by their places. Names are kept so that rows with the same columns in another order can be told.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from elbokit import _metadata
from elbokit.errors import ModelFileError

__all__ = ["Names"]

_KEY = _metadata.COLUMNS


class Names(NamedTuple):
    """Names of the columns that are modelled, and of those of the condition, in the model's order."""

    columns: tuple[str, ...]
    condition: tuple[str, ...] = ()

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def from_text(cls, text: str, num_features: int, condition_width: int) -> Names:
        """What `to_text` wrote, of a model of so many columns; anything else is a ModelFileError."""
        found = _metadata.fields(_KEY, text, {"columns": list, "condition": list})
        for name, width in (("columns", num_features), ("condition", condition_width)):
            if len(found[name]) != width or not all(isinstance(column, str) for column in found[name]):
                raise ModelFileError(
                    f"model file: expected {width} names of {name} in metadata {_KEY!r}, got {str(found[name])[:80]}; "
                    f"{_metadata.CURE}"
                )
        return cls(tuple(found["columns"]), tuple(found["condition"]))
