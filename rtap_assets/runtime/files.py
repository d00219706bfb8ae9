"""Files that readers see whole: atomic replacement, and waiting until a file or a rename is on disk."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Yield a new file that takes the place of `path` when the block ends; an error in the block leaves `path` as it was.

    Readers see the old content or the new. With `durable`, so does a reader after a power cut, and the new content is on
    disk on return.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        with fresh.open("wb") as file:
            yield file
        if durable:
            put_in_place(fresh, path)
        else:
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def put_in_place(fresh: Path, path: Path) -> None:
    """Let a finished file take the place of `path`, and wait until that is on disk."""
    _sync_file(fresh)
    fresh.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file by this text, as `replacing` does."""
    with replacing(path, durable=durable) as file:
        file.write(text.encode())


def write_json(
    path: Path,
    document: Mapping[str, Any] | Sequence[Any],
    *,
    durable: bool = False,
    default: Callable[[Any], object] | None = None,
) -> None:
    """Replace a file by this document, as `replacing` does; `default` converts what JSON does not know."""
    write_text(path, json.dumps(document, indent=2, default=default) + "\n", durable=durable)


def _sync_file(path: Path) -> None:
    """Wait until the file's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in the folder are on disk."""
    _sync_file(path)
