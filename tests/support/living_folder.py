"""Read every file of a folder that running processes write to: files that vanish meanwhile do not fail the reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ATTEMPTS = 50


def contents_of(folder: Path) -> dict[Path, bytes]:
    """Return each file's content."""
    return _of_each_file(folder, Path.read_bytes)


def modes_of(folder: Path) -> dict[Path, int]:
    """Return each file's permissions."""
    return _of_each_file(folder, lambda path: path.stat().st_mode)


def _of_each_file(folder: Path, look: Callable[[Path], T]) -> dict[Path, T]:
    """Look at all files again where one vanished: its content may have moved to a file that was already read.

    So does SQLite: its write-ahead log is merged into the database and removed with the last connection.
    """
    for _ in range(ATTEMPTS):
        try:
            return {path: look(path) for path in folder.rglob("*") if path.is_file()}
        except FileNotFoundError:
            continue
    raise AssertionError(f"of {folder}, files vanished during each of {ATTEMPTS} readings")
