"""The two sources that are looked at from time to time: the marts' file, and the stream host while there are viewers.

Both recover by themselves; what they say while they are away is that they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rtap_assets.dashboard.hub import Hub, Presence
from rtap_assets.dashboard.revenue_messages import Measures
from rtap_assets.dashboard.revenue_store import MartRow, Status
from rtap_assets.errors import RtapError, ServingError
from rtap_assets.runtime.clock import from_microseconds, to_milliseconds
from rtap_assets.serving.marts_reader import NO_MARTS, MartsReader
from rtap_assets.streaming.model.states import Observed, StreamStatus

WATCH_SECONDS = 2.0
IDLE_SECONDS = 10.0  # the host is asked for this long after the last look
_REFRESH = "SELECT epoch_us(refreshed_at), epoch_us(watermark) FROM refresh"
_WINDOWS = """
SELECT epoch_ms(window_start), epoch_ms(window_end), plan_tier, region, currency,
    (gross_amount * 10000)::HUGEINT, (refund_amount * 10000)::HUGEINT, (net_amount * 10000)::HUGEINT, orders, refunds,
    revision, epoch_ms(updated_at), status
FROM rolling_revenue WHERE window_start >= to_timestamp(? / 1000)
"""

log = logging.getLogger(__name__)


@dataclass
class MartsWatch:
    """Loads the marts' windows into the store whenever the file was swapped, or the store began again."""

    hub: Hub
    reader: MartsReader
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH_SECONDS)

    async def look(self) -> None:
        """Look once; load what is new."""
        async with self._lock:
            identity = self.reader.identity()
            if identity and identity == self.hub.store.marts_id and self.hub.marts.presence is Presence.LIVE:
                return
            try:
                await self._load(identity)
            except ServingError as error:
                self.reader.close()
                none = error.message == NO_MARTS
                self.hub.found(
                    "marts", Presence.NONE if none else Presence.AWAY, detail=error.message, remedy=error.remedy or ""
                )

    async def _load(self, identity: str) -> None:
        since_ms = self.hub.store.oldest_ms(to_milliseconds(self.hub.now()))
        refreshed_at, watermark, rows = await asyncio.to_thread(read_windows, self.reader, since_ms)
        self.hub.refreshed_at, self.hub.watermark = refreshed_at, watermark
        self.hub.store.learn(
            identity, rows, refreshed_ms=to_milliseconds(refreshed_at), now_ms=to_milliseconds(self.hub.now())
        )
        self.hub.found("marts", Presence.LIVE)
        self.hub.status_changes += 1
        self.hub.revenue_changed()


def read_windows(reader: MartsReader, since_ms: int) -> tuple[datetime, datetime | None, list[MartRow]]:
    """Return when the marts were refreshed, gold's watermark then, and the windows that begin at or after an instant.

    Raises:
        ServingError: there are no marts, or they cannot be read.
    """
    with reader.reading() as (cursor, _):
        found = cursor.execute(_REFRESH).fetchone()
        if found is None:
            raise ServingError("The marts do not say when they were refreshed.", remedy="`rtap marts refresh`.")
        rows = cursor.execute(_WINDOWS, [since_ms]).fetchall()
    windows = [
        MartRow(
            row[0], row[1], row[2], row[3], row[4], Measures(*(int(one) for one in row[5:10])), row[10], row[11],
            Status(row[12]),
        )
        for row in rows
    ]  # fmt: skip
    return from_microseconds(found[0]), None if found[1] is None else from_microseconds(found[1]), windows


@dataclass
class HostWatch:
    """Asks the stream host for the states of the streams, while there are viewers or the API was asked a moment ago."""

    hub: Hub
    ask: Callable[[], list[StreamStatus]]
    _looked_at: float = -IDLE_SECONDS
    _wanted_at: float = -IDLE_SECONDS
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            now = asyncio.get_running_loop().time()
            if self.hub.viewers or now - self._wanted_at < IDLE_SECONDS:
                await self.look()
            await asyncio.sleep(WATCH_SECONDS)

    async def wanted(self) -> None:
        """Make sure that what is known is of the last seconds."""
        loop = asyncio.get_running_loop()
        self._wanted_at = loop.time()
        if loop.time() - self._looked_at > WATCH_SECONDS:
            await self.look()

    async def look(self) -> None:
        """Look once."""
        async with self._lock:
            try:
                self.hub.streams = await asyncio.to_thread(self.ask)
            except RtapError as error:
                self.hub.streams = []
                self.hub.found("host", Presence.AWAY, detail=error.message, remedy=error.remedy or "")
            else:
                unknown = [one for one in self.hub.streams if one.observed is Observed.UNKNOWN]
                note = unknown[0].last_error if unknown else None
                self.hub.found(
                    "host",
                    Presence.AWAY if unknown else Presence.LIVE,
                    detail=note.message if note else "",
                    remedy=note.remedy if note else "",
                )
            self._looked_at = asyncio.get_running_loop().time()
            self.hub.status_changes += 1
            self.hub.ring()
