"""The live feed: a thread that follows the aggregate topic and hands its messages to the store, on the event loop.

It starts from the marts and reads the topic from a little before their refresh, so that the start costs the same however
long the topic is. The broker or the registry being away is reported and waited for; what is known stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any, Protocol

from rtap_assets.dashboard.hub import Hub, Presence
from rtap_assets.dashboard.revenue_messages import RevenueMessage, RevenueReader
from rtap_assets.errors import ContractError, DependencyUnavailable, RtapError
from rtap_assets.kafka.topic_follower import FollowedRecord, TopicReplaced
from rtap_assets.runtime.clock import to_milliseconds

POLL_SECONDS, RETRY_SECONDS = 1.0, 1.0
# Gold publishes a window before it commits it: what the marts hold was published before their refresh, by a batch's time.
MARGIN = timedelta(minutes=10)

log = logging.getLogger(__name__)


class Follower(Protocol):
    """What the feed needs of `kafka.topic_follower.TopicFollower`."""

    topic_id: str
    position: dict[int, int]
    ends: dict[int, int]

    def read(self, *, seconds: float) -> list[FollowedRecord]:
        """Return the next records."""
        ...

    def close(self) -> None:
        """Leave the broker."""
        ...


@dataclass
class Feed:
    """Follows the topic until `stop`. `follow` opens it from an instant on; `restarted` loads the marts again."""

    hub: Hub
    reader: RevenueReader
    follow: Callable[[datetime], Follower]
    restarted: Callable[[], Awaitable[None]]
    loop: asyncio.AbstractEventLoop
    _ending: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread = Thread(target=self.run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does within a poll, and is not waited for."""
        self._ending.set()

    def run(self) -> None:
        """Follow the topic, and begin again whenever that ends with an error."""
        while not self._ending.is_set():
            try:
                follower = self.follow(self._since())
                try:
                    self._follow(follower)
                finally:
                    follower.close()
            except TopicReplaced as error:
                log.warning("the feed begins again: %s", error.message)
            except RtapError as error:
                self._report(Presence.AWAY, error)
                self._ending.wait(RETRY_SECONDS)

    def _since(self) -> datetime:
        oldest = self.hub.now() - timedelta(hours=self.hub.store.hours) - MARGIN
        refreshed = self.hub.refreshed_at
        return oldest if refreshed is None else max(oldest, refreshed - MARGIN)

    def _follow(self, follower: Follower) -> None:
        self._on_loop(self._restart(follower.topic_id, dict(follower.position)))
        while not self._ending.is_set():
            try:
                records = follower.read(seconds=POLL_SECONDS)
            except TopicReplaced:
                raise
            except DependencyUnavailable as error:
                self._report(Presence.AWAY, error)
                self._ending.wait(RETRY_SECONDS)
                continue
            found, rejected = self._read(records)
            is_behind = any(follower.position[one] < end for one, end in follower.ends.items())
            presence = Presence.CATCHING_UP if is_behind and records else Presence.LIVE
            self._on_loop(self._take(records, found, rejected, dict(follower.position), presence))

    def _read(self, records: Sequence[FollowedRecord]) -> tuple[list[tuple[RevenueMessage, int, int]], int]:
        """Return the messages with Kafka partition and offset, and how many could not be read; waits for the registry."""
        found, rejected = [], 0
        for record in records:
            while not self._ending.is_set():
                try:
                    if record.value is not None:
                        found.append((self.reader.read(record.value), record.partition, record.offset))
                except ContractError as error:
                    rejected += 1
                    log.warning("partition %d, offset %d: %s", record.partition, record.offset, error.message)
                except DependencyUnavailable as error:
                    self._report(Presence.AWAY, error)
                    self._ending.wait(RETRY_SECONDS)
                    continue
                break
        return found, rejected

    async def _restart(self, topic_id: str, position: dict[int, int]) -> None:
        self.hub.store.restart(topic_id, position)
        self.hub.found("feed", Presence.CATCHING_UP)
        await self.restarted()

    async def _take(
        self,
        records: Sequence[FollowedRecord],
        found: Sequence[tuple[RevenueMessage, int, int]],
        rejected: int,
        position: dict[int, int],
        presence: Presence,
    ) -> None:
        self.hub.found("feed", presence)
        if records:
            self.hub.newest_record_ms = max(self.hub.newest_record_ms, *(one.timestamp_ms for one in records))
            self.hub.store.take(found, position, rejected=rejected, now_ms=to_milliseconds(self.hub.now()))
            self.hub.revenue_changed()

    def _report(self, presence: Presence, error: RtapError) -> None:
        async def found() -> None:
            self.hub.found("feed", presence, detail=error.message, remedy=error.remedy or "")

        self._on_loop(found())

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the event loop and wait for it: no faster than the loop takes it in. A loop that ends ends the feed."""
        if self._ending.is_set():
            work.close()
            return
        try:
            asyncio.run_coroutine_threadsafe(work, self.loop).result()
        except CancelledError:
            self._ending.set()
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            work.close()
            self._ending.set()
