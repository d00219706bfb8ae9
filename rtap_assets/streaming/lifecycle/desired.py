"""What must survive the host: the desired state of each stream and its breaker. Small JSON files, replaced atomically.

Standard library only, so that a client can read them when no host runs.
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
from rtap_assets.streaming.model.states import Desired, FailureNote, as_instant, as_text

DESIRED_FILE, BREAKERS_FILE = "desired.json", "breakers.json"


def read_desired(settings: Settings) -> dict[str, Desired]:
    """Stream -> what a person asked for last; a stream of which nobody asked anything is left out.

    Raises:
        StreamError: the file cannot be read.
    """
    path = settings.streams_dir / DESIRED_FILE
    document = _read(path)
    try:
        return {name: Desired(value) for name, value in document.items()}
    except ValueError as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True)
class KeptBreaker:
    """A breaker and the failure that a person is shown."""

    breaker: Breaker = field(default_factory=Breaker)
    note: FailureNote | None = None


def read_breakers(settings: Settings) -> dict[str, KeptBreaker]:
    """Stream -> its breaker as kept on disk. Raises like `read_desired`."""
    path = settings.streams_dir / BREAKERS_FILE
    document = _read(path)
    try:
        return {name: _breaker_of(entry) for name, entry in document.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


class DurableStates:
    """The two files for one host: read once, every change on disk before it counts. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.streams_dir
        self._lock = Lock()
        self._desired = read_desired(settings)
        self._breakers = read_breakers(settings)

    def desired(self, stream: str) -> Desired:
        return self._desired.get(stream, Desired.STOPPED)

    def breaker(self, stream: str) -> KeptBreaker:
        return self._breakers.get(stream, KeptBreaker())

    def set_desired(self, stream: str, desired: Desired) -> None:
        """Raises OSError when it cannot be made durable; nothing has changed then."""
        with self._lock:
            if self._desired.get(stream) is not desired:
                changed = self._desired | {stream: desired}
                write_json(self._folder / DESIRED_FILE, {name: value.value for name, value in changed.items()}, durable=True)
                self._desired = changed

    def set_breaker(self, stream: str, kept: KeptBreaker) -> None:
        """Counts in memory even where the disk refuses it: raises OSError then."""
        with self._lock:
            if self._breakers.get(stream, KeptBreaker()) != kept:
                self._breakers = self._breakers | {stream: kept}
                document = {name: _document_of(one) for name, one in self._breakers.items()}
                write_json(self._folder / BREAKERS_FILE, document, durable=True)


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
