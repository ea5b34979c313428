"""Writing a file whole or not at all: the one way that models, scores and pictures reach the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["whole"]


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A draft to write instead of `path`: flushed and moved there at the end, removed after a failure.

    It stands in the same folder, so that the move is a rename, and has the same ending, by which some writers choose a
    format. A link is followed. An OSError about the draft is raised with the name that the user gave.
    """
    target = Path(path).resolve()
    draft = target.with_name(f".{target.stem}.{os.getpid()}.{threading.get_ident()}{target.suffix}")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) != str(draft):
            raise
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        # Where the draft could not be made there is none to remove.
        with contextlib.suppress(OSError):
            draft.unlink()
