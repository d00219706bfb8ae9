"""Idle shutdown of an embedded stream host: it ends after a while without use, as a build daemon does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, Protocol

from rtap_assets.streaming.model.operation import Operation
from rtap_assets.streaming.model.states import Desired, StreamStatus


class Engine(Protocol):
    """What the stream host needs of the engine; see `engine.py`. Nothing but `close` may take long."""

    def resume(self) -> None: ...
    def statuses(self) -> list[StreamStatus]: ...
    def submit(self, stream: str, action: str) -> Operation: ...
    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation: ...
    def operation(self, id: str) -> Operation | None: ...
    def cancel(self, id: str) -> Operation: ...
    def progress(self, stream: str, limit: int) -> list[dict[str, object]]: ...
    def jvm_is_alive(self) -> bool: ...
    def jvm_answers(self) -> bool: ...
    def close(self, *, seconds: float) -> dict[str, bool]: ...


class Activity:
    """When the host was last asked for something. Reading states does not count: a sensor that looks keeps no host alive."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._clock, self._lock = engine, clock, Lock()
        self._last = clock()
        self._pending: set[str] = set()

    def asked(self, operation: Operation) -> None:
        """Note that this was asked for, or how it goes."""
        with self._lock:
            self._last = self._clock()
            if operation.ended:
                self._pending.discard(operation.id)
            else:
                self._pending.add(operation.id)

    def idle_seconds(self) -> float:
        """Return for how long nothing was asked, while nothing should run and no operation is under way; else 0."""
        with self._lock:
            self._pending = {id for id in self._pending if self._is_pending(id)}
            if self._pending or _anything_should_run(self._engine.statuses()):
                self._last = self._clock()
            return self._clock() - self._last

    def _is_pending(self, id: str) -> bool:
        operation = self._engine.operation(id)
        return operation is not None and not operation.ended


def _anything_should_run(statuses: Iterable[StreamStatus]) -> bool:
    return any(status.desired is Desired.RUNNING for status in statuses)
