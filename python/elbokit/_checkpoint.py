"""A fit on disk: all that its next epoch depends on, written whole or not at all, and read only into the same fit."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elbokit import _core
from elbokit._files import whole
from elbokit.errors import ArgumentError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_FORMAT = 1
_CURE = "give a checkpoint that elbokit wrote, or remove it to start anew"
# Rows at a time where a data set is summed up: a part of it is copied at most.
_ROWS = 1 << 14


class _TriedError(Exception):
    """What ends a trial before the draft takes the file's place."""


@dataclass
class Checkpoint:
    """Where a fit is kept, how often it is written, and by which options it is known."""

    path: Path
    every: int
    options: dict[str, Any]
    written: bool = field(default=False)

    def __post_init__(self) -> None:
        # As JSON gives them back: a tuple is a list there.
        self.options = json.loads(json.dumps(self.options))

    def write(self, counts: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        """Put a state in the place of the last one."""
        text = json.dumps({"format": _FORMAT, "options": self.options, **counts}, sort_keys=True)
        data = _core.checkpoint_to_bytes(text, sorted(vectors.items()))
        with self._named(), whole(self.path) as draft:
            draft.write_bytes(data)
        self.written = True

    def try_out(self) -> None:
        """Make a draft as `write` will, and remove it: an OSError comes before the training that it would lose."""
        with self._named(), contextlib.suppress(_TriedError), whole(self.path) as draft:
            draft.touch()
            raise _TriedError

    def read(self) -> Found | None:
        """The state in the file, if there is a file; a ValueError names the option by which it is another fit's."""
        try:
            with self._named():
                data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        with self.reading():
            text, vectors = _core.checkpoint_from_bytes(data)
            try:
                header = json.loads(text)
            except ValueError as error:
                raise ModelFileError(f"model file: expected metadata in JSON, got {error}; {_CURE}") from None
            if not isinstance(header, dict):
                raise ModelFileError(f"model file: expected metadata as a JSON object, got {header!r}; {_CURE}")
            found = Found(header, dict(vectors))
            if (version := found.take("format")) != _FORMAT:
                raise ModelFileError(f"model file: expected format {_FORMAT}, got {version!r}; update elbokit")
            options = found.take("options")
            if not isinstance(options, dict):
                raise ModelFileError(f'model file: expected "options" as a JSON object, got {options!r}; {_CURE}')
        self._compare(options)
        self.written = True
        return found

    def _compare(self, options: dict[str, Any]) -> None:
        for name in [*self.options, *options]:
            now, then = self.options.get(name), options.get(name)
            if now != then:
                raise ArgumentError(
                    f"{name}: expected {then!r} as in the checkpoint {os.fspath(self.path)}, got {now!r}; "
                    "give the fit's own, or another checkpoint"
                )

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the argument in an error of the file system."""
        try:
            yield
        except OSError as error:
            raise type(error)(error.errno, f"checkpoint: {error.strerror}", os.fspath(self.path)) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Name the file in an error about what it holds."""
        try:
            yield
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(self.path)}: {error}") from None


class Found:
    """What a file holds, each part to be taken once."""

    def __init__(self, header: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        self._header = header
        self._vectors = vectors

    def take(self, name: str) -> Any:
        """A field of the header."""
        if name not in self._header:
            raise ModelFileError(f"model file: expected {name!r} in the metadata, got none; {_CURE}")
        return self._header.pop(name)

    def count(self, name: str, most: int) -> int:
        """A whole number from 0 to `most`."""
        value = self.take(name)
        if type(value) is not int or not 0 <= value <= most:
            raise ModelFileError(f"model file: expected {name!r} from 0 to {most}, got {value!r}; {_CURE}")
        return value

    def optional_count(self, name: str, below: int) -> int | None:
        """None, or a whole number from 0 to below `below`."""
        if self._header.get(name, 0) is None:
            return self.take(name)  # type: ignore[no-any-return]
        return self.count(name, below - 1)

    def flag(self, name: str) -> bool:
        """True or False."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise ModelFileError(f"model file: expected {name!r} true or false, got {value!r}; {_CURE}")
        return value

    def length(self, name: str) -> int:
        """How many numbers a vector has."""
        return len(self._vectors.get(name, ()))

    def vector(self, name: str, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
        """A vector of that type and length."""
        vector = self._vectors.pop(name, None)
        if vector is None or vector.dtype != dtype or len(vector) != length:
            got = "none" if vector is None else f"{len(vector)} of {vector.dtype}"
            raise ModelFileError(f"model file: expected {length} numbers {name!r} of {dtype}, got {got}; {_CURE}")
        return vector

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if rest := [*self._header, *self._vectors]:
            raise ModelFileError(f"model file: expected known parts alone, got {rest[0]!r} besides; update elbokit")


def fingerprint(rows: NDArray[Any]) -> str:
    """A short text that other rows almost surely do not share: shape, dtype and CRC-32."""
    total = 0
    for first in range(0, len(rows), _ROWS):
        total = zlib.crc32(rows[first : first + _ROWS].tobytes(), total)
    return f"{rows.shape} {rows.dtype.name} {total:08x}"
