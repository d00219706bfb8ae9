"""Watch whether the JVM answers: a thread asks it something trivial. A frozen JVM holds up this thread alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread

from py4j.protocol import Py4JError

SILENCE_SECONDS = 15.0  # longer than a collection of a full heap takes


class JvmHeartbeat:
    """The newest answer of the JVM. `ask` returns when it has answered, and may never do so."""

    def __init__(self, ask: Callable[[], object], *, interval_seconds: float, clock: Callable[[], datetime]) -> None:
        self._ask, self._interval_seconds, self._clock = ask, interval_seconds, clock
        self._answered_at = clock()
        self._closing = Event()
        self._thread = Thread(target=self._run, name="jvm-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more; waits for nothing, since an answer may never come."""
        self._closing.set()

    def silent_since(self, now: datetime) -> datetime | None:
        """Return since when the JVM counts as silent; None while it answers."""
        silent_at = self._answered_at + timedelta(seconds=SILENCE_SECONDS + self._interval_seconds)
        return silent_at if now > silent_at else None

    def _run(self) -> None:
        while not self._closing.wait(self._interval_seconds):
            try:
                self._ask()
            except (Py4JError, OSError):
                continue  # no answer; that the process has ended is found by those who watch it
            self._answered_at = self._clock()
