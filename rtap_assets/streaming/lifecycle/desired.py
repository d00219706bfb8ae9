"""What must survive the host: what is desired of each stream, the newest command's number, its breaker. Small JSON files.

Each is replaced atomically. Standard library only, so that a client can read them when no host runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.files import write_json
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.states import Desired, FailureNote
from rtap_assets.streaming.model.wire import as_instant, as_text

DESIRED_FILE, BREAKERS_FILE = "desired.json", "breakers.json"
# Beside the desired states and not among them: an older version reads those, and goes on after a rollback.
GENERATIONS_FILE = "generations.json"


def read_desired(settings: Settings) -> dict[str, Desired]:
    """Return stream -> what was asked for last; a stream that was never asked anything is left out.

    Raises:
        StreamError: the file cannot be read.
    """
    path = settings.streams_dir / DESIRED_FILE
    document = _read(path)
    try:
        return {name: Desired(value) for name, value in document.items()}
    except ValueError as error:
        raise _unreadable(path, error) from error


def read_generations(settings: Settings) -> dict[str, int]:
    """Return stream -> the number of its newest command; none before the first, or in a folder of an older version."""
    path = settings.streams_dir / GENERATIONS_FILE
    try:
        return {name: int(number) for name, number in _read(path).items()}
    except (ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True)
class KeptBreaker:
    """A breaker and the failure that is shown with it."""

    breaker: Breaker = field(default_factory=Breaker)
    note: FailureNote | None = None


def read_breakers(settings: Settings) -> dict[str, KeptBreaker]:
    """Return stream -> its breaker as kept on disk. Raises like `read_desired`."""
    path = settings.streams_dir / BREAKERS_FILE
    document = _read(path)
    try:
        return {name: _breaker_of(entry) for name, entry in document.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


class DurableStates:
    """What is kept for the next host: read once, every change on disk before it counts. Safe to share between threads.

    With `is_durable` false nothing is read or written: a command's own engine begins with every stream stopped and well.
    """

    def __init__(self, settings: Settings, *, is_durable: bool = True) -> None:
        self.is_durable = is_durable
        self._folder = settings.streams_dir if is_durable else None
        self._lock = Lock()
        self._desired = read_desired(settings) if is_durable else {}
        self._generations = read_generations(settings) if is_durable else {}
        self._breakers = read_breakers(settings) if is_durable else {}

    def desired(self, stream: str) -> Desired:
        """Return what was desired last."""
        return self._desired.get(stream, Desired.STOPPED)

    def generation(self, stream: str) -> int:
        """Return the number of the newest command."""
        return self._generations.get(stream, 0)

    def breaker(self, stream: str) -> KeptBreaker:
        """Return the breaker as it was kept last."""
        return self._breakers.get(stream, KeptBreaker())

    def declare(self, stream: str, desired: Desired | None = None) -> int:
        """Return the generation of a new command, after what it desires is durable; None: as before (a drain).

        The generation is written first: one that no command has seen does no harm, where an old one for a new command would.

        Raises:
            OSError: it cannot be made durable; what is desired has not changed then.
        """
        with self._lock:
            generations = self._generations | {stream: self.generation(stream) + 1}
            self._write(GENERATIONS_FILE, generations)
            self._generations = generations
            if desired is not None and self._desired.get(stream) is not desired:
                changed = self._desired | {stream: desired}
                self._write(DESIRED_FILE, {name: value.value for name, value in changed.items()})
                self._desired = changed
            return generations[stream]

    def set_breaker(self, stream: str, kept: KeptBreaker) -> None:
        """Keep a breaker, in memory even where the disk refuses it; raises OSError then."""
        with self._lock:
            if self._breakers.get(stream, KeptBreaker()) != kept:
                self._breakers = self._breakers | {stream: kept}
                self._write(BREAKERS_FILE, {name: _document_of(one) for name, one in self._breakers.items()})

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        if self._folder is not None:
            write_json(self._folder / name, document, durable=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(document, dict):
        raise _unreadable(path, TypeError("not an object"))
    return document


def _unreadable(path: Path, error: Exception) -> StreamError:
    return StreamError(
        f"{path} cannot be read: {error}.",
        remedy="Restore it from a backup, or remove it: then no stream counts as started, and start those that should run.",
    )


def _breaker_of(entry: Mapping[str, Any]) -> KeptBreaker:
    opened, note = entry["opened_at"], entry["note"]
    breaker = Breaker(tuple(entry["faults"]), None if opened is None else as_instant(opened))
    return KeptBreaker(breaker, None if note is None else FailureNote.from_json(note))


def _document_of(kept: KeptBreaker) -> dict[str, Any]:
    opened = kept.breaker.opened_at
    return {
        "faults": list(kept.breaker.faults),
        "opened_at": None if opened is None else as_text(opened),
        "note": None if kept.note is None else kept.note.to_json(),
    }
