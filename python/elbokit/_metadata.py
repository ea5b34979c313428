"""Texts beside a model's tensors: further keys of the metadata in a safetensors header.

The core writes and reads the model itself, under the key `elbokit`, and passes over the other keys. What Python alone
knows of a model (a calibration, a table's columns) stands under those, so that a model stays one file. All of them are
known here: a key that is not may be one of ours that was damaged, or of a later version that the model is not itself
without.
"""

from __future__ import annotations

import json
from typing import Any

from elbokit.errors import ModelFileError

__all__ = ["CALIBRATION", "COLUMNS", "CURE", "TABLE", "added", "fields", "texts"]

CALIBRATION = "elbokit.calibration"
COLUMNS = "elbokit.columns"
TABLE = "elbokit.table"

CURE = "give a file that elbokit saved, and has not been changed since"
_WIDTH = 8
_KEY = "__metadata__"
_KNOWN = ("elbokit", CALIBRATION, COLUMNS, TABLE)


def added(data: bytes, more: dict[str, str]) -> bytes:
    """The file's bytes with these texts in its metadata, in the order of their keys; the tensors' bytes stay."""
    if not more:
        return data
    header, start = _header(data)
    header[_KEY] = header.get(_KEY, {}) | dict(sorted(more.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces, so that the tensors start where a machine likes to read numbers.
    text += b" " * (-len(text) % _WIDTH)
    return len(text).to_bytes(_WIDTH, "little") + text + data[start:]


def texts(data: bytes) -> dict[str, str]:
    """The metadata of a file that the core has read, and so found whole.

    Raises
    ------
    ModelFileError
        For a key that is not known.
    """
    metadata: dict[str, str] = _header(data)[0].get(_KEY, {})
    for key in metadata:
        if key not in _KNOWN:
            raise ModelFileError(
                f"model file: expected known keys alone in metadata, got {key[:80]!r}; update elbokit, or {CURE}"
            )
    return metadata


def fields(key: str, text: str, kinds: dict[str, type]) -> dict[str, Any]:
    """The JSON object under a key, which has these fields of these types and no others.

    Raises
    ------
    ModelFileError
    """
    try:
        found = json.loads(text)
    # Brackets in brackets without end are the latter.
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"expected metadata {key!r} in JSON, got {error}; {CURE}") from None
    if (
        not isinstance(found, dict)
        or found.keys() != kinds.keys()
        or any(type(found[name]) is not kind for name, kind in kinds.items())
    ):
        wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in kinds.items())
        raise ModelFileError(f"expected metadata {key!r} to hold {wanted} alone, got {text[:80]!r}; {CURE}")
    return found


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    start = _WIDTH + int.from_bytes(data[:_WIDTH], "little")
    header: dict[str, Any] = json.loads(data[_WIDTH:start])
    return header, start
