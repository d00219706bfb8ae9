"""Carries what the streams measure to the topic of results, beside the streams: a broker that is away stops no batch.

`report` only computes and queues. One thread publishes; while broker or registry do not answer it keeps what fits into the
queue, the newest, and counts what it had to drop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Condition, Thread
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, RtapError
from rtap_assets.quality.batch_results import results_of
from rtap_assets.quality.catalog import DqResult
from rtap_assets.quality.results_topic import DqPublisher

log = logging.getLogger(__name__)

# About an hour of four streams at a batch every five seconds.
KEPT_RESULTS = 10_000
RETRY_SECONDS = 5.0
PER_MESSAGE_BATCH = 500

Publish = Callable[[Sequence[DqResult]], object]


class QualityReports:
    """Publishes the results of each batch's progress; give it the reports of all streams, from any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        connect: Callable[[Settings], Publish] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.dropped = 0
        self._settings = settings
        self._connect = connect or (lambda own: DqPublisher(own).publish)
        self._retry_seconds = retry_seconds
        self._queue: deque[DqResult] = deque()
        self._changed = Condition()
        self._closing = False
        self._busy = False
        self._thread = Thread(target=self._run, name="quality-reports", daemon=True)
        self._thread.start()

    def report(self, progress: Mapping[str, Any]) -> list[DqResult]:
        """Queue the results of a committed batch and return them; never waits for the broker."""
        results = results_of(progress, self._settings)
        with self._changed:
            self._queue.extend(results)
            while len(self._queue) > KEPT_RESULTS:
                self._queue.popleft()
                self.dropped += 1
            self._changed.notify_all()
        return results

    def close(self, *, seconds: float) -> int:
        """Publish what is queued, for at most `seconds`; returns how many results remain unpublished."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._busy, timeout=seconds)
            self._closing = True
            self._changed.notify_all()
            return len(self._queue)

    def _run(self) -> None:
        publish: Publish | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                batch = [self._queue.popleft() for _ in range(min(PER_MESSAGE_BATCH, len(self._queue)))]
                self._busy = True
            try:
                publish = publish or self._connect(self._settings)
                publish(batch)
            except DependencyUnavailable as error:
                log.warning("quality results wait: %s", error.message)
                self._put_back(batch)
            except RtapError as error:  # it will not get better by waiting: say so, and go on with the next
                log.error("%d quality results were not published: %s", len(batch), error)  # noqa: TRY400
                self.dropped += len(batch)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _put_back(self, batch: list[DqResult]) -> None:
        """Keep the order, and pause before the next attempt."""
        with self._changed:
            self._queue.extendleft(reversed(batch))
            self._changed.wait_for(lambda: self._closing, timeout=self._retry_seconds)
